//! Nodes as child processes, in one directory that goes with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use peerless_net::identity::Keypair;
use peerless_node::keys;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use crate::client::Gateway;
use crate::up::{log_in, up};

/// Far more than anything here takes, so that only a hang ends by it.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// Nodes that start at the same time.
const AT_ONCE: usize = 8;

/// One network at a time: what is measured is not to depend on the others.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What all nodes of a network are told.
pub(crate) struct Plan {
    /// How many owner keys; node n holds the one with the number n modulo this.
    pub(crate) owners: usize,
    pub(crate) accept: &'static str,
    /// The configuration file.
    pub(crate) config: &'static str,
    pub(crate) journal: bool,
    /// Which planted bug; 0: none.
    pub(crate) planted: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self { owners: 1, accept: "owner", config: "", journal: false, planted: 0 }
    }
}

/// All nodes; killed when it is dropped.
pub(crate) struct Network {
    plan: Plan,
    pub(crate) nodes: Vec<Node>,
    dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// One node.
pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) pid: u32,
    pub(crate) peer_id: String,
    pub(crate) owner: String,
    pub(crate) listen: String,
    pub(crate) gateway: Gateway,
    pub(crate) alive: bool,
    child: Child,
}

impl Network {
    /// Starts `nodes` nodes. Each joins through one that is up already, not always the same one.
    pub(crate) async fn start(plan: Plan, nodes: usize) -> Self {
        let alone = ALONE.lock().await;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("peerless.toml"), plan.config).unwrap();
        for owner in 0..plan.owners {
            keys::create(&owner_key(dir.path(), owner), &Keypair::generate_ed25519()).unwrap();
        }
        let mut network = Self { plan, nodes: Vec::new(), dir, _alone: alone };
        while network.nodes.len() < nodes {
            let up = network.nodes.len();
            let next = (2 * up).clamp(1, up + AT_ONCE).min(nodes);
            let starting = (up..next).map(|number| {
                let bootstrap = network.nodes.get(number.saturating_sub(1) / 2);
                network.up(number, bootstrap.map(|node| node.listen.clone()))
            });
            let started = join_all(starting).await;
            network.nodes.extend(started);
        }
        network
    }

    /// Where a node keeps what is its own.
    pub(crate) fn node_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("node-{number}"))
    }

    /// Where a node's journals are.
    pub(crate) fn journal_dir(&self, number: usize) -> PathBuf {
        self.node_dir(number).join("journal")
    }

    async fn up(&self, number: usize, bootstrap: Option<String>) -> Node {
        let tell = |command: &mut Command| {
            command.args(["--network", "large", "--accept", self.plan.accept]);
            command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]);
            command.arg("--config").arg(self.dir.path().join("peerless.toml"));
            command.arg("--owner-key").arg(owner_key(self.dir.path(), number % self.plan.owners));
            if let Some(bootstrap) = &bootstrap {
                command.args(["--bootstrap", bootstrap]);
            }
            if self.plan.journal {
                command.arg("--journal").arg(self.journal_dir(number));
            }
            if self.plan.planted > 0 {
                command.env("PEERLESS_PLANTED", self.plan.planted.to_string());
            }
        };
        let (child, ready) = up(&self.node_dir(number), tell).await;
        Node {
            number,
            pid: child.id().unwrap(),
            peer_id: ready.peer_id,
            owner: ready.owner,
            listen: ready.listen.into_iter().next().unwrap(),
            gateway: Gateway(ready.http),
            alive: true,
            child,
        }
    }

    /// What a node logged.
    pub(crate) fn log_of(&self, number: usize) -> String {
        log_in(&self.node_dir(number))
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) async fn kill(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.alive = false;
        node.child.kill().await.unwrap();
    }

    /// Starts a killed node again, which joins through the first one.
    pub(crate) async fn restart(&mut self, number: usize) {
        let bootstrap = self.nodes[0].listen.clone();
        self.nodes[number] = self.up(number, Some(bootstrap)).await;
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.alive)
    }

    /// The live node with this id.
    pub(crate) fn by_id(&self, peer_id: &str) -> Option<&Node> {
        self.live().find(|node| node.peer_id == peer_id)
    }

    /// The live hosts of a function that `asker` finds.
    pub(crate) async fn live_hosts(&self, asker: &Node, name: &str) -> Vec<String> {
        let mut hosts = asker.gateway.hosts(name).await;
        hosts.retain(|host| self.by_id(host).is_some());
        hosts
    }

    /// Waits until a node finds so many live hosts of a function; returns them.
    pub(crate) async fn hosted(&self, asker: &Node, name: &str, least: usize) -> Vec<String> {
        until(&format!("{least} hosts of {name}"), LONG, async || {
            let hosts = self.live_hosts(asker, name).await;
            (hosts.len() >= least).then_some(hosts)
        })
        .await
        .unwrap()
    }
}

fn owner_key(dir: &Path, owner: usize) -> PathBuf {
    dir.join(format!("owner-{owner}.key"))
}

/// Asks again and again until there is an answer, or too much time has passed: then what was
/// waited for is the error.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut so: impl AsyncFnMut() -> Option<T>,
) -> Result<T, String> {
    let waiting = async {
        loop {
            if let Some(answer) = so().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(within, waiting).await.map_err(|_| format!("{what}: not within {within:?}"))
}

/// The texts of an array under a key of each of its objects.
pub(crate) fn texts(array: &Value, key: &str) -> Vec<String> {
    let objects = array.as_array().into_iter().flatten();
    objects.filter_map(|object| object[key].as_str()).map(str::to_owned).collect()
}
