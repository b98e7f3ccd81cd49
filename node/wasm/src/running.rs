//! A call as its caller sees it: the head, then the body, then the report.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, StatusCode};

use crate::Failure;

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

/// Ends a call from elsewhere; cheap to clone.
#[derive(Clone)]
pub struct Canceller {}

impl Canceller {
    /// Stops the guest, wherever it is: reading, writing, sleeping or spinning. Does not wait. A
    /// call that has ended already is left as it is.
    pub fn cancel(&self) {
        todo!()
    }
}

/// A call under way. Dropping it cancels the call.
pub struct Running {}

impl Running {
    /// A handle that cancels this call from elsewhere.
    pub fn canceller(&self) -> Canceller {
        todo!()
    }

    /// Waits for the head; to be called once, before [`Running::split`]. May be dropped and called
    /// again while it waits. An exit status other than 0 that comes in time is an answer: `Ok`, 500.
    pub async fn head(&mut self) -> Result<Head, Failure> {
        todo!()
    }

    /// The body, for whoever sends it on, and the end, for whoever keeps the books.
    pub fn split(self) -> (Body, End) {
        todo!()
    }

    /// Head, whole body and report at once, for short answers.
    pub async fn collect(self) -> (Result<(Head, Bytes), Failure>, Report) {
        todo!()
    }
}

/// The answer's body. An `Err` is its last item: the body is cut. Dropping it cancels the call, if
/// the guest has not ended.
pub struct Body {}

impl Stream for Body {
    type Item = Result<Bytes, Failure>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        todo!()
    }
}

/// Resolves to the call's [`Report`] when the guest has ended and its instance is free again. May
/// be dropped: the call goes on.
pub struct End {}

impl Future for End {
    type Output = Report;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Report> {
        todo!()
    }
}
