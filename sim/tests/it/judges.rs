//! The judges are right, and can condemn.

use std::sync::Arc;

use peerless_core::{Digest, Input, Name, Request, Time};
use peerless_sim::census::{CAPACITY, Census};
use peerless_sim::laws::Laws;
use peerless_sim::oracle::Oracle;
use peerless_sim::peer::{Index, limb};
use peerless_sim::world::World;

use crate::support;

/// Positions by which peers 0 to 7 lie in order: 000…, 001…, to 111….
fn eighths(index: u32) -> u64 {
    u64::from(index) << 61
}

#[test]
fn the_closest_are_those_of_a_brute_search() {
    let oracle = Oracle::new(limb, 500, 0);
    for n in 0..50_u32 {
        let target = limb(n + 1_000_000);
        let mut all: Vec<u32> = (0..500).filter(|peer| *peer != n).collect();
        all.sort_by_key(|peer| limb(*peer) ^ target);
        assert_eq!(oracle.closest(target, 20, 0, Some(n)), all[..20]);
    }
}

#[test]
fn who_comes_and_goes_counts_while_there() {
    let mut oracle = Oracle::new(eighths, 6, 0);
    oracle.left(10, 1);
    oracle.joined(20, 6);
    oracle.joined(30, 1);
    let at = |time| oracle.closest(eighths(0), 3, time, None);
    assert_eq!(at(5), [0, 1, 2]);
    assert_eq!(at(15), [0, 2, 3]);
    assert_eq!(at(30), [0, 1, 2]);
    assert_eq!(oracle.closest(eighths(7), 2, 15, None), [5, 4]);
    assert_eq!(oracle.closest(eighths(7), 2, 25, None), [6, 5]);
    assert_eq!(oracle.live(), 7);
}

#[test]
fn an_answer_lacks_the_honest_that_are_not_in_it() {
    let mut oracle = Oracle::new(eighths, 6, 0);
    oracle.left(10, 1);
    let lacks = |start, end, answer: &[u32]| {
        oracle.lacks(eighths(0), 3, 5, (start, end), answer, |peer| peer != 2)
    };
    assert_eq!(lacks(0, 5, &[0, 1, 2]), (0, 0));
    assert_eq!(lacks(0, 5, &[4, 1, 0]), (0, 0), "the liar need not be in it, nor the order right");
    assert_eq!(lacks(0, 5, &[2, 3, 4]), (2, 2));
    assert_eq!(lacks(0, 15, &[0, 1, 2]), (0, 1), "at the start none, at the end 3");
    assert_eq!(lacks(11, 15, &[0, 3]), (0, 0));
}

#[test]
fn an_answer_is_right_if_true_at_some_instant() {
    let mut oracle = Oracle::new(eighths, 6, 0);
    oracle.left(10, 1);
    oracle.left(20, 2);
    let judge = |start, end, answer: &[u32]| {
        let verdict = oracle.judge(eighths(0), 2, 5, (start, end), answer);
        (verdict.succeeded, verdict.exact)
    };
    assert_eq!(judge(0, 5, &[0, 1]), (true, true));
    assert_eq!(judge(0, 15, &[0, 1]), (true, false));
    assert_eq!(judge(0, 15, &[0, 2]), (true, true));
    assert_eq!(judge(0, 25, &[0, 2]), (true, false), "between the two");
    assert_eq!(judge(11, 15, &[0, 1]), (false, false), "1 was gone before");
    assert_eq!(judge(0, 5, &[1, 0]), (false, false), "in the wrong order");
    assert_eq!(judge(0, 5, &[0]), (false, false), "one is missing");
    assert_eq!(judge(0, 5, &[0, 3]), (false, false), "not the closest");
}

fn broken(feed: impl Fn(&mut Laws)) -> Vec<String> {
    let mut laws = Laws::default();
    laws.started(0, 1);
    laws.started(1, 1);
    feed(&mut laws);
    laws.settled();
    laws.violations.kept.into_iter().map(|violation| violation.what).collect()
}

#[test]
fn what_runs_once_is_not_run_again() {
    let what = broken(|laws| {
        for item in [0, 1, 0] {
            laws.runs_once(Time(1), 1, 0, 7, item);
        }
        laws.runs_once(Time(1), 1, 1, 7, 0);
    });
    assert_eq!(what, ["run-once: item 0 of ticket 7 is run again"]);
}

#[test]
fn what_a_crash_takes_is_no_breach() {
    let what = broken(|laws| {
        laws.input(Time(1), Time(1), 0, &Input::Ask(1, Request::<Index>::List));
        laws.input(Time(1), Time(1), 1, &Input::Ask(1, Request::<Index>::List));
        laws.crashed(0);
    });
    assert_eq!(what, ["final-tell: ticket 1 never ended"], "the other peer's is");
}

#[test]
fn hosts_are_counted_over_time() {
    let name = Name([7; 32]);
    let mut census = Census::default();
    census.expect(name, 2);
    census.installed(10, 1, &name, 1);
    census.installed(20, 2, &name, 1);
    census.left(40, 1);
    census.left(50, 2);
    census.installed(60, 3, &name, 1);
    census.installed(80, 4, &name, 1);
    let function = &census.functions[0];
    assert_eq!(function.log, [(10, 1), (20, 2), (40, 1), (50, 0), (60, 1), (80, 2)]);
    assert_eq!(function.repairs, [40], "short from 40 to 80");
    assert_eq!((function.lost, function.gained), (2, 2));
    // 10 of the 100 since the first host there was none.
    assert!((census.hostless_fraction(110) - 0.1).abs() < 1e-9);
    // From 20 on two hosts of one slot do 40 until 40, one 10 until 50, none until 60, then one.
    assert_eq!(function.could_be_done(20, 40, |_| CAPACITY), Some(40));
    assert_eq!(function.could_be_done(20, 55, |_| CAPACITY), Some(65));
    assert_eq!(function.could_be_done(20, 55, |_| 2 * CAPACITY), Some(34));
    assert_eq!(function.could_be_done(85, 10, |_| CAPACITY), Some(90));
    // The first has three slots, the others are of half the speed.
    let unequal = |host| if host == 1 { 3 * CAPACITY } else { CAPACITY / 2 };
    assert_eq!(function.could_be_done(20, 70, unequal), Some(40));
    assert_eq!(function.could_be_done(20, 73, unequal), Some(46));
    assert_eq!(function.could_be_done(20, 76, unequal), Some(62));
}

#[test]
fn a_world_condemns_an_answer_that_is_not_true() {
    // An honest world has no violations; one in which the oracle believes in a peer that is not
    // there has.
    let honest = support::run_small("lookup", 1);
    assert!(honest.violations.is_empty(), "{:?}", honest.violations);
    let scenario = support::scenario("lookup", &["peers=60", "lookups.count=40"]);
    let mut world = World::new(scenario, 1);
    let ghost = world.add();
    assert_eq!(ghost, 60);
    world.run();
    let meter = peerless_sim::meter::Meter::start();
    let report = peerless_sim::report::report(&mut world, 1, 0.0, meter);
    let lookup = report.lookup.expect("it looks things up");
    assert!(lookup.exact < lookup.count, "nobody can know of a peer that has met nobody");
    assert!(report.violations.iter().any(|broken| broken.what.starts_with("lookup_exact_min")));
}

#[test]
fn what_the_workload_deploys_can_run() {
    let world = World::new(support::small("placement"), 1);
    let record = Arc::new(world.record_of(3, 1));
    let spec = record.spec.as_ref().expect("it is no tombstone");
    assert_ne!(spec.digest, Digest([0; 32]));
    assert_eq!(record.function, world.functions()[3]);
    assert!(record.lives(world.now()));
}
