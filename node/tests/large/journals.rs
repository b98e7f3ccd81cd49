//! What five nodes recorded, from a deployment to the repair after a host's death, is replayed: the
//! core alone comes to the same effects, and keeps its laws.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use peerless_core::laws::Laws;
use peerless_node::journal::{self, Replayed};
use serde_json::Value;

use crate::binary::peerless;
use crate::network::{LONG, Network, Node, Plan};
use crate::scenario::{QUICK, SLEEP, manycall_with_a_death};

const NODES: usize = 5;
const ITEMS: u64 = 2_000;

#[tokio::test]
async fn what_nodes_recorded_replays_equally_within_the_laws() {
    let plan = Plan { config: QUICK, journal: true, ..Plan::default() };
    let mut network = Network::start(plan, NODES).await;
    let deployer = &network.nodes[0];
    deployer.gateway.deploy("sleep", SLEEP, 3).await.unwrap();
    let hosts = network.hosted(deployer, "sleep", 3).await;
    let gateway = network.nodes.iter().position(|node| !hosts.contains(&node.peer_id)).unwrap();
    let dead = manycall_with_a_death(&mut network, gateway, ITEMS).await.unwrap();
    network.hosted(&network.nodes[gateway], "sleep", 3).await;
    network.restart(dead).await;
    serves_again(&network.nodes[dead]).await;
    at_rest(&network).await;
    for number in 0..NODES {
        network.kill(number).await;
    }

    for number in 0..NODES {
        let journals = journals(&network.journal_dir(number));
        assert_eq!(journals.len(), if number == dead { 2 } else { 1 }, "a journal a start");
        // Only the one that was killed at work may have left anything half done.
        for (index, path) in journals.iter().enumerate() {
            let worked = number == dead && index == 0;
            let replayed = within_the_laws(path, !worked);
            eprintln!("node {number}: {} inputs, {} effects", replayed.inputs, replayed.effects);
            assert!(replayed.equal, "{replayed:?}");
            // The gateway alone heard of each item that it came, began, ended and was taken.
            let least = if number == gateway { 2 * ITEMS } else { 20 };
            assert!(replayed.inputs > least, "node {number}: {replayed:?}");
        }
        let said = replay(&network.journal_dir(number)).await;
        assert_eq!((said.status, said.lines.len()), (Some(0), journals.len()), "{}", said.error);
        assert!(said.lines.iter().all(|line| line["equal"] == true), "{:?}", said.lines);
    }
    a_changed_byte_is_named(&journals(&network.journal_dir(gateway))[0]).await;
}

/// Waits until a host that was restarted answers a call of its own: before that it is busy with what
/// it had.
async fn serves_again(node: &Node) {
    crate::network::until("the restarted host", crate::network::LONG, async || {
        let reply = node.gateway.call("sleep", "1", crate::network::LONG).await;
        (reply.header("x-peerless-host") == node.peer_id).then_some(())
    })
    .await
    .unwrap();
}

fn journals(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Waits until no node has a request of a user or a call under way.
async fn at_rest(network: &Network) {
    let idle = async |node: &Node| node.gateway.json("/network/status").await["running"] == 0;
    for node in network.live() {
        crate::network::until("a node at rest", LONG, async || idle(node).await.then_some(()))
            .await
            .unwrap();
    }
}

fn within_the_laws(path: &Path, rests: bool) -> Replayed {
    let mut laws = None;
    let replayed = journal::replay_watched(path, |header, now, input, effects| {
        // A node's inputs wait in a channel: what was in it when the core aborted still comes.
        let new = || Laws::new(header.me, header.setup.slots).crossing();
        let laws = laws.get_or_insert_with(new);
        laws.input(now, input);
        for effect in effects {
            laws.effect(effect);
        }
    })
    .unwrap();
    let mut laws = laws.expect("a journal has inputs");
    if rests {
        laws.at_rest();
    }
    let broken: Vec<String> = laws.breaches().iter().map(ToString::to_string).collect();
    assert!(broken.is_empty(), "{}: {broken:#?}", path.display());
    replayed
}

/// What `peerless replay` said.
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) lines: Vec<Value>,
    error: String,
}

async fn replay(path: &Path) -> Said {
    replay_with(path, 0).await
}

/// Replays by a core in which a bug is planted, unless that is 0.
pub(crate) async fn replay_with(path: &Path, planted: u32) -> Said {
    let mut command = peerless();
    command.args(["replay", "--json"]).arg(path).env("PEERLESS_PLANTED", planted.to_string());
    let output = command.output().await.unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    Said {
        status: output.status.code(),
        lines: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

/// In the length, in a check and in the payload of a record, at the beginning, in the middle and
/// near the end of the file.
async fn a_changed_byte_is_named(path: &Path) {
    let whole = fs::read(path).unwrap();
    let copy = path.with_extension("changed");
    let begins = records(&whole);
    let numbers = [0, 1, begins.len() / 2, begins.len() - 1];
    for number in BTreeSet::from(numbers) {
        for offset in [0, 5, 9, 12] {
            let at = begins[number];
            let mut bytes = whole.clone();
            bytes[at + offset] ^= 1;
            fs::write(&copy, &bytes).unwrap();
            let said = replay(&copy).await;
            let named = format!("is damaged: record {number}, at byte {at}, ");
            assert!(said.error.contains(&named), "{named} but it says {}", said.error);
            assert_eq!((said.status, said.lines.len()), (Some(2), 0));
        }
    }
}

/// Where a journal's records begin.
fn records(journal: &[u8]) -> Vec<usize> {
    let mut at = b"peerless-journal\n".len();
    let mut begins = Vec::new();
    while let Some(length) = journal.get(at..at + 4) {
        let next = at + 12 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        if next > journal.len() {
            break;
        }
        begins.push(at);
        at = next;
    }
    begins
}
