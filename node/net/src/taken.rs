//! Answers that their caller does not take.
//!
//! hyper asks a body for more only when the peer's window has room, so a body cannot notice that
//! nobody reads it. The task of its HTTP/2 stream can: it knows whether the body was asked last or
//! answered last. A task whose peer takes nothing for too long ends, which resets the stream and
//! drops the body with all that it holds.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::{Body, BoxError};

tokio::task_local! {
    /// Of the HTTP/2 stream whose task runs.
    static HANDED: Arc<Handed>;
}

/// Whose turn it is: odd while a frame that was handed out waits for the peer.
#[derive(Debug, Default)]
struct Handed(AtomicU64);

impl Handed {
    fn turn(&self, peers: bool) {
        let count = self.0.load(Relaxed);
        if peers {
            // A further frame is progress: still odd, and another number.
            self.0.store(count + 1 + count % 2, Relaxed);
        } else if count % 2 == 1 {
            self.0.store(count + 1, Relaxed);
        }
    }

    /// `Some`, and another number for each frame, while the peer is to take one.
    fn waits(&self) -> Option<u64> {
        let count = self.0.load(Relaxed);
        (count % 2 == 1).then_some(count)
    }
}

/// Runs HTTP/2 streams as tasks that end when their peer takes nothing for the given time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(pub(crate) Duration);

impl<F> hyper::rt::Executor<F> for Patience
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let handed = Arc::new(Handed::default());
        let stream = Box::pin(stream);
        tokio::spawn(Patient { stream, handed, limit: self.0, seen: 0, late: None });
    }
}

struct Patient<F> {
    stream: Pin<Box<F>>,
    handed: Arc<Handed>,
    limit: Duration,
    /// The frame that `late` is for.
    seen: u64,
    late: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Future for Patient<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let polled = HANDED.sync_scope(this.handed.clone(), || this.stream.as_mut().poll(cx));
        if polled.is_ready() {
            return Poll::Ready(());
        }
        match this.handed.waits() {
            None => this.late = None,
            Some(frame) if frame != this.seen || this.late.is_none() => {
                (this.seen, this.late) = (frame, Some(Box::pin(sleep(this.limit))));
            }
            Some(_) => {}
        }
        match &mut this.late {
            Some(late) => late.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// An answer's body that tells its stream's task whose turn it is.
pub(crate) struct Taken {
    body: Body,
    handed: Option<Arc<Handed>>,
}

impl Taken {
    /// To be made within the stream's task.
    pub(crate) fn new(body: Body) -> Self {
        let handed = HANDED.try_with(Arc::clone).ok();
        // The head is the first thing to be taken.
        if let Some(handed) = &handed {
            handed.turn(true);
        }
        Self { body, handed }
    }
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(handed) = &self.handed {
            handed.turn(polled.is_ready());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_is_progress_and_a_body_that_waits_is_nobodys_fault() {
        let handed = Handed::default();
        assert_eq!(handed.waits(), None);
        handed.turn(true);
        let first = handed.waits();
        handed.turn(true);
        assert!(first.is_some() && handed.waits() > first);
        handed.turn(false);
        handed.turn(false);
        assert_eq!(handed.waits(), None);
    }
}
