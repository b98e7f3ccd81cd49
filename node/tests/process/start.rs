//! How a node starts, and why it does not.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::binary::peerless;
use crate::common::{Network, Node, Plan, now, text, until};

const LISTEN: [&str; 4] = ["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0"];

fn up(dir: &std::path::Path) -> Command {
    let mut command = peerless();
    command.args(["up", "--json", "--data-dir"]).arg(dir);
    command
}

/// Runs it to its end; exit status and what it said.
async fn failed(mut command: Command) -> (i32, String) {
    let out = tokio::time::timeout(Duration::from_secs(40), command.output()).await;
    let out = out.expect("it ends").unwrap();
    (out.status.code().unwrap(), text(&out.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_that_is_no_use_is_named() {
    let network = Network::start(1, Plan::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let there = network.nodes[0].listen.clone();
    let (bare, _) = there.split_once("/p2p/").unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port());
    let other = "12D3KooWGzBXWNvHpLALvrMTvMJ2u9gLa7AWPYWCzGJJCRtPiGVs";
    let named = format!("{bare}/p2p/{other}");
    for (network, bootstrap, words) in [
        ("elsewhere", there.as_str(), "is not in network \"elsewhere\""),
        ("elsewhere", bare, "is not in network \"elsewhere\""),
        ("main", named.as_str(), network.nodes[0].peer_id.as_str()),
        ("main", silent_at.as_str(), "cannot connect"),
    ] {
        let mut command = up(&dir.path().join("data"));
        command.args(LISTEN).args(["--network", network, "--bootstrap", bootstrap]);
        let start = now();
        let (status, said) = failed(command).await;
        assert_eq!(status, 1, "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.contains(bootstrap) && last.contains(words), "{words}: {said}");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
    // One that is of use does.
    let mut command = up(&dir.path().join("data"));
    command.args(LISTEN).args(["--bootstrap", &silent_at, "--bootstrap", &there]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = tokio::time::timeout(Duration::from_secs(40), lines.next_line()).await;
    assert!(ready.unwrap().unwrap().unwrap().contains("ready"));
}

/// Whoever stands behind the address now: a node that has lost everybody dials on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_node_that_was_made_anew_is_found() {
    let config = "[core]\nrefresh_period = \"1s\"\nreply_timeout = \"500ms\"\n";
    let mut network = Network::start(1, Plan::config(config)).await;
    let (bare, _) = network.nodes[0].listen.split_once("/p2p/").unwrap();
    let bare = bare.to_owned();
    network.replan(vec!["--bootstrap".to_owned(), bare.clone()]);
    network.add("owner.key").await;
    let before = network.nodes[0].peer_id.clone();
    network.nodes[0].kill().await;
    std::fs::remove_dir_all(&network.nodes[0].dir).unwrap();
    network.nodes[0].listens_on(&bare);
    network.nodes[0].restart().await;
    let [anew, old] = &network.nodes[..] else { panic!("two nodes") };
    assert_ne!(anew.peer_id, before);
    let knows = async |node: &Node, other: &Node| {
        let known = node.get("/network/peers").await.json();
        known.to_string().contains(&other.peer_id)
    };
    until(60, "they know each other", || async {
        knows(anew, old).await && knows(old, anew).await
    })
    .await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_can_be_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port());
    let mut command = up(dir.path());
    command.args(LISTEN).args(["--bootstrap", &silent_at]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It is on its way when it has connected.
    let accepted = tokio::task::spawn_blocking(move || silent.accept().unwrap());
    let _held = tokio::time::timeout(Duration::from_secs(20), accepted).await.unwrap().unwrap();
    let start = now();
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
    assert!(ended.expect("it ends").unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_share_the_owner_key_that_one_of_them_makes() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("owner.key");
    let start = |n: u32| {
        let mut command = up(&dir.path().join(n.to_string()));
        command.args(LISTEN).arg("--owner-key").arg(&key);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut children: Vec<_> = (0..5).map(start).collect();
    let mut owners = std::collections::BTreeSet::new();
    for child in &mut children {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(40), lines.next_line()).await;
        let line = line.unwrap().unwrap().expect("a node is ready");
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        owners.insert(ready["owner"].as_str().unwrap().to_owned());
    }
    assert_eq!(owners.len(), 1, "{owners:?}");
    assert!(dir.path().read_dir().unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        !name.to_string_lossy().ends_with(".tmp")
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_stand_between_flags_and_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("peerless.toml");
    std::fs::write(&config, "http = \"0.0.0.0:0\"\ninsecure_http = true\n").unwrap();
    let with = |variables: &[(&str, &str)], flags: &[&str]| {
        let mut command = up(&dir.path().join("data"));
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]).args(flags);
        command.arg("--config").arg(&config).envs(variables.iter().copied());
        command
    };
    let no = ("PEERLESS_INSECURE_HTTP", "false");
    for command in [
        with(&[no], &[]),
        with(&[("PEERLESS_INSECURE_HTTP", "1")], &["--insecure-http=false"]),
        with(&[("PEERLESS_INSECURE_HTTP", "maybe")], &[]),
        with(&[("PEERLESS_SLOTS", "many")], &[]),
    ] {
        let (status, said) = failed(command).await;
        assert_eq!(status, 2, "{said}");
    }
    for command in [
        with(&[("PEERLESS_INSECURE_HTTP", ""), ("PEERLESS_HTTP", ""), ("PEERLESS_SLOTS", "")], &[]),
        with(&[("PEERLESS_LISTEN", ""), ("PEERLESS_RUNTIME", ""), ("PEERLESS_LABEL", "")], &[]),
        with(&[no], &["--insecure-http"]),
        with(&[no], &["--http", "127.0.0.1:0"]),
        with(&[("PEERLESS_INSECURE_HTTP", "1")], &[]),
    ] {
        let mut command = command;
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        assert!(line.unwrap().unwrap().is_some_and(|line| line.contains("ready")), "{command:?}");
        child.kill().await.unwrap();
    }
}
