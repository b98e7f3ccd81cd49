//! The agenda against a heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use peerless_sim::agenda::{Agenda, When};
use proptest::prelude::*;

/// What a test does to an agenda: push so far ahead, to whom and from whom; or pop.
#[derive(Clone, Debug)]
enum Step {
    Push(u64, u32, u32),
    Pop,
    Peek,
}

fn step() -> impl Strategy<Value = Step> {
    // Nothing, within a bucket, within the era, the next eras, and minutes ahead.
    let ahead = prop_oneof![
        Just(0),
        0_u64..100,
        0_u64..200_000,
        0_u64..2_000_000_000,
        0_u64..600_000_000_000
    ];
    prop_oneof![
        3 => (ahead, 0_u32..5, 0_u32..5).prop_map(|(ahead, to, from)| Step::Push(ahead, to, from)),
        2 => Just(Step::Pop),
        1 => Just(Step::Peek),
    ]
}

/// Every third entry is bare.
fn what(counter: u64) -> Option<u64> {
    (!counter.is_multiple_of(3)).then_some(counter)
}

proptest! {
    #[test]
    fn comes_in_order(start in 0_u64..5_000_000_000, steps in prop::collection::vec(step(), 0..400)) {
        let mut agenda = Agenda::new();
        let mut heap = BinaryHeap::new();
        let mut now = start;
        for (counter, step) in (0..).zip(steps) {
            match step {
                Step::Push(ahead, to, from) => {
                    let when = When { time: now + ahead, to, from, counter };
                    agenda.push(when, what(counter));
                    heap.push(Reverse(when));
                }
                Step::Pop => {
                    let expected = heap.pop().map(|Reverse(when)| (when, what(when.counter)));
                    prop_assert_eq!(agenda.pop(), expected);
                    now = expected.map_or(now, |(when, _)| when.time);
                }
                Step::Peek => {
                    let expected = heap.peek().map(|Reverse(when)| when.time);
                    prop_assert_eq!(agenda.next_time(), expected);
                }
            }
            prop_assert_eq!(agenda.len(), heap.len());
        }
        while let Some(Reverse(when)) = heap.pop() {
            prop_assert_eq!(agenda.pop(), Some((when, what(when.counter))));
        }
        prop_assert!(agenda.is_empty());
    }
}

#[test]
fn same_instant_goes_by_destination_source_and_counter() {
    let mut agenda = Agenda::new();
    for (to, from, counter) in [(2, 1, 1), (1, 2, 9), (1, 1, 8), (1, 1, 3)] {
        agenda.push(When { time: 7, to, from, counter }, ());
    }
    let order: Vec<(u32, u32, u64)> = std::iter::from_fn(|| agenda.pop())
        .map(|(when, _)| (when.to, when.from, when.counter))
        .collect();
    assert_eq!(order, [(1, 1, 3), (1, 1, 8), (1, 2, 9), (2, 1, 1)]);
}
