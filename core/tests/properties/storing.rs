//! What strangers can make a peer keep.

use std::collections::BTreeMap;
use std::sync::Arc;

use peerless_core::{
    Answer, Config, Core, Effect, Input, ItemKey, Message, Name, Owner, Query, Record, Setup, Span,
    Tag, Time, Turn,
};
use proptest::prelude::*;

use crate::world::{Bench, OWNER, P, host, name, record, small, tombstone};

const MOST: u32 = 16;

/// One core whose store does at once what it says.
struct Holder {
    core: Core<P>,
    config: Config,
    kept: BTreeMap<ItemKey, Arc<Record>>,
    asked: u32,
}

impl Holder {
    fn new() -> Self {
        Self::with(MOST)
    }

    fn with(records_max: u32) -> Self {
        let setup = Setup { owner: Some(OWNER), ..host(1, 1, 4) };
        let config = Config { records_max, ..small() };
        Self { core: Core::new(P(0), setup, 1, 0), config, kept: BTreeMap::new(), asked: 0 }
    }

    fn feed(&mut self, input: Input<P>) -> Option<Answer<P>> {
        let mut effects = Vec::new();
        self.core.handle(input, &mut Turn::new(Time(0), &self.config, &mut effects));
        let mut answer = None;
        for effect in effects {
            match effect {
                Effect::Keep { tag, item } => {
                    if let peerless_core::Item::Record(record) = &item {
                        self.kept.insert(item.key(), record.clone());
                    }
                    answer = answer.or(self.feed(Input::Kept { tag }));
                }
                Effect::Forget(key) => drop(self.kept.remove(&key)),
                Effect::Send { message: Message::Answer(_, given), .. } => answer = Some(given),
                _ => {}
            }
        }
        answer
    }

    fn ask(&mut self, from: P, query: Query<P>) -> Option<Answer<P>> {
        self.asked += 1;
        let tag = Tag { slot: self.asked, epoch: 0, incarnation: 0 };
        self.feed(Input::Heard { from, message: Message::Query(tag, query) })
    }

    /// Whether it says that it keeps a record.
    fn stores(&mut self, from: u8, record: Record) -> bool {
        let answer = self.ask(P(from), Query::Store(record.into()));
        matches!(answer, Some(Answer::Stored { kept: true, .. }))
    }
}

/// A name at a place, and an owner, of which there are many.
fn at(place: u8, which: u8, owner: u8) -> Record {
    let mut record = tombstone(Name([which; 32]), 1);
    (record.function.0[0], record.function.0[1]) = (place << 4, owner);
    record.owner = if owner == 0 { OWNER } else { Owner([owner; 32]) };
    record
}

#[test]
fn nobody_takes_more_than_its_part() {
    let mut holder = Holder::new();
    let by_one = (1..20).filter(|n| holder.stores(1, at(1, *n, *n))).count();
    assert_eq!(by_one, 2, "an eighth of the places is one peer's");
    let by_many = (1..15).filter(|n| holder.stores(*n, at(2, *n, 99))).count();
    assert_eq!(by_many, 2, "an eighth of the places is one owner's");
    let own = (20..60).filter(|n| holder.stores(1, at(15, *n, 0))).count();
    assert_eq!(own, 40, "the own owner's records have no bound");
}

/// Each is a write to disk, however often it replaces the one before.
#[test]
fn nobody_brings_more_than_so_many_at_once() {
    let mut holder = Holder::new();
    let version = |version| Record { version, ..at(1, 1, 1) };
    let kept = (1..2000).filter(|n| holder.stores(1, version(*n))).count();
    assert_eq!(kept, 1024);
    assert!(holder.stores(2, version(5000)), "the bound is each peer's own");
    let own = (1..2000).filter(|n| holder.stores(1, Record { version: *n, ..at(1, 1, 0) })).count();
    assert_eq!(own, 1999, "the own owner's records have no bound");
}

/// Not even the farthest.
#[test]
fn nothing_gives_way_for_what_may_not_be_brought() {
    let mut holder = Holder::new();
    let full = (1..=MOST as u8).filter(|n| holder.stores(*n, at(8, *n, *n))).count();
    assert_eq!(full, MOST as usize);
    let version = |version| Record { version, ..at(8, 1, 1) };
    let kept = (2..2000).filter(|n| holder.stores(1, version(*n))).count();
    assert_eq!(kept, 1023, "one more came before");
    assert!(!holder.stores(1, at(1, 99, 99)), "it brought too many");
    assert_eq!(holder.kept.len(), full);
    assert!(holder.stores(2, at(1, 99, 99)));
}

/// Whoever brings a record that is overtaken while it is being kept hears of the newer one.
#[test]
fn an_answer_names_what_came_meanwhile() {
    let mut bench = Bench::new(0, host(1, 1, 4), small());
    let f = name('f', 5);
    bench.asks(1, Query::Store(record(f, 1, 1)));
    bench.asks(2, Query::Store(record(f, 2, 1)));
    bench.kept();
    bench.kept();
    let text = bench.rest();
    let answers: Vec<_> = text.lines().filter(|line| line.contains("Stored")).collect();
    assert_eq!(answers, ["  → p1  Stored not, newer f5 v2", "  → p2  Stored"], "{text}");
}

#[test]
fn nothing_is_kept_for_ever() {
    let mut holder = Holder::new();
    let lives =
        |days: u64| Record { expires: Time(0) + Span::minutes(days * 24 * 60), ..at(1, 1, 1) };
    assert!(!holder.stores(1, Record { expires: Time::NEVER, ..at(1, 1, 1) }));
    assert!(!holder.stores(1, lives(92)));
    assert!(holder.stores(1, lives(90)));
}

/// The answer to an announcement says that both the record is kept and the host noted.
#[test]
fn a_host_that_is_not_noted_is_told_so() {
    let mut holder = Holder::new();
    let f = record(name('f', 5), 1, 1);
    holder.config.hosts_max = 1;
    let noted: Vec<bool> = (1..16)
        .map(|peer| {
            let answer = holder.ask(P(peer), Query::Provide(f.function, Some(f.clone())));
            matches!(answer, Some(Answer::Stored { kept: true, .. }))
        })
        .collect();
    let last = noted.iter().rposition(|noted| *noted).expect("one of them is noted") as u8 + 1;
    assert!(noted.contains(&false));
    let Some(Answer::Found { hosts, .. }) = holder.ask(P(1 + last % 15), Query::Hosts(f.function))
    else {
        panic!("it answers");
    };
    assert_eq!(hosts, [P(last)]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Of others' records the closest stay, the own owner's all; what is said to be kept is kept.
    #[test]
    fn the_closest_stay(
        stored in proptest::collection::vec((1..16u8, 0..16u8, 1..40u8, 0..20u8), 0..400),
        // With and without an index.
        most in prop_oneof![Just(16), Just(96)],
    ) {
        let mut holder = Holder::with(most);
        let mut own = 0;
        for (from, place, which, owner) in stored {
            let new = at(place, which, owner);
            let key = ItemKey::Record(new.function);
            let (before, full) = (holder.kept.clone(), others(&holder).len() == most as usize);
            let known = before.contains_key(&key);
            own += usize::from(owner == 0 && !known);
            let kept = holder.stores(from, new.clone());
            prop_assert_eq!(kept, holder.kept.get(&key).is_some_and(|it| **it == new));
            prop_assert!(others(&holder).len() <= most as usize);
            let gone: Vec<_> = before.iter().filter(|(k, _)| !holder.kept.contains_key(*k)).collect();
            prop_assert!(gone.is_empty() || full && kept && gone.len() == 1);
            for (_, record) in gone {
                prop_assert!(record.owner != OWNER, "the own owner's stay");
                let farthest = others(&holder).into_iter().map(|r| r.function.0[0]).max();
                prop_assert!(Some(record.function.0[0]) >= farthest, "the farthest goes");
            }
        }
        prop_assert!(holder.kept.values().filter(|r| r.owner == OWNER).count() <= own);
    }
}

fn others(holder: &Holder) -> Vec<Arc<Record>> {
    holder.kept.values().filter(|record| record.owner != OWNER).cloned().collect()
}
