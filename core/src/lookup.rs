//! One iterative search for the peers closest to a position. It knows nothing of messages, tickets
//! or timers.
//!
//! Kademlia §2.3: ask the α closest that were not asked yet, learn closer ones from their answers,
//! and end when the k closest that did not fail have all answered.

use alloc::vec::Vec;

use crate::key::{Distance, Key, Peer};
use crate::planted::{self, Bug};
use crate::turn::Cost;

/// Candidates that are remembered; far more than can still matter.
const CANDIDATES_MAX: usize = 512;
/// Places that are looked at one by one before the rest is halved.
const NEXT_TO: usize = 4;

/// The state of a search.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Lookup<P> {
    target: Key,
    /// How many closest peers are wanted.
    want: usize,
    /// Requests in flight.
    alpha: usize,
    /// Closest first.
    candidates: Vec<Candidate<P>>,
    /// Of these, how many are [`State::Waiting`]: counting them at every step took a tenth of a
    /// lookup.
    waiting: usize,
    cost: Cost,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Candidate<P> {
    /// The first limb of its distance; the others follow from the peer, and hardly ever decide.
    near: u64,
    peer: P,
    state: State,
    /// Length of the chain of requests by which it was first heard of; 0: from our own table.
    hops: u8,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[cfg_attr(test, derive(PartialOrd, Ord))]
enum State {
    New,
    Waiting,
    Answered,
    Failed,
}

/// What a search wants done.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Next<P> {
    /// Ask this peer.
    Ask(P),
    /// Wait for answers.
    Wait,
    /// The search has ended.
    Done,
}

impl<P: Peer> Lookup<P> {
    /// A search that starts from `seeds`.
    pub(crate) fn new(target: Key, want: u16, alpha: u16, seeds: &[P]) -> Self {
        let mut lookup = Self {
            target,
            want: usize::from(want),
            alpha: usize::from(alpha),
            candidates: Vec::with_capacity(4 * usize::from(want)),
            waiting: 0,
            cost: Cost::default(),
        };
        lookup.hear_of_all(seeds, 0, None);
        lookup
    }

    /// What to do now; to be called until it is not [`Next::Ask`].
    pub(crate) fn next(&mut self) -> Next<P> {
        let mut unanswered = false;
        let mut new = None;
        let live = self.candidates.iter().enumerate().filter(|(_, c)| c.state != State::Failed);
        for (at, candidate) in live.take(self.want) {
            let flies = candidate.state == State::Waiting && planted::is(Bug::EndsInFlight);
            unanswered |= candidate.state != State::Answered && !flies;
            let farthest = planted::is(Bug::LookupFarthest);
            if candidate.state == State::New && (new.is_none() || farthest) {
                new = Some(at);
            }
        }
        if planted::is(Bug::LookupEndsEarly) && self.cost.rounds > 0 {
            unanswered = false;
        }
        match new {
            _ if !unanswered => Next::Done,
            Some(at) if self.waiting < self.alpha => {
                self.candidates[at].state = State::Waiting;
                self.waiting += 1;
                self.cost.rpcs += 1;
                Next::Ask(self.candidates[at].peer)
            }
            _ => Next::Wait,
        }
    }

    /// `from` answered that it knows these; returns the length of the chain that led to them.
    pub(crate) fn answered(&mut self, from: P, closer: &[P], me: P) -> u8 {
        let Some(at) = self.position(from) else {
            return 0;
        };
        if self.candidates[at].state == State::New {
            return 0;
        }
        self.waiting -= usize::from(self.candidates[at].state == State::Waiting);
        self.candidates[at].state = State::Answered;
        let hops = self.candidates[at].hops.saturating_add(1);
        self.cost.rounds = self.cost.rounds.max(hops);
        self.hear_of_all(closer, hops, Some(me));
        hops
    }

    /// `peer` did not answer, and will not.
    pub(crate) fn failed(&mut self, peer: P) {
        if let Some(at) = self.position(peer)
            && self.candidates[at].state == State::Waiting
        {
            self.candidates[at].state = State::Failed;
            self.waiting -= usize::from(!planted::is(Bug::FailedHoldsPlace));
            self.cost.timeouts += 1;
        }
    }

    fn position(&self, peer: P) -> Option<usize> {
        let distance = peer.key().distance(self.target);
        let start = self.place(distance);
        let same = self.candidates[start..].iter();
        let same = same.take_while(|c| c.peer.key().distance(self.target) == distance);
        same.enumerate().find(|(_, c)| c.peer == peer).map(|(at, _)| start + at)
    }

    /// How many candidates are closer than `distance`.
    fn place(&self, distance: Distance) -> usize {
        let near = distance.0[0];
        let at = self.candidates.partition_point(|c| c.near < near);
        at + self.among_equals(at, distance)
    }

    /// How many of those from `at` on share the first limb with `distance`, and are closer.
    fn among_equals(&self, at: usize, distance: Distance) -> usize {
        let same = self.candidates[at..].iter().take_while(|c| c.near == distance.0[0]);
        same.take_while(|c| c.peer.key().distance(self.target) < distance).count()
    }

    /// Hears of several. They come closest first, as a rule, and their places in that order: each is
    /// looked for close after the one before.
    fn hear_of_all(&mut self, peers: &[P], hops: u8, except: Option<P>) {
        let mut after = 0;
        for peer in peers.iter().filter(|peer| Some(**peer) != except) {
            let distance = peer.key().distance(self.target);
            let near = distance.0[0];
            if after > self.candidates.len() || after > 0 && self.candidates[after - 1].near >= near
            {
                after = 0;
            }
            let rest = &self.candidates[after..];
            let close = rest.iter().take(NEXT_TO).position(|c| c.near >= near);
            let skipped = close.unwrap_or_else(|| rest.partition_point(|c| c.near < near));
            after += skipped;
            self.hear_of(*peer, distance, hops, after + self.among_equals(after, distance));
        }
    }

    fn hear_of(&mut self, peer: P, distance: Distance, hops: u8, at: usize) {
        let known = self.candidates.get(at).is_some_and(|c| c.peer == peer);
        if known || at >= CANDIDATES_MAX {
            return;
        }
        self.candidates
            .insert(at, Candidate { near: distance.0[0], peer, state: State::New, hops });
        if self.candidates.len() > CANDIDATES_MAX {
            let last = self.candidates.iter().rposition(|c| c.state != State::Waiting);
            let gone = self.candidates.remove(last.unwrap_or(CANDIDATES_MAX));
            self.waiting -= usize::from(gone.state == State::Waiting);
        }
    }

    /// Reads the candidates that every step reads: those closest, among which it ends.
    pub(crate) fn warm(&self) -> u64 {
        let closest = self.candidates.iter().take(self.want).step_by(NEXT_TO);
        closest.fold(0, |read, candidate| read ^ candidate.near)
    }

    /// What it took so far.
    pub(crate) const fn cost(&self) -> Cost {
        self.cost
    }

    /// The closest that answered, closest first, with the chain by which each was heard of.
    pub(crate) fn closest(&self) -> impl Iterator<Item = (P, u8)> + '_ {
        let answered = self.candidates.iter().filter(|c| c.state == State::Answered);
        answered.take(self.want).map(|c| (c.peer, c.hops))
    }

    /// Of the closest that were wanted, how many answered, and how many there are: failed ones
    /// count among them.
    pub(crate) fn standing(&self) -> (usize, usize) {
        let closest = self.candidates.iter().take(self.want);
        let answered = closest.clone().filter(|c| c.state == State::Answered).count();
        (answered, closest.count())
    }
}

#[cfg(test)]
mod tests;
