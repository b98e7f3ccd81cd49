//! One manycall under way: what the core and the feeder say, in one order, as results.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use peerless_core::{Answered, Event, Failure, Input, Request as Ask, Summary};
use tokio::sync::mpsc;

use super::super::{ApiError, FunctionRef, of_failure, unexpected};
use super::feed::{self, Bad, Feed};
use super::items::Items;
use super::line::{Body, ItemLine};
use super::{Options, RETRIES};
use crate::asks::{Asking, Told};
use crate::budget::{Budget, Share};
use crate::calls::{Answer, Outgoing, Source};
use crate::clock::{Stopwatch, span};
use crate::id::NodeId;
use crate::node::Node;
use crate::units::{parse_duration, parse_quorum};

/// Answers of a job that are here and not yet written, together.
const RESULTS_BYTES_MAX: usize = 64 << 20;
/// Things that were no items and are not yet told.
const BAD_MAX: usize = 64;

/// One manycall under way. Dropping it cancels it.
pub(super) struct Job {
    node: Arc<Node>,
    name: String,
    asking: Asking,
    feed: Arc<Feed>,
    bad: mpsc::Receiver<Bad>,
    feeder: tokio::task::JoinHandle<()>,
    watch: Stopwatch,
    /// What was told so far.
    told: Summary,
    /// Hosts that answered; their names are spelled once.
    hosts: HashMap<NodeId, String>,
    /// The core's last word, while there may be things left to tell that were no items.
    finished: bool,
    /// What comes next. It waits here while the core hears that it was taken, so that whoever stops
    /// waiting for [`Job::next`] loses nothing.
    ready: Option<Next>,
    untold: u32,
}

/// What a job has next.
pub(super) enum Next {
    /// An item's result.
    Result(ItemResult),
    /// All of them were told.
    Finished,
    /// The job as a whole failed.
    Failed(ApiError),
}

/// A result, ready to be written.
pub(super) struct ItemResult {
    /// The item's place in the input.
    pub(super) index: u64,
    /// Its line, with the end.
    pub(super) text: Bytes,
    /// What it takes of the job's budget until it is written.
    pub(super) share: Option<Share>,
}

impl Job {
    pub(super) async fn begin(
        node: &Arc<Node>,
        function: &FunctionRef,
        options: &Options,
        source: Items,
    ) -> Result<Self, ApiError> {
        let deadline = options.deadline.as_deref().map(parse_duration).transpose();
        let deadline = deadline.map_err(|why| ApiError::bad(format!("deadline: {why}")))?;
        let quorum = options.quorum.as_deref().map(parse_quorum).transpose();
        let quorum = quorum.map_err(|why| ApiError::bad(format!("quorum: {why}")))?;
        let asking = Asking::new(node);
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let bodies = crate::calls::Items {
            bodies: std::sync::Mutex::default(),
            compared: quorum.is_some(),
            results: Budget::new(RESULTS_BYTES_MAX),
        };
        let outgoing = node.calls.prepare(
            asking.ticket,
            Outgoing {
                method: Method::POST,
                path: Uri::from_static("/"),
                headers,
                source: Source::Items(bodies),
            },
        );
        let request = Ask::Many {
            function: function.key,
            deadline: deadline.map(|length| node.clock.now() + span(length)),
            retries: options.retries.unwrap_or(RETRIES),
            quorum,
        };
        asking.ask(request).await;
        let feed = Arc::new(Feed::new(node.clone(), asking.ticket, outgoing));
        let (sender, bad) = mpsc::channel(BAD_MAX);
        let feeder = tokio::spawn(feed::run(feed.clone(), source, sender));
        Ok(Self {
            node: node.clone(),
            name: function.name.clone(),
            asking,
            feed,
            bad,
            feeder,
            watch: Stopwatch::start(),
            told: Summary::default(),
            hosts: HashMap::new(),
            finished: false,
            ready: None,
            untold: 0,
        })
    }

    /// The next result, or the end. Whoever stops waiting for it loses nothing.
    pub(super) async fn next(&mut self) -> Next {
        loop {
            if self.untold > 0 {
                let taken = Input::Taken { ticket: self.asking.ticket, n: self.untold };
                self.node.tell(taken).await;
                self.untold = 0;
            }
            if let Some(next) = self.ready.take() {
                return next;
            }
            if self.finished {
                // The feeder has ended before the core could finish: what it said is all there.
                return match self.bad.try_recv() {
                    Ok(bad) => self.bad_item(bad),
                    Err(_) => Next::Finished,
                };
            }
            tokio::select! {
                told = self.asking.told() => self.heard(told),
                Some(bad) = self.bad.recv() => return self.bad_item(bad),
            }
        }
    }

    fn heard(&mut self, told: Told) {
        match told {
            Told::Want(n) => self.feed.want(n),
            Told::Event(Event::Item { index, result, attempts }) => {
                self.told.items += 1;
                self.told.attempts += u64::from(attempts);
                let result = match result {
                    Ok(answered) => self.answered(index, &answered, attempts),
                    Err(failure) => self.failed(index, &failure, attempts),
                };
                self.ready = Some(Next::Result(result));
                self.untold += 1;
            }
            Told::Event(Event::Finished(summary)) => {
                self.told.attempts = summary.attempts;
                self.finished = true;
            }
            Told::Event(Event::Failed(failure)) => {
                let error = ApiError::from_failure(&failure, &self.name);
                self.ready = Some(Next::Failed(error));
            }
            Told::Event(other) => self.ready = Some(Next::Failed(unexpected(&other))),
        }
    }

    fn answered(&mut self, number: u64, answered: &Answered<NodeId>, attempts: u16) -> ItemResult {
        let (body, share) = match self.node.calls.take(answered.attempt) {
            Some(Answer::Whole(bytes, share)) => (bytes, Some(share)),
            Some(Answer::Stream(_)) | None => (Bytes::new(), None),
        };
        self.node.calls.done(answered.attempt);
        let succeeded = answered.status < 400;
        *if succeeded { &mut self.told.succeeded } else { &mut self.told.failed } += 1;
        let index = self.feed.done(number, Some(body.len()));
        let host = self.hosts.entry(answered.host).or_insert_with(|| answered.host.to_string());
        let line = ItemLine {
            index,
            status: answered.status,
            body: Body(&body),
            host: Some(host),
            attempts,
            seconds: answered.took.0 as f64 / 1e9,
            error: None,
            code: None,
            line: None,
        };
        ItemResult { index, text: line.text(), share }
    }

    fn failed(&mut self, number: u64, failure: &Failure, attempts: u16) -> ItemResult {
        let (status, mut code) = of_failure(failure);
        if failure.may_have_run() {
            code = "unknown";
        } else {
            self.told.failed += 1;
        }
        let error = ApiError::from_failure(failure, &self.name).error;
        let index = self.feed.done(number, None);
        let line = ItemLine { attempts, ..ItemLine::failed(index, status.as_u16(), code, error) };
        ItemResult { index, text: line.text(), share: None }
    }

    fn bad_item(&mut self, bad: Bad) -> Next {
        let (at, line, why) = match bad {
            Bad::Item { at, line, why } => (at, line, why),
            Bad::Broken(why) => {
                return Next::Failed(ApiError::bad(format!("the items broke off: {why}")));
            }
        };
        self.told.items += 1;
        self.told.failed += 1;
        let error = if line > 0 { format!("line {line}: {why}") } else { why };
        let line = ItemLine {
            line: (line > 0).then_some(line),
            ..ItemLine::failed(at, 400, "bad-item", error)
        };
        Next::Result(ItemResult { index: at, text: line.text(), share: None })
    }

    /// What came of it so far; items that came and were not told are unknown.
    pub(super) fn summary(&self) -> String {
        let mut summary = self.told;
        summary.items = summary.items.max(self.feed.came());
        summary.unknown = summary.items - summary.succeeded - summary.failed;
        summary.hosts = self.hosts.len() as u32;
        super::line::summary(&summary, self.watch.seconds())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use peerless_core::{Name, Tag};
    use serde_json::{Value, json};

    use super::*;
    use crate::node::tests::a_node;

    fn answered(index: u64) -> Told {
        let attempt = Tag { slot: index as u32, epoch: 0, incarnation: 0 };
        let host = NodeId::new(crate::keys::owner(&crate::record::tests::a_key()).0);
        let answered = Answered { attempt, host, status: 200, took: peerless_core::Span::ms(5) };
        Told::Event(Event::Item { index, result: Ok(answered), attempts: 1 })
    }

    async fn a_job(
        node: &Arc<Node>,
        inputs: &mut mpsc::Receiver<Input<NodeId>>,
        items: &'static str,
    ) -> Job {
        let function = FunctionRef { name: "f".into(), owner: node.owner, key: Name([1; 32]) };
        let items = Items::lines(Body::from(items));
        let job = Job::begin(node, &function, &Options::default(), items).await.ok().unwrap();
        let asked = inputs.recv().await;
        assert!(matches!(asked, Some(Input::Ask(_, Ask::Many { .. }))), "{asked:?}");
        job
    }

    #[tokio::test]
    async fn whoever_stops_waiting_loses_no_result() {
        let dir = tempfile::tempdir().unwrap();
        let (node, mut inputs) = a_node(dir.path(), 1);
        // Without credit the feeder says nothing, so that the test alone decides when the core
        // hears something.
        let mut job = a_job(&node, &mut inputs, "1\n").await;
        let ticket = job.asking.ticket;
        node.asks.told(ticket, answered(0));
        let filler = Input::Gone { call: 0 };
        node.tell(filler.clone()).await;
        // The core is behind: that the result was taken cannot be told yet.
        let waited = tokio::time::timeout(Duration::from_millis(50), job.next()).await;
        assert!(waited.is_err());
        assert_eq!(inputs.recv().await, Some(filler));
        let Next::Result(result) = job.next().await else { panic!("a result") };
        assert_eq!(result.index, 0);
        assert_eq!(inputs.recv().await, Some(Input::Taken { ticket, n: 1 }));
    }

    #[tokio::test]
    async fn a_job_that_fails_says_how_far_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let (node, mut inputs) = a_node(dir.path(), 16);
        let mut job = a_job(&node, &mut inputs, "1\n2\n3\n").await;
        let ticket = job.asking.ticket;
        node.asks.told(ticket, Told::Want(8));
        node.asks.told(ticket, answered(1));
        let Next::Result(result) = job.next().await else { panic!("a result") };
        let line: Value = serde_json::from_slice(&result.text).unwrap();
        assert_eq!((&line["index"], &line["seconds"]), (&json!(1), &json!(0.005)));
        while job.feed.came() < 3 {
            tokio::task::yield_now().await;
        }
        node.asks.told(ticket, Told::Event(Event::Failed(Failure::NoHost)));
        let Next::Failed(error) = job.next().await else { panic!("a failure") };
        assert_eq!(error.object()["hop"], "gateway");
        let summary: Value = serde_json::from_str(&job.summary()).unwrap();
        assert_eq!((&summary["items"], &summary["succeeded"]), (&json!(3), &json!(1)));
        assert_eq!((&summary["failed"], &summary["unknown"]), (&json!(0), &json!(2)));
    }
}
