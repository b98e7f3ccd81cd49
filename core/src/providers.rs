//! Who provides which name, as each peer said itself on its own connection. It serves search only,
//! and lives in memory.
//!
//! Anyone may say that it provides anything, so what that costs is bounded: entries in all, names a
//! peer, peers a name. Where a name has more providers than fit, which of them stay is drawn anew
//! each day by a number that nobody else knows, not by who came first or says it most often.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::few::{Map, push_exact};
use crate::groups::Groups;
use crate::key::{Distance, Key, Name, Peer};
use crate::random::Random;
use crate::time::{Span, Time};
use crate::turn::Group;

/// How long the draw among too many providers of a name stands.
const DAY: Span = Span::secs(24 * 60 * 60);

/// The peers that said they provide a name, each until its word lapses.
#[derive(Debug)]
pub(crate) struct Providers<P> {
    by_name: Map<Name, Named<P>>,
    index: Option<Box<Index<P>>>,
    entries: usize,
    /// What the draw depends on.
    secret: u64,
}

/// What a name is worth here: those without a record give way first, then the farthest.
pub(crate) type Worth = (bool, Distance, Name);

#[derive(Debug)]
struct Named<P> {
    /// Whether it has no record here.
    bare: bool,
    /// The latest to say so last.
    peers: Vec<Provider<P>>,
}

#[derive(Debug)]
struct Provider<P> {
    peer: P,
    until: Time,
    /// How often in a row it did not say so when it was asked.
    missed: u8,
}

/// How many of a name's providers, as far as they were asked lately.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Standing {
    /// Missed nothing.
    pub(crate) live: u16,
    /// Missed so much that they count as dead.
    pub(crate) dead: u16,
    pub(crate) all: u16,
}

/// What a scan would find as well.
#[derive(Debug)]
struct Index<P> {
    me: Key,
    /// The names by worth: the last is the first to give way.
    worth: BTreeSet<Worth>,
    /// How many names each peer provides.
    by_peer: BTreeMap<P, u32>,
}

/// Entries from which on an index pays: most peers of a large network have fewer.
const INDEXED_FROM: usize = if cfg!(test) { 6 } else { 64 };

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
        Self { by_name: Map::new(), index: None, entries: 0, secret }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Those of a name at `now`, without `except`; who missed nothing first.
    pub(crate) fn of(&self, name: Name, except: P, now: Time) -> impl Iterator<Item = P> + '_ {
        let sure = self.noted(name, now).filter(|one| one.missed == 0);
        let unsure = self.noted(name, now).filter(|one| one.missed > 0);
        sure.chain(unsure).map(|one| one.peer).filter(move |peer| *peer != except)
    }

    fn noted(&self, name: Name, now: Time) -> impl Iterator<Item = &Provider<P>> {
        let all = self.by_name.get(&name).into_iter().flat_map(|named| &named.peers);
        all.filter(move |one| one.until > now)
    }

    /// The names that anyone provides, ascending.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.by_name.keys().copied()
    }

    /// A provider was asked whether it is one: whether it said so. False if it is not noted here.
    pub(crate) fn asked(&mut self, name: Name, peer: P, serves: bool) -> bool {
        let Some(named) = self.by_name.get_mut(&name) else {
            return false;
        };
        let Some(one) = named.peers.iter_mut().find(|one| one.peer == peer) else {
            return false;
        };
        one.missed = if serves { 0 } else { one.missed.saturating_add(1) };
        true
    }

    /// How a name's providers stand; who missed `missed_max` in a row is dead.
    pub(crate) fn standing(&self, name: Name, missed_max: u8, now: Time) -> Standing {
        let mut standing = Standing::default();
        for one in self.noted(name, now) {
            standing.all += 1;
            standing.live += u16::from(one.missed == 0);
            standing.dead += u16::from(one.missed >= missed_max);
        }
        standing
    }

    /// A peer provides a name until then; `me` has no bound. Whether that is noted.
    pub(crate) fn add(
        &mut self,
        me: P,
        peer: P,
        worth: Worth,
        (now, until): (Time, Time),
        (bounds, groups): (Bounds, &Groups<P>),
    ) -> bool {
        let name = worth.2;
        let expired = self.by_name.get(&name).into_iter().flat_map(|named| &named.peers);
        let expired: Vec<P> = expired.filter(|one| one.until <= now).map(|one| one.peer).collect();
        for gone in expired {
            self.drop_one(name, gone);
        }
        // First of all: else the name might give way to itself.
        self.appraise(worth);
        if let Some(named) = self.by_name.get_mut(&name)
            && let Some(at) = named.peers.iter().position(|one| one.peer == peer)
        {
            named.peers.remove(at);
            named.peers.push(Provider { peer, until, missed: 0 });
            return true;
        }
        let provides = self.provided_by(peer);
        let there = self.by_name.get(&name).map_or(0, |named| named.peers.len());
        if peer != me
            && (provides >= bounds.of_peer
                || there >= bounds.of_name && !self.draws_better(name, peer, (me, now), groups)
                || self.entries >= bounds.entries && !self.give_way(me.key(), worth))
        {
            return false;
        }
        let (bare, peers) = (worth.0, Vec::new());
        let named = self.by_name.get_or_insert_with(name, || Named { bare, peers });
        push_exact(&mut named.peers, Provider { peer, until, missed: 0 });
        self.entries += 1;
        self.appraise(worth);
        if let Some(index) = &mut self.index {
            *index.by_peer.entry(peer).or_default() += 1;
        } else if self.entries >= INDEXED_FROM {
            self.make_index(me.key());
        }
        true
    }

    /// Of a name's providers and one more, one of the address group that has most of them has to go,
    /// the one that draws highest: whether it is not the new one.
    fn draws_better(
        &mut self,
        name: Name,
        new: P,
        (me, now): (P, Time),
        groups: &Groups<P>,
    ) -> bool {
        let day = now.0 / DAY.0;
        let draw = |peer: P| {
            let about = name.0.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
            let words = peer.key().0.into_iter().chain([about, day]);
            words.fold(self.secret, |drawn, word| Random::new(drawn ^ word).bits())
        };
        let others = self.by_name.get(&name).into_iter().flat_map(|named| &named.peers);
        let others = others.map(|one| one.peer).filter(|peer| *peer != me);
        let mut sizes: BTreeMap<Group, usize> = BTreeMap::new();
        for group in others.clone().chain([new]).filter_map(|peer| groups.of(peer)) {
            *sizes.entry(group).or_default() += 1;
        }
        let size = |peer: P| groups.of(peer).map_or(1, |group| sizes[&group]);
        let worst = others.chain([new]).max_by_key(|peer| (size(*peer), draw(*peer)));
        let worst = worst.filter(|worst| *worst != new);
        if let Some(worst) = worst {
            self.drop_one(name, worst);
        }
        worst.is_some()
    }

    fn make_index(&mut self, me: Key) {
        let (mut worth, mut by_peer) = (BTreeSet::new(), BTreeMap::<P, u32>::new());
        for (name, named) in self.by_name.iter() {
            worth.insert(worth_of::<P>(me, *name, named.bare));
            for one in &named.peers {
                *by_peer.entry(one.peer).or_default() += 1;
            }
        }
        self.index = Some(Box::new(Index { me, worth, by_peer }));
    }

    /// Whether a peer provides any name.
    pub(crate) fn provides_any(&self, peer: P) -> bool {
        self.provided_by(peer) > 0
    }

    fn provided_by(&self, peer: P) -> usize {
        if let Some(index) = &self.index {
            return index.by_peer.get(&peer).map_or(0, |names| *names as usize);
        }
        let provides = |named: &&Named<P>| named.peers.iter().any(|one| one.peer == peer);
        self.by_name.values().filter(provides).count()
    }

    /// The name that is worth least gives way, if it is worth less.
    fn give_way(&mut self, me: Key, to: Worth) -> bool {
        let least = if let Some(index) = &self.index {
            index.worth.last().copied()
        } else {
            let all = self.by_name.iter();
            all.map(|(name, named)| worth_of::<P>(me, *name, named.bare)).max()
        };
        let Some((_, _, name)) = least.filter(|least| *least > to) else {
            return false;
        };
        self.drop_all(name);
        true
    }

    /// A name's worth may have changed: its record was learnt, or is gone.
    fn appraise(&mut self, (bare, distance, name): Worth) {
        let Some(named) = self.by_name.get_mut(&name) else {
            return;
        };
        if let Some(index) = &mut self.index {
            index.worth.remove(&(named.bare, distance, name));
            index.worth.insert((bare, distance, name));
        }
        named.bare = bare;
    }

    /// A peer provides a name no longer. Whether it did.
    pub(crate) fn drop_one(&mut self, name: Name, peer: P) -> bool {
        let Some(named) = self.by_name.get_mut(&name) else {
            return false;
        };
        let Some(at) = named.peers.iter().position(|one| one.peer == peer) else {
            return false;
        };
        named.peers.remove(at);
        let (bare, emptied) = (named.bare, named.peers.is_empty());
        if emptied {
            self.by_name.remove(&name);
        }
        self.entries -= 1;
        if self.entries < INDEXED_FROM / 2 {
            self.index = None;
        }
        let Some(index) = &mut self.index else {
            return true;
        };
        if emptied {
            index.worth.remove(&worth_of::<P>(index.me, name, bare));
        }
        let provides = index.by_peer.get_mut(&peer).expect("who provides a name is counted");
        *provides -= 1;
        if *provides == 0 {
            index.by_peer.remove(&peer);
        }
        true
    }

    pub(crate) fn drop_all(&mut self, name: Name) {
        let peers = self.by_name.get(&name).into_iter().flat_map(|named| &named.peers);
        let peers: Vec<P> = peers.map(|one| one.peer).collect();
        for peer in peers {
            self.drop_one(name, peer);
        }
    }

    /// Drops what has lapsed.
    pub(crate) fn sweep(&mut self, now: Time) {
        let all = self.by_name.iter().flat_map(|(name, named)| {
            let lapsed = named.peers.iter().filter(|one| one.until <= now);
            lapsed.map(|one| (*name, one.peer))
        });
        let lapsed: Vec<(Name, P)> = all.collect();
        for (name, peer) in lapsed {
            self.drop_one(name, peer);
        }
    }
}

fn worth_of<P: Peer>(me: Key, name: Name, bare: bool) -> Worth {
    (bare, me.distance(P::position(&name)), name)
}

#[cfg(test)]
mod tests;
