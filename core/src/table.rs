//! The routing table: one vector of peers sorted by shared prefix, in which a bucket is a run.

use alloc::vec::Vec;
use core::ops::Range;

use crate::config::Config;
use crate::groups::Groups;
use crate::idle::{Empty, Idle};
use crate::key::{Key, Peer};
use crate::planted::{self, Bug};

/// What bounds who enters, and for how long.
#[derive(Debug)]
pub(crate) struct Room<'a, P> {
    groups: &'a Groups<P>,
    /// Peers a bucket holds.
    k: u16,
    /// Of these, peers of one address group.
    of_group: u16,
    misses_max: u8,
}

impl<'a, P: Peer> Room<'a, P> {
    pub(crate) fn new(groups: &'a Groups<P>, config: &Config) -> Self {
        let (of_group, misses_max) = (config.group_max, config.misses_max);
        Self { groups, k: config.k, of_group, misses_max }
    }
}

/// A place in a bucket.
#[derive(Copy, Clone, Debug)]
enum Place {
    Free,
    /// That of the peer at this index.
    Of(usize),
}

/// Peers waiting for a place, over all buckets.
const SPARE_MAX: usize = 16;

/// The lowest bits of a distance, in place of which a place in a run is written to sort by both.
const PLACE: u64 = 0xFFF;
/// Peers that a bucket holds at most, where the configuration is a sound one.
const FEW: usize = 64;
/// From so many numbers on the standard library sorts by networks, which guess no branch: filling
/// up to it halves the time that a bucket of twenty takes.
const BRANCHLESS_MIN: usize = 21;

/// Peers that answered us, k for each length of prefix shared with our position (Kademlia §2.4:
/// the long-lived stay, the dead are replaced).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Table<P> {
    /// By bucket; inside one, the longest known first. No more room than is needed: of a million
    /// peers in one process these are most of the memory.
    peers: Vec<P>,
    doubts: Idle<Doubts<P>>,
    /// Where each bucket ends; as many as the deepest peer needs.
    ends: Ends,
}

/// What a table in which everybody answered, and nobody waits, does not have.
#[derive(Debug)]
struct Doubts<P> {
    /// For each peer, how often in a row it did not answer; empty: all answered.
    misses: Vec<u8>,
    /// Answered, but its bucket was full.
    spare: Vec<P>,
}

impl<P: Peer> Empty for Doubts<P> {
    const EMPTY: &'static Self = &Self { misses: Vec::new(), spare: Vec::new() };

    fn empty() -> Self {
        Self { misses: Vec::new(), spare: Vec::new() }
    }
}

/// Buckets whose ends stand in the table itself, so that to find a bucket touches no other memory:
/// in a network of a million peers hardly any table is deeper.
const ENDS_INLINE: usize = 27;

#[derive(Debug)]
enum Ends {
    Few(u8, [u16; ENDS_INLINE]),
    Many(Vec<u16>),
}

impl Ends {
    fn new(ends: Vec<u16>) -> Self {
        if ends.len() > ENDS_INLINE {
            return Self::Many(ends);
        }
        let mut few = [0; ENDS_INLINE];
        few[..ends.len()].copy_from_slice(&ends);
        Self::Few(ends.len() as u8, few)
    }

    #[inline]
    fn all(&self) -> &[u16] {
        match self {
            Self::Few(n, ends) => &ends[..usize::from(*n)],
            Self::Many(ends) => ends,
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<u16>)) {
        let mut ends = self.all().to_vec();
        change(&mut ends);
        *self = Self::new(ends);
    }
}

impl<P: Peer> Table<P> {
    pub(crate) const fn new() -> Self {
        Self { peers: Vec::new(), ends: Ends::Few(0, [0; ENDS_INLINE]), doubts: Idle::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = P> + '_ {
        self.peers.iter().copied()
    }

    /// Those that did not answer last time.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = P> + '_ {
        self.peers.iter().zip(&self.doubts.misses).filter(|(_, n)| **n > 0).map(|(peer, _)| *peer)
    }

    /// Buckets up to the deepest that holds a peer.
    pub(crate) fn depth(&self) -> u32 {
        self.ends.all().len() as u32
    }

    /// Replaces everything by `peers`, which must be distinct, not `me`, and k a bucket at most.
    pub(crate) fn seed(&mut self, me: Key, peers: impl IntoIterator<Item = P>) {
        let mut peers: Vec<P> = peers.into_iter().collect();
        let bucket = |peer: &P| me.shared_prefix(peer.key());
        if !peers.is_sorted_by_key(bucket) {
            peers.sort_by_cached_key(bucket);
        }
        peers.shrink_to_fit();
        let mut ends = Vec::new();
        for (at, peer) in peers.iter().enumerate() {
            ends.resize(bucket(peer) as usize + 1, at as u16);
            *ends.last_mut().expect("it was just made longer") = at as u16 + 1;
        }
        self.ends = Ends::new(ends);
        self.peers = peers;
        self.doubts.release();
    }

    /// How often in a row the one at this place did not answer.
    fn misses(&self, at: usize) -> u8 {
        self.doubts.misses.get(at).copied().unwrap_or(0)
    }

    fn first_doubtful(&self, mut run: Range<usize>) -> Option<usize> {
        if self.doubts.misses.is_empty() {
            return None;
        }
        run.find(|at| self.misses(*at) > 0)
    }

    fn drop_spare(&mut self, peer: P) {
        if !self.doubts.spare.is_empty() {
            self.doubts.spare.retain(|other| *other != peer);
        }
    }

    fn run(&self, bucket: usize) -> Range<usize> {
        let ends = self.ends.all();
        let end = |b: usize| ends.get(b).map_or(self.peers.len(), |end| usize::from(*end));
        let start = if bucket == 0 { 0 } else { end(bucket - 1) };
        start..end(bucket)
    }

    /// The peers that share as many bits with `me` as a position does.
    #[inline]
    pub(crate) fn bucket(&self, me: Key, position: Key) -> &[P] {
        let run = self.run((me.shared_prefix(position) as usize).min(self.ends.all().len()));
        self.peers.get(run).unwrap_or_default()
    }

    fn find(&self, me: Key, peer: P) -> Option<usize> {
        let run = self.run(me.shared_prefix(peer.key()) as usize);
        run.clone().find(|at| self.peers[*at] == peer)
    }

    pub(crate) fn contains(&self, me: Key, peer: P) -> bool {
        self.find(me, peer).is_some()
    }

    /// Whether a peer that is not in the table could get a place in it.
    pub(crate) fn has_room(&self, me: Key, peer: P, room: &Room<'_, P>) -> bool {
        let run = self.run(me.shared_prefix(peer.key()) as usize);
        self.place_for(peer, run, room).is_some()
    }

    /// The place that a new peer would get in its bucket: a free one, or that of one that did not
    /// answer last time; of one of its own group, where the bucket holds enough of that.
    fn place_for(&self, peer: P, run: Range<usize>, room: &Room<'_, P>) -> Option<Place> {
        if self.is_one_too_many(peer, run.clone(), room) {
            let mut doubtful = run.filter(|at| self.misses(*at) > 0);
            let at = doubtful.find(|at| room.groups.are_one(peer, self.peers[*at]));
            return at.map(Place::Of);
        }
        if run.len() < usize::from(room.k) {
            return Some(Place::Free);
        }
        self.first_doubtful(run).map(Place::Of)
    }

    /// Whether a bucket holds enough others of a peer's group already.
    fn is_one_too_many(&self, peer: P, run: Range<usize>, room: &Room<'_, P>) -> bool {
        let others = self.peers[run].iter().copied();
        !room.groups.is_empty() && room.groups.are_full(peer, others, room.of_group)
    }

    /// A peer's group may have changed: it leaves if there are enough of the new one.
    pub(crate) fn regrouped(&mut self, me: Key, peer: P, room: &Room<'_, P>) {
        let bucket = me.shared_prefix(peer.key()) as usize;
        if let Some(at) = self.find(me, peer)
            && self.is_one_too_many(peer, self.run(bucket), room)
        {
            self.take_out(bucket, at);
        }
    }

    /// The peer answered: it enters, or stays. Returns whether it is new.
    pub(crate) fn answered(&mut self, me: Key, peer: P, room: &Room<'_, P>) -> bool {
        let bucket = me.shared_prefix(peer.key()) as usize;
        let run = self.run(bucket);
        if let Some(at) = run.clone().find(|at| self.peers[*at] == peer) {
            if self.misses(at) > 0 {
                self.doubts.misses[at] = 0;
            }
            return false;
        }
        self.drop_spare(peer);
        match self.place_for(peer, run.clone(), room) {
            Some(Place::Free) => {}
            Some(Place::Of(doubtful)) => self.take_out(bucket, doubtful),
            None if self.is_one_too_many(peer, run, room) => return false,
            None => {
                if self.doubts.spare.len() == SPARE_MAX {
                    self.doubts.spare.remove(0);
                }
                self.doubts.spare.push(peer);
                return false;
            }
        }
        self.put_in(bucket, peer);
        true
    }

    /// Whether there is nobody, or nobody who answered last time.
    pub(crate) fn is_lost(&self) -> bool {
        (0..self.peers.len()).all(|at| self.misses(at) > 0)
    }

    /// The peer did not answer: after `misses_max` times in a row it leaves, unless it is the last
    /// one, without which there would be no way back. Returns whether it left.
    pub(crate) fn missed(&mut self, me: Key, peer: P, room: &Room<'_, P>) -> bool {
        let Some(at) = self.find(me, peer) else {
            self.drop_spare(peer);
            return false;
        };
        let peers = self.peers.len();
        let doubts = &mut *self.doubts;
        doubts.misses.resize(peers, 0);
        doubts.misses[at] = doubts.misses[at].saturating_add(1);
        let last = peers == 1 && doubts.spare.is_empty();
        if doubts.misses[at] < room.misses_max || last || planted::is(Bug::NeverEvict) {
            return false;
        }
        let bucket = me.shared_prefix(peer.key()) as usize;
        self.take_out(bucket, at);
        let fits = |other: &P| {
            me.shared_prefix(other.key()) as usize == bucket
                && !self.is_one_too_many(*other, self.run(bucket), room)
        };
        if let Some(at) = self.doubts.spare.iter().rposition(fits) {
            let heir = self.doubts.spare.remove(at);
            self.put_in(bucket, heir);
        }
        true
    }

    fn put_in(&mut self, bucket: usize, peer: P) {
        let len = self.peers.len() as u16;
        let mut at = 0;
        self.ends.change(|ends| {
            if ends.len() <= bucket {
                ends.resize(bucket + 1, len);
            }
            at = usize::from(ends[bucket]);
            for end in &mut ends[bucket..] {
                *end += 1;
            }
        });
        if self.peers.len() == self.peers.capacity() {
            self.peers.reserve_exact(1 + self.peers.len() / 8);
        }
        self.peers.insert(at, peer);
        if !self.doubts.misses.is_empty() {
            self.doubts.misses.insert(at, 0);
        }
    }

    fn take_out(&mut self, bucket: usize, at: usize) {
        self.peers.remove(at);
        if !self.doubts.misses.is_empty() {
            self.doubts.misses.remove(at);
        }
        self.ends.change(|ends| {
            for end in &mut ends[bucket..] {
                *end -= 1;
            }
            while ends.last().is_some_and(|end| {
                let before = ends.len().checked_sub(2).map_or(0, |b| ends[b]);
                *end == before
            }) {
                ends.pop();
            }
        });
    }

    /// The `n` peers closest to `target`, closest first, without `except` and without those that
    /// did not answer last time.
    ///
    /// Buckets are groups of growing distance: the one that shares as much with us as the target
    /// does, then all deeper ones together, then the shallower ones from deep to shallow. So only
    /// the groups that are needed are sorted.
    pub(crate) fn closest(&self, me: Key, target: Key, n: usize, except: Option<P>) -> Vec<P> {
        let mut found = Vec::with_capacity(n.min(self.peers.len()));
        let shared = me.shared_prefix(target) as usize;
        let depth = self.ends.all().len();
        let same = self.run(shared.min(depth));
        let deeper = same.end..self.peers.len();
        let shallower = (0..shared.min(depth)).rev().map(|bucket| self.run(bucket));
        for run in [same, deeper].into_iter().chain(shallower) {
            if found.len() >= n {
                break;
            }
            self.nearest_of(run, target, n, except, &mut found);
        }
        found
    }

    /// Appends those of a run that are closest, closest first, until `n` are found.
    fn nearest_of(
        &self,
        run: core::ops::Range<usize>,
        target: Key,
        n: usize,
        except: Option<P>,
        found: &mut Vec<P>,
    ) {
        // A number tells all that is needed: the distance, and in its lowest bits the place in the
        // run. One bucket's fit on the stack, filled up with what stays behind all of them.
        let mut few = [u64::MAX; FEW];
        let mut many = Vec::new();
        let numbers: &mut [u64] = if run.len() <= FEW {
            &mut few
        } else {
            many.resize(run.len(), u64::MAX);
            &mut many
        };
        let peers = &self.peers[run.clone()];
        let misses = self.doubts.misses.get(run).unwrap_or_default();
        let sure = peers.iter().enumerate().filter(|(place, peer)| {
            Some(**peer) != except && misses.get(*place).is_none_or(|missed| *missed == 0)
        });
        let mut len = 0;
        for (place, peer) in sure.clone() {
            let near = peer.key().0[0] ^ target.0[0];
            numbers[len] = near & !PLACE | place as u64;
            len += 1;
        }
        let missing = n - found.len();
        if len > 2 * missing.max(FEW) {
            numbers[..len].select_nth_unstable(missing);
            len = missing + 1;
        }
        let padded = len.max(BRANCHLESS_MIN).min(numbers.len());
        numbers[..padded].sort_unstable();
        let sorted = &numbers[..len];
        // What is left of the first limb of a distance nearly always decides.
        let decided = sorted.array_windows().all(|[one, next]| one & !PLACE != next & !PLACE);
        if decided && peers.len() <= PLACE as usize {
            found.extend(sorted.iter().take(missing).map(|at| peers[(at & PLACE) as usize]));
            return;
        }
        let mut all: Vec<P> = sure.map(|(_, peer)| *peer).collect();
        all.sort_unstable_by_key(|peer| (peer.key().distance(target), *peer));
        found.extend(all.into_iter().take(missing));
    }
}

#[cfg(test)]
mod tests;
