//! The routing table: one vector of peers sorted by shared prefix, in which a bucket is a run.

use alloc::vec::Vec;

use crate::key::{Distance, Key, Peer};
use crate::planted::{self, Bug};

/// Peers waiting for a place, over all buckets.
const SPARE_MAX: usize = 16;

/// Peers that answered us, k for each length of prefix shared with our position (Kademlia §2.4:
/// the long-lived stay, the dead are replaced).
#[derive(Debug)]
pub(crate) struct Table<P> {
    /// By bucket; inside one, the longest known first.
    peers: Vec<P>,
    /// For each peer, how often in a row it did not answer.
    misses: Vec<u8>,
    /// Where each bucket ends; as many as the deepest peer needs.
    ends: Vec<u16>,
    /// Answered, but its bucket was full.
    spare: Vec<P>,
}

impl<P: Peer> Table<P> {
    pub(crate) const fn new() -> Self {
        Self { peers: Vec::new(), misses: Vec::new(), ends: Vec::new(), spare: Vec::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = P> + '_ {
        self.peers.iter().copied()
    }

    /// Those that did not answer last time.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = P> + '_ {
        self.peers.iter().zip(&self.misses).filter(|(_, n)| **n > 0).map(|(peer, _)| *peer)
    }

    /// Buckets up to the deepest that holds a peer.
    pub(crate) fn depth(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Replaces everything by `peers`, which must be distinct, not `me`, and k a bucket at most.
    pub(crate) fn seed(&mut self, me: Key, peers: impl IntoIterator<Item = P>) {
        let mut entries: Vec<(u32, P)> =
            peers.into_iter().map(|peer| (me.shared_prefix(peer.key()), peer)).collect();
        entries.sort_by_key(|(bucket, _)| *bucket);
        let depth = entries.last().map_or(0, |(bucket, _)| *bucket as usize + 1);
        self.ends = (0..depth)
            .map(|bucket| entries.partition_point(|(b, _)| *b as usize <= bucket) as u16)
            .collect();
        self.peers = entries.into_iter().map(|(_, peer)| peer).collect();
        self.misses = alloc::vec![0; self.peers.len()];
        self.spare = Vec::new();
    }

    fn run(&self, bucket: usize) -> core::ops::Range<usize> {
        let end = |b: usize| self.ends.get(b).map_or(self.peers.len(), |end| usize::from(*end));
        let start = if bucket == 0 { 0 } else { end(bucket - 1) };
        start..end(bucket)
    }

    fn find(&self, me: Key, peer: P) -> Option<usize> {
        let run = self.run(me.shared_prefix(peer.key()) as usize);
        run.clone().find(|at| self.peers[*at] == peer)
    }

    pub(crate) fn contains(&self, me: Key, peer: P) -> bool {
        self.find(me, peer).is_some()
    }

    /// Whether a peer that is not in the table could get a place in it.
    pub(crate) fn has_room(&self, me: Key, peer: P, k: u16) -> bool {
        let run = self.run(me.shared_prefix(peer.key()) as usize);
        run.len() < usize::from(k) || run.clone().any(|at| self.misses[at] > 0)
    }

    /// The peer answered: it enters, or stays. Returns whether it is new.
    pub(crate) fn answered(&mut self, me: Key, peer: P, k: u16) -> bool {
        let bucket = me.shared_prefix(peer.key()) as usize;
        let run = self.run(bucket);
        if let Some(at) = run.clone().find(|at| self.peers[*at] == peer) {
            self.misses[at] = 0;
            return false;
        }
        self.spare.retain(|other| *other != peer);
        if run.len() >= usize::from(k) {
            let Some(doubtful) = run.clone().find(|at| self.misses[*at] > 0) else {
                if self.spare.len() == SPARE_MAX {
                    self.spare.remove(0);
                }
                self.spare.push(peer);
                return false;
            };
            self.take_out(bucket, doubtful);
        }
        self.put_in(bucket, peer);
        true
    }

    /// Whether there is nobody, or nobody who answered last time.
    pub(crate) fn is_lost(&self) -> bool {
        self.misses.iter().all(|misses| *misses > 0)
    }

    /// The peer did not answer: after `misses_max` times in a row it leaves, unless it is the last
    /// one, without which there would be no way back. Returns whether it left.
    pub(crate) fn missed(&mut self, me: Key, peer: P, misses_max: u8) -> bool {
        let Some(at) = self.find(me, peer) else {
            self.spare.retain(|other| *other != peer);
            return false;
        };
        self.misses[at] = self.misses[at].saturating_add(1);
        let last = self.peers.len() == 1 && self.spare.is_empty();
        if self.misses[at] < misses_max || last || planted::is(Bug::NeverEvict) {
            return false;
        }
        let bucket = me.shared_prefix(peer.key()) as usize;
        self.take_out(bucket, at);
        let same = |other: &P| me.shared_prefix(other.key()) as usize == bucket;
        if let Some(at) = self.spare.iter().rposition(same) {
            let heir = self.spare.remove(at);
            self.put_in(bucket, heir);
        }
        true
    }

    fn put_in(&mut self, bucket: usize, peer: P) {
        let len = self.peers.len() as u16;
        if self.ends.len() <= bucket {
            self.ends.resize(bucket + 1, len);
        }
        let at = usize::from(self.ends[bucket]);
        self.peers.insert(at, peer);
        self.misses.insert(at, 0);
        for end in &mut self.ends[bucket..] {
            *end += 1;
        }
    }

    fn take_out(&mut self, bucket: usize, at: usize) {
        self.peers.remove(at);
        self.misses.remove(at);
        for end in &mut self.ends[bucket..] {
            *end -= 1;
        }
        while self.ends.last().is_some_and(|end| {
            let before = self.ends.len().checked_sub(2).map_or(0, |b| self.ends[b]);
            *end == before
        }) {
            self.ends.pop();
        }
    }

    /// The `n` peers closest to `target`, closest first, without `except` and without those that
    /// did not answer last time.
    ///
    /// Buckets are groups of growing distance: the one that shares as much with us as the target
    /// does, then all deeper ones together, then the shallower ones from deep to shallow. So only
    /// the groups that are needed are sorted.
    pub(crate) fn closest(&self, me: Key, target: Key, n: usize, except: Option<P>) -> Vec<P> {
        let mut found = Vec::with_capacity(n.min(self.peers.len()));
        let mut group: Vec<(Distance, P)> = Vec::new();
        let mut take = |run: core::ops::Range<usize>, found: &mut Vec<P>| {
            group.clear();
            for at in run {
                let peer = self.peers[at];
                if self.misses[at] == 0 && Some(peer) != except {
                    group.push((peer.key().distance(target), peer));
                }
            }
            group.sort_unstable();
            found.extend(group.iter().take(n - found.len()).map(|(_, peer)| *peer));
        };
        let shared = me.shared_prefix(target) as usize;
        let same = self.run(shared.min(self.ends.len()));
        take(same.clone(), &mut found);
        if found.len() < n {
            take(same.end..self.peers.len(), &mut found);
        }
        for bucket in (0..shared.min(self.ends.len())).rev() {
            if found.len() >= n {
                break;
            }
            take(self.run(bucket), &mut found);
        }
        found
    }
}

#[cfg(test)]
mod tests;
