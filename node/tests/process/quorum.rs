//! A manycall's answers confirmed by several hosts.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::common::{Network, Plan, lines, request, text};

/// Each run answers 16 bytes that no other does.
const RANDOM: &str = r#"(module
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\10\00\00\00")
    (func (export "_start")
        (drop (call $random (i32.const 16) (i32.const 16)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_hosts_as_asked_for_give_the_same_answer() {
    let network = Network::start(5, Plan::default()).await;
    let hosts = network.deploy(0, "echo", &["--replicas", "4"]).await;
    assert_eq!(hosts.len(), 4);
    let gateway = network.stranger(&hosts);

    // Larger answers than all that a job may hold: those that wait for others take no room.
    let large = format!("\"{}\"\n", "x".repeat(2 << 20));
    let items = (0..40).map(|n| format!("{n}\n")).chain((0..40).map(|_| large.clone()));
    let mut results = gateway.many("echo?quorum=3/4", items.collect()).await;
    let summary = results.pop().unwrap()["summary"].take();
    assert_eq!((&summary["items"], &summary["succeeded"]), (&80.into(), &80.into()), "{summary}");
    assert!(summary["attempts"].as_u64().unwrap() >= 3 * 80, "{summary}");
    for result in &results {
        let (index, attempts) = (result["index"].as_u64(), result["attempts"].as_u64());
        assert!(attempts.unwrap() >= 3, "item {index:?}: {attempts:?} attempts");
        let bytes = result["body"].as_str().unwrap().len();
        assert_eq!(bytes > 100, index.unwrap() >= 40, "item {index:?}: {bytes} bytes");
    }

    let mut results = gateway.many("echo?quorum=5/5", "1\n2\n".to_owned()).await;
    let summary = results.pop().unwrap()["summary"].take();
    assert_eq!(summary["failed"], 2, "four hosts are too few for five voices: {summary}");
    let codes: BTreeSet<&str> = results.iter().filter_map(|it| it["code"].as_str()).collect();
    assert_eq!(codes, BTreeSet::from(["no-quorum"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_differ_are_no_quorum() {
    let network = Network::start(3, Plan::default()).await;
    let node = &network.nodes[2];
    let module = network.dir.path().join("random.wasm");
    std::fs::write(&module, wat::parse_str(RANDOM).unwrap()).unwrap();
    let deployed = node.cli("deploy", &[&module.display().to_string(), "--replicas", "3"]).await;
    assert!(deployed.status.success(), "{}", text(&deployed.stderr));

    let file = network.dir.path().join("items");
    std::fs::write(&file, "1\n2\n3\n").unwrap();
    let file = file.display().to_string();
    let said = node.cli("manycall", &["random", "--items", &file, "--quorum", "2/3"]).await;
    assert_eq!(said.status.code(), Some(3), "{}", text(&said.stderr));
    let results: Vec<Value> = lines(&said.stdout);
    let (summary, results) = results.split_last().unwrap();
    assert_eq!(summary["summary"]["failed"], 3, "{summary}");
    for result in results {
        let what = (&result["status"], &result["code"], &result["attempts"]);
        assert_eq!(what, (&502.into(), &"no-quorum".into(), &3.into()), "{result}");
        assert!(result["error"].as_str().unwrap().contains("random"), "{result}");
    }
    let said = node.cli("manycall", &["random", "--items", &file]).await;
    assert_eq!(said.status.code(), Some(0), "one host's word will do: {}", text(&said.stderr));

    let said = node.cli("manycall", &["random", "--items", &file, "--quorum", "3/2"]).await;
    assert_eq!(said.status.code(), Some(2));
    assert!(text(&said.stderr).contains("\"3/2\" is not K/N"), "{}", text(&said.stderr));
    let document = r#"{"items":[1],"options":{"quorum":"2"}}"#;
    let mut wrong = request(Method::POST, "/manycall/random", document);
    wrong.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let reply = node.send(wrong).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("quorum: "), "{}", reply.text());
}
