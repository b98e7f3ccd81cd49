//! What every task of the network shares: the table of connections, the book, the counters.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Instant,
};

use futures::task::AtomicWaker;
use libp2p::{Multiaddr, PeerId, StreamProtocol, swarm::ConnectionId};
use tokio::sync::mpsc;

use crate::{
    CallHandler, Event, Kind, Limits, PeerKey, PeerView,
    book::{Book, Rank, usable},
    call::Pool,
    clock,
    conn::{Conn, Open, Protocol, Remote, Source, source},
    peer_key,
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
    /// Requests handed to the node.
    requests_heard,
    /// Requests refused over a quota or rate, or because the node's queue of events was full.
    requests_refused,
    /// Streams closed without a word: over a quota, with the refusals under way at their limit.
    streams_dropped,
    /// Frames with a malformed length or, by the node's word, a body that makes no sense.
    frames_malformed,
    /// Frames announced over the size limit.
    frames_oversize,
    /// Frames that did not end in time, and streams that never began one.
    frames_late,
    /// Calls handed to the node.
    calls_heard,
    /// Peers disconnected and shut out for what they sent.
    peers_shunned,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Peers that are shut out at once; the earliest to end is forgotten over it.
const SHUNNED_MAX: usize = 1_024;

/// Connections over the limit that may wait for their streams to end; over it the oldest is cut.
const EVICTED_MAX: usize = 8;

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

#[derive(Default)]
struct Table {
    remotes: BTreeMap<PeerKey, Arc<Remote>>,
    conns: BTreeMap<ConnectionId, Arc<Conn>>,
    /// Inbound connections whose handshake is not done, and where they count.
    pending: BTreeMap<ConnectionId, Option<Source>>,
    sources: BTreeMap<Source, usize>,
    shunned: BTreeMap<PeerKey, Instant>,
}

impl Table {
    fn leave(&mut self, source: Option<Source>) {
        if let Some(source) = source
            && let Some(count) = self.sources.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// The connection to give up for a newcomer.
    fn idlest(&self) -> Option<&Arc<Conn>> {
        let idle = self.conns.values().filter(|conn| !conn.is_evicted() && conn.is_idle());
        idle.min_by_key(|conn| conn.last_used())
    }
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("not an Ed25519 peer")]
    Key,
    #[error("peer is shut out for what it sent")]
    Shunned,
    #[error("too many connections")]
    Full,
    #[error("too many connections from this address")]
    Source,
    #[error("too many handshakes under way")]
    Pending,
}

pub(crate) struct Shared {
    pub(crate) me: PeerKey,
    pub(crate) limits: Limits,
    pub(crate) names: Names,
    pub(crate) counts: Counts,
    pub(crate) pool: Pool,
    book: Mutex<Book>,
    own: Mutex<BTreeSet<Multiaddr>>,
    table: Mutex<Table>,
    up: Mutex<Option<Arc<Up>>>,
    /// Connections to close now, whatever they do; each is here at most once.
    closes: Mutex<Vec<(PeerId, ConnectionId)>>,
    /// The task that closes them.
    closer: AtomicWaker,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("names", &self.names).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(me: PeerKey, limits: Limits, names: Names, up: Up) -> Self {
        Self {
            me,
            names,
            counts: Counts::default(),
            pool: Pool::default(),
            book: Mutex::new(Book::new(limits.book_peers_max, limits.addresses_per_peer_max)),
            own: Mutex::default(),
            table: Mutex::default(),
            up: Mutex::new(Some(Arc::new(up))),
            closes: Mutex::default(),
            closer: AtomicWaker::new(),
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

    pub(crate) fn learn(&self, peer: &PeerKey, addresses: impl IntoIterator<Item = Multiaddr>) {
        let usable = addresses.into_iter().filter_map(|address| usable(peer, address));
        let usable: Vec<_> = usable.take(self.limits.addresses_per_peer_max).collect();
        if *peer == self.me {
            return;
        }
        let mut book = self.book();
        for address in usable {
            book.learn(peer, address, Rank::Hearsay);
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

    /// Lets an inbound connection begin its handshake, or not.
    pub(crate) fn knock(&self, id: ConnectionId, from: &Multiaddr) -> Result<(), Denied> {
        let mut table = lock(&self.table);
        if table.pending.len() >= self.limits.pending_inbound_max {
            return Err(Denied::Pending);
        }
        let source = source(from);
        if let Some(source) = source {
            let count = table.sources.entry(source).or_default();
            if *count >= self.limits.connections_per_ip_max {
                return Err(Denied::Source);
            }
            *count += 1;
        }
        table.pending.insert(id, source);
        Ok(())
    }

    /// An inbound handshake failed.
    pub(crate) fn left(&self, id: ConnectionId) {
        let mut table = lock(&self.table);
        if let Some(source) = table.pending.remove(&id) {
            table.leave(source);
        }
    }

    /// Admits a connection whose peer is now known, at the cost of the idlest one if need be.
    pub(crate) fn admit(
        &self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        opens: mpsc::Sender<Open>,
    ) -> Result<Arc<Conn>, Denied> {
        let key = peer_key(&peer).ok_or(Denied::Key)?;
        let mut table = lock(&self.table);
        if let Some(until) = table.shunned.get(&key) {
            if *until > clock::now() {
                return Err(Denied::Shunned);
            }
            table.shunned.remove(&key);
        }
        self.make_room(&mut table)?;
        let source = table.pending.remove(&id).flatten();
        let remotes = &mut table.remotes;
        let remote =
            remotes.entry(key).or_insert_with(|| Arc::new(Remote::new(key, &self.limits))).clone();
        let conn = Conn::new(id, peer, remote.clone(), address.clone(), source, opens);
        let conn = Arc::new(conn);
        let oldest = {
            let mut conns = remote.conns();
            conns.push(conn.clone());
            let open = conns.iter().filter(|conn| !conn.is_evicted());
            (conns.len() > self.limits.connections_per_peer_max)
                .then(|| open.into_iter().next().cloned())
                .flatten()
        };
        table.conns.insert(id, conn.clone());
        drop(table);
        if let Some(oldest) = oldest {
            self.close(&oldest);
        }
        count(&self.counts.connections_opened);
        Ok(conn)
    }

    fn make_room(&self, table: &mut Table) -> Result<(), Denied> {
        let evicted = table.conns.values().filter(|conn| conn.is_evicted());
        let evicted: Vec<_> = evicted.cloned().collect();
        if table.conns.len() - evicted.len() < self.limits.connections_max {
            return Ok(());
        }
        table.idlest().ok_or(Denied::Full)?.evict();
        count(&self.counts.connections_evicted);
        if evicted.len() >= EVICTED_MAX {
            self.close(&evicted[0]);
        }
        Ok(())
    }

    /// A connection has closed.
    pub(crate) fn closed(&self, id: ConnectionId) {
        let mut table = lock(&self.table);
        let Some(conn) = table.conns.remove(&id) else {
            return;
        };
        conn.begin_closing();
        table.leave(conn.source);
        let empty = {
            let mut conns = conn.remote.conns();
            conns.retain(|other| other.id != id);
            conns.is_empty()
        };
        if empty {
            table.remotes.remove(&conn.remote.key);
        }
    }

    /// Closes a connection now, whatever it does.
    pub(crate) fn close(&self, conn: &Conn) {
        if conn.begin_closing() {
            lock(&self.closes).push((conn.peer, conn.id));
            self.closer.wake();
        }
    }

    /// The next connection to close; the caller is woken when there is one.
    pub(crate) fn next_close(&self, waker: &Waker) -> Option<(PeerId, ConnectionId)> {
        self.closer.register(waker);
        lock(&self.closes).pop()
    }

    pub(crate) fn disconnect(&self, peer: &PeerKey) {
        if let Some(remote) = self.remote(peer) {
            let conns = remote.conns().clone();
            for conn in &conns {
                self.close(conn);
            }
        }
    }

    /// Counts a fault of a peer; disconnects and shuts it out when it is one too many.
    pub(crate) fn strike(&self, remote: &Remote) {
        if !remote.strike() {
            return;
        }
        let until = clock::now() + self.limits.shun;
        let mut table = lock(&self.table);
        if table.shunned.insert(remote.key, until).is_some() {
            return;
        }
        if table.shunned.len() > SHUNNED_MAX {
            let soonest = table.shunned.iter().min_by_key(|(_, until)| **until);
            if let Some(soonest) = soonest.map(|(key, _)| *key) {
                table.shunned.remove(&soonest);
            }
        }
        drop(table);
        count(&self.counts.peers_shunned);
        self.disconnect(&remote.key);
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
        *lock(&self.table) = Table::default();
        self.pool.clear();
    }

    /// A channel on which a new connection's handler takes the streams to open.
    pub(crate) fn opens() -> (mpsc::Sender<Open>, mpsc::Receiver<Open>) {
        mpsc::channel(OPENS_QUEUED_MAX)
    }
}
