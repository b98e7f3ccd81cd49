//! One search over disjoint paths (Baumgart and Mies, *S/Kademlia*, 2007, §4.4): each path is a
//! lookup that asks only peers that it heard of itself, and nobody is asked on two of them. So a liar
//! leads one path astray, and what the others find is found.

use alloc::vec::Vec;

use crate::groups::Groups;
use crate::idle::Idle;
use crate::key::{Key, Peer};
use crate::lookup::{Lookup, Next};
use crate::planted::{self, Bug};
use crate::turn::Cost;

/// Requests of one search over several paths, for each peer that is wanted.
const REQUESTS_EACH_MAX: usize = 16;

/// The paths of a search; mostly there is one.
#[derive(Debug)]
pub(crate) struct Paths<P> {
    first: Lookup<P>,
    others: Idle<Vec<Lookup<P>>>,
    /// What the search took before it began again.
    before: Cost,
}

impl<P: Peer> Paths<P> {
    /// A search over `paths` paths, among which `seeds`, closest first, are dealt like cards. Over one
    /// path `alpha` and `near` are as of a lookup; over more at most `alpha` requests are in flight,
    /// but one on each path.
    pub(crate) fn new(
        target: Key,
        want: u16,
        (alpha, near): (u16, u16),
        seeds: &[P],
        paths: u16,
    ) -> Self {
        let mut others = Idle::new();
        if paths <= 1 {
            let first = Lookup::new(target, want, alpha, near, seeds);
            return Self { first, others, before: Cost::default() };
        }
        let each = (alpha / paths).max(1);
        let paths = usize::from(paths);
        let path = |n: usize| {
            let dealt: Vec<P> = seeds.iter().skip(n).step_by(paths).copied().collect();
            Lookup::new(target, want, each, each, &dealt)
        };
        *others = (1..paths).map(path).collect();
        Self { first: path(0), others, before: Cost::default() }
    }

    /// The search begins again over these paths.
    pub(crate) fn begin_again(&mut self, paths: Self) {
        *self = Self { before: self.cost(), ..paths };
    }

    /// Whether there is only one path.
    pub(crate) fn is_one(&self) -> bool {
        self.others.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &Lookup<P>> {
        core::iter::once(&self.first).chain(self.others.iter())
    }

    fn path(&mut self, n: usize) -> &mut Lookup<P> {
        match n.checked_sub(1) {
            None => &mut self.first,
            Some(other) => &mut self.others[other],
        }
    }

    fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// The path on which a peer was asked.
    fn asked_on(&self, peer: P) -> Option<usize> {
        self.all().position(|path| path.has_asked(peer))
    }

    /// What to do now; to be called until it is not [`Next::Ask`].
    pub(crate) fn next(&mut self) -> Next<P> {
        if self.is_one() {
            return self.first.next();
        }
        let mut waits = false;
        let most = REQUESTS_EACH_MAX * self.first.want();
        let spent = (self.cost().rpcs - self.before.rpcs) as usize >= most;
        for n in 0..self.count() {
            let path = self.path(n);
            match if spent { path.rest() } else { path.next() } {
                Next::Ask(peer) => {
                    for other in (0..self.count()).filter(|other| *other != n) {
                        self.path(other).taken(peer);
                    }
                    return Next::Ask(peer);
                }
                Next::Wait => waits = true,
                Next::Done => {}
            }
        }
        if waits { Next::Wait } else { Next::Done }
    }

    /// `from` answered that it knows these: its path has heard of them, and no other.
    pub(crate) fn answered(&mut self, from: P, closer: &[P], me: P) {
        if self.is_one() {
            self.first.answered(from, closer, me);
            return;
        }
        let Some(on) = self.asked_on(from) else {
            return;
        };
        for n in 0..self.count() {
            if n == on {
                self.path(n).answered(from, closer, me);
            } else if planted::is(Bug::PathsShare) {
                self.path(n).hear(closer, me);
            }
        }
        for peer in closer {
            if self.asked_on(*peer).is_some_and(|other| other != on) {
                self.path(on).taken(*peer);
            }
        }
    }

    /// `peer` did not answer, and will not: it counts on no path.
    pub(crate) fn failed(&mut self, peer: P) {
        for n in 0..self.count() {
            self.path(n).failed(peer);
        }
    }

    /// Whether an answer of `from` would be one too many of its address group; only searches over
    /// several paths, which store and place, look at groups.
    pub(crate) fn is_crowded_by(&self, from: P, groups: &Groups<P>, most: u16) -> bool {
        !self.is_one()
            && !groups.is_empty()
            && groups.are_full(from, self.all().flat_map(Lookup::heard), most)
    }

    /// `from` answered, and is one too many of its address group.
    pub(crate) fn crowding(&mut self, from: P) {
        if let Some(on) = self.asked_on(from) {
            self.path(on).crowding(from);
        }
    }

    /// As [`Core::warm`](crate::Core::warm).
    pub(crate) fn warm(&self) -> u64 {
        self.first.warm()
    }

    /// What all paths took so far: their requests together, and the longest chain.
    pub(crate) fn cost(&self) -> Cost {
        let sum = |all: Cost, path: Cost| Cost {
            rpcs: all.rpcs + path.rpcs,
            timeouts: all.timeouts + path.timeouts,
            rounds: all.rounds.max(path.rounds),
        };
        let now = self.all().map(Lookup::cost).fold(Cost::default(), sum);
        let rounds = self.before.rounds.saturating_add(now.rounds);
        Cost { rounds, ..sum(self.before, now) }
    }

    /// The closest of all that answered, closest first, with the chain by which each was heard of.
    pub(crate) fn closest(&self) -> Vec<(P, u8)> {
        let mut closest: Vec<(P, u8)> = self.all().flat_map(Lookup::closest).collect();
        if !self.is_one() {
            closest.sort_by_key(|(peer, _)| peer.key().distance(self.first.target()));
            closest.truncate(self.first.want());
            let lacking = self.first.want() - closest.len();
            let mut crowd: Vec<(P, u8)> = self.all().flat_map(Lookup::crowd).collect();
            crowd.sort_by_key(|(peer, _)| peer.key().distance(self.first.target()));
            closest.extend(crowd.into_iter().take(lacking));
        }
        closest
    }

    /// Of the closest that were wanted, how many answered, and how many there are: failed ones
    /// count among them.
    pub(crate) fn standing(&self) -> (usize, usize) {
        if self.is_one() {
            return self.first.standing();
        }
        let mut known: Vec<(P, bool)> = self.all().flat_map(Lookup::nearest).collect();
        known.sort_by_key(|(peer, answered)| {
            (peer.key().distance(self.first.target()), *peer, !answered)
        });
        known.dedup_by_key(|(peer, _)| *peer);
        known.truncate(self.first.want());
        (known.iter().filter(|(_, answered)| *answered).count(), known.len())
    }
}

#[cfg(test)]
mod tests;
