//! Determinism: what changes a digest, and what must not.

use std::fmt::Write as _;

use peerless_core::{Input, Request, Span, Target, Time};
use peerless_sim::peer::Index;
use peerless_sim::scenario::{Scenario, Silence};
use peerless_sim::world::{NOBODY, START, World};

use crate::support;

/// The checks before a landing run each of these commands again, by either build.
#[test]
fn golden() {
    let mut text = String::new();
    for (name, _) in support::SMALL {
        let report = support::run_small(name, 1);
        let (digest, broken) = (report.digest, report.violations);
        let _ = writeln!(text, "{}\t{digest}", support::command(name, 1));
        assert!(broken.is_empty(), "{name}: {broken:#?}");
    }
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("golden_digests", text) });
}

#[test]
fn same_seed_same_digest_other_seed_another() {
    for (name, _) in support::SMALL {
        let of = |seed| support::run_small(name, seed).digest;
        let first = of(7);
        assert_eq!(first, of(7), "{name}");
        assert_ne!(first, of(8), "{name}");
    }
}

/// Runs a world up to an instant; the digest, and everything that a core or a machine noticed: to
/// whom, from whom, and the source's counter.
fn noticed(scenario: &Scenario, until: Time, nudged: Option<Nudge>) -> (u64, Vec<Nudge>) {
    let mut world = World::new(scenario.clone(), 1);
    world.nudged = nudged;
    let mut all = Vec::new();
    while let Some(next) = world.upcoming().filter(|next| next.time < until.0) {
        let before = world.digest();
        world.step();
        if world.digest() != before {
            all.push((next.to, next.from, next.counter));
        }
    }
    (world.digest(), all)
}

type Nudge = (u32, u32, u64);

/// Of everything that comes from another peer each is one nanosecond late, one at a time.
fn every_arrival_shows(text: &str, seconds: u64) -> usize {
    let scenario = support::parse(text);
    let until = START + Span::secs(seconds);
    let (plain, all) = noticed(&scenario, until, None);
    let arrivals: Vec<Nudge> =
        all.into_iter().filter(|(to, from, _)| to != from && *to != NOBODY).collect();
    for nudge in &arrivals {
        assert_ne!(noticed(&scenario, until, Some(*nudge)).0, plain, "(to, from, nth) {nudge:?}");
    }
    let never = (1, 0, 1_000_000);
    assert_eq!(noticed(&scenario, until, Some(never)).0, plain, "what was never sent");
    arrivals.len()
}

#[test]
fn every_message_a_nanosecond_later_shows() {
    let lookups = "peers = 30\n[lookups]\ncount = 12\n[core]\nk = 4\nrefresh_period = \"0s\"";
    let messages = every_arrival_shows(lookups, 2);
    assert!(messages > 100, "only {messages} messages");
}

#[test]
fn every_packet_of_a_call_a_nanosecond_later_shows() {
    let job = "peers = 7\nowners = 1\n[functions]\nreplicas = [2, 2]\nservice = \"300ms\"\n\
               [host]\nslots = 2\nqueue = 2\n[manycalls]\nitems = 20\nstart = \"5s\"\n\
               [core]\nk = 4\nrefresh_period = \"0s\"";
    let arrivals = every_arrival_shows(job, 12);
    // Each item takes a call and an answer of two packets, and there are the placement's messages.
    assert!(arrivals > 80, "only {arrivals} messages and packets");
}

#[test]
fn a_wake_more_moves_no_loss() {
    let text = "peers = 40\n[lookups]\ncount = 50\n[network]\nloss = 0.2\n[core]\nk = 4";
    let costs = |wakes: u32| {
        let mut world = World::new(support::parse(text), 1);
        for peer in 0..wakes {
            world.tell_now(peer, Input::Wake);
        }
        // Before the first refresh, which a wake may put off.
        world.run_until(START + Span::secs(60));
        let lookups = &world.work().lookups;
        assert!(lookups.timeouts > 0, "nothing was lost");
        (lookups.rpcs.clone(), lookups.latency.clone(), lookups.timeouts)
    };
    assert_eq!(costs(0), costs(40));
}

#[test]
fn births_and_deaths_show() {
    let digest = |change: fn(&mut World)| {
        let mut world = World::new(support::parse("peers = 5"), 1);
        change(&mut world);
        world.digest()
    };
    let digests = [
        digest(|_| {}),
        digest(|world| world.remove(2, Silence::Machine)),
        digest(|world| world.remove(2, Silence::Process)),
        digest(|world| world.remove(3, Silence::Machine)),
        digest(|world| {
            world.remove(2, Silence::Machine);
            world.restart(2);
        }),
        digest(|world| _ = world.add()),
    ];
    let mut distinct = digests.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), digests.len(), "{digests:x?}");
}

#[test]
fn later_work_moves_nothing_earlier() {
    // More lookups, more replacements, more of everything drawn: what came before stays.
    let prefix = |sets: &[&str]| {
        let mut world = World::new(support::scenario("lookup", sets), 1);
        world.run_until(START + Span::ms(50));
        (world.digest(), world.work().lookups.count)
    };
    let few = prefix(&["peers=200", "lookups.count=60"]);
    let more = prefix(&["peers=200", "lookups.count=500"]);
    let with_churn = prefix(&["peers=200", "lookups.count=60", "churn.start=1s"]);
    assert_eq!(few, more);
    assert_eq!(few, with_churn);
}

#[test]
fn the_order_of_stepping_is_not_in_the_digest() {
    // Two users who ask at the same instant, in either order.
    let digest = |peers: [u32; 2]| {
        let scenario = support::parse("peers = 30\n[core]\nrefresh_period = \"0s\"");
        let mut world = World::new(scenario, 1);
        for peer in peers {
            let target = Target::Peer(Index(peer + 9));
            // Tickets are drawn in the order of asking: the same one for each.
            world.tell_now(peer, Input::Ask(1, Request::Lookup(target)));
        }
        world.run_until(START + Span::secs(5));
        world.digest()
    };
    assert_eq!(digest([3, 11]), digest([11, 3]));
}

#[test]
fn a_converged_start_holds_the_right_peers() {
    let world = World::new(support::scenario("lookup", &["peers=300", "core.k=5"]), 1);
    for peer in [0, 17, 299] {
        let table = world.table(peer);
        let shared = |other: u32| {
            let distance = peerless_sim::peer::limb(peer) ^ peerless_sim::peer::limb(other);
            distance.leading_zeros()
        };
        for bits in 0..20 {
            let there = (0..300).filter(|other| *other != peer && shared(*other) == bits).count();
            let known = table.iter().filter(|other| shared(other.0) == bits).count();
            assert_eq!(known, there.min(5), "peer {peer}, bucket {bits}");
        }
        let mut distinct = table.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), table.len());
    }
}
