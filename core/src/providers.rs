//! Who provides which name, as each peer said itself on its own connection. It serves search only,
//! and lives in memory.
//!
//! Anyone may say that it provides anything, so what that costs is bounded: entries in all, names a
//! peer, peers a name. Where a name has more providers than fit, which of them stay is drawn anew
//! each day by a number that nobody else knows, not by who came first or says it most often.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::key::{Distance, Name, Peer};
use crate::random::Random;
use crate::time::{Span, Time};

/// How long the draw among too many providers of a name stands.
const DAY: Span = Span::secs(24 * 60 * 60);

/// The peers that said they provide a name, each until its word lapses.
#[derive(Debug)]
pub(crate) struct Providers<P> {
    by_name: BTreeMap<Name, Named<P>>,
    /// The names by worth: the last is the first to give way.
    worth: BTreeSet<Worth>,
    /// How many names each peer provides.
    by_peer: BTreeMap<P, u32>,
    entries: usize,
    /// What the draw depends on.
    secret: u64,
}

/// What a name is worth here: those without a record give way first, then the farthest.
pub(crate) type Worth = (bool, Distance, Name);

#[derive(Debug)]
struct Named<P> {
    worth: Worth,
    /// The latest to say so last.
    peers: Vec<(P, Time)>,
}

/// What bounds the providers.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Bounds {
    /// Entries in all.
    pub(crate) entries: usize,
    /// Names a peer.
    pub(crate) of_peer: usize,
    /// Peers a name.
    pub(crate) of_name: usize,
}

impl<P: Peer> Providers<P> {
    pub(crate) const fn new(secret: u64) -> Self {
        Self {
            by_name: BTreeMap::new(),
            worth: BTreeSet::new(),
            by_peer: BTreeMap::new(),
            entries: 0,
            secret,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Those of a name at `now`, without `except`.
    pub(crate) fn of(&self, name: Name, except: P, now: Time) -> impl Iterator<Item = P> + '_ {
        let all = self.by_name.get(&name).into_iter().flat_map(|named| &named.peers);
        let live = all.filter(move |(peer, until)| *until > now && *peer != except);
        live.map(|(peer, _)| *peer)
    }

    /// A peer provides a name until then; `me` has no bound. Whether that is noted.
    pub(crate) fn add(
        &mut self,
        me: P,
        peer: P,
        worth: Worth,
        (now, until): (Time, Time),
        bounds: Bounds,
    ) -> bool {
        let name = worth.2;
        let expired = self.by_name.get(&name).into_iter().flat_map(|named| &named.peers);
        let expired: Vec<P> =
            expired.filter(|(_, until)| *until <= now).map(|(peer, _)| *peer).collect();
        for gone in expired {
            self.drop_one(name, gone);
        }
        if let Some(named) = self.by_name.get_mut(&name)
            && let Some(at) = named.peers.iter().position(|(other, _)| *other == peer)
        {
            named.peers.remove(at);
            named.peers.push((peer, until));
            self.reappraise(worth);
            return true;
        }
        let provides = self.by_peer.get(&peer).map_or(0, |names| *names as usize);
        let there = self.by_name.get(&name).map_or(0, |named| named.peers.len());
        if peer != me
            && (provides >= bounds.of_peer
                || there >= bounds.of_name && !self.draws_better(name, peer, (me, now))
                || self.entries >= bounds.entries && !self.give_way(worth))
        {
            return false;
        }
        let peers = Vec::new();
        self.by_name.entry(name).or_insert(Named { worth, peers }).peers.push((peer, until));
        self.reappraise(worth);
        *self.by_peer.entry(peer).or_default() += 1;
        self.entries += 1;
        true
    }

    /// Of a name's providers and one more, the one that draws highest has to go: whether it is not
    /// the new one.
    fn draws_better(&mut self, name: Name, new: P, (me, now): (P, Time)) -> bool {
        let day = now.0 / DAY.0;
        let draw = |peer: P| {
            let about = name.0.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
            let words = peer.key().0.into_iter().chain([about, day]);
            words.fold(self.secret, |drawn, word| Random::new(drawn ^ word).bits())
        };
        let others = self.by_name.get(&name).into_iter().flat_map(|named| &named.peers);
        let others = others.map(|(peer, _)| *peer).filter(|peer| *peer != me);
        match others.max_by_key(|peer| draw(*peer)) {
            Some(highest) if draw(highest) > draw(new) => {
                self.drop_one(name, highest);
                true
            }
            _ => false,
        }
    }

    /// The name that is worth least gives way, if it is worth less.
    fn give_way(&mut self, to: Worth) -> bool {
        match self.worth.last() {
            Some(least) if *least > to => {
                let name = least.2;
                self.drop_all(name);
                true
            }
            _ => false,
        }
    }

    /// A name's worth may have changed: its record was learnt, or is gone.
    fn reappraise(&mut self, worth: Worth) {
        if let Some(named) = self.by_name.get_mut(&worth.2) {
            self.worth.remove(&named.worth);
            named.worth = worth;
            self.worth.insert(worth);
        }
    }

    pub(crate) fn drop_one(&mut self, name: Name, peer: P) {
        let Some(named) = self.by_name.get_mut(&name) else {
            return;
        };
        let Some(at) = named.peers.iter().position(|(other, _)| *other == peer) else {
            return;
        };
        named.peers.remove(at);
        if named.peers.is_empty() {
            let worth = named.worth;
            self.worth.remove(&worth);
            self.by_name.remove(&name);
        }
        self.entries -= 1;
        let provides = self.by_peer.get_mut(&peer).expect("who provides a name is counted");
        *provides -= 1;
        if *provides == 0 {
            self.by_peer.remove(&peer);
        }
    }

    pub(crate) fn drop_all(&mut self, name: Name) {
        let peers = self.by_name.get(&name).into_iter().flat_map(|named| &named.peers);
        let peers: Vec<P> = peers.map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.drop_one(name, peer);
        }
    }

    /// Drops what has lapsed.
    pub(crate) fn sweep(&mut self, now: Time) {
        let all = self.by_name.iter().flat_map(|(name, named)| {
            let lapsed = named.peers.iter().filter(|(_, until)| *until <= now);
            lapsed.map(|(peer, _)| (*name, *peer))
        });
        let lapsed: Vec<(Name, P)> = all.collect();
        for (name, peer) in lapsed {
            self.drop_one(name, peer);
        }
    }
}

#[cfg(test)]
mod tests;
