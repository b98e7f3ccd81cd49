//! The search beside an oracle that sees the whole network.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::key::Name;
use crate::random::Random;

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct P(u16);

/// Positions as spread as a hash would have them.
fn mixed(number: u16) -> Key {
    let mut random = Random::new(number.into());
    Key([random.bits(), 0, 0, number.into()])
}

impl Peer for P {
    fn key(self) -> Key {
        mixed(self.0)
    }

    fn position(name: &Name) -> Key {
        Key::from_bytes(&name.0)
    }
}

/// The `n` of these that are closest to a target.
fn closest(peers: &[P], target: Key, n: usize) -> Vec<P> {
    let mut sorted = peers.to_vec();
    sorted.sort_by_key(|peer| peer.key().distance(target));
    sorted.truncate(n);
    sorted
}

/// A converged table: k a bucket.
fn table(me: P, peers: &[P], k: usize) -> Vec<P> {
    let mut counts = vec![0; 257];
    let mut known = Vec::new();
    for peer in peers.iter().filter(|peer| **peer != me) {
        let bucket = me.key().shared_prefix(peer.key()) as usize;
        counts[bucket] += 1;
        if counts[bucket] <= k {
            known.push(*peer);
        }
    }
    known
}

/// Plays a search over static tables. Answers come in a random order; the dead never answer.
fn play(
    n: u16,
    k: u16,
    (alpha, near): (u16, u16),
    target: Key,
    dead: &[P],
    seed: u64,
) -> (Vec<P>, Cost) {
    let peers: Vec<P> = (0..n).map(P).collect();
    let me = peers[0];
    let seeds = closest(&table(me, &peers, k.into()), target, k.into());
    let mut lookup = Lookup::new(target, k, alpha, near, &seeds);
    let (mut waiting, mut asked) = (Vec::new(), Vec::new());
    let (mut heard, mut answered) = (seeds, Vec::new());
    let mut random = Random::new(seed);
    loop {
        match lookup.next() {
            Next::Ask(peer) => {
                assert!(!asked.contains(&peer), "nobody is asked twice");
                asked.push(peer);
                waiting.push(peer);
                // Of the k closest known that did not fail, one has answered only near the target.
                let closest = closest(&heard, target, k.into());
                let is_near = closest.iter().any(|peer| answered.contains(peer));
                let most = if is_near { near.max(alpha) } else { alpha };
                assert!(waiting.len() <= most.into(), "at most α wait, and more only near");
            }
            Next::Wait => {
                assert!(!waiting.is_empty(), "it waits for somebody");
                let peer = waiting.swap_remove(random.below(waiting.len() as u64) as usize);
                if dead.contains(&peer) {
                    lookup.failed(peer);
                    heard.retain(|other| *other != peer);
                } else {
                    let others: Vec<P> = peers.iter().copied().filter(|p| *p != me).collect();
                    let known = table(peer, &others, k.into());
                    let named = closest(&known, target, k.into());
                    lookup.answered(peer, &named, me);
                    answered.push(peer);
                    let failed = |named: &P| dead.contains(named) && asked.contains(named);
                    let waits = |named: &P| waiting.contains(named);
                    let fresh = named.into_iter().filter(|p| waits(p) || !failed(p));
                    heard.extend(fresh.filter(|p| !heard.contains(p)).collect::<Vec<P>>());
                }
            }
            Next::Done => break,
        }
    }
    let cost = lookup.cost();
    assert_eq!(cost.rpcs as usize, asked.len());
    (lookup.closest().map(|(peer, _)| peer).collect(), cost)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn finds_the_closest_where_everybody_answers(
        n in 1..200u16, k in 3..20u16, alpha in 1..5u16, near in 1..20u16, target in any::<u64>(),
        seed in any::<u64>(),
    ) {
        let target = Key([target, 0, 0, 0]);
        let (found, cost) = play(n, k, (alpha, near), target, &[], seed);
        let others: Vec<P> = (1..n).map(P).collect();
        prop_assert_eq!(found, closest(&others, target, k.into()));
        prop_assert!(cost.timeouts == 0 && cost.rpcs < n.into());
        // Kademlia: each round halves the distance at least, and ends with the k closest.
        let bound = u32::from(k) + (u32::from(alpha) + 1) * (n.ilog2() + 2) + u32::from(near);
        prop_assert!(cost.rpcs <= bound, "{} rpcs of {}", cost.rpcs, bound);
    }

    #[test]
    fn ends_with_live_ones_whoever_is_dead(
        n in 1..100u16, k in 1..20u16, alpha in 1..5u16, near in 1..20u16, target in any::<u64>(),
        seed in any::<u64>(),
        dead in proptest::collection::vec(0..100u16, 0..60),
    ) {
        let dead: Vec<P> = dead.into_iter().map(P).collect();
        let (found, cost) = play(n, k, (alpha, near), Key([target, 0, 0, 0]), &dead, seed);
        prop_assert!(found.iter().all(|peer| !dead.contains(peer)));
        prop_assert!(found.len() <= k.into() && cost.timeouts as usize <= dead.len());
    }
}

/// Every order in which up to four peers answer or stay silent, from any of them known at first.
#[test]
fn every_order_of_four() {
    for n in 0..=4u16 {
        let peers: Vec<P> = (1..=n).map(P).collect();
        for seeds in 0..1u16 << n {
            for k in 1..=4 {
                for alpha in 1..=3 {
                    let seeds: Vec<P> = chosen(&peers, seeds);
                    for near in [alpha, 4] {
                        let lookup = || Lookup::new(Key([0; 4]), k, alpha, near, &seeds);
                        explore(&peers, &lookup, &mut Vec::new());
                    }
                }
            }
        }
    }
}

fn chosen(peers: &[P], bits: u16) -> Vec<P> {
    peers.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, p)| *p).collect()
}

/// Replays `events` and then tries each next one: who waits answers that it knows everybody or
/// nobody, or stays silent.
fn explore(peers: &[P], lookup: &dyn Fn() -> Lookup<P>, events: &mut Vec<(P, u8)>) {
    let mut state = lookup();
    let (want, mut waiting, mut asked) = (state.want, Vec::new(), Vec::new());
    let mut known = Vec::new();
    for turn in 0..=events.len() {
        while let Next::Ask(peer) = state.next() {
            assert!(!asked.contains(&peer), "nobody is asked twice");
            asked.push(peer);
            waiting.push(peer);
        }
        if let Some((peer, how)) = events.get(turn).copied() {
            waiting.retain(|other| *other != peer);
            match how {
                0 => state.failed(peer),
                1 => drop(state.answered(peer, &[], P(0))),
                _ => drop(state.answered(peer, peers, P(0))),
            }
            if how > 0 {
                known.push(peer);
            }
        }
    }
    assert!(asked.len() <= peers.len());
    if state.next() == Next::Done {
        let found: Vec<P> = state.closest().map(|(peer, _)| peer).collect();
        let answered = closest(&known, Key([0; 4]), want);
        assert_eq!(found, answered, "the closest that answered are found");
        return;
    }
    assert!(!waiting.is_empty(), "it ends, or waits for somebody");
    for peer in waiting {
        for how in 0..3 {
            events.push((peer, how));
            explore(peers, lookup, events);
            events.pop();
        }
    }
}
