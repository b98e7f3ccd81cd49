//! Five nodes from deployment to repair, with every input recorded and replayed.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::common::{Network, Plan, lines, now, text, until};

/// Quick probes, so that the test need not wait for the real network's.
const QUICK: &str = r#"
[core]
probe_period = "1s"
rank_delay = "1s"
repair_backoff = "2s"
host_pause = "2s"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_from_deployment_to_repair() {
    let mut network = Network::start(0, Plan::config(QUICK)).await;
    let journals = network.dir.path().join("journals");
    for number in 0..5 {
        let at = journals.join(number.to_string());
        network.replan(vec!["--journal".to_owned(), at.display().to_string()]);
        network.add("owner.key").await;
    }

    let echo = network.deploy(0, "echo", &[]).await;
    assert!((3..=5).contains(&echo.len()), "{echo:?}");
    for node in &network.nodes[1..] {
        let reply = node.post("/function/echo", "hello").await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "hello"));
        assert!(echo.contains(&reply.header("x-peerless-host").to_owned()));
        assert_eq!(reply.header("x-peerless-attempts"), "1");
        let results = node.many("echo", "1\n\"two\"\n{\"three\": 3}\n".to_owned()).await;
        assert_eq!(results.len(), 4);
        assert_eq!(results[3]["summary"]["succeeded"], 3);
    }

    let sleep = network.deploy(0, "sleep", &[]).await;
    let asker = network.number(&network.stranger(&sleep).peer_id);
    let killed = a_host_dies(&mut network, asker).await;
    repaired(&network, asker, &killed, "sleep").await;

    let removed = network.nodes[asker].cli("remove", &["echo"]).await;
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    let since = now();
    for (number, node) in network.nodes.iter().enumerate() {
        if node.peer_id != killed {
            until(5, &format!("node {number} sees the removal"), || async {
                node.post("/function/echo", "x").await.status == 404
            })
            .await;
        }
    }
    assert!(since.elapsed() < Duration::from_secs(5));

    // It comes back, has forgotten what was removed meanwhile, and serves again.
    let number = network.number(&killed);
    network.nodes[number].restart().await;
    let node = &network.nodes[number];
    until(10, "the killed node finds a host", || async {
        node.post("/function/sleep", "1").await.status == 200
    })
    .await;
    until(10, "the killed node knows of the removal", || async {
        node.post("/function/echo", "x").await.status == 404
    })
    .await;
    let scaled = network.nodes[asker].cli("scale", &["sleep", "5"]).await;
    assert!(scaled.status.success(), "{}", text(&scaled.stderr));
    let all: BTreeSet<_> = network.nodes.iter().map(|node| node.peer_id.clone()).collect();
    until(30, "all five serve it, the restarted one too", || async {
        node.hosts("sleep").await.into_iter().collect::<BTreeSet<_>>() == all
    })
    .await;

    for node in &mut network.nodes {
        assert!(node.stop().await.success(), "{}", node.log());
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
    replayed(&journals);
}

/// A manycall of 2,000 items whose host is killed when 30 % of its results are here; returns who.
async fn a_host_dies(network: &mut Network, asker: usize) -> String {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    let items = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (Ok(Frame::data(chunk)), receiver))
    });
    let request = http::Request::builder()
        .method(Method::POST)
        .uri("/manycall/sleep")
        .header("content-type", "application/x-ndjson")
        .body(http_body_util::BodyExt::boxed(StreamBody::new(items)))
        .unwrap();
    // Results come while items still go.
    tokio::spawn(async move {
        for _ in 0..20 {
            sender.send("10\n".repeat(100).into()).await.unwrap();
        }
    });
    let (status, _, body) = network.nodes[asker].open(request).await;
    assert_eq!(status, 200);
    let stream = body.into_data_stream().map(|chunk| chunk.map_err(std::io::Error::other));
    let mut out = tokio_util::io::StreamReader::new(stream);
    let (mut raw, mut seen, mut killed) = (Vec::new(), 0, None);
    loop {
        let mut line = Vec::new();
        tokio::io::AsyncBufReadExt::read_until(&mut out, b'\n', &mut line).await.unwrap();
        if line.is_empty() {
            break;
        }
        raw.extend_from_slice(&line);
        seen += 1;
        if seen == 600 {
            let result: Value = serde_json::from_slice(&line).unwrap();
            let host = result["host"].as_str().unwrap().to_owned();
            let number = network.number(&host);
            network.nodes[number].kill().await;
            killed = Some(host);
        }
    }
    let mut results = lines(&raw);
    let summary = results.pop().unwrap();
    let summary = &summary["summary"];
    assert_eq!(results.len(), 2000, "{summary}");
    let indexes: BTreeSet<_> = results.iter().map(|r| r["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes.len(), 2000, "no index twice");
    assert!(results.iter().all(|result| result["status"] == 200), "{summary}");
    assert!(results.iter().any(|result| result["attempts"].as_u64() >= Some(2)), "{summary}");
    assert_eq!(summary["items"], 2000);
    assert_eq!(summary["succeeded"], 2000);
    killed.expect("600 results came")
}

async fn repaired(network: &Network, asker: usize, killed: &str, function: &str) {
    until(60, "as many live hosts as before", || async {
        let hosts = network.nodes[asker].hosts(function).await;
        let mut live = 0;
        for host in hosts.iter().filter(|host| *host != killed) {
            let number = network.number(host);
            let reply = network.nodes[number].get("/network/status").await;
            live += u32::from(reply.status == 200);
        }
        live >= 3
    })
    .await;
}

/// Every node's journals, stepped again, give equal effects.
fn replayed(journals: &std::path::Path) {
    let mut count = 0;
    for node in std::fs::read_dir(journals).unwrap() {
        for journal in std::fs::read_dir(node.unwrap().path()).unwrap() {
            let path = journal.unwrap().path();
            let replayed = peerless_node::journal::replay(&path).unwrap();
            assert!(replayed.equal, "{}: {replayed:?}", path.display());
            assert!(replayed.inputs > 10, "{}: {replayed:?}", path.display());
            count += 1;
        }
    }
    // Five nodes, one of which was started twice.
    assert_eq!(count, 6);
}
