//! The search beside an oracle that sees the whole network.

mod exhaustive;

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
