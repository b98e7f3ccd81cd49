//! An owner's nodes come to have the same set, whatever each of them has at first and however little
//! fits into one comparison.

use std::collections::BTreeMap;

use peerless_core::{Config, Digest, Name, Record, Setup, Span};
use proptest::prelude::*;

use crate::world::{OWNER, World, function, host, small, tombstone};

/// A record of one of twelve functions: which, its version, and what it says.
fn record((which, version, what): (u8, u64, u8)) -> Record {
    let mut name = Name([0; 32]);
    (name.0[0], name.0[1]) = (which << 4 | 3, which);
    if what == 0 {
        return tombstone(name, version);
    }
    let mut record = function(name, version, (1, 1));
    record.spec.as_mut().expect("it can run").digest = Digest([what; 32]);
    record
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (0..12u8, 1..4u64, 0..4u8).prop_map(record);
    proptest::collection::vec(one, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn siblings_come_to_have_the_same(
        sets in proptest::collection::vec(records(), 2..4),
        sync_have_max in 1..6u16,
        sync_records_max in 1..4u16,
    ) {
        let sync_period = Span::secs(60);
        let config = Config { k: 4, sync_period, sync_have_max, sync_records_max, ..small() };
        let mut world = World::new(config);
        let mut best: BTreeMap<Name, Record> = BTreeMap::new();
        for (peer, set) in sets.iter().enumerate() {
            let mut first: BTreeMap<Name, Record> = BTreeMap::new();
            for record in set {
                let of = |known: Option<&Record>| known.is_none_or(|old| record.supersedes(old));
                if of(first.get(&record.function)) {
                    first.insert(record.function, record.clone());
                }
                if of(best.get(&record.function)) {
                    best.insert(record.function, record.clone());
                }
            }
            for record in first.into_values() {
                world.keeps(peer as u8, record);
            }
        }
        let owner = Setup { owner: Some(OWNER), ..host(1, 1, 4) };
        for peer in [8, 0, 1, 2] {
            world.start(peer, owner.clone());
            if peer != 8 {
                world.meet(peer, 8);
            }
        }
        world.pass(Span::minutes(6));
        for peer in 0..sets.len() {
            let kept = world.records(peer as u8);
            prop_assert!(kept.iter().eq(best.values()), "{:?} and not {:?}", kept, best);
        }
        world.rest();
    }
}
