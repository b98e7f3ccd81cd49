//! A network too large for anybody to know everybody: what is asked for is found by routing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use serde_json::Value;

use crate::network::{LONG, Network, Node, Plan, until};
use crate::outside;

const ECHO: &[u8] = include_bytes!("../../../deploy/functions/echo/echo.wasm");

const NODES: usize = 40;
const K: usize = 4;
const CONNECTIONS_MAX: u64 = 8;
const CONFIG: &str = "[core]\nk = 4\n[network]\nconnections_max = 8\n";
/// Functions with one host each, tried until enough calls had to be routed.
const FUNCTIONS_MAX: usize = 20;
/// Calls of that kind that are looked for.
const ROUTED: usize = 2;

#[tokio::test]
async fn forty_nodes_route_and_an_outside_client_finds_the_same_hosts() {
    let plan = Plan { owners: 8, accept: "anyone", config: CONFIG, ..Plan::default() };
    let network = Network::start(plan, NODES).await;
    let work = async {
        joined(&network).await;
        routed_calls(&network).await;
        same_providers(&network).await;
    };
    tokio::select! {
        () = work => {}
        () = few_connections(&network) => {}
    }
}

/// Waits until every node knows more peers than a bucket holds.
async fn joined(network: &Network) {
    until("everybody to join", LONG, async || {
        let known = join_all(network.live().map(|node| node.gateway.knows())).await;
        known.iter().all(|known| known.len() > K).then_some(())
    })
    .await
    .unwrap();
}

/// At no time does a node hold more connections than it was told to. Looks for ever.
async fn few_connections(network: &Network) {
    loop {
        for node in network.live() {
            let status = node.gateway.json("/network/status").await;
            assert!(status["peers"].as_u64().unwrap() <= CONNECTIONS_MAX, "{status}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Functions of the first node, called through nodes of other owners that have never heard of
/// their hosts: the calls arrive, and took two rounds or more to be routed.
async fn routed_calls(network: &Network) {
    let deployer = &network.nodes[0];
    let mut routed = Vec::new();
    let mut seen = Vec::new();
    for number in 0..FUNCTIONS_MAX {
        let bare = format!("echo-{number}");
        deployer.gateway.deploy(&bare, ECHO, 1).await.unwrap();
        let hosts = network.hosted(deployer, &bare, 1).await;
        let name = format!("{bare}.{}", deployer.owner);
        for asker in network.nodes.iter().filter(|node| node.owner != deployer.owner) {
            if !is_stranger(asker, &hosts).await {
                continue;
            }
            let rounds = rounds_of_a_call(asker, &name, &hosts).await;
            seen.push((number, asker.number, rounds));
            if rounds >= 2 {
                routed.push((number, asker.number, rounds));
                break;
            }
        }
        if routed.len() >= ROUTED {
            break;
        }
    }
    eprintln!("routed (function, through node, rounds): {routed:?} of {seen:?}");
    assert!(routed.len() >= ROUTED, "{seen:?}");
}

/// Whether a node hosts nothing of this, and knows none of the hosts, connected or not.
async fn is_stranger(asker: &Node, hosts: &[String]) -> bool {
    let known: BTreeSet<String> = asker.gateway.knows().await.into_iter().collect();
    !hosts.contains(&asker.peer_id) && hosts.iter().all(|host| !known.contains(host))
}

/// Calls, and reads from the node's own trace how many rounds its search took.
async fn rounds_of_a_call(asker: &Node, name: &str, hosts: &[String]) -> u64 {
    let mut events = asker.gateway.events().await;
    let reply = asker.gateway.call(name, "over the hills", Duration::from_secs(30)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.text(), "over the hills");
    assert!(hosts.iter().any(|host| host == reply.header("x-peerless-host")), "{reply:?}");
    // The search of this call is the one before its first attempt, under the same ticket.
    let mut searches: Vec<Value> = Vec::new();
    loop {
        let event = events.json().await.expect("events go on");
        if event["event"] == "searched" {
            searches.push(event);
        } else if event["event"] == "attempt" {
            assert!(hosts.iter().any(|host| event["host"] == host.as_str()), "{event}");
            let of_call = searches.iter().find(|search| search["ticket"] == event["ticket"]);
            return of_call.expect("a call begins with a search")["rounds"].as_u64().unwrap();
        }
    }
}

/// libp2p's own Kademlia, as a client that knows one node, finds the hosts that the API names.
async fn same_providers(network: &Network) {
    let deployer = &network.nodes[0];
    deployer.gateway.deploy("found", ECHO, 3).await.unwrap();
    let hosts = network.hosted(deployer, "found", 3).await;
    let name = format!("found.{}", deployer.owner);
    let through = network.nodes.iter().filter(|node| !hosts.contains(&node.peer_id));
    for node in through.skip(1).step_by(NODES / 4) {
        let found = outside::providers("large", &node.listen, &name).await;
        let api: BTreeSet<String> = node.gateway.hosts(&name).await.into_iter().collect();
        assert_eq!(found, api, "through node {}", node.number);
        assert_eq!(found, hosts.iter().cloned().collect());
    }
}
