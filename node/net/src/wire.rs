//! A libp2p stream as hyper reads and writes it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead as _, AsyncWrite as _};
use hyper::rt::{Read, ReadBufCursor, Write};
use libp2p::Stream;

/// Bytes read at once: two Yamux frames as rust-yamux cuts them.
const SCRATCH_BYTES: usize = 32 * 1024;

/// The stream, read through a buffer of its own: handing hyper's to a futures stream would mean
/// zeroing all of it at each read, four bytes for each one that comes.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    scratch: Box<[u8]>,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, scratch: vec![0; SCRATCH_BYTES].into() }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, scratch } = &mut *self;
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
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
