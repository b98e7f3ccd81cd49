//! The records that this peer keeps: others', within bounds, and those of its own owner.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::few::{Map, Set};
use crate::idle::Empty;
use crate::key::{Distance, Key, Name, Owner, Peer};
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::time::{Span, Time};

/// How long nobody speaks of a tombstone before one that holds it tells the holders again
/// (Kademlia §2.5: who hears of it meanwhile need not).
const REPEAT_PERIOD: Span = Span::minutes(60);
/// Tombstones told again at each sweep.
const REPEATS_MAX: usize = 4;
/// How long a renewal may take.
const RENEWAL_PERIOD: Span = Span::minutes(24 * 60);
/// New records and versions that one peer may bring in each window of time; each is written to disk.
const BROUGHT_MAX: u32 = 1024;
/// How long such a window is.
const BROUGHT_WINDOW: Span = Span::secs(10);

/// Records from which on an index pays: most peers of a large network keep fewer.
const INDEXED_FROM: usize = 64;

/// Records by name, with what has to be known to keep them within bounds.
#[derive(Debug)]
pub(crate) struct Records<P> {
    by_name: Map<Name, Kept<P>>,
    /// Of these, those that are not known to be kept through a crash.
    unkept: Set<Name>,
    index: Option<Box<Index<P>>>,
    /// What each peer brought in the window of time that began then.
    brought: (Time, Map<P, u32>),
    pub(crate) sweeping: bool,
}

impl<P: Peer> Empty for Records<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Kept<P> {
    record: Arc<Record>,
    /// Who brought its first version; `None`: it is the own owner's.
    from: Option<P>,
    /// From when on its holders are to be told of it, if it is a tombstone; that a sibling has it says
    /// nothing of them. From when on it may be renewed, if it is not.
    due_at: Time,
}

/// What a scan would find as well.
#[derive(Debug)]
struct Index<P> {
    me: Key,
    by_owner: BTreeMap<Owner, BTreeSet<Name>>,
    /// How many of others' records each peer brought.
    by_peer: BTreeMap<P, u32>,
    /// Others' records by their distance from here.
    far: BTreeSet<(Distance, Name)>,
}

impl<P: Peer> Index<P> {
    fn new(me: Key) -> Self {
        let (by_owner, by_peer, far) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { me, by_owner, by_peer, far }
    }

    fn add(&mut self, kept: &Kept<P>) {
        let name = kept.record.function;
        self.by_owner.entry(kept.record.owner).or_default().insert(name);
        if let Some(from) = kept.from {
            *self.by_peer.entry(from).or_default() += 1;
            self.far.insert((distance::<P>(self.me, name), name));
        }
    }

    fn take_out(&mut self, kept: &Kept<P>) {
        let (owner, name) = (kept.record.owner, kept.record.function);
        let names = self.by_owner.get_mut(&owner).expect("its owner is known");
        names.remove(&name);
        if names.is_empty() {
            self.by_owner.remove(&owner);
        }
        if let Some(from) = kept.from {
            self.far.remove(&(distance::<P>(self.me, name), name));
            let brought = self.by_peer.get_mut(&from).expect("who brought it is counted");
            *brought -= 1;
            if *brought == 0 {
                self.by_peer.remove(&from);
            }
        }
    }
}

pub(crate) fn distance<P: Peer>(me: Key, name: Name) -> Distance {
    me.distance(P::position(&name))
}

impl<P: Peer> Records<P> {
    pub(crate) const fn new() -> Self {
        Self {
            by_name: Map::new(),
            unkept: Set::new(),
            index: None,
            brought: (Time(0), Map::new()),
            sweeping: false,
        }
    }

    pub(crate) fn get(&self, name: Name) -> Option<&Arc<Record>> {
        self.by_name.get(&name).map(|kept| &kept.record)
    }

    /// Puts a record in the place of any of its name; `from`: who brought it, where it is not of
    /// this node's owner.
    pub(crate) fn insert(&mut self, me: Key, record: Arc<Record>, from: Option<P>) {
        let name = record.function;
        if let Some(known) = self.by_name.get_mut(&name)
            && known.record.owner == record.owner
        {
            (known.record, known.due_at) = (record, Time(0));
            return;
        }
        self.remove(name);
        let kept = Kept { record, from, due_at: Time(0) };
        if let Some(index) = &mut self.index {
            index.add(&kept);
        }
        self.by_name.insert(name, kept);
        if self.index.is_none() && self.by_name.len() >= INDEXED_FROM {
            let index = self.index.insert(Box::new(Index::new(me)));
            for kept in self.by_name.values() {
                index.add(kept);
            }
        }
    }

    pub(crate) fn remove(&mut self, name: Name) {
        let Some(kept) = self.by_name.remove(&name) else {
            return;
        };
        self.unkept.remove(&name);
        if let Some(index) = &mut self.index {
            index.take_out(&kept);
        }
        if self.by_name.len() < INDEXED_FROM / 2 {
            self.index = None;
        }
    }

    /// Whether a peer may bring one more now.
    pub(crate) fn may_bring(&self, from: P, now: Time) -> bool {
        let (began, brought) = &self.brought;
        let brought = brought.get(&from).filter(|_| now.since(*began) < BROUGHT_WINDOW);
        brought.is_none_or(|brought| *brought < BROUGHT_MAX)
    }

    /// A peer brings one more.
    pub(crate) fn brings(&mut self, from: P, now: Time) {
        if self.brought.1.is_empty() || now.since(self.brought.0) >= BROUGHT_WINDOW {
            self.brought = (now, Map::new());
        }
        *self.brought.1.get_or_default(from) += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn is_unkept(&self, name: Name) -> bool {
        self.unkept.contains(&name)
    }

    pub(crate) fn mark_unkept(&mut self, name: Name) {
        self.unkept.insert(name);
    }

    /// Drops what has expired; its names.
    pub(crate) fn drop_expired(&mut self, now: Time) -> Vec<Name> {
        self.brought.1.clear();
        let expired = self.by_name.values().filter(|kept| !kept.record.lives(now));
        let expired: Vec<Name> = expired.map(|kept| kept.record.function).collect();
        for name in &expired {
            self.remove(*name);
        }
        expired
    }

    fn others(&self) -> impl Iterator<Item = &Kept<P>> {
        self.by_name.values().filter(|kept| kept.from.is_some())
    }

    /// How many are of this owner, were brought by this peer, and are others' in all.
    pub(crate) fn counts(&self, owner: Owner, from: P) -> (usize, usize, usize) {
        if let Some(index) = &self.index {
            let of_owner = index.by_owner.get(&owner).map_or(0, BTreeSet::len);
            let brought = index.by_peer.get(&from).map_or(0, |n| *n as usize);
            return (of_owner, brought, index.far.len());
        }
        let of_owner = self.others().filter(|kept| kept.record.owner == owner).count();
        let brought = self.others().filter(|kept| kept.from == Some(from)).count();
        (of_owner, brought, self.others().count())
    }

    /// The one of others' that belongs the farthest from here, without those that are hosted here.
    pub(crate) fn farthest(
        &self,
        me: Key,
        hosted: impl Fn(Name) -> bool,
    ) -> Option<(Distance, Name)> {
        if let Some(index) = &self.index {
            return index.far.iter().rev().find(|(_, name)| !hosted(*name)).copied();
        }
        let names = self.others().map(|kept| kept.record.function);
        names.filter(|name| !hosted(*name)).map(|name| (distance::<P>(me, name), name)).max()
    }

    /// Exactly this record is kept through a crash.
    pub(crate) fn kept(&mut self, record: &Record) {
        if self.get(record.function).is_some_and(|known| **known == *record) {
            self.unkept.remove(&record.function);
        }
    }

    /// The records of an owner with names from `first` to `last`, by name, tombstones among them.
    pub(crate) fn of(
        &self,
        owner: Owner,
        (first, last): (Name, Name),
    ) -> impl Iterator<Item = &Arc<Record>> {
        let index = self.index.as_ref().filter(|_| first <= last);
        let names = index.and_then(|index| index.by_owner.get(&owner));
        let names = names.into_iter().flat_map(move |names| names.range(first..=last));
        let indexed = names.map(|name| &self.by_name[name].record);
        let scan = self.index.is_none() && first <= last;
        let all = scan.then(|| self.by_name.range(first..=last)).into_iter().flatten();
        let scanned = all.map(|(_, kept)| &kept.record).filter(move |r| r.owner == owner);
        indexed.chain(scanned)
    }

    /// Somebody told the holders of this name.
    pub(crate) fn told(&mut self, name: Name, now: Time) {
        self.due_from(name, now + REPEAT_PERIOD);
    }

    /// Nobody could be told of this name, or none of those told keeps it: it is due at the next sweep,
    /// after those that have waited for longer.
    pub(crate) fn untold(&mut self, name: Name, now: Time) {
        self.due_from(name, now);
    }

    /// A few records of an owner that live at most until `expire`, and are not being renewed: each is to
    /// be signed again.
    pub(crate) fn renewals_due(&self, owner: Owner, expire: Time, now: Time) -> Vec<Arc<Record>> {
        let all = self.of(owner, Name::ENDS).filter(|record| record.spec.is_some());
        let due = all.filter(|record| record.lives(now) && record.expires <= expire);
        let due = due.filter(|record| self.by_name[&record.function].due_at <= now);
        due.take(REPEATS_MAX).cloned().collect()
    }

    /// A record is being renewed: if nothing comes of it, again tomorrow.
    pub(crate) fn renewing(&mut self, name: Name, now: Time) {
        self.due_from(name, now + RENEWAL_PERIOD);
    }

    fn due_from(&mut self, name: Name, due_at: Time) {
        if let Some(kept) = self.by_name.get_mut(&name) {
            kept.due_at = due_at;
        }
    }

    /// A few of the tombstones that nobody spoke of for a while, those of longest ago first.
    pub(crate) fn tombstones_due(&self, now: Time) -> Vec<Arc<Record>> {
        let removed = self.by_name.values().filter(|kept| kept.record.spec.is_none());
        let mut due: Vec<&Kept<P>> = removed.filter(|kept| kept.due_at <= now).collect();
        due.sort_unstable_by_key(|kept| (kept.due_at, kept.record.function));
        due.truncate(REPEATS_MAX);
        if planted::is(Bug::TombstonesFade) {
            due.clear();
        }
        due.into_iter().map(|kept| kept.record.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
