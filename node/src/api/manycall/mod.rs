//! `POST /manycall/{function}`: one function over many items, over all its hosts.
//!
//! [`feed`] brings items as the core wants them; this file writes results as the core has them.
//! Both go on at once, so results stream out while items still come in.

mod feed;
mod items;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use peerless_core::{Answered, Event, Failure, Input, Request as Ask, Summary};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{ApiError, FunctionRef, document, of_failure, parameters, resolve, unexpected};
use crate::asks::{Asking, Told};
use crate::bytes32::base64;
use crate::calls::{Answer, Outgoing, Source};
use crate::clock::{Stopwatch, span};
use crate::id::NodeId;
use crate::node::Node;
use crate::units::parse_duration;
use feed::{Bad, Feed};

/// Further attempts of an item unless said.
const RETRIES: u8 = 3;
/// Lines of results between the core and a user who reads slowly.
const LINES_MAX: usize = 64;
/// How long the status of an NDJSON answer waits for the first thing to be known: an unknown
/// function is 404 within this, and a user who sends slowly still gets a head.
const HEAD_TIME: Duration = Duration::from_secs(3);
/// Results of a JSON document, together.
const DOCUMENT_RESULTS_MAX: usize = 256 << 20;

/// What a user can choose.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    retries: Option<u8>,
    deadline: Option<String>,
}

impl Options {
    fn from_query(request: &Request) -> Result<Self, ApiError> {
        let mut options = Self::default();
        for (key, value) in parameters(request) {
            match key.as_str() {
                "retries" => {
                    let wrong = || ApiError::bad(format!("retries: {value:?} is not 0..255"));
                    options.retries = Some(value.parse().map_err(|_| wrong())?);
                }
                "deadline" => options.deadline = Some(value),
                other => {
                    let why = format!("unknown option {other:?}; there are retries and deadline");
                    return Err(ApiError::bad(why));
                }
            }
        }
        Ok(options)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
    #[serde(default)]
    options: Options,
}

/// The route.
pub(super) async fn manycall(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let function = resolve(&node, &name, None)?;
    if request.headers().contains_key("x-job-id") {
        return Err(ApiError::bad("X-Job-Id: jobs cannot be resumed here"));
    }
    let of = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match of.map(|of| of.split(';').next().unwrap_or("").trim()) {
        Some("application/json") => whole(&node, &function, request).await,
        Some("application/x-ndjson") => streaming(&node, &function, request).await,
        _ => {
            let why = "Content-Type must be application/json or application/x-ndjson";
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", why))
        }
    }
}

/// One document in, one out, in the order of the items.
async fn whole(
    node: &Arc<Node>,
    function: &FunctionRef,
    request: Request,
) -> Result<Response, ApiError> {
    if let Some((key, _)) = parameters(&request).first() {
        return Err(ApiError::bad(format!("option {key:?} belongs into the document's options")));
    }
    let max = node.settings.limits.json_bytes_max as usize;
    let text: Box<RawValue> = document(request, max).await?;
    let parsed: Document<'_> = serde_json::from_str(text.get())
        .map_err(|error| ApiError::bad(format!("the document: {error}")))?;
    let source = items::Items::whole(parsed.items.iter().map(|item| item.get().to_owned()));
    let mut job = Job::begin(node, function, &parsed.options, source).await?;
    let (mut results, mut bytes) = (Vec::new(), 0);
    loop {
        match job.next().await {
            Next::Result(index, value) => {
                let text = value.to_string();
                bytes += text.len();
                if bytes > DOCUMENT_RESULTS_MAX {
                    let why =
                        "the results are too large for one document; use application/x-ndjson";
                    return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", why));
                }
                results.push((index, text));
            }
            Next::Failed(failure) => {
                return Err(ApiError::from_failure(&failure, &function.name));
            }
            Next::Broken(error) => return Err(error),
            Next::Finished(summary) => {
                results.sort_unstable();
                let results: Vec<String> = results.into_iter().map(|(_, text)| text).collect();
                let text = format!("{{\"results\":[{}],\"summary\":{summary}}}", results.join(","));
                let json = [(header::CONTENT_TYPE, "application/json")];
                return Ok((StatusCode::OK, json, text).into_response());
            }
        }
    }
}

/// Lines in, lines out, in the order of their completion.
async fn streaming(
    node: &Arc<Node>,
    function: &FunctionRef,
    request: Request,
) -> Result<Response, ApiError> {
    let options = Options::from_query(&request)?;
    let source = items::Items::lines(request.into_body());
    let mut job = Job::begin(node, function, &options, source).await?;
    let first = match tokio::time::timeout(HEAD_TIME, job.next()).await {
        Ok(Next::Failed(failure)) => {
            return Err(ApiError::from_failure(&failure, &function.name));
        }
        Ok(Next::Broken(error)) => return Err(error),
        Ok(next) => Some(next),
        Err(_) => None,
    };
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    tokio::spawn(write(job, first, lines));
    let body = stream::unfold(receiver, |mut receiver| async move {
        let line: Bytes = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), receiver))
    });
    let ndjson = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((StatusCode::OK, ndjson, Body::from_stream(body)).into_response())
}

/// Writes lines until the end, or until the user hangs up, which cancels the job.
async fn write(mut job: Job, first: Option<Next>, lines: mpsc::Sender<Bytes>) {
    let mut pending = first;
    loop {
        let next = match pending.take() {
            Some(next) => next,
            None => {
                tokio::select! {
                    next = job.next() => next,
                    () = lines.closed() => return,
                }
            }
        };
        let (value, ended) = match next {
            Next::Result(_, value) => (value, false),
            Next::Finished(summary) => (json!({ "summary": summary }), true),
            Next::Failed(failure) => {
                let error = ApiError::from_failure(&failure, &job.name);
                (json!({ "error": error.error, "code": error.code }), true)
            }
            Next::Broken(error) => (json!({ "error": error.error, "code": error.code }), true),
        };
        if lines.send(format!("{value}\n").into()).await.is_err() || ended {
            return;
        }
    }
}

/// One manycall under way.
struct Job {
    node: Arc<Node>,
    name: String,
    asking: Asking,
    feed: Arc<Feed>,
    bad: mpsc::Receiver<Bad>,
    feeder: tokio::task::JoinHandle<()>,
    watch: Stopwatch,
    /// Lines that were no items, and how the items ended, if badly.
    malformed: u64,
    /// What the core said last, while lines that were no items are still to be told.
    finished: Option<Summary>,
    /// When each dispatched item's result came; hosts' names are spelled once.
    hosts: HashMap<NodeId, String>,
}

/// What a job has next.
enum Next {
    /// An item's result.
    Result(u64, Value),
    /// All of them were told.
    Finished(Value),
    /// The job as a whole failed.
    Failed(Failure),
    /// The items broke off, or another fault.
    Broken(ApiError),
}

impl Job {
    async fn begin(
        node: &Arc<Node>,
        function: &FunctionRef,
        options: &Options,
        source: items::Items,
    ) -> Result<Self, ApiError> {
        let deadline = options.deadline.as_deref().map(parse_duration).transpose();
        let deadline = deadline.map_err(|why| ApiError::bad(format!("deadline: {why}")))?;
        let asking = Asking::new(node);
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let outgoing = node.calls.prepare(
            asking.ticket,
            Outgoing {
                method: Method::POST,
                path: Uri::from_static("/"),
                headers,
                source: Source::Items(std::sync::Mutex::default()),
            },
        );
        let request = Ask::Many {
            function: function.key,
            deadline: deadline.map(|length| node.clock.now() + span(length)),
            retries: options.retries.unwrap_or(RETRIES),
        };
        asking.ask(request).await;
        let feed = Arc::new(Feed::new(node.clone(), asking.ticket, outgoing));
        let (sender, bad) = mpsc::channel(LINES_MAX);
        let feeder = tokio::spawn(feed::run(feed.clone(), source, sender));
        Ok(Self {
            node: node.clone(),
            name: function.name.clone(),
            asking,
            feed,
            bad,
            feeder,
            watch: Stopwatch::start(),
            malformed: 0,
            finished: None,
            hosts: HashMap::new(),
        })
    }

    /// The next result, or the end. May be dropped while it waits.
    async fn next(&mut self) -> Next {
        loop {
            if let Some(summary) = self.finished {
                // The feeder has ended before the core could finish: what it said is all there.
                return match self.bad.try_recv() {
                    Ok(bad) => self.bad_item(bad),
                    Err(_) => Next::Finished(self.summary(&summary)),
                };
            }
            tokio::select! {
                told = self.asking.told() => if let Some(next) = self.heard(told).await {
                    return next;
                },
                Some(bad) = self.bad.recv() => return self.bad_item(bad),
            }
        }
    }

    async fn heard(&mut self, told: Told) -> Option<Next> {
        match told {
            Told::Want(n) => {
                self.feed.want(n);
                None
            }
            Told::Event(Event::Item { index, result, attempts }) => {
                let value = match result {
                    Ok(answered) => self.answered(index, &answered, attempts),
                    Err(failure) => self.failed(index, &failure, attempts),
                };
                let at = self.feed.done(index);
                let taken = Input::Taken { ticket: self.asking.ticket, n: 1 };
                self.node.tell(taken).await;
                Some(Next::Result(at, value))
            }
            Told::Event(Event::Finished(summary)) => {
                self.finished = Some(summary);
                None
            }
            Told::Event(Event::Failed(failure)) => Some(Next::Failed(failure)),
            Told::Event(other) => Some(Next::Broken(unexpected(&other))),
        }
    }

    fn answered(&mut self, index: u64, answered: &Answered<NodeId>, attempts: u16) -> Value {
        let body = match self.node.calls.take(answered.attempt) {
            Some(Answer::Whole(bytes)) => bytes,
            Some(Answer::Stream(_)) | None => Bytes::new(),
        };
        self.node.calls.done(answered.attempt);
        let body = match std::str::from_utf8(&body) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": base64(&body) }),
        };
        let host = self.hosts.entry(answered.host).or_insert_with(|| answered.host.to_string());
        json!({
            "index": self.feed.at(index), "status": answered.status, "body": body, "host": host,
            "attempts": attempts, "seconds": answered.took.0 as f64 / 1e9,
        })
    }

    fn failed(&self, index: u64, failure: &Failure, attempts: u16) -> Value {
        let (status, code) = of_failure(failure);
        let unknown = matches!(failure, Failure::MayHaveStarted | Failure::Cut);
        let error = ApiError::from_failure(failure, &self.name).error;
        json!({
            "index": self.feed.at(index), "status": status.as_u16(), "error": error,
            "code": if unknown { "unknown" } else { code }, "attempts": attempts,
        })
    }

    fn bad_item(&mut self, bad: Bad) -> Next {
        match bad {
            Bad::Item { at, line, why } => {
                self.malformed += 1;
                let mut value = json!({
                    "index": at, "status": 400, "error": why, "code": "bad-item", "attempts": 0,
                });
                if line > 0 {
                    value["line"] = json!(line);
                    value["error"] = json!(format!("line {line}: {why}"));
                }
                Next::Result(at, value)
            }
            Bad::Broken(why) => Next::Broken(ApiError::bad(format!("the items broke off: {why}"))),
        }
    }

    fn summary(&self, summary: &Summary) -> Value {
        json!({
            "items": summary.items + self.malformed, "succeeded": summary.succeeded,
            "failed": summary.failed + self.malformed, "unknown": summary.unknown,
            "attempts": summary.attempts, "hedged": summary.hedged, "hosts": summary.hosts,
            "seconds": self.watch.seconds(),
        })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}
