//! A libp2p stream as hyper reads and writes it. A write that waits too long ends it: the peer reads
//! nothing, or both ends wait for each other.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncRead as _, AsyncWrite as _};
use hyper::rt::{Read, ReadBufCursor, Write};
use libp2p::Stream;
use tokio::time::{Sleep, sleep};

/// Bytes read at once: two Yamux frames as rust-yamux cuts them.
const SCRATCH_BYTES: usize = 32 * 1024;

/// The stream, read through a buffer of its own: handing hyper's to a futures stream would mean
/// zeroing all of it at each read, four bytes for each one that comes.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    scratch: Box<[u8]>,
    stall: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// `stall`: how long a write may wait.
    pub(crate) fn new(stream: Stream, stall: Duration) -> Self {
        Self { stream, scratch: vec![0; SCRATCH_BYTES].into(), stall, waiting: None }
    }

    /// Passes on what became of a write, or that it has waited for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let stall = self.stall;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(stall)));
        waiting.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, scratch, .. } = &mut *self;
        let room = to.remaining().min(scratch.len());
        let count = ready!(Pin::new(stream).poll_read(cx, &mut scratch[..room]))?;
        to.put_slice(&scratch[..count.min(room)]);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, from);
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
