//! The index says what a scan would.

use alloc::boxed::Box;

use proptest::prelude::*;

use super::*;
use crate::tests::P;

const ME: P = P(0);

fn name(place: u8, which: u8) -> Name {
    let mut bytes = [which; 32];
    bytes[0] = place;
    Name(bytes)
}

fn record(function: Name, owner: u8) -> Arc<Record> {
    let (owner, expires) = (Owner([owner; 32]), Time(1));
    Record { function, owner, version: 1, expires, spec: None, bytes: Box::new([]) }.into()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_says_what_a_scan_would(
        steps in proptest::collection::vec((0..255u8, 0..2u8, 0..4u8, 0..4u8, 0..8u8), 0..400),
        (first, last) in any::<(u8, u8)>(),
    ) {
        let mut records: Records<P> = Records::new();
        for (place, which, owner, from, what) in steps {
            // Owner 0 is this node's own.
            let from = (owner > 0).then_some(P(from));
            match what {
                0 => records.remove(name(place, which)),
                _ => records.insert(ME.key(), record(name(place, which), owner), from),
            }
        }
        let indexed = records.index.is_some();
        let range = (name(first, 0), name(last, 1));
        let all = |records: &Records<P>| {
            let owners = (0..5u8).map(|owner| Owner([owner; 32]));
            let of: Vec<Vec<Name>> =
                owners.map(|o| records.of(o, range).map(|r| r.function).collect()).collect();
            let counts: Vec<_> = (1..4)
                .map(|n| records.counts(Owner([n; 32]), P(n)))
                .collect();
            let farthest = records.farthest(ME.key(), |name| name.0[0].is_multiple_of(3));
            (of, counts, farthest)
        };
        let with = all(&records);
        records.index = None;
        prop_assert_eq!(with, all(&records));
        prop_assert!(indexed || records.by_name.len() < INDEXED_FROM);
        prop_assert!(!indexed || records.by_name.len() >= INDEXED_FROM / 2);
    }
}
