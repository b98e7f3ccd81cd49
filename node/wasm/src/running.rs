//! A call as its caller sees it: the head, then the body, then the report.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Sleep, sleep};

use crate::Failure;
use crate::head::HeadRule;
use crate::pipe::{Next, Pipe};

/// The head is held back until the guest has written this much, so that a short answer's status is
/// right even if the guest fails at its end.
pub const HEAD_HOLD_BYTES: usize = 64 * 1024;

/// The head is held back no longer than this after the guest's first byte of output, so that a
/// stream of events begins promptly.
pub const HEAD_HOLD_TIME: Duration = Duration::from_millis(50);

/// Status and headers of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// 200, 500 if the guest's exit status is not 0, or what its CGI header block says.
    pub status: StatusCode,
    /// `Content-Type`, or what the CGI header block says, without the headers that belong to a
    /// connection and without `Content-Length`.
    pub headers: HeaderMap,
    /// Size of the whole body, where the guest ended before the head went out.
    pub body_bytes: Option<u64>,
}

/// What a call took, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// `Ok` if the guest ended with exit status 0 (and its header block was one).
    pub outcome: Result<(), Failure>,
    /// From [`crate::Sandbox::run`] to the guest's end.
    pub wall: Duration,
    /// Time of that spent waiting for a free instance.
    pub queued: Duration,
    /// Processor time of the guest and of the host's work on its behalf.
    pub cpu: Duration,
    /// Bytes of the request's body that the guest read.
    pub bytes_in: u64,
    /// Bytes that the guest wrote to standard output.
    pub bytes_out: u64,
    /// The most linear memory that it had.
    pub memory_peak_bytes: u64,
    /// The end of what it wrote to standard error; not UTF-8 where the guest's is not.
    pub stderr: Bytes,
    /// All that it wrote to standard error.
    pub stderr_bytes: u64,
}

impl Report {
    pub(crate) fn without_a_guest(failure: Failure) -> Self {
        Self {
            outcome: Err(failure),
            wall: Duration::ZERO,
            queued: Duration::ZERO,
            cpu: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            memory_peak_bytes: 0,
            stderr: Bytes::new(),
            stderr_bytes: 0,
        }
    }
}

/// Ends a call from elsewhere; cheap to clone.
#[derive(Clone, Default)]
pub struct Canceller(Arc<Notify>);

impl Canceller {
    /// Stops the guest, wherever it is: reading, writing, sleeping or spinning. Does not wait. A
    /// call that has ended already is left as it is.
    pub fn cancel(&self) {
        self.0.notify_one();
    }

    /// To be awaited in one place, the guest's.
    pub(crate) async fn cancelled(&self) {
        self.0.notified().await;
    }
}

/// A call under way. Dropping it cancels the call.
pub struct Running {
    body: Body,
    report: oneshot::Receiver<Report>,
    rule: HeadRule,
    /// The time at which the head goes out at the latest, once there is output.
    hold: Option<Pin<Box<Sleep>>>,
}

impl Running {
    pub(crate) fn new(
        rule: HeadRule,
        pipe: Arc<Pipe>,
        canceller: Canceller,
        report: oneshot::Receiver<Report>,
    ) -> Self {
        let body = Body { pipe, canceller, held: BytesMut::new(), first: None, last: None };
        Self { body, report, rule, hold: None }
    }

    /// A handle that cancels this call from elsewhere.
    pub fn canceller(&self) -> Canceller {
        self.body.canceller.clone()
    }

    /// Waits for the head; to be called once, before [`Running::split`]. May be dropped and called
    /// again while it waits. An exit status other than 0 that comes in time is an answer: `Ok`, 500.
    pub async fn head(&mut self) -> Result<Head, Failure> {
        let head = poll_fn(|cx| self.poll_head(cx)).await;
        if let Err(failure) = &head {
            if let Failure::Malformed(_) = failure {
                self.body.pipe.overrule(failure.clone());
            }
            self.body.canceller.cancel();
            self.body.last = Some(Err(failure.clone()));
            self.body.held.clear();
        }
        head
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        loop {
            let due = match &mut self.hold {
                _ if self.body.pipe.has_ended() => false,
                _ if self.body.held.len() >= HEAD_HOLD_BYTES => true,
                Some(hold) => hold.as_mut().poll(cx).is_ready(),
                None => false,
            };
            if due && let Some(head) = self.rule.answer(&mut self.body.held)? {
                self.body.first = Some(self.body.held.split().freeze());
                return Poll::Ready(Ok(head));
            }
            match ready!(self.body.pipe.poll_next(cx)) {
                Next::Chunk(chunk) => {
                    self.body.held.extend_from_slice(&chunk);
                    self.hold.get_or_insert_with(|| Box::pin(sleep(HEAD_HOLD_TIME)));
                }
                Next::End(ending) => {
                    let output = self.body.held.split();
                    let (head, body) = self.rule.whole(&ending, output)?;
                    self.body.first = Some(body);
                    self.body.last = Some(Ok(()));
                    return Poll::Ready(Ok(head));
                }
            }
        }
    }

    /// The body, for whoever sends it on, and the end, for whoever keeps the books.
    pub fn split(self) -> (Body, End) {
        let pipe = Arc::clone(&self.body.pipe);
        (self.body, End { report: self.report, pipe })
    }

    /// Head, whole body and report at once, for short answers: the body is held in memory.
    pub async fn collect(mut self) -> (Result<(Head, Bytes), Failure>, Report) {
        let head = self.head().await;
        let (mut body, end) = self.split();
        let answer = match head {
            Ok(head) => body.rest().await.map(|bytes| (head, bytes)),
            Err(failure) => Err(failure),
        };
        (answer, end.await)
    }
}

/// The answer's body. An `Err` is its last item: the body is cut. Dropping it cancels the call, if
/// the guest has not ended.
pub struct Body {
    pipe: Arc<Pipe>,
    canceller: Canceller,
    /// Output that came before the head went out.
    held: BytesMut,
    /// The part of it that is body.
    first: Option<Bytes>,
    /// What comes after it, if it is not the pipe that says so.
    last: Option<Result<(), Failure>>,
}

impl Body {
    async fn rest(&mut self) -> Result<Bytes, Failure> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(last) = &mut self.last {
            // An error is said once.
            return Poll::Ready(mem::replace(last, Ok(())).err().map(Err));
        }
        match ready!(self.pipe.poll_next(cx)) {
            Next::Chunk(chunk) => Poll::Ready(Some(Ok(chunk))),
            Next::End(ending) => {
                self.last = Some(Ok(()));
                Poll::Ready(ending.outcome.err().map(Err))
            }
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.canceller.cancel();
    }
}

/// Resolves to the call's [`Report`] when the guest has ended and its instance is free again. May
/// be dropped: the call goes on. While nobody takes the [`Body`], a guest that writes much waits,
/// at most until its deadline.
pub struct End {
    report: oneshot::Receiver<Report>,
    pipe: Arc<Pipe>,
}

impl Future for End {
    type Output = Report;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Report> {
        // No report comes if the sandbox went away with the guest in it.
        let mut report = ready!(Pin::new(&mut self.report).poll(cx))
            .unwrap_or_else(|_| Report::without_a_guest(Failure::Cancelled));
        if let Some(failure) = self.pipe.overruled() {
            report.outcome = Err(failure);
        }
        Poll::Ready(report)
    }
}
