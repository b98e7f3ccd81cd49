//! Yamux in bounded memory.
//!
//! Yamux lets a peer send 256 KiB on a stream before anybody has read a byte, so what a peer can
//! make us hold is a matter of its streams. libp2p's wrapper bounds their number for a connection
//! alone, and goes beyond it at the price of the connection. This one refuses streams over a
//! connection's number or over the memory of the whole node, and bounds how fast they may come.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker, ready},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::{
    UpgradeInfo,
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};

use crate::{
    account::Bucket,
    shared::{Shared, count},
};

/// What a stream may hold that nobody has read, by Yamux's specification.
const STREAM_BYTES: usize = 256 * 1024;

/// Streams of both sides on a connection; one more ends it, so it is far beyond what we refuse at.
const STREAMS_MAX: usize = 512;

/// By how much the windows of a connection's streams may grow with its round trip, all together.
const GROWTH_BYTES: usize = 16 * 1024 * 1024;

/// Inbound streams that wait for the connection's task; more are reset.
const WAITING_MAX: usize = 64;

/// Inbound streams for protocols that are not ours: identify and ping.
const OTHERS_MAX: usize = 16;

/// Inbound streams of a connection at once, and a second from then on, or four times the requests
/// that a peer may send, if that is more; over it it is closed.
const STREAMS_BURST: u32 = 8_192;
const STREAMS_PER_SECOND: u32 = 2_048;

/// Streams that a connection keeps when memory is scarce.
const STREAMS_ASSURED: usize = 16;

/// The memory that peers may fill, in bytes, for the whole node.
#[derive(Debug)]
pub(crate) struct Memory {
    max: usize,
    used: AtomicUsize,
}

/// Some of the memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Portion {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, used: AtomicUsize::new(0) })
    }

    /// A portion for a peer's sake. `assured`: the peer holds little; others get none once half is
    /// used up, so that a few cannot take all.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize, assured: bool) -> Option<Portion> {
        let portion = self.hold(bytes);
        let max = if assured { self.max } else { self.max / 2 };
        (self.used.load(SeqCst) <= max).then_some(portion)
    }

    /// A portion for our own sake: it counts, and is not refused.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Portion {
        self.used.fetch_add(bytes, SeqCst);
        Portion { memory: self.clone(), bytes }
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(SeqCst)
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, SeqCst);
    }
}

/// Makes a [`Muxer`] of a connection.
#[derive(Clone)]
pub(crate) struct Upgrade(pub(crate) Arc<Shared>);

impl UpgradeInfo for Upgrade {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C> InboundConnectionUpgrade<C> for Upgrade
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        std::future::ready(Ok(Muxer::new(self.0, socket, yamux::Mode::Server)))
    }
}

impl<C> OutboundConnectionUpgrade<C> for Upgrade
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Muxer<C>, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        std::future::ready(Ok(Muxer::new(self.0, socket, yamux::Mode::Client)))
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Yamux(#[from] yamux::ConnectionError),
    #[error("the peer opens streams too fast")]
    Flood,
}

/// A connection's streams.
pub(crate) struct Muxer<C> {
    shared: Arc<Shared>,
    connection: yamux::Connection<C>,
    /// Inbound streams that came while the connection's task asked for none.
    waiting: VecDeque<Stream>,
    waker: Option<Waker>,
    /// Inbound streams that exist.
    inbound: Arc<AtomicUsize>,
    rate: Bucket,
    /// Dropped last, when the socket is closed.
    _socket: Socket,
}

/// A socket that exists. The swarm says that a connection has closed a moment before its socket has.
struct Socket(Arc<Shared>);

impl Socket {
    fn new(shared: Arc<Shared>) -> Self {
        shared.sockets.fetch_add(1, SeqCst);
        Self(shared)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, SeqCst);
        self.0.room.notify_waiters();
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(shared: Arc<Shared>, socket: C, mode: yamux::Mode) -> Self {
        let mut config = yamux::Config::default();
        config
            .set_max_num_streams(STREAMS_MAX)
            .set_max_connection_receive_window(Some(STREAMS_MAX * STREAM_BYTES + GROWTH_BYTES));
        let place = Socket::new(shared.clone());
        let burst = shared.limits.requests_burst_max.saturating_mul(4);
        let rate = shared.limits.requests_per_second_max.saturating_mul(4);
        Self {
            shared,
            connection: yamux::Connection::new(socket, config, mode),
            waiting: VecDeque::new(),
            waker: None,
            inbound: Arc::default(),
            rate: Bucket::new(burst.max(STREAMS_BURST), rate.max(STREAMS_PER_SECOND)),
            _socket: place,
        }
    }

    /// The next inbound stream that is let in; drives the whole connection.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        loop {
            let next = ready!(self.connection.poll_next_inbound(cx));
            let stream = next.ok_or(yamux::ConnectionError::Closed)??;
            if !self.rate.take() {
                return Poll::Ready(Err(Error::Flood));
            }
            match self.admit(stream) {
                Some(stream) => return Poll::Ready(Ok(stream)),
                // Dropping it resets it.
                None => count(&self.shared.counts.streams_dropped),
            }
        }
    }

    fn admit(&self, stream: yamux::Stream) -> Option<Stream> {
        let limits = &self.shared.limits;
        let max = limits.inbound_streams_max + limits.negotiating_streams_max + OTHERS_MAX;
        let open = self.inbound.load(SeqCst);
        if open >= max + WAITING_MAX || self.waiting.len() >= WAITING_MAX {
            return None;
        }
        let portion = self.shared.memory.take(STREAM_BYTES, open < STREAMS_ASSURED)?;
        self.inbound.fetch_add(1, SeqCst);
        Some(Stream { inner: stream, inbound: Some(self.inbound.clone()), _portion: portion })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.next(cx);
        if next.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, Error>> {
        let stream = ready!(self.connection.poll_new_outbound(cx))?;
        let portion = self.shared.memory.hold(STREAM_BYTES);
        Poll::Ready(Ok(Stream { inner: stream, inbound: None, _portion: portion }))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.connection.poll_close(cx).map_err(Error::from)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Error>> {
        let stream = ready!(self.next(cx))?;
        self.waiting.push_back(stream);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        // One stream a turn, and the connection's task has a turn in between.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A stream, and what it counts for.
#[derive(Debug)]
pub(crate) struct Stream {
    inner: yamux::Stream,
    inbound: Option<Arc<AtomicUsize>>,
    _portion: Portion,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(inbound) = &self.inbound {
            inbound.fetch_sub(1, SeqCst);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, to)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_out_and_given_back() {
        let memory = Memory::new(100);
        let first = memory.take(50, false).unwrap();
        assert!(memory.take(1, false).is_none(), "half is used up");
        let second = memory.take(50, true).unwrap();
        assert!(memory.take(1, true).is_none());
        drop(first);
        assert_eq!(memory.used(), 50);
        drop((second, memory.hold(1_000)));
        assert_eq!(memory.used(), 0);
    }
}
