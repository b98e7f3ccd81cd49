//! Determinism: what changes a digest, and what must not.

use std::fmt::Write as _;

use peerless_sim::peer::Index;
use peerless_sim::world::World;

use crate::support;

#[test]
fn golden() {
    let mut text = String::new();
    for (name, _) in support::SMALL {
        let report = support::run_small(name, 1);
        let (digest, events, broken) = (report.digest, report.events, report.violations);
        let _ = writeln!(text, "{name:<13} {digest} after {events} events");
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

#[test]
fn one_message_a_nanosecond_later_shows() {
    let digest = |nudged| {
        let scenario = support::scenario("lookup", &["peers=50", "lookups.count=5"]);
        let mut world = World::new(scenario, 1);
        world.network_mut().nudged = nudged;
        world.run();
        world.digest()
    };
    let plain = digest(None);
    // Every peer's first message, where it sent one.
    let changed = (0..50).filter(|peer| digest(Some((*peer, 1))) != plain).count();
    assert!(changed > 20, "only {changed} of 50 showed");
    assert_eq!(digest(Some((3, 1_000_000))), plain, "a message that was never sent");
}

#[test]
fn later_work_moves_nothing_earlier() {
    // More lookups, more replacements, more of everything drawn: what came before stays.
    let prefix = |sets: &[&str]| {
        let mut world = World::new(support::scenario("lookup", sets), 1);
        world.run_until(peerless_sim::world::START + peerless_core::Span::ms(50));
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
            let target = peerless_core::Target::Peer(Index(peer + 9));
            // Tickets are drawn in the order of asking: the same one for each.
            world.tell_now(
                peer,
                peerless_core::Input::Ask(1, peerless_core::Request::Lookup(target)),
            );
        }
        world.run_until(peerless_sim::world::START + peerless_core::Span::secs(5));
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
