//! One iterative search for the peers closest to a position. It knows nothing of messages, tickets
//! or timers.
//!
//! Kademlia §2.3: ask the α closest that were not asked yet, learn closer ones from their answers,
//! and end when the k closest that did not fail have all answered. An answer that leaves its sender
//! among the k closest names no k that are closer: the target's neighbourhood is reached, and more
//! are asked at once.

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
    /// Requests in flight, far from the target and near it.
    alpha: usize,
    alpha_near: usize,
    /// Farthest first: what is heard of is nearly always close, and is put in where little lies
    /// behind it that has to move.
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
    /// Asked on another path of the same search: that path hears its answer.
    Taken,
    /// Answered, but one too many of its address group: it counts only for want of others.
    Crowding,
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
    /// A search that starts from `seeds`, with `alpha` requests in flight; once it is near the target
    /// with `near`, if those are more.
    pub(crate) fn new(target: Key, want: u16, alpha: u16, near: u16, seeds: &[P]) -> Self {
        let mut lookup = Self {
            target,
            want: usize::from(want),
            alpha: usize::from(alpha),
            alpha_near: usize::from(near.max(alpha)),
            // About as many as are heard of in a network of a million peers.
            candidates: Vec::with_capacity(8 * usize::from(want)),
            waiting: 0,
            cost: Cost::default(),
        };
        lookup.hear_of_all(seeds, 0, None);
        lookup
    }

    /// What is searched for.
    pub(crate) const fn target(&self) -> Key {
        self.target
    }

    /// How many closest peers are wanted.
    pub(crate) const fn want(&self) -> usize {
        self.want
    }

    /// What to do now; to be called until it is not [`Next::Ask`].
    pub(crate) fn next(&mut self) -> Next<P> {
        let (mut answered, mut unanswered) = (false, false);
        let mut new = None;
        let out = |state| matches!(state, State::Failed | State::Crowding);
        let live = self.candidates.iter().enumerate().rev();
        let live = live.filter(|(_, candidate)| !out(candidate.state));
        for (at, candidate) in live.take(self.want) {
            answered |= candidate.state == State::Answered;
            let flies = candidate.state == State::Waiting && planted::is(Bug::EndsInFlight);
            unanswered |= matches!(candidate.state, State::New | State::Waiting) && !flies;
            let farthest = planted::is(Bug::LookupFarthest);
            if candidate.state == State::New && (new.is_none() || farthest) {
                new = Some(at);
            }
        }
        if planted::is(Bug::LookupEndsEarly) && self.cost.rounds > 0 {
            unanswered = false;
        }
        let alpha = if answered { self.alpha_near } else { self.alpha };
        match new {
            _ if !unanswered => Next::Done,
            Some(at) if self.waiting < alpha => {
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
        let Some(at) = self.position(peer) else {
            return;
        };
        match self.candidates[at].state {
            State::Waiting => {
                self.candidates[at].state = State::Failed;
                self.waiting -= usize::from(!planted::is(Bug::FailedHoldsPlace));
                self.cost.timeouts += 1;
            }
            State::Taken => self.candidates[at].state = State::Failed,
            State::New | State::Answered | State::Failed | State::Crowding => {}
        }
    }

    /// `peer` answered, and is one too many of its address group: what it says is not heard.
    pub(crate) fn crowding(&mut self, peer: P) {
        if let Some(at) = self.position(peer)
            && self.candidates[at].state == State::Waiting
        {
            self.candidates[at].state = State::Crowding;
            self.waiting -= 1;
        }
    }

    /// Those that answered and were too many of their groups, closest first, with their chains.
    pub(crate) fn crowd(&self) -> impl Iterator<Item = (P, u8)> + '_ {
        let crowd = self.candidates.iter().rev().filter(|c| c.state == State::Crowding);
        crowd.map(|c| (c.peer, c.hops))
    }

    /// All that answered and were heard.
    pub(crate) fn heard(&self) -> impl Iterator<Item = P> + '_ {
        let heard = self.candidates.iter().rev().filter(|c| c.state == State::Answered);
        heard.map(|c| c.peer)
    }

    /// What to do where nobody more may be asked.
    pub(crate) fn rest(&self) -> Next<P> {
        if self.waiting > 0 { Next::Wait } else { Next::Done }
    }

    /// `peer` is asked on another path of the same search.
    pub(crate) fn taken(&mut self, peer: P) {
        if let Some(at) = self.position(peer)
            && self.candidates[at].state == State::New
        {
            self.candidates[at].state = State::Taken;
        }
    }

    /// Whether this search, and no other path of it, asked `peer`.
    pub(crate) fn has_asked(&self, peer: P) -> bool {
        let state = self.position(peer).map(|at| self.candidates[at].state);
        !matches!(state, None | Some(State::New | State::Taken))
    }

    /// Hears of these from nobody in particular.
    pub(crate) fn hear(&mut self, peers: &[P], me: P) {
        self.hear_of_all(peers, 0, Some(me));
    }

    fn position(&self, peer: P) -> Option<usize> {
        let distance = peer.key().distance(self.target);
        let end = self.candidates.len() - self.closer(distance);
        let same = self.candidates[..end].iter().enumerate().rev();
        let mut same = same.take_while(|(_, c)| c.peer.key().distance(self.target) == distance);
        same.find(|(_, c)| c.peer == peer).map(|(at, _)| at)
    }

    /// How many candidates are closer than `distance`.
    fn closer(&self, distance: Distance) -> usize {
        let near = distance.0[0];
        let farther = self.candidates.partition_point(|c| c.near >= near);
        let closer = self.candidates.len() - farther;
        closer + self.among_equals(closer, distance)
    }

    /// Beyond the `closer` ones, how many share the first limb with `distance`, and are closer.
    fn among_equals(&self, closer: usize, distance: Distance) -> usize {
        let others = self.candidates[..self.candidates.len() - closer].iter().rev();
        let same = others.take_while(|c| c.near == distance.0[0]);
        same.take_while(|c| c.peer.key().distance(self.target) < distance).count()
    }

    /// Hears of several. They come closest first, as a rule, and their places in that order: each is
    /// looked for close after the one before.
    fn hear_of_all(&mut self, peers: &[P], hops: u8, except: Option<P>) {
        let mut closer = 0;
        for peer in peers.iter().filter(|peer| Some(**peer) != except) {
            let distance = peer.key().distance(self.target);
            let near = distance.0[0];
            let len = self.candidates.len();
            if closer > len || closer > 0 && self.candidates[len - closer].near >= near {
                closer = 0;
            }
            let rest = &self.candidates[..len - closer];
            let close = rest.iter().rev().take(NEXT_TO).position(|c| c.near >= near);
            closer +=
                close.unwrap_or_else(|| len - closer - rest.partition_point(|c| c.near >= near));
            self.hear_of(*peer, distance, hops, closer + self.among_equals(closer, distance));
        }
    }

    /// Hears of one, than which so many are closer.
    fn hear_of(&mut self, peer: P, distance: Distance, hops: u8, closer: usize) {
        let at = self.candidates.len() - closer;
        let known = at > 0 && self.candidates[at - 1].peer == peer;
        if known || closer >= CANDIDATES_MAX {
            return;
        }
        self.candidates
            .insert(at, Candidate { near: distance.0[0], peer, state: State::New, hops });
        if self.candidates.len() > CANDIDATES_MAX {
            let farthest = self.candidates.iter().position(|c| c.state != State::Waiting);
            let gone = self.candidates.remove(farthest.unwrap_or(0));
            self.waiting -= usize::from(gone.state == State::Waiting);
        }
    }

    /// Reads the candidates that every step reads: those closest, among which it ends.
    pub(crate) fn warm(&self) -> u64 {
        let closest = self.candidates.iter().rev().take(self.want).step_by(NEXT_TO);
        closest.fold(0, |read, candidate| read ^ candidate.near)
    }

    /// What it took so far.
    pub(crate) const fn cost(&self) -> Cost {
        self.cost
    }

    /// The closest that answered, closest first, with the chain by which each was heard of.
    pub(crate) fn closest(&self) -> impl Iterator<Item = (P, u8)> + '_ {
        let answered = self.candidates.iter().rev().filter(|c| c.state == State::Answered);
        answered.take(self.want).map(|c| (c.peer, c.hops))
    }

    /// The closest that were wanted, and whether each answered: failed ones are among them.
    pub(crate) fn nearest(&self) -> impl Iterator<Item = (P, bool)> + '_ {
        let closest = self.candidates.iter().rev().filter(|c| c.state != State::Crowding);
        closest.take(self.want).map(|c| (c.peer, c.state == State::Answered))
    }

    /// Of the closest that were wanted, how many answered, and how many there are: failed ones
    /// count among them.
    pub(crate) fn standing(&self) -> (usize, usize) {
        let answered = self.nearest().filter(|(_, answered)| *answered).count();
        (answered, self.nearest().count())
    }
}

#[cfg(test)]
mod tests;
