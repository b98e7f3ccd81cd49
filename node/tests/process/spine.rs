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

use crate::common::{Network, Node, Plan, lines, now, text, until};

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

    let echo = network.deploy(0, "echo", &["--replicas", "5"]).await;
    assert_eq!(echo.len(), 5, "{echo:?}");
    for node in &network.nodes[1..] {
        calls_through(node, &echo).await;
    }
    removed_everywhere(&network).await;

    let sleep = network.deploy(0, "sleep", &[]).await;
    assert!((3..=5).contains(&sleep.len()), "{sleep:?}");
    let asker = network.number(&network.stranger(&sleep).peer_id);
    let killed = a_host_dies(&mut network, asker).await;
    repaired(&network, asker, &killed, "sleep").await;
    let removed = network.nodes[asker].cli("remove", &["echo"]).await;
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    comes_back(&mut network, asker, &killed).await;

    for node in &mut network.nodes {
        assert!(node.stop().await.success(), "{}", node.log());
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
    replayed(&journals);
}

/// A call, a manycall and a list through one node, over HTTP and by the commands.
async fn calls_through(node: &Node, hosts: &[String]) {
    let reply = node.post("/function/echo", "hello").await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "hello"));
    assert!(hosts.contains(&reply.header("x-peerless-host").to_owned()));
    assert_eq!(reply.header("x-peerless-attempts"), "1");
    let items = "1\n\"two\"\n{\"three\": 3}\n";
    let mut results = node.many("echo", items.to_owned()).await;
    assert_eq!(results.pop().unwrap()["summary"]["succeeded"], 3);
    results.sort_by_key(|result| result["index"].as_u64());
    let bodies: Vec<_> = results.iter().map(|result| result["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["1", "\"two\"", "{\"three\":3}"]);

    let said = node.cli("call", &["echo", "--data", "hello"]).await;
    assert_eq!((said.status.code(), text(&said.stdout).as_str()), (Some(0), "hello"));
    let file = node.dir.join("items");
    std::fs::write(&file, format!("{items}no json\n")).unwrap();
    let said = node.cli("manycall", &["echo", "--items", &file.display().to_string()]).await;
    assert_eq!(said.status.code(), Some(3), "an item is no JSON: {}", text(&said.stderr));
    let lines = lines(&said.stdout);
    let summary = &lines.last().unwrap()["summary"];
    assert_eq!((&summary["succeeded"], &summary["failed"]), (&3.into(), &1.into()), "{summary}");
    let bad = lines.iter().find(|line| line["status"] == 400).expect("the bad line has a result");
    assert!(bad.to_string().contains("line 4"), "{bad}");

    let said = node.cli("list", &["--json"]).await;
    let listed: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["available"]), (&"echo".into(), &5.into()));
    let said = node.cli("describe", &["echo"]).await;
    assert!(said.status.success() && text(&said.stdout).contains("echo"));
    let said = node.cli("peers", &["--json"]).await;
    let peers: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(peers.as_array().unwrap().len(), 4, "{peers}");
}

/// A removal is seen by every node within five seconds of its being asked for.
async fn removed_everywhere(network: &Network) {
    network.deploy(0, "fail", &[]).await;
    let since = now();
    let removed = network.nodes[3].cli("remove", &["fail"]).await;
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    for (number, node) in network.nodes.iter().enumerate() {
        until(5, &format!("node {number} sees the removal"), || async {
            node.post("/function/fail", "x").await.status == 404
        })
        .await;
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

/// The killed node is started again: it has dropped what was removed meanwhile, and serves again.
async fn comes_back(network: &mut Network, asker: usize, killed: &str) {
    let number = network.number(killed);
    network.nodes[number].restart().await;
    let node = &network.nodes[number];
    until(10, "the restarted node finds a host", || async {
        node.post("/function/sleep", "1").await.status == 200
    })
    .await;
    until(10, "the restarted node knows of the removal", || async {
        node.post("/function/echo", "x").await.status == 404
    })
    .await;
    let scaled = network.nodes[asker].cli("scale", &["sleep", "5"]).await;
    assert!(scaled.status.success(), "{}", text(&scaled.stderr));
    let all: BTreeSet<_> = network.nodes.iter().map(|node| node.peer_id.clone()).collect();
    until(30, "all five serve it, the restarted one too", || async {
        network.nodes[asker].hosts("sleep").await.into_iter().collect::<BTreeSet<_>>() == all
    })
    .await;
    until(10, "the restarted node answers a call", || async {
        let reply = network.nodes[asker].post("/function/sleep", "1").await;
        reply.status == 200 && reply.header("x-peerless-host") == killed
    })
    .await;
    until(10, "what was removed is hosted no longer", || async {
        node.get("/network/status").await.json()["functions"] == 1
    })
    .await;
}

/// A manycall of 2,000 items, one of whose hosts is killed when 30 % of its results are here;
/// returns who.
async fn a_host_dies(network: &mut Network, asker: usize) -> String {
    let events = network.nodes[asker].watch().await;
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
    let killed = killed.expect("600 results came");
    let mut results = lines(&raw);
    let summary = results.pop().unwrap();
    let summary = &summary["summary"];
    assert_eq!(results.len(), 2000, "{summary}");
    let indexes: BTreeSet<_> = results.iter().map(|r| r["index"].as_u64().unwrap()).collect();
    assert!(indexes.into_iter().eq(0..2000), "each index once");
    assert!(results.iter().all(|result| result["status"] == 200), "{summary}");
    assert_eq!((&summary["items"], &summary["succeeded"]), (&2000.into(), &2000.into()));
    was_in_flight(&events.lock().unwrap(), &results, &killed);
    killed
}

/// Some item was under way on the killed host, was tried again because that attempt failed (and not
/// because a host was busy), and has its one result from another host.
fn was_in_flight(events: &[Value], results: &[Value], killed: &str) {
    let attempts = |item: u64| {
        let of_item = move |event: &&Value| event["event"] == "attempt" && event["item"] == item;
        events.iter().filter(of_item).collect::<Vec<_>>()
    };
    let moved = results[600..].iter().filter(|result| {
        let attempts = attempts(result["index"].as_u64().unwrap());
        let retried = attempts.windows(2).any(|pair| {
            pair[0]["host"] == killed && pair[1]["reason"] == "retry" && pair[1]["host"] != killed
        });
        retried && result["host"] != killed && result["attempts"].as_u64() >= Some(2)
    });
    let moved = moved.count();
    assert!(moved > 0, "no item was in flight on the host that was killed");
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
