//! The table beside a model of it that is slow and plain.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::key::Name;
use crate::turn::Group;

/// Six bits of position, so that buckets fill up.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct P(u8);

impl Peer for P {
    fn key(self) -> Key {
        Key([u64::from(self.0) << 58, 0, 0, 0])
    }

    fn position(name: &Name) -> Key {
        Key::from_bytes(&name.0)
    }
}

const ME: P = P(0);

fn config(k: u16, misses_max: u8) -> Config {
    Config { k, misses_max, ..Config::standard() }
}

/// A list a bucket: each peer with how often in a row it did not answer.
#[derive(Default)]
struct Model {
    buckets: BTreeMap<u32, Vec<(P, u8)>>,
    spare: Vec<P>,
}

impl Model {
    fn answered(&mut self, peer: P, k: usize) {
        let bucket = self.buckets.entry(ME.key().shared_prefix(peer.key())).or_default();
        if let Some(known) = bucket.iter_mut().find(|(other, _)| *other == peer) {
            known.1 = 0;
            return;
        }
        self.spare.retain(|other| *other != peer);
        let doubtful = bucket.iter().position(|(_, misses)| *misses > 0);
        match doubtful.filter(|_| bucket.len() >= k) {
            Some(at) => {
                bucket.remove(at);
                bucket.push((peer, 0));
            }
            None if bucket.len() < k => bucket.push((peer, 0)),
            None => {
                self.spare.push(peer);
                if self.spare.len() > SPARE_MAX {
                    self.spare.remove(0);
                }
            }
        }
    }

    fn missed(&mut self, peer: P, misses_max: u8) {
        let shared = ME.key().shared_prefix(peer.key());
        let all: usize = self.buckets.values().map(Vec::len).sum();
        let last = all == 1 && self.spare.is_empty();
        let bucket = self.buckets.entry(shared).or_default();
        let Some(at) = bucket.iter().position(|(other, _)| *other == peer) else {
            self.spare.retain(|other| *other != peer);
            return;
        };
        bucket[at].1 = bucket[at].1.saturating_add(1);
        if bucket[at].1 < misses_max || last {
            return;
        }
        bucket.remove(at);
        let same = |other: &P| ME.key().shared_prefix(other.key()) == shared;
        if let Some(at) = self.spare.iter().rposition(same) {
            bucket.push((self.spare.remove(at), 0));
        }
    }

    fn closest(&self, target: Key, n: usize, except: Option<P>) -> Vec<P> {
        let all = self.buckets.values().flatten();
        let sure = all.filter(|(peer, misses)| *misses == 0 && Some(*peer) != except);
        let mut sure: Vec<P> = sure.map(|(peer, _)| *peer).collect();
        sure.sort_by_key(|peer| peer.key().distance(target));
        sure.truncate(n);
        sure
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn is_what_the_model_is(
        k in 1..6u16, misses_max in 1..4u8,
        steps in proptest::collection::vec((1..64u8, any::<bool>(), 0..64u8, 0..30usize), 0..200),
    ) {
        let (mut table, mut model) = (Table::new(), Model::default());
        let (config, groups) = (config(k, misses_max), Groups::new());
        let room = Room::new(&groups, &config);
        for (peer, answers, target, n) in steps {
            let peer = P(peer);
            if answers {
                table.answered(ME.key(), peer, &room);
                model.answered(peer, k.into());
            } else {
                table.missed(ME.key(), peer, &room);
                model.missed(peer, misses_max);
            }
            let mine: Vec<P> = table.iter().collect();
            let theirs: Vec<P> = model.buckets.values().flatten().map(|(p, _)| *p).collect();
            prop_assert_eq!(&mine, &theirs);
            prop_assert!(mine.iter().all(|peer| table.contains(ME.key(), *peer)));
            prop_assert!(model.buckets.values().all(|bucket| bucket.len() <= k.into()));
            let target = P(target).key();
            let found = table.closest(ME.key(), target, n, Some(peer));
            prop_assert_eq!(found, model.closest(target, n, Some(peer)));
        }
    }

    /// Whatever happens, no bucket holds more than two of one address group, or than its k; who has
    /// no group is kept out by none.
    #[test]
    fn few_of_one_group(
        k in 2..6u16,
        steps in proptest::collection::vec((1..64u8, 0..4u8, 0..4u64), 0..300),
    ) {
        let (mut table, mut groups) = (Table::new(), Groups::new());
        let config = config(k, 2);
        for (peer, what, group) in steps {
            let peer = P(peer);
            if what == 0 {
                let group = (group > 0).then_some(Group(group));
                groups.met(peer, group, |_| true);
                table.regrouped(ME.key(), peer, &Room::new(&groups, &config));
            }
            let room = Room::new(&groups, &config);
            if what == 1 {
                table.missed(ME.key(), peer, &room);
            } else {
                let had_room = table.has_room(ME.key(), peer, &room);
                let known = table.contains(ME.key(), peer);
                let new = table.answered(ME.key(), peer, &room);
                prop_assert_eq!(new, had_room && !known);
            }
            for bucket in 0..table.ends.all().len() {
                let peers = &table.peers[table.run(bucket)];
                prop_assert!(peers.len() <= k.into());
                for group in (1..4).map(Group) {
                    let of = peers.iter().filter(|peer| groups.of(**peer) == Some(group));
                    prop_assert!(of.count() <= 2, "{peers:?}");
                }
            }
        }
    }

    #[test]
    fn seeding_is_answering(peers in proptest::collection::btree_set(1..64u8, 0..40)) {
        let peers: Vec<P> = peers.into_iter().map(P).collect();
        let (mut seeded, mut answered) = (Table::new(), Table::new());
        seeded.seed(ME.key(), peers.clone());
        let (config, groups) = (config(64, 1), Groups::new());
        for peer in &peers {
            answered.answered(ME.key(), *peer, &Room::new(&groups, &config));
        }
        let (seeded, answered): (Vec<P>, Vec<P>) = (seeded.iter().collect(), answered.iter().collect());
        prop_assert_eq!(seeded, answered);
    }
}

/// All but the first in one bucket of the first; positions as close to each other as `SHIFT` makes them.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Near<const SHIFT: u32>(u16);

impl<const SHIFT: u32> Peer for Near<SHIFT> {
    fn key(self) -> Key {
        let far = u64::from(self.0 > 0) << 63;
        let own = u64::from(self.0.reverse_bits());
        if SHIFT == 0 { Key([far, 0, 0, own]) } else { Key([far | own << SHIFT, 0, 0, 0]) }
    }

    fn position(name: &Name) -> Key {
        Key::from_bytes(&name.0)
    }
}

fn many_in_one_bucket<const SHIFT: u32>() {
    let me = Near::<SHIFT>(0).key();
    for count in [1, 20, 21, 64, 65, 300, 5000] {
        let peers: Vec<Near<SHIFT>> = (1..=count).map(Near).collect();
        let mut table = Table::new();
        table.seed(me, peers.iter().copied());
        for n in [0, 1, 19, 20, 100] {
            let (target, except) = (Near::<SHIFT>(7).key(), Near(9));
            let found = table.closest(me, target, n, Some(except));
            let mut sorted: Vec<Near<SHIFT>> = peers.clone();
            sorted.retain(|peer| *peer != except);
            sorted.sort_by_key(|peer| peer.key().distance(target));
            sorted.truncate(n);
            assert_eq!(found, sorted, "{n} of {count}");
        }
    }
}

#[test]
fn the_closest_of_a_large_bucket_are_told_apart_however_late_they_differ() {
    many_in_one_bucket::<40>();
    many_in_one_bucket::<3>();
    many_in_one_bucket::<0>();
}
