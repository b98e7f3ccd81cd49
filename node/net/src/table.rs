//! The table of connections: who is let in, and who gives way.
//!
//! Every socket has a place: a connection until its socket is closed, an inbound one from before
//! its handshake, a dial from its beginning (one place, for however many addresses it tries). The sum
//! never exceeds [`Limits::connections_max`](crate::Limits::connections_max). Some places are kept
//! free for connections that have yet to end when others take over, and a quarter of the rest for
//! our own dials: others may fill this node, but not shut it off from the network.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Waker,
    time::Instant,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use tokio::sync::mpsc;

use crate::{
    PeerKey,
    account::Accounts,
    clock,
    conn::{Conn, Open, Origin, Remote, Source, source},
    peer_key,
    shared::{Shared, count, lock},
};

/// Peers that are shut out at once; the earliest to end is forgotten over it. As many sources.
const SHUNNED_MAX: usize = 1_024;

/// Places at most that are kept for connections that have yet to end.
const LEAVING_MAX: usize = 16;

/// Every place, and who is not let in.
pub(crate) struct Table {
    pub(crate) remotes: BTreeMap<PeerKey, Arc<Remote>>,
    pub(crate) conns: BTreeMap<ConnectionId, Arc<Conn>>,
    /// Inbound connections whose handshake is not done, and where they count.
    pending: BTreeMap<ConnectionId, Option<Source>>,
    dialling: usize,
    sources: BTreeMap<Source, usize>,
    peer_accounts: Accounts<PeerKey>,
    source_accounts: Accounts<Source>,
    shunned_peers: BTreeMap<PeerKey, Instant>,
    shunned_sources: BTreeMap<Source, Instant>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            remotes: BTreeMap::new(),
            conns: BTreeMap::new(),
            pending: BTreeMap::new(),
            dialling: 0,
            sources: BTreeMap::new(),
            peer_accounts: Accounts::of_peers(),
            source_accounts: Accounts::of_sources(),
            shunned_peers: BTreeMap::new(),
            shunned_sources: BTreeMap::new(),
        }
    }

    /// Handshakes under way, of either side.
    fn handshakes(&self) -> usize {
        self.pending.len() + self.dialling
    }

    /// Connections in use, of either side or of the peers' alone.
    fn live(&self, inbound: bool) -> impl Iterator<Item = &Arc<Conn>> {
        let wanted = move |conn: &&Arc<Conn>| {
            !conn.is_evicted() && (!inbound || conn.origin != Origin::Outbound)
        };
        self.conns.values().filter(wanted)
    }

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
}

/// Whether somebody is shut out; who is no longer so is forgotten.
fn is_shunned<K: Ord>(shunned: &mut BTreeMap<K, Instant>, who: &K) -> bool {
    let shut_out = shunned.get(who).is_some_and(|until| *until > clock::now());
    if !shut_out {
        shunned.remove(who);
    }
    shut_out
}

/// Shuts somebody out; false if that is so already.
fn shun<K: Ord + Copy>(shunned: &mut BTreeMap<K, Instant>, who: K, until: Instant) -> bool {
    let fresh = shunned.insert(who, until).is_none();
    if shunned.len() > SHUNNED_MAX {
        let soonest = shunned.iter().min_by_key(|(_, until)| **until).map(|(who, _)| *who);
        soonest.map(|who| shunned.remove(&who));
    }
    fresh
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("not an Ed25519 peer")]
    Key,
    #[error("shut out for what it sent")]
    Shunned,
    #[error("too many connections")]
    Full,
    #[error("too many connections from this address")]
    Source,
    #[error("too many new connections a minute")]
    Rate,
    #[error("too many handshakes under way")]
    Pending,
}

/// A dial's place among the connections.
pub(crate) struct DialPlace(Arc<Shared>);

impl std::fmt::Debug for DialPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DialPlace")
    }
}

impl Drop for DialPlace {
    fn drop(&mut self) {
        let mut table = lock(&self.0.table);
        table.dialling = table.dialling.saturating_sub(1);
        drop(table);
        self.0.room.notify_waiters();
    }
}

impl Shared {
    /// A place for a dial, at the cost of the idlest connection if need be.
    pub(crate) fn dial_place(self: &Arc<Self>) -> Option<DialPlace> {
        let mut table = lock(&self.table);
        if !self.make_room(&table, false) {
            count(&self.counts.dials_deferred);
            return None;
        }
        table.dialling += 1;
        Some(DialPlace(self.clone()))
    }

    /// Lets an inbound connection begin its handshake, or not.
    pub(crate) fn knock(&self, id: ConnectionId, from: &Multiaddr) -> Result<(), Denied> {
        let mut table = lock(&self.table);
        if table.pending.len() >= self.limits.pending_inbound_max {
            return Err(Denied::Pending);
        }
        let source = source(from, self.limits.loopback_is_a_source);
        if let Some(source) = source {
            if is_shunned(&mut table.shunned_sources, &source) {
                return Err(Denied::Shunned);
            }
            let open = table.sources.get(&source).copied().unwrap_or(0);
            if open >= self.limits.connections_per_ip_max {
                return Err(Denied::Source);
            }
            if !table.source_accounts.of(source, &self.limits).connection() {
                return Err(Denied::Rate);
            }
        }
        if !self.make_room(&table, true) {
            return Err(Denied::Full);
        }
        if let Some(source) = source {
            *table.sources.entry(source).or_default() += 1;
        }
        table.pending.insert(id, source);
        Ok(())
    }

    /// An inbound handshake failed, or its peer was not let in.
    pub(crate) fn left(&self, id: ConnectionId) {
        let mut table = lock(&self.table);
        if let Some(source) = table.pending.remove(&id) {
            table.leave(source);
        }
        drop(table);
        self.room.notify_waiters();
    }

    /// Admits a connection whose peer is now known; it has a place already.
    pub(crate) fn admit(
        &self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        opens: mpsc::Sender<Open>,
    ) -> Result<Arc<Conn>, Denied> {
        let key = peer_key(&peer).ok_or(Denied::Key)?;
        let mut table = lock(&self.table);
        if is_shunned(&mut table.shunned_peers, &key) {
            return Err(Denied::Shunned);
        }
        let account = table.peer_accounts.of(key, &self.limits);
        let origin = match table.pending.get(&id) {
            Some(_) if !account.connection() => return Err(Denied::Rate),
            Some(source) => Origin::Inbound(*source),
            None => Origin::Outbound,
        };
        table.pending.remove(&id);
        let fresh = || Arc::new(Remote::new(key, account, &self.limits));
        let remote = table.remotes.entry(key).or_insert_with(fresh).clone();
        let conn = Conn::new(id, peer, remote.clone(), address.clone(), origin, opens);
        let conn = Arc::new(conn);
        table.conns.insert(id, conn.clone());
        drop(table);
        let oldest = {
            let mut conns = remote.conns();
            conns.push(conn.clone());
            let mut open = conns.iter().filter(|conn| !conn.is_evicted());
            let over = open.clone().count() > self.limits.connections_per_peer_max;
            if over { open.next().cloned() } else { None }
        };
        if let Some(oldest) = oldest {
            self.close(&oldest);
        }
        self.book().connected(&key, true);
        count(&self.counts.connections_opened);
        Ok(conn)
    }

    /// Makes room for one more connection, or says that there is none.
    fn make_room(&self, table: &Table, inbound: bool) -> bool {
        let max = self.limits.connections_max;
        let in_use_max = max.saturating_sub((max / 4).clamp(1, LEAVING_MAX)).max(1);
        let inbound_max = in_use_max - in_use_max / 4;
        let in_use = table.live(false).count() + table.handshakes();
        let taken = self.sockets.load(SeqCst) + table.handshakes();
        let in_use_inbound = table.live(true).count() + table.pending.len();
        let inbound_full = inbound && in_use_inbound >= inbound_max;
        let mut room = taken < max;
        if inbound_full || in_use >= in_use_max {
            let idle = table.live(inbound_full).filter(|conn| conn.is_idle() && !conn.is_fresh());
            match idle.min_by_key(|conn| conn.last_used()) {
                Some(idlest) => {
                    idlest.evict();
                    count(&self.counts.connections_evicted);
                }
                None => room = false,
            }
        }
        if taken >= max
            && let Some(leaving) = table.conns.values().find(|conn| conn.is_evicted())
        {
            self.close(leaving);
        }
        room
    }

    /// A connection has closed.
    pub(crate) fn closed(&self, id: ConnectionId) {
        let mut table = lock(&self.table);
        let Some(conn) = table.conns.remove(&id) else {
            return;
        };
        conn.begin_closing();
        if let Origin::Inbound(source) = conn.origin {
            table.leave(source);
        }
        let empty = {
            let mut conns = conn.remote.conns();
            conns.retain(|other| other.id != id);
            conns.is_empty()
        };
        if empty {
            table.remotes.remove(&conn.remote.key);
        }
        drop(table);
        if empty {
            self.book().connected(&conn.remote.key, false);
        }
        self.room.notify_waiters();
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

    /// Counts a fault of a peer, and of where it comes from; disconnects and shuts out whoever has
    /// one too many.
    pub(crate) fn strike(&self, conn: &Conn) {
        let until = clock::now() + self.limits.shun;
        let (key, account) = (conn.remote.key, &conn.remote.account);
        let mut cut = Vec::new();
        let mut table = lock(&self.table);
        if account.strike() && shun(&mut table.shunned_peers, key, until) {
            count(&self.counts.peers_shunned);
            cut.extend(table.conns.values().filter(|conn| conn.remote.key == key).cloned());
        }
        if let Origin::Inbound(Some(source)) = conn.origin
            && table.source_accounts.of(source, &self.limits).strike()
            && shun(&mut table.shunned_sources, source, until)
        {
            count(&self.counts.sources_shunned);
            let theirs = |conn: &&Arc<Conn>| conn.origin == Origin::Inbound(Some(source));
            cut.extend(table.conns.values().filter(theirs).cloned());
        }
        drop(table);
        for conn in cut {
            self.close(&conn);
        }
    }

    /// Counts a refusal; each so many are a strike.
    pub(crate) fn refused(&self, conn: &Conn) {
        if conn.remote.account.refusal() {
            self.strike(conn);
        }
    }
}
