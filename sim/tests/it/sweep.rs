//! Many worlds side by side.

use std::path::Path;
use std::process::Command;

use peerless_sim::report;
use peerless_sim::sweep::{Row, Seeds, Sweep, table};
use serde_json::Value;

use crate::cli::{sim, text};
use crate::support;

/// What depends on the machine and not on the world.
const REAL: [&str; 5] =
    ["setup_seconds", "wall_seconds", "cpu_seconds", "events_per_cpu_second", "peak_rss_bytes"];

fn without_real(json: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(json).expect("an object");
    for field in REAL {
        let removed = value.as_object_mut().and_then(|object| object.remove(field));
        assert!(removed.is_some(), "{field}");
    }
    value
}

fn path(dir: &Path) -> &str {
    dir.to_str().expect("a path of text")
}

/// The lines of a sweep are its files, in the order of (peers, seed), and the same single worlds
/// whatever the number of threads.
#[test]
fn a_sweep_is_its_single_runs() {
    let set = ["--set", "lookups.count=20"];
    let mut sweeps = Vec::new();
    for threads in ["1", "4"] {
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("made/for/it");
        let seeds = ["sweep", "lookup", "--seeds", "3..5", "--peers", "40,30", "--json"];
        let rest = ["--threads", threads, "--out", path(&out)];
        let output = sim(&[&seeds[..], &set, &rest].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(output.stderr.is_empty(), "a bar is for terminals: {}", text(&output.stderr));
        let printed = text(&output.stdout);
        let lines: Vec<Value> = printed.lines().map(|line| without_real(line.as_bytes())).collect();
        let order: Vec<(u64, u64)> = lines
            .iter()
            .map(|line| (line["peers"].as_u64(), line["seed"].as_u64()))
            .map(|(peers, seed)| (peers.expect("a number"), seed.expect("a number")))
            .collect();
        assert_eq!(order, [(30, 3), (30, 4), (40, 3), (40, 4)]);
        for (line, (peers, seed)) in printed.lines().zip(order) {
            let file = out.join(format!("lookup-{seed}-{peers}.json"));
            let written = std::fs::read_to_string(file).expect("it was written");
            assert_eq!(written, format!("{line}\n"));
        }
        sweeps.push(lines);
    }
    assert_eq!(sweeps[0], sweeps[1]);
    for line in &sweeps[0] {
        let peers = format!("peers={}", line["peers"]);
        let scenario = support::scenario("lookup", &["lookups.count=20", &peers]);
        let alone = report::run(&scenario, line["seed"].as_u64().expect("a number"));
        let alone = serde_json::to_vec(&alone).expect("a report is plain data");
        assert_eq!(&without_real(&alone), line);
    }
}

#[test]
fn a_sweep_with_breaches_says_how_to_repeat_each() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("it's mine.toml");
    let own = "peers = 20\n[lookups]\ncount = 5\n[expect]\nlookup_rpcs_mean_max = 1.0\n\
               [core]\nrefresh_period = \"0s\"\n";
    std::fs::write(&file, own).expect("it can be written");
    let output = sim(&["sweep", path(&file), "--seeds", "8..10", "--out", path(dir.path())]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.starts_with("peerless-sim: 2 of 2 worlds failed; to repeat them:\n"), "{said}");
    let table = text(&output.stdout);
    let commands: Vec<&str> = said.lines().skip(1).collect();
    assert_eq!(commands.len(), 2, "{said}");
    let binary = Path::new(env!("CARGO_BIN_EXE_peerless-sim"));
    let path_to = binary.parent().expect("it lies in a directory");
    for command in commands {
        let again = Command::new("/bin/sh").args(["-c", command]).env("PATH", path_to).output();
        let again = again.expect("there is a shell");
        assert_eq!(again.status.code(), Some(1), "{command}");
        let printed = text(&again.stdout);
        let digest = printed.lines().find_map(|line| line.strip_prefix("digest"));
        let digest = digest.expect("there is a digest").trim();
        assert!(table.lines().any(|line| line.contains(digest)), "{digest}: {table}");
    }
}

/// A thread that panics takes neither the others nor what they found with it.
#[test]
fn a_world_that_panics_is_told_and_the_others_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = support::scenario("lookup", &["peers=30", "lookups.count=3"]);
    let mut bad = good.clone();
    // The check of scenarios would not let this pass: an owner without a key.
    (bad.peers, bad.owners, bad.owner_keys) = (20, 1, 0);
    let out = dir.path().to_owned();
    let sweep = Sweep { sizes: vec![bad, good], seeds: 1..3, threads: 2, dir: out };
    let mut rows = Vec::new();
    let told = sweep.run(|world| {
        rows.push(Row::of(&world));
        Ok(())
    });
    assert_eq!(told, Ok(()));
    let verdicts: Vec<(u32, u64, bool)> =
        rows.iter().map(|row| (row.peers, row.seed, row.is_bad)).collect();
    assert_eq!(verdicts, [(20, 1, true), (20, 2, true), (30, 1, false), (30, 2, false)]);
    assert!(table(&rows).lines().nth(1).expect("a row").contains("panicked"));
    assert!(!dir.path().join("lookup-1-20.json").exists());
    assert!(dir.path().join("lookup-2-30.json").exists());
}

#[test]
fn a_sweep_ends_when_it_can_not_write() {
    let dir = tempfile::tempdir().expect("a directory");
    // A directory lies where the first world's file would.
    std::fs::create_dir(dir.path().join("lookup-0-30.json")).expect("it can be made");
    let few = ["--peers", "30", "--set", "lookups.count=3", "--out", path(dir.path())];
    let output = sim(&[&["sweep", "lookup", "--seeds", "0..50"][..], &few].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("lookup-0-30.json: "), "{said}");
}

#[test]
fn seeds_are_a_range() {
    assert_eq!("0..3".parse(), Ok(Seeds(0..3)));
    assert_eq!("7..=7".parse(), Ok(Seeds(7..8)));
    let most = u64::MAX;
    assert_eq!(format!("0..{most}").parse(), Ok(Seeds(0..most)));
    for bad in ["", "3", "..", "1..", "..3", "-1..3", "1..x", "3..3", "4..3", "1...3"] {
        let error = bad.parse::<Seeds>().expect_err(bad);
        assert!(error.contains("expected A..B"), "{bad}: {error}");
    }
    assert!(format!("0..={most}").parse::<Seeds>().is_err());
}
