//! Fuzzing: drawing is a function of the seed, lite cases are whole, and a case's command plays it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use peerless_sim::chance::Chance;
use peerless_sim::fuzz::{Feature, Named, Options, Outcome, Preset, draw, fuzz, play};

fn named(seed: u64) -> Named {
    Named {
        scenario: None,
        seed,
        preset: Preset::Lite,
        only: None,
        off: BTreeSet::new(),
        peers: None,
    }
}

fn text(named: &Named) -> String {
    let case = draw(named).unwrap_or_else(|bad| panic!("{bad}"));
    format!("{}{}", case.setup(), case.lines())
}

/// What a seed means must not change by accident.
#[test]
fn a_seed_means_a_case() {
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("fuzz_case", text(&named(20))) });
}

#[test]
fn the_same_case_goes_the_same_way() {
    for seed in 0..5 {
        let case = draw(&named(seed)).expect("a drawn world can be drawn");
        let (one, two) = (play(&case), play(&case));
        assert_eq!((one.digest, one.events), (two.digest, two.events), "seed {seed}");
        assert!(one.events > 0 && one.violation.is_none(), "seed {seed}: {:?}", one.violation);
    }
}

/// The operations that stay keep their numbers, instants and peers whatever else is left out.
#[test]
fn what_is_left_out_moves_nothing_else() {
    for seed in 0..100 {
        let whole = draw(&named(seed)).expect("it can be drawn");
        for feature in Feature::ALL {
            let less = Named { off: [*feature].into(), ..named(seed) };
            let less = draw(&less).expect("it can be drawn");
            let rest: Vec<_> =
                whole.schedule.iter().filter(|step| step.feature != Some(*feature)).collect();
            let without = less.schedule.iter().collect::<Vec<_>>();
            if !matches!(feature, Feature::Wipes | Feature::Late) {
                assert_eq!(rest, without, "seed {seed} without {feature:?}");
            }
        }
        let some: BTreeSet<u32> = whole.schedule.iter().map(|step| step.id).step_by(2).collect();
        let fewer = Named { only: Some(some.clone()), peers: Some(3), ..named(seed) };
        let fewer = draw(&fewer).expect("it can be drawn");
        for step in &fewer.schedule {
            assert!(some.contains(&step.id) && whole.schedule.contains(step), "seed {seed}");
        }
    }
}

/// Every feature is in some case and missing in another.
#[test]
fn seeds_switch_features_on_and_off() {
    let cases: Vec<_> = (0..60).map(|seed| draw(&named(seed)).expect("it is drawn")).collect();
    for feature in Feature::ALL {
        let with = cases.iter().filter(|case| case.has(*feature)).count();
        assert!((1..cases.len()).contains(&with), "{feature:?} is in {with} of {}", cases.len());
    }
}

#[test]
fn lite_cases_are_whole() {
    let options = Options { named: named(0), seeds: 0..60, time: None, threads: 2, shrink: 10.0 };
    let tally = fuzz(&options).expect("they can be drawn");
    let smallest = tally.smallest.map_or(String::new(), |broken| broken.text());
    assert!(tally.broken.is_empty(), "{:?}\n{smallest}", tally.broken);
    assert_eq!(tally.played, 60);
}

/// One peer that can be dialled, and else but clients behind NAT: it is the whole network, and its owner's
/// other nodes come to know what it knows.
#[test]
fn one_peer_among_clients_is_a_network() {
    let off = [Feature::Installs, Feature::Tight, Feature::Jitter, Feature::Links];
    let only = Some([46, 51, 63, 65, 74].into());
    let case = draw(&Named { only, off: off.into(), ..named(1226) }).expect("it is drawn");
    let nat = case.scenario.nat.as_ref().expect("there is NAT");
    let chance = Chance::new(1226);
    let there = (0..case.scenario.peers).filter(|peer| !case.stay_away.contains(peer));
    let dialled: Vec<u32> = there.filter(|peer| !nat.hides(*peer, &chance)).collect();
    assert_eq!(dialled, [0], "all others that are there in the end are clients");
    let outcome = play(&case);
    assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
}

/// Plays some seeds in the world of a scenario's text.
fn perturbed(own: &str) -> Vec<Outcome> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    std::fs::write(file.path(), own).expect("it can be written");
    let scenario = file.path().to_str().expect("a path of text").to_owned();
    let of = |seed| Named { scenario: Some(scenario.clone()), ..named(seed) };
    (0..3).map(|seed| play(&draw(&of(seed)).expect("it can be read"))).collect()
}

/// A scenario's own work goes on while its machines fail.
#[test]
fn a_scenario_is_perturbed() {
    let own = "peers = 12\nowners = 2\nduration = \"40s\"\n[functions]\ncount = 2\n[anycalls]\n\
               count = 40\nstart = \"10s\"\n[core]\nk = 8\nrefresh_period = \"30s\"\n";
    for (seed, outcome) in perturbed(own).into_iter().enumerate() {
        assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
        assert!(outcome.events > 100, "seed {seed}");
    }
}

/// The schedule alone brings peers and takes them away, whatever the scenario says of that.
#[test]
fn a_scenario_whose_peers_come_and_go_is_perturbed() {
    for comes in ["[sessions]\nmedian = \"10s\"\nend = \"1m\"", "[joining]\nover = \"1m\""] {
        let own = "peers = 12\nduration = \"1m\"\n[lookups]\ncount = 20\n[core]\nk = 8\n";
        for (seed, outcome) in perturbed(&format!("{own}{comes}")).into_iter().enumerate() {
            assert!(outcome.violation.is_none(), "{comes} {seed}: {:?}", outcome.violation);
        }
    }
}

/// Worlds of the preset performance have much to do and no faults; each does it well, and what they
/// come to is told side by side.
#[test]
fn performance_is_measured() {
    let named = Named { preset: Preset::Performance, ..named(0) };
    for seed in 0..200 {
        let case = draw(&Named { seed, ..named.clone() }).expect("it can be drawn");
        let work = Feature::ALL.iter().filter(|feature| case.has(**feature));
        let work: Vec<&Feature> = work.collect();
        assert!(case.is_load() && case.schedule.is_empty(), "seed {seed}");
        assert!(
            work.iter().all(|it| {
                matches!(
                    it,
                    Feature::Lookups
                        | Feature::Calls
                        | Feature::Jobs
                        | Feature::Jitter
                        | Feature::Tight
                )
            }),
            "seed {seed}: {work:?}"
        );
    }
    let output = sim(&["--preset", "performance", "--seeds", "10..13", "--off", "jobs", "--json"]);
    let (out, error) = (said(&output.stdout), said(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{error}");
    let object: serde_json::Value = serde_json::from_str(&out).expect("it is one object");
    let figures = object["figures"].as_array().expect("there are figures");
    for figure in ["lookup requests, mean", "calls served, share", "call ms, p99"] {
        let figure = figures.iter().find(|it| it["figure"] == figure).expect("it is measured");
        let [least, median, most] = ["least", "median", "most"].map(|it| figure[it].as_f64());
        assert!(least.is_some() && least <= median && median <= most, "{figure}");
    }
    let table = sim(&["--preset", "performance", "--seeds", "10..11", "--off", "jobs,calls"]);
    assert!(said(&table.stdout).starts_with("figure "), "{}", said(&table.stdout));
}

fn sim(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerless-sim"));
    command.arg("fuzz").args(arguments).output().expect("the binary was built for this test")
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints text")
}

#[test]
fn counts_what_it_played() {
    let output = sim(&["--seeds", "3..6", "--threads", "2"]);
    let out = said(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}{}", said(&output.stderr));
    let last = out.lines().last().expect("it says something");
    assert!(last.starts_with("3 worlds, ") && last.ends_with(" events"), "{last}");
    let output = sim(&["--seeds", "3..6", "--json"]);
    let object: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("standard output is one object");
    assert_eq!((&object["worlds"], &object["schema"]), (&3.into(), &1.into()));
    assert!(object["events"].as_u64() > Some(0), "{object}");
}

#[test]
fn time_ends_it() {
    let output = sim(&["--seeds", "0..1000000000", "--time", "1s"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output.stderr));
}

#[test]
fn bad_usage_is_status_2() {
    for (arguments, says) in [
        (&[][..], "--seeds"),
        (&["--seeds", "5"], "expected A..B"),
        (&["--seeds", "5..5"], "expected A..B"),
        (&["--seeds", "0..2", "--only", "3"], "--only: expected --seeds of one seed"),
        (&["--seeds", "0..2", "--trace", "3"], "--trace: expected --seeds of one seed"),
        (&["--seeds", "0..1", "--only", "x"], "expected numbers of operations"),
        (&["--seeds", "0..1", "--trace", "9999"], "--trace 9999: the schedule is"),
        (&["--seeds", "0..1", "--time", "soon"], "--time"),
        (&["--seeds", "0..1", "--preset", "huge"], "--preset"),
        (&["--seeds", "0..1", "--off", "gravity"], "--off"),
        (&["--seeds", "0..1", "--peers", "1"], "--peers"),
        (&["--seeds", "0..1", "--threads", "0"], "--threads"),
        (&["nothing", "--seeds", "0..1"], "no scenario \"nothing\""),
    ] {
        let output = sim(arguments);
        let error = said(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
