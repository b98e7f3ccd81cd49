//! The steps that hurt: a host is killed, its functions get another, a function is removed.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::network::{Network, Node};
use super::steps::{ANSWER_WITHIN, Deployed, ECHO, SLEEP, live_hosts, many, stranger, until};
use super::{Demo, Trouble};
use crate::client::http::Gateway;
use crate::clock::Stopwatch;

const ITEMS: u64 = 600;
/// When the host is killed, in percent of the results; it must have been between the other two.
const KILL_AT: u64 = 30;
const KILL_BETWEEN: (u64, u64) = (20, 60);
const REPAIR_WITHIN: Duration = Duration::from_mins(1);
const REMOVE_WITHIN: Duration = Duration::from_secs(5);
/// Enough for every host to get some of them.
const CHECK_ITEMS: u64 = 60;

/// A host that is no more.
pub(super) struct Killed {
    peer_id: String,
    since: Stopwatch,
}

/// How long each item sleeps: 20 to 50 ms.
fn milliseconds(item: u64) -> u64 {
    20 + item * 7 % 31
}

pub(super) async fn kill(demo: &mut Demo, deployed: &Deployed) -> Result<Killed, Trouble> {
    let number = stranger(&demo.network, deployed, SLEEP)?.number;
    demo.begin("kill", &format!("a host, during a manycall through node {number}"));
    let gateway = demo.network.node(number).gateway.clone();
    let items: Vec<_> = (0..ITEMS).map(|item| milliseconds(item).to_string()).collect();
    let watch = Stopwatch::start();
    let mut killed = None;
    let network = &mut demo.network;
    let (tally, summary) = many(&gateway, SLEEP, items.join("\n"), |result, tally| {
        tally.add(result, Some(&format!("{}\n", milliseconds(result.index))));
        // Whoever answered just now has the next items in hand.
        if killed.is_none()
            && tally.received * 100 >= ITEMS * KILL_AT
            && let Some(host) = &result.host
            && let Some(victim) = victim(network, host, number)
        {
            network.kill(victim)?;
            let since = Stopwatch::start();
            let before = (tally.received, tally.retried);
            killed = Some((victim, before, Killed { peer_id: host.clone(), since }));
        }
        Ok(())
    })
    .await
    .map_err(|trouble| Trouble { node: Some(number), ..trouble })?;
    let seconds = watch.seconds();
    let wrong = |reason: String| Trouble::at(number, reason);
    let (victim, (at, retried_before), killed) =
        killed.ok_or_else(|| wrong("no host answered that could be killed".into()))?;
    let (least, most) = KILL_BETWEEN;
    if !(ITEMS * least..=ITEMS * most).contains(&(at * 100)) {
        return Err(wrong(format!("the host was killed after {at} of {ITEMS} results")));
    }
    tally.check(ITEMS).map_err(wrong)?;
    let retried = tally.retried - retried_before;
    if retried == 0 {
        return Err(wrong("no item needed a second attempt, so none was in flight".into()));
    }
    if (&summary["items"], &summary["succeeded"]) != (&json!(ITEMS), &json!(ITEMS)) {
        return Err(wrong(format!("the summary says {summary}")));
    }
    demo.row("items of 20 to 50 ms", ITEMS.to_string());
    demo.row(format!("results when node {victim} was killed"), at.to_string());
    demo.row("results in all, none lost, none twice", tally.received.to_string());
    demo.row("items with a second attempt since", retried.to_string());
    demo.row("time", format!("{seconds:.2} s"));
    Ok(killed)
}

/// The node to kill, if this host may be: neither the gateway nor the one that others joined by.
fn victim(network: &Network, host: &str, gateway: usize) -> Option<usize> {
    let node = network.live().find(|node| node.peer_id == host)?;
    (node.number != gateway && node.number != 0).then_some(node.number)
}

pub(super) async fn repair(
    demo: &mut Demo,
    deployed: &Deployed,
    killed: &Killed,
) -> Result<(), Trouble> {
    let hit = deployed.hosts.iter().filter(|(_, hosts)| hosts.contains(&killed.peer_id));
    let hit: Vec<&str> = hit.map(|(name, _)| *name).collect();
    let names = hit.join(", ");
    demo.begin("repair", &format!("{names}: a new host in place of the lost one"));
    let network = &demo.network;
    let observer = network.node(0);
    let left = REPAIR_WITHIN.saturating_sub(killed.since.elapsed());
    let (mut found, mut answered) = (Vec::new(), None);
    let repaired = until(left, async || {
        found.clear();
        for name in &hit {
            let hosts = live_hosts(network, &observer.gateway, name).await;
            found.push((*name, hosts.map_or(0, |hosts| hosts.len())));
        }
        if found.iter().any(|(_, hosts)| *hosts < deployed.min) {
            return None;
        }
        // Being found is one thing; only a host that answers counts.
        let hosts = answering(network, &observer.gateway).await.ok()?.len();
        answered = Some(hosts);
        (hosts >= deployed.min).then(|| killed.since.seconds())
    })
    .await;
    let min = deployed.min;
    let Some(seconds) = repaired else {
        let found: Vec<_> = found.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let answered = answered.map(|n| format!(", of which {n} answered")).unwrap_or_default();
        let reason = format!(
            "after {} s the live hosts are: {}{answered}; each should have {min}",
            REPAIR_WITHIN.as_secs(),
            found.join(", "),
        );
        return Err(Trouble::at(observer.number, reason));
    };
    demo.row("functions that lost a host", hit.len().to_string());
    demo.row(format!("from the kill until each had {min} live hosts"), format!("{seconds:.1} s"));
    let hosts = answered.unwrap_or(0).to_string();
    demo.row(format!("live hosts that answered calls of {SLEEP} then"), hosts);
    Ok(())
}

/// Which live nodes answer calls of `sleep`.
async fn answering(network: &Network, gateway: &Gateway) -> Result<BTreeSet<String>, Trouble> {
    let items = "5\n".repeat(CHECK_ITEMS as usize);
    let (tally, _) = many(gateway, SLEEP, items, |result, tally| {
        tally.add(result, Some("5\n"));
        Ok(())
    })
    .await?;
    tally.check(CHECK_ITEMS).map_err(Trouble::new)?;
    Ok(tally.hosts.into_iter().filter(|host| network.is_live(host)).collect())
}

pub(super) async fn remove(demo: &mut Demo) -> Result<(), Trouble> {
    demo.begin("remove", &format!("{ECHO}, until no node answers for it"));
    let network = &demo.network;
    let remover = network.node(0);
    let body = json!({ "functionName": ECHO });
    let watch = Stopwatch::start();
    let path = "/system/functions";
    let reply = remover.gateway.ask(Method::DELETE, path, Some(&body), ANSWER_WITHIN).await?;
    reply.ok(&remover.gateway, &format!("remove {ECHO}"))?;
    let seen = join_all(network.live().map(|node| async {
        let left = REMOVE_WITHIN.saturating_sub(watch.elapsed());
        let seen = until(left, async || removed(node).await.then(|| watch.seconds()));
        (node.number, seen.await)
    }));
    let mut slowest: f64 = 0.0;
    let mut nodes = 0;
    for (node, seen) in seen.await {
        let within = REMOVE_WITHIN.as_secs();
        let seen = seen.ok_or_else(|| {
            Trouble::at(node, format!("node {node} still knows {ECHO} after {within} s"))
        })?;
        slowest = slowest.max(seen);
        nodes += 1;
    }
    demo.row("nodes that no longer know the function", format!("{nodes} of {nodes}"));
    demo.row("until the last of them knew", format!("{slowest:.1} s"));
    Ok(())
}

/// Whether a node neither lists `echo` nor finds a host for a call.
async fn removed(node: &Node) -> bool {
    let ask = async |method: Method, path: &str| {
        node.gateway.ask(method, path, None, ANSWER_WITHIN).await
    };
    let Ok(listed) = ask(Method::GET, "/system/functions").await else { return false };
    let Ok(listed) = listed.json(&node.gateway, "list functions") else { return false };
    let named = |function: &Value| function["name"] == ECHO;
    if listed.as_array().into_iter().flatten().any(named) {
        return false;
    }
    let called = ask(Method::POST, &format!("/function/{ECHO}")).await;
    called.is_ok_and(|reply| reply.status == StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_sleep_20_to_50_ms() {
        let times: BTreeSet<_> = (0..ITEMS).map(milliseconds).collect();
        assert_eq!((times.first(), times.last()), (Some(&20), Some(&50)));
    }
}
