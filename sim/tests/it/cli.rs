//! The command line.

use std::process::{Command, Output};

pub(crate) fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peerless-sim"))
        .args(arguments)
        .output()
        .expect("the binary was built for this test")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints text")
}

#[test]
fn lists_the_scenarios() {
    let output = sim(&["list"]);
    assert_eq!(output.status.code(), Some(0));
    let listed = text(&output.stdout);
    for name in ["lookup", "churn", "placement", "anycall", "manycall"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{listed}");
    }
}

#[test]
fn helps_with_every_command() {
    let output = sim(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    for name in ["list", "run", "sweep", "trace", "report", "fuzz"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(name)), "{name}: {help}");
    }
}

#[test]
fn lists_every_key() {
    let output = sim(&["list", "--keys"]);
    assert_eq!(output.status.code(), Some(0));
    let listed = text(&output.stdout);
    for key in ["peers", "network.loss", "churn.per_hour", "core.k", "expect.lookup_exact_min"] {
        let line = listed.lines().find(|line| line.split(' ').next() == Some(key));
        let words = line.unwrap_or_else(|| panic!("{key}: {listed}")).split_whitespace().count();
        assert!(words > 3, "{key}: its standard and what it means");
    }
}

const FEW: [&str; 4] = ["--peers", "50", "--set", "lookups.count=20"];

#[test]
fn runs_and_prints_one_object() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("a path of text");
    let run = ["run", "lookup", "--seed", "3", "--json", "--out", path];
    let output = sim(&[&run[..], &FEW].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let object: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("standard output is one object");
    assert_eq!(object["scenario"], "lookup");
    assert_eq!((&object["seed"], &object["peers"]), (&3.into(), &50.into()));
    assert_eq!(object["lookup"]["count"], 20);
    let written = std::fs::read(dir.path().join("lookup-3-50.json")).expect("it was written");
    assert_eq!(written, output.stdout);
}

#[test]
fn prints_a_table_for_people() {
    let output = sim(&[&["run", "lookup"][..], &FEW].concat());
    assert_eq!(output.status.code(), Some(0));
    let table = text(&output.stdout);
    assert!(table.contains("20 of 20 (100.00 %)") && table.contains("violations"), "{table}");
}

#[test]
fn a_breach_is_status_1() {
    let unlikely = ["--set", "expect.lookup_rpcs_mean_max=1"];
    let output = sim(&[&["run", "lookup", "--json"][..], &FEW, &unlikely].concat());
    assert_eq!(output.status.code(), Some(1));
    let object: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("it still prints the object");
    let what = object["violations"][0]["what"].as_str().expect("a violation in words");
    assert!(what.starts_with("lookup_rpcs_mean_max"), "{what}");
}

/// The last line of a run that fails is the command that repeats it.
#[test]
fn a_failing_run_says_how_to_repeat_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("it's mine.toml");
    let own = "peers = 20\n[lookups]\ncount = 5\n[functions]\n[core]\nrefresh_period = \"0s\"\n";
    std::fs::write(&path, own).expect("it can be written");
    let path = path.to_str().expect("a path of text");
    let sets = ["owners=1", "functions.replicas=[2, 2]", "expect.lookup_rpcs_mean_max=1"];
    let mut run = vec!["run", path, "--seed", "5", "--peers", "30"];
    for set in sets {
        run.extend(["--set", set]);
    }
    let first = sim(&run);
    assert_eq!(first.status.code(), Some(1), "{}", text(&first.stderr));
    let said = text(&first.stderr);
    assert!(said.starts_with("peerless-sim: 1 violation; to repeat it:\n"), "{said}");
    let again = said.lines().last().expect("it says something");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_peerless-sim"));
    let path_to = binary.parent().expect("it lies in a directory");
    let second = Command::new("/bin/sh").args(["-c", again]).env("PATH", path_to).output();
    let second = second.expect("there is a shell");
    assert_eq!(text(&second.stderr), said);
    let digest = |output: &Output| {
        let table = text(&output.stdout);
        let line = table.lines().find(|line| line.starts_with("digest"));
        line.expect("there is a digest").to_owned()
    };
    assert_eq!(digest(&second), digest(&first));
}

/// Only the first hundred violations are told; the count is of all.
#[test]
fn all_violations_are_counted() {
    let late = ["--set", "patience=0s", "--set", "lookups.interval=0s"];
    let many = ["--peers", "50", "--set", "lookups.count=300"];
    let output = sim(&[&["run", "lookup", "--json"][..], &many, &late].concat());
    let said = text(&output.stderr);
    let object: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("it still prints the object");
    let told = object["violations"].as_array().expect("a list").len();
    let count = said.strip_prefix("peerless-sim: ").and_then(|rest| rest.split(' ').next());
    let count: usize = count.and_then(|n| n.parse().ok()).expect("it begins with the count");
    assert!(told == 101 && count >= 300, "{told} told, {count} counted");
}

#[test]
fn bad_usage_is_status_2() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    std::fs::write(file.path(), "peers = 20\n\n[network]\nlos = 1\n").expect("it can be written");
    let path = file.path().to_str().expect("a path of text");
    for (arguments, says) in [
        (&["run", "lookup", "--set", "network.loss=x"][..], "--set network.loss="),
        (&["run", "nothing"], "no scenario \"nothing\""),
        (&["run", "missing.toml"], "missing.toml: cannot be read"),
        (&["run", path], ":4: unknown key network.los"),
        (&["run", "lookup", "--peers", "0"], "peers"),
        (&["run", "lookup", "--seed", "x"], "--seed"),
        (&["trace", "lookup", "--operation", "10000"], "--operation 10000"),
        (&["sweep", "lookup", "--out", "d"], "--seeds"),
        (&["sweep", "lookup", "--seeds", "0..2"], "--out"),
        (
            &["sweep", "lookup", "--seeds", "5", "--out", "d"],
            "'5' for '--seeds <A..B>': expected A..B",
        ),
        (&["sweep", "lookup", "--seeds", "5..5", "--out", "d"], "there is no seed from 5 up to 5"),
        (&["sweep", "lookup", "--seeds", "0..9999999", "--out", "d"], "--seeds: expected at most"),
        (&["sweep", "lookup", "--seeds", "0..2", "--peers", "9,x", "--out", "d"], "--peers"),
        (
            &["sweep", "lookup", "--seeds", "0..2", "--peers", "9,8,9", "--out", "d"],
            "--peers: 9 is",
        ),
        (&["sweep", "lookup", "--seeds", "0..2", "--peers", "1,8", "--out", "d"], "peers=1"),
        (&["sweep", "lookup", "--seeds", "0..2", "--threads", "0", "--out", "d"], "--threads"),
        (&["sweep", "nothing", "--seeds", "0..2", "--out", "d"], "no scenario \"nothing\""),
        (&["sweep", "lookup", "--seeds", "0..2", "--out", path], "--out"),
        (&["report"], "DIR"),
        (&[], "Usage"),
    ] {
        let output = sim(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn traces_one_operation() {
    let few = ["--peers", "12", "--set", "core.k=2", "--set", "core.alpha=2"];
    let output = sim(&[&["trace", "lookup", "--seed", "3", "--operation", "1"][..], &few].concat());
    assert_eq!(output.status.code(), Some(0));
    let trace = text(&output.stdout);
    assert!(trace.starts_with("lookup 1 of lookup, seed 3: 12 peers, k 2"), "{trace}");
    assert!(trace.contains("is asked to look up") && trace.contains("tells lookup 1"), "{trace}");
}

/// All owners are gone before the deployment would begin.
#[test]
fn a_trace_of_what_never_begins_ends() {
    let gone = ["--set", "owners=1", "--set", "churn.per_hour=1.0", "--set", "churn.end=3h"];
    let late = ["--peers", "20", "--set", "functions.start=4h", "--set", "lookups.count=1"];
    let output = sim(&[&["trace", "churn", "--operation", "1"][..], &gone, &late].concat());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("deployment 0 did not begin within the scenario's"), "{said}");
}

#[test]
fn a_users_own_file_runs() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    let own = "peers = 20\n[lookups]\ncount = 5\n[core]\nrefresh_period = \"0s\"\n";
    std::fs::write(file.path(), own).expect("it can be written");
    let path = file.path().to_str().expect("a path of text");
    let output = sim(&["run", path, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
