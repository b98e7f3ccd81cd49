//! Who really is there, and who really is closest: what the simulation knows and no peer does.
//!
//! It judges the core and so shares nothing with it: positions are sorted numbers here, and nearness
//! is found by halving ranges of them.

use std::collections::{BTreeMap, BTreeSet};

/// Since when, and until when, a peer was there.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Session {
    from: u64,
    until: u64,
}

const NOT_YET: Session = Session { from: u64::MAX, until: u64::MAX };

impl Session {
    fn covers(self, time: u64) -> bool {
        self.from <= time && time < self.until
    }
}

/// All peers that ever were, in the order of their positions, with their times.
#[derive(Clone, Debug)]
pub struct Oracle {
    limb: fn(u32) -> u64,
    /// When the first peers came.
    start: u64,
    /// Every peer that ever was there, by position.
    sorted: Vec<u32>,
    /// Each peer's last session.
    last: Vec<Session>,
    /// The earlier sessions of those that came back.
    earlier: BTreeMap<u32, Vec<Session>>,
    /// The instants at which someone came or went, ascending.
    changes: Vec<u64>,
    live: u32,
    /// Those that serve nobody, and so are not to be found.
    hidden: BTreeSet<u32>,
}

/// What became of a search.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether the answer was the truth at some instant between start and end.
    pub succeeded: bool,
    /// Whether it was the truth at the end.
    pub exact: bool,
    /// The one truly closest at the instant that speaks for the answer, else at the end.
    pub closest: Option<u32>,
}

impl Oracle {
    /// A world whose peers' positions are `limb` of their numbers, with `peers` there from `start`.
    pub fn new(limb: fn(u32) -> u64, peers: u32, start: u64) -> Self {
        let mut sorted: Vec<u32> = (0..peers).collect();
        sorted.sort_by_cached_key(|index| limb(*index));
        let session = Session { from: start, until: u64::MAX };
        Self {
            limb,
            start,
            sorted,
            last: vec![session; peers as usize],
            earlier: BTreeMap::new(),
            changes: Vec::new(),
            live: peers,
            hidden: BTreeSet::new(),
        }
    }

    /// All peers that ever were, by position.
    pub fn sorted(&self) -> &[u32] {
        &self.sorted
    }

    /// A peer serves nobody: it never counts among the closest.
    pub fn hide(&mut self, peer: u32) {
        self.hidden.insert(peer);
    }

    /// How many are there now.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// How many ever were.
    pub fn ever(&self) -> u32 {
        self.last.len() as u32
    }

    /// Whether a peer was there at `time`.
    pub fn was_live(&self, peer: u32, time: u64) -> bool {
        if self.changes.is_empty() {
            return peer < self.live && self.start <= time;
        }
        let last = self.last.get(peer as usize);
        last.is_some_and(|session| session.covers(time))
            || self
                .earlier
                .get(&peer)
                .is_some_and(|sessions| sessions.iter().any(|session| session.covers(time)))
    }

    /// A peer comes, or comes back. Times never go back.
    pub fn joined(&mut self, time: u64, peer: u32) {
        let at = peer as usize;
        if self.last.len() <= at {
            self.last.resize(at + 1, NOT_YET);
        }
        if self.last[at] == NOT_YET {
            let place =
                self.sorted.partition_point(|other| (self.limb)(*other) < (self.limb)(peer));
            self.sorted.insert(place, peer);
        } else {
            self.earlier.entry(peer).or_default().push(self.last[at]);
        }
        self.last[at] = Session { from: time, until: u64::MAX };
        self.changes.push(time);
        self.live += 1;
    }

    /// A peer goes.
    pub fn left(&mut self, time: u64, peer: u32) {
        self.last[peer as usize].until = time;
        self.changes.push(time);
        self.live -= 1;
    }

    /// The `k` peers closest to `target` that were there and not hidden at `time`, closest first, `without` one.
    pub fn closest(&self, target: u64, k: usize, time: u64, without: Option<u32>) -> Vec<u32> {
        let is_found = |peer: u32| self.hidden.is_empty() || !self.hidden.contains(&peer);
        self.closest_of(target, k, |peer| {
            Some(peer) != without && self.was_live(peer, time) && is_found(peer)
        })
    }

    /// The `k` of these that are closest to `target`, closest first.
    pub fn closest_of(&self, target: u64, k: usize, these: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut found = Vec::with_capacity(k);
        let mut look = |range, bits| {
            found.clear();
            self.walk(range, bits, target, &mut |peer| {
                if these(peer) {
                    found.push(peer);
                }
                found.len() < k
            });
            found.len() == k
        };
        // Whoever agrees with the target above some bit is nearer than all others: where such a
        // neighbourhood of the usual size holds enough, the rest need not be halved.
        let bits = 64 - (self.sorted.len() / (4 * k).max(1)).checked_ilog2().unwrap_or(0);
        if bits == 64 || !look(self.neighbourhood(target, bits), bits) {
            look(0..self.sorted.len(), 64);
        }
        found
    }

    /// The places in `sorted` of those that agree with `target` above the lowest `bits` bits.
    fn neighbourhood(&self, target: u64, bits: u32) -> std::ops::Range<usize> {
        let place = |peer: &u32| (self.limb)(*peer) >> bits;
        let start = self.sorted.partition_point(|peer| place(peer) < target >> bits);
        // What agrees lies close together: double the step until it is passed.
        let mut step = 64;
        let rest = &self.sorted[start..];
        while rest.get(step).is_some_and(|peer| place(peer) == target >> bits) {
            step *= 2;
        }
        let rest = &rest[..rest.len().min(step)];
        start..start + rest.partition_point(|peer| place(peer) == target >> bits)
    }

    /// Visits the peers of a range of `sorted`, whose positions agree above the lowest `bits` bits,
    /// from the nearest to `target` to the farthest, until `visit` has seen enough.
    fn walk(
        &self,
        range: std::ops::Range<usize>,
        bits: u32,
        target: u64,
        visit: &mut impl FnMut(u32) -> bool,
    ) -> bool {
        if range.len() <= 1 || bits == 0 {
            return range.into_iter().all(|at| visit(self.sorted[at]));
        }
        let bit = 1 << (bits - 1);
        let ones = self.sorted[range.clone()].partition_point(|peer| (self.limb)(*peer) & bit == 0);
        let middle = range.start + ones;
        let (zeros, ones) = (range.start..middle, middle..range.end);
        let (near, far) = if target & bit == 0 { (zeros, ones) } else { (ones, zeros) };
        self.walk(near, bits - 1, target, visit) && self.walk(far, bits - 1, target, visit)
    }

    /// The start, and each instant until the end at which the network changed.
    fn instants(&self, start: u64, end: u64) -> impl Iterator<Item = u64> {
        let first = self.changes.partition_point(|time| *time <= start);
        let during = self.changes[first..].iter().take_while(move |time| **time <= end);
        std::iter::once(start).chain(during.copied())
    }

    /// Judges a search's answer.
    pub fn judge(
        &self,
        target: u64,
        k: usize,
        asker: u32,
        (start, end): (u64, u64),
        answer: &[u32],
    ) -> Verdict {
        let at_end = self.closest(target, k, end, Some(asker));
        if at_end == answer {
            return Verdict { succeeded: true, exact: true, closest: at_end.first().copied() };
        }
        for instant in self.instants(start, end) {
            let truth = self.closest(target, k, instant, Some(asker));
            if truth == answer {
                return Verdict { succeeded: true, exact: false, closest: truth.first().copied() };
            }
        }
        Verdict { succeeded: false, exact: false, closest: at_end.first().copied() }
    }

    /// How many of the honest ones among the `k` closest an answer lacks, at that instant between
    /// start and end at which it lacks the fewest, and at the end. What it says of others does not
    /// count: they may be silent, or anything.
    pub fn lacks(
        &self,
        target: u64,
        k: usize,
        asker: u32,
        (start, end): (u64, u64),
        answer: &[u32],
        honest: impl Fn(u32) -> bool,
    ) -> (usize, usize) {
        let lacks = |instant: u64| {
            let truth = self.closest(target, k, instant, Some(asker));
            truth.iter().filter(|peer| honest(**peer) && !answer.contains(peer)).count()
        };
        let at_end = lacks(end);
        let least = self.instants(start, end).map(lacks).min();
        (least.map_or(at_end, |least| least.min(at_end)), at_end)
    }
}
