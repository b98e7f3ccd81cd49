//! One connection, and one peer that has connections, as every task sees them.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures::task::AtomicWaker;
use libp2p::{Multiaddr, PeerId, Stream, multiaddr::Protocol as Part, swarm::ConnectionId};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{Limits, PeerKey, account::Account, clock};

/// The three protocols that streams are opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Kad,
    Peer,
    Call,
}

/// A stream wanted on a connection; its handler takes these from a channel.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) protocol: Protocol,
    pub(crate) stream: oneshot::Sender<Result<Stream, OpenError>>,
}

/// Why a stream did not open. Nothing was sent in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// No connection, and none to be had.
    Unreached,
    /// We have no room for a connection; that says nothing of the peer.
    NoRoom,
    /// This connection is closed or broken; another may do.
    Gone,
    /// The peer does not speak the protocol.
    Unsupported,
}

/// How long a connection on which nothing was said yet keeps its place.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// Orders uses of connections: the lowest is the least recently used.
static USES: AtomicU64 = AtomicU64::new(1);

/// Where inbound connections are counted: an IPv4 address or an IPv6 /64.
pub(crate) type Source = u128;

/// The source of an address; `None` (not counted) for what is no IP, and for loopback unless
/// `loopback` says otherwise.
pub(crate) fn source(address: &Multiaddr, loopback: bool) -> Option<Source> {
    let ip = match address.iter().next()? {
        Part::Ip4(ip) => IpAddr::V4(ip),
        Part::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
        _ => return None,
    };
    match ip {
        ip if ip.is_loopback() && !loopback => None,
        IpAddr::V4(ip) => Some(u128::from(u32::from(ip))),
        IpAddr::V6(ip) => Some(u128::from(ip) >> 64 << 64),
    }
}

/// Which side opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The peer, from where it counts.
    Inbound(Option<Source>),
    /// We.
    Outbound,
}

/// A connection, from its admission until it has closed.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    pub(crate) remote: Arc<Remote>,
    pub(crate) address: Multiaddr,
    /// Who opened it.
    pub(crate) origin: Origin,
    pub(crate) opens: mpsc::Sender<Open>,
    busy: AtomicUsize,
    used: AtomicU64,
    /// What `used` was at the beginning.
    first: u64,
    opened: Instant,
    evicted: CancellationToken,
    closing: AtomicBool,
    waker: AtomicWaker,
    rtt_us: AtomicU64,
}

impl Conn {
    pub(crate) fn new(
        id: ConnectionId,
        peer: PeerId,
        remote: Arc<Remote>,
        address: Multiaddr,
        origin: Origin,
        opens: mpsc::Sender<Open>,
    ) -> Self {
        let first = USES.fetch_add(1, Relaxed);
        Self {
            id,
            peer,
            remote,
            address,
            origin,
            opens,
            busy: AtomicUsize::new(0),
            used: AtomicU64::new(first),
            first,
            opened: clock::now(),
            evicted: CancellationToken::new(),
            closing: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            rtt_us: AtomicU64::new(0),
        }
    }

    /// Opens a stream and negotiates its protocol.
    pub(crate) async fn open(&self, protocol: Protocol) -> Result<Stream, OpenError> {
        let (stream, opened) = oneshot::channel();
        let sent = self.opens.send(Open { protocol, stream }).await;
        sent.map_err(|_| OpenError::Gone)?;
        opened.await.unwrap_or(Err(OpenError::Gone))
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.busy.load(SeqCst) == 0
    }

    /// Whether nothing was said on it yet, and not for long: whoever comes has a chance to ask.
    pub(crate) fn is_fresh(&self) -> bool {
        self.last_used() == self.first && self.opened.elapsed() < FRESH_FOR
    }

    pub(crate) fn is_evicted(&self) -> bool {
        self.evicted.is_cancelled()
    }

    /// Waits until the connection is taken out of use.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Takes the connection out of use. Call streams say goodbye (HTTP/2's GOAWAY), and the
    /// connection's own task closes it as soon as no stream is open or being negotiated, so that
    /// nothing that the peer has begun is cut by this, or left in doubt.
    pub(crate) fn evict(&self) {
        self.evicted.cancel();
        self.wake();
    }

    /// Has the connection's task look at [`Conn::keep`] again.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Whether the connection must stay open although no stream holds it.
    pub(crate) fn keep(&self) -> bool {
        !(self.is_evicted() && self.is_idle())
    }

    /// Registers the connection's task, to be woken when [`Conn::keep`] may have changed.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// True for the first caller only: closing is asked for once.
    pub(crate) fn begin_closing(&self) -> bool {
        self.evicted.cancel();
        !self.closing.swap(true, SeqCst)
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        let us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
        self.rtt_us.store(us, Relaxed);
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        let us = self.rtt_us.load(Relaxed);
        (us > 0).then(|| Duration::from_micros(us))
    }
}

/// A use of a connection: while one exists the connection is not evicted.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Conn>);

impl Lease {
    pub(crate) fn new(conn: &Arc<Conn>) -> Self {
        conn.busy.fetch_add(1, SeqCst);
        conn.used.store(USES.fetch_add(1, Relaxed), Relaxed);
        Self(conn.clone())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.used.store(USES.fetch_add(1, Relaxed), Relaxed);
        if self.0.busy.fetch_sub(1, SeqCst) == 1 && self.0.is_evicted() {
            self.0.wake();
        }
    }
}

/// A peer with at least one connection: what its connections share.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) key: PeerKey,
    /// Its rates and faults, which outlive its connections.
    pub(crate) account: Arc<Account>,
    conns: Mutex<Vec<Arc<Conn>>>,
    /// Places for streams that we open.
    pub(crate) places: Arc<Semaphore>,
    /// Request and call streams that the peer holds open.
    pub(crate) streams: AtomicUsize,
    /// Of these, call streams.
    pub(crate) call_streams: AtomicUsize,
    /// Requests that wait for our answer.
    pub(crate) in_flight: AtomicUsize,
    /// Calls under way, on all of its call streams.
    pub(crate) calls: AtomicUsize,
    /// Refusals being written.
    pub(crate) refusing: AtomicUsize,
}

impl Remote {
    pub(crate) fn new(key: PeerKey, account: Arc<Account>, limits: &Limits) -> Self {
        Self {
            key,
            account,
            conns: Mutex::default(),
            places: Arc::new(Semaphore::new(limits.outbound_streams_max)),
            streams: AtomicUsize::new(0),
            call_streams: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            refusing: AtomicUsize::new(0),
        }
    }

    /// Every connection, oldest first.
    pub(crate) fn conns(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Conn>>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest connection that is in use.
    pub(crate) fn live(&self) -> Option<Arc<Conn>> {
        self.conns().iter().rev().find(|conn| !conn.is_evicted()).cloned()
    }

    pub(crate) fn is_connected(&self) -> bool {
        !self.conns().is_empty()
    }
}

/// A place in one of [`Remote`]'s counters, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    remote: Arc<Remote>,
    counter: fn(&Remote) -> &AtomicUsize,
}

impl Place {
    /// A place, or `None` if `max` are taken.
    pub(crate) fn take(
        remote: &Arc<Remote>,
        counter: fn(&Remote) -> &AtomicUsize,
        max: usize,
    ) -> Option<Self> {
        let place = Self { remote: remote.clone(), counter };
        let taken = counter(remote).fetch_add(1, SeqCst);
        (taken < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.counter)(&self.remote).fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_addresses_or_networks() {
        let of = |text: &str| source(&text.parse().unwrap(), false);
        assert_eq!(of("/ip4/127.0.0.1/tcp/1"), None);
        assert_eq!(of("/ip6/::1/tcp/1"), None);
        assert!(source(&"/ip4/127.0.0.1/tcp/1".parse().unwrap(), true).is_some());
        assert_eq!(of("/ip6/2001:db8::1/tcp/1"), of("/ip6/2001:db8::2/tcp/9"));
        assert_ne!(of("/ip6/2001:db8::1/tcp/1"), of("/ip6/2001:db8:0:1::1/tcp/1"));
        assert_eq!(of("/ip4/192.0.2.1/tcp/1"), of("/ip6/::ffff:192.0.2.1/tcp/1"));
    }
}
