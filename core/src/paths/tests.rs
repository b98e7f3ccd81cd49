//! What holds of disjoint paths, whoever lies.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::key::Name;
use crate::random::Random;

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct P(u16);

impl Peer for P {
    fn key(self) -> Key {
        let mut random = Random::new(self.0.into());
        Key([random.bits(), 0, 0, self.0.into()])
    }

    fn position(name: &Name) -> Key {
        Key::from_bytes(&name.0)
    }
}

const ME: P = P(0);

/// The `n` of these that are closest to a target.
fn closest(mut peers: Vec<P>, target: Key, n: usize) -> Vec<P> {
    peers.sort_by_key(|peer| peer.key().distance(target));
    peers.truncate(n);
    peers
}

/// A network in which peers below `liars` name only each other.
struct Net {
    peers: u16,
    liars: u16,
    k: u16,
    target: Key,
}

impl Net {
    fn is_liar(&self, peer: P) -> bool {
        (1..=self.liars).contains(&peer.0)
    }

    /// k a bucket, drawn at random, liars as often as others.
    fn table(&self, of: P) -> Vec<P> {
        let mut counts: BTreeMap<u32, u16> = BTreeMap::new();
        let mut all: Vec<P> = (1..=self.peers).map(P).filter(|peer| *peer != of).collect();
        let pair = |peer: &P| u64::from(of.0) << 16 | u64::from(peer.0);
        all.sort_by_cached_key(|peer| Random::new(pair(peer)).bits());
        let fits = all.into_iter().filter(|peer| {
            let count = counts.entry(of.key().shared_prefix(peer.key())).or_default();
            *count += 1;
            *count <= self.k
        });
        fits.collect()
    }

    fn answer(&self, of: P) -> Vec<P> {
        let named =
            if self.is_liar(of) { (1..=self.liars).map(P).collect() } else { self.table(of) };
        closest(named, self.target, self.k.into())
    }
}

/// What came of a search.
struct Played {
    /// Who was asked on which path.
    asked: BTreeMap<P, usize>,
    found: Vec<P>,
    cost: Cost,
}

/// Plays a search in which answers come in a random order, and some never.
fn play(net: &Net, paths: u16, alpha: u16, silent: &[P], seed: u64) -> Played {
    let seeds = closest(net.table(ME), net.target, 2 * usize::from(net.k));
    let mut search = Paths::new(net.target, net.k, (alpha, alpha), &seeds, paths);
    // What each path may ask: what it was dealt, and what those said that it asked.
    let mut heard: Vec<Vec<P>> = (0..usize::from(paths))
        .map(|n| seeds.iter().skip(n).step_by(paths.into()).copied().collect())
        .collect();
    let (mut waiting, mut asked) = (Vec::new(), BTreeMap::new());
    let mut random = Random::new(seed);
    loop {
        match search.next() {
            Next::Ask(peer) => {
                let on = search.asked_on(peer).expect("it was just asked");
                assert_eq!(asked.insert(peer, on), None, "nobody is asked twice");
                assert!(heard[on].contains(&peer), "a path asks whom it heard of itself");
                waiting.push(peer);
                assert!(waiting.len() <= usize::from(paths.max(alpha)), "few are asked at once");
            }
            Next::Wait => {
                assert!(!waiting.is_empty(), "it waits for somebody");
                let peer = waiting.swap_remove(random.below(waiting.len() as u64) as usize);
                if silent.contains(&peer) {
                    search.failed(peer);
                } else {
                    let answer = net.answer(peer);
                    heard[asked[&peer]].extend(&answer);
                    search.answered(peer, &answer, ME);
                }
            }
            Next::Done => break,
        }
    }
    let found = search.closest().into_iter().map(|(peer, _)| peer).collect();
    let (answered, of) = search.standing();
    assert!(answered <= of && of <= usize::from(net.k));
    Played { found, cost: search.cost(), asked }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_is_found_where_all_are_honest(
        peers in 1..200u16, k in 3..20u16, alpha in 1..5u16, paths in 1..9u16,
        target in any::<u64>(), seed in any::<u64>(),
    ) {
        let net = Net { peers, liars: 0, k, target: Key([target, 0, 0, 0]) };
        let played = play(&net, paths, alpha, &[], seed);
        let all = (1..=peers).map(P).collect();
        prop_assert_eq!(played.found, closest(all, net.target, k.into()));
        prop_assert_eq!(played.cost.rpcs as usize, played.asked.len());
        let plain = play(&net, 1, alpha, &[], seed).cost.rpcs;
        prop_assert!(played.cost.rpcs <= 4 * (plain + u32::from(paths)), "{}", played.cost.rpcs);
    }

    /// It ends within its requests, whoever is silent, and tells only of those that answered.
    #[test]
    fn it_ends_with_those_that_answer(
        peers in 1..100u16, liars in 0..50u16, k in 1..8u16, paths in 1..9u16,
        target in any::<u64>(), seed in any::<u64>(),
        silent in proptest::collection::vec(1..100u16, 0..60),
    ) {
        let silent: Vec<P> = silent.into_iter().map(P).collect();
        let net = Net { peers, liars: liars.min(peers), k, target: Key([target, 0, 0, 0]) };
        let played = play(&net, paths, 1, &silent, seed);
        prop_assert!(played.found.iter().all(|peer| !silent.contains(peer)));
        prop_assert!(played.found.len() <= k.into());
        if paths > 1 {
            prop_assert!(played.cost.rpcs as usize <= REQUESTS_EACH_MAX * usize::from(k));
        }
    }
}

/// Of 200 searches among 300 peers of whom two in five lie, how many find all the honest among the
/// closest.
fn right(paths: u16) -> usize {
    let is_right = |n: u64| {
        let target = Key([Random::new(!n).bits(), 0, 0, 0]);
        let net = Net { peers: 300, liars: 120, k: 8, target };
        let played = play(&net, paths, 3, &[], n);
        let truth = closest((1..=net.peers).map(P).collect(), target, net.k.into());
        truth.iter().all(|peer| net.is_liar(*peer) || played.found.contains(peer))
    };
    (0..200).filter(|n| is_right(*n)).count()
}

#[test]
fn eight_paths_find_the_honest_where_one_does_not() {
    let (one, eight) = (right(1), right(8));
    assert!(one < 190 && eight >= 199, "{one} and {eight} of 200");
}
