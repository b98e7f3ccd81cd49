//! The report's arithmetic, by hand.

use std::fmt::Write as _;

use peerless_sim::expect::hops_formula;
use peerless_sim::report::{Spread, rank};

use crate::support;

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let samples: Vec<u64> = (1..=100).rev().collect();
    let spread = Spread::of(&samples, 1.0);
    assert_eq!(spread, Spread { mean: 50.5, p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 });
    let few = Spread::of(&[4_000_000, 1_000_000, 2_500_000], 1e6);
    assert_eq!(few, Spread { mean: 2.5, p50: 2.5, p90: 4.0, p99: 4.0, max: 4.0 });
    assert_eq!(Spread::of(&[], 1.0), Spread::default());
    assert_eq!(rank(&[3, 5, 7], 95), 7);
}

#[test]
fn the_formula_gives_the_measured_rounds() {
    for (peers, rounds) in [(1e3, 1.00), (1e4, 1.49), (1e5, 2.07), (1e6, 2.66)] {
        let formula = hops_formula(peers, 20);
        assert!((formula - rounds).abs() < 0.01, "{peers}: {formula} where {rounds} is known");
    }
}

/// Two peers that know each other: the only other one is found in one round trip of 50 ms, by one
/// request, and was known before.
#[test]
fn a_world_of_two_reports_what_can_be_reckoned() {
    let scenario = support::parse(
        "peers = 2\n[lookups]\ncount = 3\ninterval = \"100ms\"\n[core]\nrefresh_period = \"0s\"",
    );
    let report = peerless_sim::report::run(&scenario, 1);
    let lookup = report.lookup.as_ref().expect("it looks things up");
    let always = |n: f64| Spread { mean: n, p50: n, p90: n, p99: n, max: n };
    assert_eq!((lookup.count, lookup.succeeded, lookup.exact, lookup.timeouts), (3, 3, 3, 0));
    assert_eq!(lookup.hops, always(0.0));
    assert_eq!(lookup.rounds, always(1.0));
    assert_eq!(lookup.rpcs, always(1.0));
    assert_eq!(lookup.latency_ms, always(50.0));
    // Three requests and their answers; three times asked, and each message heard.
    assert_eq!((report.messages, report.events), (6, 9));
    assert!((report.virtual_seconds - 0.25).abs() < 1e-9, "{}", report.virtual_seconds);
    assert!(report.violations.is_empty());
    assert!(report.anycall.is_none() && report.placement.is_none());
}

/// One host with one slot: three items of a second, one after the other.
#[test]
fn a_job_on_one_host_takes_what_can_be_reckoned() {
    let scenario = support::parse(
        "peers = 3\nowners = 1\nsettle = \"5s\"\n[host]\nhosts = 1\nslots = 1\nqueue = 4\n\
         [functions]\nreplicas = [1, 1]\nservice = \"1s\"\nspread = \"constant\"\n\
         [manycalls]\nitems = 3\nstart = \"20s\"\n[core]\nrefresh_period = \"0s\"",
    );
    let report = peerless_sim::report::run(&scenario, 1);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    let many = report.manycall.expect("there is a manycall");
    assert_eq!((many.jobs, many.items, many.succeeded, many.attempts), (1, 3, 3, 3));
    assert_eq!((many.failed, many.unknown, many.lost, many.doubled), (0, 0, 0, 0));
    assert!((many.ideal_makespan_ms.mean - 3000.0).abs() < 1e-9);
    // Beyond the ideal: a search for the host, and a round trip.
    let over = many.makespan_ms.mean - 3000.0;
    assert!((50.0..=300.0).contains(&over), "{over} ms more than the ideal");
    let placement = report.placement.expect("there is a function");
    assert_eq!((placement.placed, placement.wanted, placement.short), (1, 1, 0));
}

/// What was never measured is no success: nobody crashed, so nothing was repaired.
#[test]
fn an_expectation_of_what_was_not_measured_is_a_breach() {
    let scenario = support::parse(
        "peers = 6\nowners = 1\n[functions]\nreplicas = [1, 1]\n\
         [expect]\nplacement_repair_seconds_p95_max = 90.0\n[core]\nrefresh_period = \"0s\"",
    );
    let report = peerless_sim::report::run(&scenario, 1);
    let what: Vec<&str> = report.violations.iter().map(|broken| broken.what.as_str()).collect();
    let expected =
        "placement_repair_seconds_p95_max: nothing was measured where at most 90 is expected";
    assert_eq!(what, [expected]);
}

/// A run that its runtime ends at the deadline is an answer, but no success.
#[test]
fn a_run_past_its_deadline_does_not_succeed() {
    let scenario = support::parse(
        "peers = 4\nowners = 1\nsettle = \"5s\"\n[functions]\nreplicas = [1, 1]\n\
         service = \"9s\"\nspread = \"constant\"\n\
         [anycalls]\ncount = 2\nstart = \"20s\"\ndeadline = \"3s\"\n\
         [core]\nrefresh_period = \"0s\"",
    );
    let report = peerless_sim::report::run(&scenario, 1);
    let calls = report.anycall.expect("there are anycalls");
    assert_eq!((calls.count, calls.succeeded, calls.failed), (2, 0, 2));
}

#[test]
fn the_json_has_the_contracts_fields() {
    let fields = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let mut text = String::new();
    for name in ["lookup", "anycall", "manycall"] {
        let report = support::run_small(name, 1);
        let json = serde_json::to_value(&report).expect("a report is plain data");
        let _ = writeln!(text, "{name}: {}", fields(&json).join(" "));
        for section in ["lookup", "anycall", "manycall", "placement"] {
            if let Some(section_value) = json.get(section) {
                let _ = writeln!(text, "  {section}: {}", fields(section_value).join(" "));
            }
        }
    }
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("json_fields", text) });
}
