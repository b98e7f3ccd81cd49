//! Leaving without losing a call.

use std::time::Duration;

use futures::future::{join, join_all};

use crate::common::{Network, Plan, text, until};

/// Calls that come while a host leaves, and how far apart.
const CALLS: u32 = 40;
const APART: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_leaves_loses_no_call_and_no_replica() {
    let network = Network::start(4, Plan::default()).await;
    let hosts = network.deploy(0, "sleep", &["--replicas", "2"]).await;
    let leaving = &network.nodes[network.number(&hosts[0])];
    let caller = network.stranger(&hosts);
    let calls = join_all((0..CALLS).map(async |n| {
        tokio::time::sleep(APART * n).await;
        caller.post("/function/sleep", "100").await
    }));
    let (drained, replies) = join(leaving.cli("drain", &[]), calls).await;
    assert!(drained.status.success(), "{}", text(&drained.stderr));
    assert!(text(&drained.stdout).starts_with("drained"), "{}", text(&drained.stdout));
    for reply in replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    until(10, "two others host it", async || {
        let now = caller.hosts("sleep").await;
        now.len() == 2 && !now.contains(&leaving.peer_id)
    })
    .await;
    // What is deployed from now on goes elsewhere.
    let others = network.deploy(0, "echo", &["--replicas", "4"]).await;
    assert!(!others.is_empty() && !others.contains(&leaving.peer_id), "{others:?}");
}
