//! An owner's nodes come to have the same set, whatever each of them has at first and however little
//! fits into one comparison.

use std::collections::BTreeMap;
use std::sync::Arc;

use peerless_core::{Config, Digest, Name, Query, Record, Request, Setup, Span};
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

/// Whether p2 brought a tombstone to this peer at once, as to a sibling.
fn pushes(text: &str, to: u8) -> bool {
    let new = text.lines().filter_map(|line| line.split_once("  Sync new ["));
    let removed = new.filter(|(_, what)| what.ends_with("removed]"));
    let peer = format!("p{to}");
    removed.into_iter().any(|(who, _)| who.contains("p2 →") && who.split(' ').any(|p| p == peer))
}

/// Two siblings, p2 and p3, of which p3 brought p2 a record.
fn two_siblings() -> World {
    let config = Config { k: 4, siblings_max: 2, sync_period: Span::secs(60), ..small() };
    let mut world = World::new(config);
    world.keeps(3, record((1, 1, 1)));
    for peer in [2, 3] {
        world.start(peer, Setup { owner: Some(OWNER), ..host(1, 1, 4) });
    }
    world.meet(2, 3);
    world.pass(Span::secs(10));
    assert_eq!(world.records(2), [record((1, 1, 1))]);
    world
}

fn remove(world: &mut World) {
    let tombstone = tombstone(record((1, 1, 1)).function, 2);
    world.ask(2, Request::Remove(tombstone.into()));
    world.pass(Span::secs(5));
}

/// Strangers that say they hold the key do not push out a sibling that brought something.
#[test]
fn a_sibling_that_brought_something_stays() {
    let mut world = two_siblings();
    for stranger in 8..15 {
        let (records, have) = (Vec::new(), Vec::new());
        world.query(stranger, 2, Query::Sync { owner: OWNER, records, have, range: None });
    }
    world.deliver();
    remove(&mut world);
    assert!(pushes(&world.rest(), 3));
}

/// One comparison that gets lost does not make it a stranger.
#[test]
fn a_sibling_that_missed_once_stays() {
    let mut world = two_siblings();
    let end = world.now + Span::secs(64);
    while world.letters() > 0 || world.next_due().is_some_and(|at| at < end) {
        world.lose_queries(2);
        world.lose_queries(3);
        if world.letters() > 0 {
            world.round();
        } else {
            world.happen_next();
        }
    }
    remove(&mut world);
    assert!(pushes(&world.rest(), 3));
}

/// A node that knew nobody when it removed a function still owes it to the holders, however often its
/// siblings bring it back to it.
#[test]
fn what_siblings_say_tells_no_holder() {
    let mut world = World::new(Config { k: 4, siblings_max: 4, ..small() });
    world.converged(&[8, 10, 12], &host(1, 1, 4));
    let removed = record((10, 1, 1));
    world.given(8, &Arc::new(removed.clone()));
    assert_eq!(world.hosts(removed.function).len(), 1);
    world.start(1, Setup { owner: Some(OWNER), ..host(1, 1, 4) });
    world.ask(1, Request::Remove(tombstone(removed.function, 2).into()));
    world.deliver();
    for sibling in [2, 3] {
        world.start(sibling, Setup { owner: Some(OWNER), ..host(1, 1, 4) });
    }
    world.meet(2, 3);
    world.meet(1, 2);
    world.pass(Span::secs(10));
    for _ in 0..3 {
        let records = vec![tombstone(removed.function, 2).into()];
        let query = Query::Sync { owner: OWNER, records, have: Vec::new(), range: None };
        world.query(3, 1, query);
        world.pass(Span::secs(1));
    }
    // Those that have it by word of mouth are gone before they tell it.
    world.crash(2);
    world.crash(3);
    world.meet(1, 8);
    world.pass(Span::minutes(6));
    assert_eq!(world.hosts(removed.function).len(), 0, "its host has heard of it");
    world.rest();
}

/// A newcomer that only says so gives way to the next, whichever came first.
#[test]
fn strangers_give_way_to_strangers() {
    let config = Config { k: 4, siblings_max: 2, ..small() };
    let mut world = World::new(config);
    world.start(2, Setup { owner: Some(OWNER), ..host(1, 1, 4) });
    world.start(3, Setup { owner: Some(OWNER), ..host(1, 1, 4) });
    for stranger in 8..12 {
        let (records, have) = (Vec::new(), Vec::new());
        world.query(stranger, 2, Query::Sync { owner: OWNER, records, have, range: None });
    }
    world.pass(Span::secs(3));
    world.meet(2, 3);
    world.pass(Span::secs(3));
    world.ask(2, Request::Remove(tombstone(record((1, 1, 1)).function, 2).into()));
    world.pass(Span::secs(5));
    assert!(pushes(&world.rest(), 3), "it found a place among the siblings");
}
