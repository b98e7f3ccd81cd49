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

use crate::{Limits, PeerKey, clock};

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
    /// This connection is closed or broken; another may do.
    Gone,
    /// The peer does not speak the protocol.
    Unsupported,
}

/// Orders uses of connections: the lowest is the least recently used.
static USES: AtomicU64 = AtomicU64::new(1);

/// Where inbound connections are counted: an IPv4 address or an IPv6 /64.
pub(crate) type Source = u128;

/// The source of an address; `None` (not counted) for loopback and what is no IP.
pub(crate) fn source(address: &Multiaddr) -> Option<Source> {
    let ip = match address.iter().next()? {
        Part::Ip4(ip) => IpAddr::V4(ip),
        Part::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
        _ => return None,
    };
    match ip {
        ip if ip.is_loopback() => None,
        IpAddr::V4(ip) => Some(u128::from(u32::from(ip))),
        IpAddr::V6(ip) => Some(u128::from(ip) >> 64 << 64),
    }
}

/// A connection, from its admission until it has closed.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    pub(crate) remote: Arc<Remote>,
    pub(crate) address: Multiaddr,
    /// Set where the connection counts against its source's limit.
    pub(crate) source: Option<Source>,
    pub(crate) opens: mpsc::Sender<Open>,
    busy: AtomicUsize,
    used: AtomicU64,
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
        source: Option<Source>,
        opens: mpsc::Sender<Open>,
    ) -> Self {
        Self {
            id,
            peer,
            remote,
            address,
            source,
            opens,
            busy: AtomicUsize::new(0),
            used: AtomicU64::new(USES.fetch_add(1, Relaxed)),
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
    conns: Mutex<Vec<Arc<Conn>>>,
    /// Places for streams that we open.
    pub(crate) places: Arc<Semaphore>,
    /// Request and call streams that the peer holds open.
    pub(crate) streams: AtomicUsize,
    /// Of these, call streams.
    pub(crate) call_streams: AtomicUsize,
    /// Requests that wait for our answer.
    pub(crate) in_flight: AtomicUsize,
    /// Refusals being written.
    pub(crate) refusing: AtomicUsize,
    /// Refusals so far.
    pub(crate) refused: AtomicUsize,
    /// Faults that are still forgiven.
    patience: Mutex<Bucket>,
    /// Requests that are still in the peer's rate.
    bucket: Mutex<Bucket>,
}

impl Remote {
    pub(crate) fn new(key: PeerKey, limits: &Limits) -> Self {
        Self {
            key,
            conns: Mutex::default(),
            places: Arc::new(Semaphore::new(limits.outbound_streams_max)),
            streams: AtomicUsize::new(0),
            call_streams: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            refusing: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            patience: Mutex::new(Bucket::new(limits.strikes_max, STRIKES_FORGIVEN)),
            bucket: Mutex::new(Bucket::new(
                limits.requests_burst_max,
                u64::from(limits.requests_per_second_max) * TOKEN,
            )),
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

    /// Takes a request from the peer's rate; false when it is over.
    pub(crate) fn take(&self) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(clock::now())
    }

    /// Counts a strike; true when the peer is out.
    pub(crate) fn strike(&self) -> bool {
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        patience.take(clock::now());
        patience.is_empty()
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

/// A token bucket in integers: millionths of a token.
#[derive(Debug)]
struct Bucket {
    level: u64,
    full: u64,
    per_second: u64,
    at: Option<Instant>,
}

const TOKEN: u64 = 1_000_000;

/// Strikes forgiven a second: one a minute.
const STRIKES_FORGIVEN: u64 = TOKEN / 60;

impl Bucket {
    fn new(burst: u32, per_second: u64) -> Self {
        let full = u64::from(burst) * TOKEN;
        Self { level: full, full, per_second, at: None }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // A day fills any bucket, and keeps the product far from its limit.
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min(86_400_000);
        // Only whole milliseconds count, so the rest of one must not be thrown away.
        if ms > 0 || self.at.is_none() {
            self.level = (self.level + ms.saturating_mul(self.per_second) / 1_000).min(self.full);
            self.at = Some(now);
        }
        let enough = self.level >= TOKEN;
        if enough {
            self.level -= TOKEN;
        }
        enough
    }

    fn is_empty(&self) -> bool {
        self.level < TOKEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = clock::now();
        let mut bucket = Bucket::new(3, 10 * TOKEN);
        let mut take = |ms| bucket.take(start + Duration::from_millis(ms));
        assert!(take(0) && take(0) && take(0));
        assert!(!take(0));
        assert!(!take(99));
        assert!(take(100));
        assert!(!take(100));
        assert!(take(10_000) && take(10_000) && take(10_000));
        assert!(!take(10_000));
    }

    #[test]
    fn sources_are_addresses_or_networks_and_never_loopback() {
        let of = |text: &str| source(&text.parse().unwrap());
        assert_eq!(of("/ip4/127.0.0.1/tcp/1"), None);
        assert_eq!(of("/ip6/::1/tcp/1"), None);
        assert_eq!(of("/ip6/2001:db8::1/tcp/1"), of("/ip6/2001:db8::2/tcp/9"));
        assert_ne!(of("/ip6/2001:db8::1/tcp/1"), of("/ip6/2001:db8:0:1::1/tcp/1"));
        assert_eq!(of("/ip4/192.0.2.1/tcp/1"), of("/ip6/::ffff:192.0.2.1/tcp/1"));
    }
}
