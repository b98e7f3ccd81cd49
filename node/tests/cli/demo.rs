//! The demo itself, with real nodes; and that it fails where it must.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::server::{Ended, peerless, run};

/// Runs it with a directory for temporary files that must be empty afterwards.
async fn demo(line: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let ended = peerless("", line).env("TMPDIR", dir.path()).output().await.unwrap().into();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    ended
}

fn figure(report: &Value, step: &str, what: &str) -> String {
    let rows = report["figures"].as_array().unwrap();
    let row = rows.iter().find(|row| row["step"] == step && row["what"] == what);
    let row = row.unwrap_or_else(|| panic!("{step}, {what}: {report:#}"));
    row["figure"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_step_holds() {
    let ended = demo(&["demo", "--json"]).await;
    let report = ended.json();
    assert_eq!(report["ok"], true);
    assert!(report["seconds"].as_f64().unwrap() < 90.0, "{report:#}");
    assert!(figure(&report, "all", "time").ends_with(" s"));
    assert_eq!(figure(&report, "count", "words, counted by the network"), "251491");
    assert_eq!(figure(&report, "count", "words, counted without it"), "251491");
    assert_eq!(figure(&report, "kill", "results in all, none lost, none twice"), "600");
    assert!(
        figure(&report, "kill", "items with a second attempt since").parse::<u64>().unwrap() > 0
    );
    assert_eq!(figure(&report, "remove", "nodes that no longer know the function"), "4 of 4");
}

fn failed(ended: &Ended, step: &str) -> Value {
    assert_eq!(ended.status, Some(1), "{ended:?}");
    let complaint = format!("error: step {step} failed: ");
    assert!(ended.err.contains(&complaint), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&report["ok"], &report["failed"]["step"]), (&false.into(), &step.into()));
    report
}

#[tokio::test]
async fn without_repair_it_fails_in_that_step() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("peerless.toml");
    std::fs::write(&config, "[core]\nrepair = false\n").unwrap();
    let ended = demo(&["demo", "--json", "--config", config.to_str().unwrap()]).await;
    let report = failed(&ended, "repair");
    assert!(report["failed"]["reason"].as_str().unwrap().contains("each should have 3"));
}

#[tokio::test]
async fn a_node_with_another_module_is_not_believed() {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/functions");
    let other = functions.join("words/words.wasm");
    let ended = demo(&["demo", "--json", "--tamper", other.to_str().unwrap()]).await;
    let report = failed(&ended, "deploy");
    let reason = report["failed"]["reason"].as_str().unwrap();
    let digest = std::fs::read_to_string(functions.join("echo/echo.wasm.sha256")).unwrap();
    let digest = format!("module sha256:{}", digest.split_whitespace().next().unwrap());
    assert!(reason.contains("echo") && reason.contains(&digest), "{reason}");
}

#[tokio::test]
async fn a_node_that_does_not_start_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("peerless.toml");
    std::fs::write(&config, "slots = \"many\"\n").unwrap();
    let ended = demo(&["demo", "--json", "--config", config.to_str().unwrap()]).await;
    failed(&ended, "start");
    assert!(ended.err.contains("node 0 did not start"), "{ended:?}");
    assert!(ended.err.contains("peerless.toml:1: "), "its log: {ended:?}");
}

#[cfg(unix)]
fn signal(pid: u64, signal: rustix::process::Signal) -> bool {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).is_ok()
}

#[cfg(unix)]
#[tokio::test]
async fn a_network_that_is_kept_answers_after_the_demo() {
    let dir = tempfile::tempdir().unwrap();
    let line = ["demo", "--json", "--keep", "--peers", "4"];
    let output = peerless("", &line).env("TMPDIR", dir.path()).output().await.unwrap();
    let report = Ended::from(output).json();
    let pids: Vec<u64> =
        report["pids"].as_array().unwrap().iter().map(|pid| pid.as_u64().unwrap()).collect();
    let gateways = report["gateways"].as_array().unwrap();
    let mut ended = Vec::new();
    for url in gateways {
        ended.push(run(url.as_str().unwrap(), &["call", "sleep", "--data", "1"], b"").await);
    }
    // Whatever came of it, they must not stay.
    let killed = pids.iter().all(|pid| signal(*pid, rustix::process::Signal::KILL));
    assert!(killed && pids.len() == 3 && gateways.len() == 3, "{report:#}");
    assert!(ended.iter().all(|ended| ended.status == Some(0) && ended.out == "1\n"), "{ended:?}");
    assert!(Path::new(report["directory"].as_str().unwrap()).starts_with(dir.path()));
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = peerless("", &["demo", "--peers", "4"]);
    let mut child = command.env("TMPDIR", dir.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = tokio::time::timeout(Duration::from_mins(1), lines.next_line()).await;
        if line.unwrap().unwrap().expect("a further step").contains(" s  deploy ") {
            break;
        }
    }
    assert!(signal(u64::from(child.id().unwrap()), rustix::process::Signal::INT));
    assert_eq!(child.wait().await.unwrap().code(), Some(130));
    let mut left = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        left.push(line);
    }
    assert_eq!(left.last().map(String::as_str), Some("error: interrupted"));
    // Their directory goes when the last of them is gone.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
