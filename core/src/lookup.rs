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

/// The state of a search.
#[derive(Debug)]
pub(crate) struct Lookup<P> {
    target: Key,
    /// How many closest peers are wanted.
    want: usize,
    /// Requests in flight.
    alpha: usize,
    /// Closest first.
    candidates: Vec<Candidate<P>>,
    cost: Cost,
}

#[derive(Debug)]
struct Candidate<P> {
    distance: Distance,
    peer: P,
    state: State,
    /// Length of the chain of requests by which it was first heard of; 0: from our own table.
    hops: u8,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
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
            candidates: Vec::with_capacity(2 * usize::from(want)),
            cost: Cost::default(),
        };
        for peer in seeds {
            lookup.hear_of(*peer, 0);
        }
        lookup
    }

    /// What to do now; to be called until it is not [`Next::Ask`].
    pub(crate) fn next(&mut self) -> Next<P> {
        let waiting = self.candidates.iter().filter(|c| c.state == State::Waiting).count();
        let mut unanswered = false;
        let mut new = None;
        let live = self.candidates.iter().enumerate().filter(|(_, c)| c.state != State::Failed);
        for (at, candidate) in live.take(self.want) {
            unanswered |= candidate.state != State::Answered;
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
            Some(at) if waiting < self.alpha => {
                self.candidates[at].state = State::Waiting;
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
        self.candidates[at].state = State::Answered;
        let hops = self.candidates[at].hops.saturating_add(1);
        self.cost.rounds = self.cost.rounds.max(hops);
        for peer in closer {
            if *peer != me {
                self.hear_of(*peer, hops);
            }
        }
        hops
    }

    /// `peer` did not answer, and will not.
    pub(crate) fn failed(&mut self, peer: P) {
        if let Some(at) = self.position(peer)
            && self.candidates[at].state == State::Waiting
        {
            self.candidates[at].state = State::Failed;
            self.cost.timeouts += 1;
        }
    }

    fn position(&self, peer: P) -> Option<usize> {
        let distance = peer.key().distance(self.target);
        let start = self.candidates.partition_point(|c| c.distance < distance);
        let same = self.candidates[start..].iter().take_while(|c| c.distance == distance);
        same.enumerate().find(|(_, c)| c.peer == peer).map(|(at, _)| start + at)
    }

    fn hear_of(&mut self, peer: P, hops: u8) {
        let distance = peer.key().distance(self.target);
        let at = self.candidates.partition_point(|c| c.distance < distance);
        let known = self.candidates.get(at).is_some_and(|c| c.peer == peer);
        if known || at >= CANDIDATES_MAX {
            return;
        }
        self.candidates.insert(at, Candidate { distance, peer, state: State::New, hops });
        if self.candidates.len() > CANDIDATES_MAX {
            let last = self.candidates.iter().rposition(|c| c.state != State::Waiting);
            self.candidates.remove(last.unwrap_or(CANDIDATES_MAX));
        }
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
