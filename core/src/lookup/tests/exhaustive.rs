//! Every state that a search among up to four peers can come to, in whatever order answers come, are
//! lost, come late or come twice, and whatever they say; each state is held against a model.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use super::{P, closest};
use crate::key::{Key, Peer};
use crate::lookup::{Lookup, Next, State};

const TARGET: Key = Key([0; 4]);
/// Who searches; answers may name him.
const ME: P = P(0);
const PEERS_MAX: u16 = 4;
/// States, over all settings. Another number says that the machine or the model has changed.
const STATES: usize = 53_745;

/// What the model knows of a peer.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Heard {
    hops: u8,
    state: State,
}

/// All that was seen of a search, by peer, closest first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Model {
    peers: Vec<P>,
    heard: Vec<Option<Heard>>,
}

impl Model {
    fn new(peers: &[P], seeds: u16) -> Self {
        let seed = |at: usize| seeds >> at & 1 == 1;
        let first = Heard { hops: 0, state: State::New };
        let heard = (0..peers.len()).map(|at| seed(at).then_some(first)).collect();
        Self { peers: peers.to_vec(), heard }
    }

    fn of(&self, state: State) -> impl Iterator<Item = usize> + '_ {
        let is = move |at: &usize| self.heard[*at].is_some_and(|heard| heard.state == state);
        (0..self.peers.len()).filter(is)
    }

    fn set(&mut self, at: usize, state: State) {
        self.heard[at].as_mut().expect("it was heard of").state = state;
    }

    fn answers(&mut self, at: usize, named: u16) {
        let hops = self.heard[at].expect("it was asked").hops + 1;
        self.set(at, State::Answered);
        for (other, heard) in self.heard.iter_mut().enumerate() {
            if named >> other & 1 == 1 && heard.is_none() {
                *heard = Some(Heard { hops, state: State::New });
            }
        }
    }

    /// Those among which a search for `want` ends: the closest that did not fail.
    fn wanted(&self, want: usize) -> Vec<usize> {
        let live = |at: &usize| self.heard[*at].is_some_and(|it| it.state != State::Failed);
        (0..self.peers.len()).filter(live).take(want).collect()
    }

    /// What is to be done now, by the rule in words.
    fn next(&self, want: usize, (alpha, near): (usize, usize)) -> Next<P> {
        let wanted = self.wanted(want);
        let is = |at: &usize, state| self.heard[*at].expect("it is wanted").state == state;
        if wanted.iter().all(|at| is(at, State::Answered)) {
            return Next::Done;
        }
        let is_near = wanted.iter().any(|at| is(at, State::Answered));
        let most = if is_near { near } else { alpha };
        let new = wanted.iter().find(|at| is(at, State::New));
        match new {
            Some(at) if self.of(State::Waiting).count() < most => Next::Ask(self.peers[*at]),
            _ => Next::Wait,
        }
    }

    /// The machine shows what the model says.
    fn check(&self, lookup: &Lookup<P>, want: usize, most: usize) {
        let answered: Vec<P> = self.of(State::Answered).map(|at| self.peers[at]).collect();
        let found: Vec<P> = lookup.closest().map(|(peer, _)| peer).collect();
        assert_eq!(found, closest(&answered, TARGET, want), "{self:?}");
        for (peer, hops) in lookup.closest() {
            let at = self.peers.iter().position(|other| *other == peer).expect("it is a peer");
            assert_eq!(Some(hops), self.heard[at].map(|heard| heard.hops), "{self:?}");
        }
        let first: Vec<Heard> = self.heard.iter().flatten().copied().take(want).collect();
        let answered = first.iter().filter(|heard| heard.state == State::Answered).count();
        assert_eq!(lookup.standing(), (answered, first.len()), "{self:?}");
        let (cost, all) = (lookup.cost(), self.heard.iter().flatten());
        let asked = all.clone().filter(|heard| heard.state != State::New).count();
        let rounds = all.filter(|heard| heard.state == State::Answered).map(|heard| heard.hops + 1);
        assert_eq!(
            (cost.rpcs as usize, cost.rounds),
            (asked, rounds.max().unwrap_or(0)),
            "{self:?}"
        );
        assert!(self.of(State::Waiting).count() <= most, "{self:?}");
    }
}

/// What can happen next.
#[derive(Copy, Clone, Debug)]
enum Event {
    /// A request is lost, or its answer.
    Lost(usize),
    /// It is answered by those whose bits are set, perhaps after it counted as lost, or once more.
    Answer(usize, u16),
}

fn events(model: &Model) -> Vec<Event> {
    let mut events: Vec<Event> = model.of(State::Waiting).map(Event::Lost).collect();
    // Who was heard of before is named once with all others: it makes no difference which of them.
    let known: u16 = (0..model.peers.len())
        .filter(|at| model.heard[*at].is_some())
        .fold(0, |bits, at| bits | 1 << at);
    let answering = [State::Waiting, State::Answered, State::Failed];
    for at in answering.into_iter().flat_map(|state| model.of(state)) {
        for named in 0..1 << model.peers.len() {
            if named & known == 0 || named & known == known {
                events.push(Event::Answer(at, named));
            }
        }
    }
    events
}

/// Visits each state once; returns how many there are.
fn explore(peers: &[P], seeds: u16, want: u16, (alpha, near): (u16, u16)) -> usize {
    let known: Vec<P> = named(peers, seeds);
    let lookup = Lookup::new(TARGET, want, alpha, near, &known);
    let (want, alphas) = (usize::from(want), (usize::from(alpha), usize::from(near)));
    let mut seen = BTreeSet::new();
    let mut left = vec![(Model::new(peers, seeds), lookup)];
    while let Some((mut model, mut lookup)) = left.pop() {
        loop {
            let next = lookup.next();
            assert_eq!(next, model.next(want, alphas), "{model:?}");
            match next {
                Next::Ask(peer) => {
                    let at = peers.iter().position(|other| *other == peer).expect("a peer");
                    model.set(at, State::Waiting);
                }
                Next::Wait => {
                    assert!(model.of(State::Waiting).count() > 0, "it waits for nobody: {model:?}");
                    break;
                }
                Next::Done => break,
            }
        }
        model.check(&lookup, want, alphas.1);
        if !seen.insert(model.clone()) {
            continue;
        }
        for event in events(&model) {
            let (mut model, mut lookup) = (model.clone(), lookup.clone());
            match event {
                Event::Lost(at) => {
                    lookup.failed(peers[at]);
                    model.set(at, State::Failed);
                }
                Event::Answer(at, bits) => {
                    let mut closer = named(peers, bits);
                    closer.push(ME);
                    lookup.answered(peers[at], &closer, ME);
                    model.answers(at, bits);
                }
            }
            left.push((model, lookup));
        }
    }
    seen.len()
}

fn named(peers: &[P], bits: u16) -> Vec<P> {
    (0..peers.len()).filter(|at| bits >> at & 1 == 1).map(|at| peers[at]).collect()
}

#[test]
fn every_state_of_four_peers() {
    let mut states = 0;
    for n in 0..=PEERS_MAX {
        let mut peers: Vec<P> = (1..=n).map(P).collect();
        peers.sort_by_key(|peer| peer.key().distance(TARGET));
        for seeds in 0..1 << n {
            for want in 1..=PEERS_MAX {
                for alpha in 1..=PEERS_MAX {
                    for near in [alpha, PEERS_MAX] {
                        states += explore(&peers, seeds, want, (alpha, near));
                    }
                }
            }
        }
    }
    assert_eq!(states, STATES);
}
