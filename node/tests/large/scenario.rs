//! A function's life in a small network: deployed, called, its host killed under load, made up for.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;

use crate::network::{Network, until};

pub(crate) const SLEEP: &[u8] = include_bytes!("../../../deploy/functions/sleep/sleep.wasm");

/// The dead are found soon, and made up for soon.
pub(crate) const QUICK: &str = "[core]\nprobe_period = \"1s\"\nrank_delay = \"1s\"\n\
    repair_backoff = \"2s\"\nhost_pause = \"2s\"\n";

/// A manycall through a node, one of whose hosts is killed between 30 % and 60 % of the
/// results while it has items in hand: nothing is lost, nothing doubled. Returns who was killed.
pub(crate) async fn manycall_with_a_death(
    network: &mut Network,
    gateway: usize,
    items: u64,
) -> Result<usize, String> {
    let body = "10\n".repeat(items as usize);
    let mut lines = network.nodes[gateway].gateway.clone().manycall("sleep", body).await;
    let (mut indexes, mut received, mut retried, mut dead) = (BTreeSet::new(), 0, 0, None);
    let summary = loop {
        let mut line = lines.json().await.ok_or("the answer broke off")?;
        if line.get("summary").is_some() {
            break line["summary"].take();
        }
        received += 1;
        if line["status"] != 200 {
            return Err(format!("an item failed: {line}"));
        }
        indexes.insert(line["index"].as_u64());
        retried += u64::from(line["attempts"].as_u64() > Some(1));
        // Whoever answered just now has the next items in hand.
        let victim = network.by_id(line["host"].as_str().unwrap_or(""));
        let victim = victim.map(|node| node.number).filter(|n| *n != 0 && *n != gateway);
        if let (None, Some(victim)) = (dead, victim)
            && (items * 30 / 100..=items * 60 / 100).contains(&received)
        {
            network.kill(victim).await;
            dead = Some(victim);
        }
    };
    let dead = dead.ok_or("no host answered that could be killed")?;
    if received != items || indexes.len() as u64 != items || summary["succeeded"] != items {
        return Err(format!("{received} results, {} items: {summary}", indexes.len()));
    }
    if retried == 0 {
        return Err("no item was in flight when the host died".into());
    }
    Ok(dead)
}

/// Where the scenario failed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Deploy,
    Call,
    Death,
    Repair,
}

/// The whole of it, among `network`'s nodes, which all have one owner.
#[cfg_attr(not(feature = "planted"), expect(dead_code, reason = "for the planted bugs"))]
pub(crate) async fn life(network: &mut Network) -> Result<(), (Step, String)> {
    let within = Duration::from_secs(20);
    let deployer = &network.nodes[0];
    let failed = |step| move |why| (step, why);
    deployer.gateway.deploy("sleep", SLEEP, 3).await.map_err(failed(Step::Deploy))?;
    let hosts = until("three hosts", within, async || {
        let hosts = network.live_hosts(deployer, "sleep").await;
        (hosts.len() >= 3).then_some(hosts)
    });
    let hosts = hosts.await.map_err(failed(Step::Deploy))?;
    // Not the deployer, if it can be helped: it may know the hosts without a search.
    let gateway = network.nodes.iter().rposition(|node| !hosts.contains(&node.peer_id)).unwrap();

    let reply = network.nodes[gateway].gateway.call("sleep", "1", Duration::from_secs(5)).await;
    if reply.status != StatusCode::OK {
        return Err((Step::Call, format!("{}: {}", reply.status, reply.text())));
    }
    manycall_with_a_death(network, gateway, 600).await.map_err(failed(Step::Death))?;
    let gateway = &network.nodes[gateway];
    until("three live hosts again", within, async || {
        (network.live_hosts(gateway, "sleep").await.len() >= 3).then_some(())
    })
    .await
    .map_err(failed(Step::Repair))
}
