//! Functions that ask for a label of their hosts.

use crate::common::{Network, Plan, sample, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_runs_where_its_label_is_carried_and_nowhere_else() {
    let mut network = Network::start(3, Plan::default()).await;
    network.replan(["--label", "gpu=yes", "--label", "region=eu"].map(str::to_owned).into());
    network.add("owner.key").await;
    network.replan(["--label", "region=eu"].map(str::to_owned).into());
    network.add("owner.key").await;
    let both = ["--constraint", "region=eu", "--constraint", "gpu=yes", "--replicas", "1..3"];
    let hosts = network.deploy(0, "echo", &both).await;
    assert_eq!(hosts, [network.nodes[3].peer_id.clone()]);
    let one = ["--constraint", "region=eu", "--replicas", "2"];
    let mut hosts = network.deploy(0, "sleep", &one).await;
    hosts.sort();
    let mut carriers = [network.nodes[3].peer_id.clone(), network.nodes[4].peer_id.clone()];
    carriers.sort();
    assert_eq!(hosts, carriers);
    let reply = network.nodes[1].post("/function/echo", "anybody").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let module = sample("words").display().to_string();
    let nowhere = [module.as_str(), "--constraint", "gpu=no"];
    let refused = network.nodes[0].cli("deploy", &nowhere).await;
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
    let said = text(&refused.stderr);
    assert!(said.contains("constraint"), "each peer says why: {said}");
}
