//! What a node was told is kept, whenever it is killed.

use std::time::Duration;

use crate::common::{Network, Plan, text, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_instant_loses_nothing_acknowledged() {
    let mut network = Network::start(1, Plan::default()).await;
    for round in 0..4_u64 {
        let node = &network.nodes[0];
        let module = crate::common::sample("echo").display().to_string();
        let name = format!("f{round}");
        let args = [module.as_str(), "--name", &name, "--replicas", "1", "--json"];
        let out = node.cli("deploy", &args).await;
        assert!(out.status.success(), "{}", text(&out.stderr));
        // Something is always on its way when it is killed.
        let other = format!("g{round}");
        let args = [module.as_str(), "--name", &other, "--replicas", "1"];
        let busy = node.cli("deploy", &args);
        let _ = tokio::time::timeout(Duration::from_millis(round * 15), busy).await;
        network.nodes[0].kill().await;
        network.nodes[0].restart().await;
        let node = &network.nodes[0];
        for before in 0..=round {
            let path = format!("/function/f{before}");
            until(10, "what was acknowledged is served", || async {
                node.post(&path, "x").await.status == 200
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_store_is_one_node_s() {
    let network = Network::start(1, Plan::default()).await;
    let dir = network.nodes[0].dir.display().to_string();
    let mut second = crate::binary::peerless();
    second.args([
        "up",
        "--data-dir",
        &dir,
        "--http",
        "127.0.0.1:0",
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
    ]);
    let out = second.output().await.unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("another node uses the store"), "{}", text(&out.stderr));
}
