//! What every task of the network shares: the table of connections, the book, the counters.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use futures::task::AtomicWaker;
use libp2p::{Multiaddr, PeerId, StreamProtocol, swarm::ConnectionId};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::{
    CallHandler, Event, Kind, Limits, PeerKey, PeerView,
    book::{Book, HEARSAY_PER_INFORMANT, Rank, is_ip, plausible, usable},
    call::Pool,
    conn::{Conn, Open, Protocol, Remote},
    muxer::Memory,
    table::Table,
};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened since the start; see [`Net::counters`](crate::Net::counters).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(crate) struct Counts { $(pub(crate) $name: AtomicU64,)* }

        impl Counts {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections opened, in and out.
    connections_opened,
    /// Connections turned away at a limit, or from a shunned peer.
    connections_denied,
    /// Idle connections closed to make room.
    connections_evicted,
    /// Dials that reached nobody.
    dials_failed,
    /// Dials that were put off because every connection was busy.
    dials_deferred,
    /// Requests handed to the node.
    requests_heard,
    /// Requests refused over a quota or rate, or because the node's queue of events was full.
    requests_refused,
    /// Streams closed without a word: over a quota, with the refusals under way at their limit, or
    /// with the memory for streams used up.
    streams_dropped,
    /// Streams whose protocol was not negotiated in time.
    streams_late,
    /// Bytes of [`Limits::memory_bytes_max`] that are set aside at this moment.
    memory_held_bytes,
    /// Frames with a malformed length or, by the node's word, a body that makes no sense.
    frames_malformed,
    /// Frames announced over the size limit.
    frames_oversize,
    /// Frames that did not end in time, and streams that never began one.
    frames_late,
    /// Calls handed to the node.
    calls_heard,
    /// Calls refused over a peer's quota or rate.
    calls_refused,
    /// Calls cut off because the caller took nothing of the answer for too long.
    calls_stalled,
    /// Call streams that broke the rules of HTTP/2.
    calls_malformed,
    /// Peers disconnected and shut out for what they sent.
    peers_shunned,
    /// Addresses whose peers were, all of them.
    sources_shunned,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Names that are resolved at once.
const LOOKUPS_MAX: usize = 8;

/// Streams wanted on a connection that its task has not taken yet; more wait.
const OPENS_QUEUED_MAX: usize = 64;

/// The protocols' names.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) kad: StreamProtocol,
    pub(crate) peer: StreamProtocol,
    pub(crate) call: StreamProtocol,
}

impl Names {
    pub(crate) fn new(network: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if network.is_empty() || network.len() > 63 || !network.chars().all(fits) {
            return None;
        }
        let name =
            |what| StreamProtocol::try_from_owned(format!("/peerless/{network}/{what}/1")).ok();
        Some(Self { kad: name("kad")?, peer: name("peer")?, call: name("call")? })
    }

    pub(crate) fn of(&self, protocol: Protocol) -> &StreamProtocol {
        match protocol {
            Protocol::Kad => &self.kad,
            Protocol::Peer => &self.peer,
            Protocol::Call => &self.call,
        }
    }
}

/// The way to the node, until the network is closed.
pub(crate) struct Up {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) calls: Arc<dyn CallHandler>,
}

pub(crate) struct Shared {
    pub(crate) me: PeerKey,
    pub(crate) limits: Limits,
    pub(crate) names: Names,
    pub(crate) counts: Counts,
    pub(crate) pool: Pool,
    pub(crate) memory: Arc<Memory>,
    /// Places for names being resolved.
    pub(crate) lookups: Arc<Semaphore>,
    pub(crate) table: Mutex<Table>,
    /// Sockets of connections, from the handshake's end until they are closed.
    pub(crate) sockets: AtomicUsize,
    /// Told when a place among the connections may be free.
    pub(crate) room: Notify,
    /// Connections to close now, whatever they do; each is here at most once.
    pub(crate) closes: Mutex<Vec<(PeerId, ConnectionId)>>,
    /// The task that closes them.
    pub(crate) closer: AtomicWaker,
    book: Mutex<Book>,
    own: Mutex<BTreeSet<Multiaddr>>,
    up: Mutex<Option<Arc<Up>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("names", &self.names).finish_non_exhaustive()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(me: PeerKey, limits: Limits, names: Names, up: Up) -> Self {
        Self {
            me,
            names,
            counts: Counts::default(),
            pool: Pool::default(),
            memory: Memory::new(limits.memory_bytes_max),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            table: Mutex::new(Table::new()),
            sockets: AtomicUsize::new(0),
            room: Notify::new(),
            closes: Mutex::default(),
            closer: AtomicWaker::new(),
            book: Mutex::new(Book::new(limits.book_peers_max, limits.addresses_per_peer_max)),
            own: Mutex::default(),
            up: Mutex::new(Some(Arc::new(up))),
            limits,
        }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    pub(crate) fn up(&self) -> Option<Arc<Up>> {
        lock(&self.up).clone()
    }

    pub(crate) fn frame_max(&self, kind: Kind) -> usize {
        match kind {
            Kind::Kad => self.limits.kad_frame_bytes_max,
            Kind::Peer => self.limits.peer_frame_bytes_max,
        }
    }

    /// Files what we know ourselves.
    pub(crate) fn learn(&self, peer: &PeerKey, addresses: impl IntoIterator<Item = Multiaddr>) {
        let usable = addresses.into_iter().filter_map(|address| usable(peer, address));
        let usable: Vec<_> = usable.take(self.limits.addresses_per_peer_max).collect();
        if *peer == self.me {
            return;
        }
        let mut book = self.book();
        for address in usable.into_iter().rev() {
            book.learn(peer, address, Rank::Claimed);
        }
    }

    /// Files what another peer told us.
    pub(crate) fn hear(
        &self,
        informant: &PeerKey,
        peer: &PeerKey,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) {
        let seen_at = self.live(informant).map(|conn| conn.address.clone());
        let seen_at = seen_at.or_else(|| self.book().get(informant).into_iter().next());
        let Some(seen_at) = seen_at.filter(|_| *peer != self.me) else {
            return;
        };
        let said = addresses.into_iter().filter(is_ip).filter_map(|said| usable(peer, said));
        let said = said.filter(|said| plausible(said, &seen_at));
        let said: Vec<_> = said.take(HEARSAY_PER_INFORMANT).collect();
        let mut book = self.book();
        for address in said {
            book.hear(informant, peer, address);
        }
    }

    pub(crate) fn own_addresses(&self) -> Vec<Multiaddr> {
        lock(&self.own).iter().cloned().collect()
    }

    pub(crate) fn own_address(&self, address: Multiaddr, bound: bool) {
        let mut own = lock(&self.own);
        if bound {
            own.insert(address);
        } else {
            own.remove(&address);
        }
    }

    pub(crate) fn remote(&self, peer: &PeerKey) -> Option<Arc<Remote>> {
        lock(&self.table).remotes.get(peer).cloned()
    }

    /// A connection to use for a peer, if one is open.
    pub(crate) fn live(&self, peer: &PeerKey) -> Option<Arc<Conn>> {
        self.remote(peer)?.live()
    }

    pub(crate) fn conn(&self, id: ConnectionId) -> Option<Arc<Conn>> {
        lock(&self.table).conns.get(&id).cloned()
    }

    pub(crate) fn peers(&self) -> Vec<PeerView> {
        let mut keys: BTreeSet<PeerKey> = self.book().peers().copied().collect();
        keys.extend(lock(&self.table).remotes.keys());
        let view = |peer: PeerKey| PeerView {
            peer,
            addresses: self.book().get(&peer),
            connected: self.remote(&peer).is_some(),
            rtt: self.live(&peer).and_then(|conn| conn.rtt()),
        };
        keys.into_iter().map(view).collect()
    }

    /// The network is closed: lets go of the node, of every connection and every address.
    pub(crate) fn clear(&self) {
        lock(&self.up).take();
        lock(&self.own).clear();
        let conns = std::mem::take(&mut lock(&self.table).conns);
        for conn in conns.values() {
            conn.begin_closing();
            conn.remote.conns().clear();
        }
        *lock(&self.table) = Table::new();
        self.pool.clear();
    }

    /// A channel on which a new connection's handler takes the streams to open.
    pub(crate) fn opens() -> (mpsc::Sender<Open>, mpsc::Receiver<Open>) {
        mpsc::channel(OPENS_QUEUED_MAX)
    }
}
