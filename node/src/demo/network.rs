//! The child processes: each a node with its own identity and store, in one temporary directory.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::future::try_join_all;
use peerless_net::identity::Keypair;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::Trouble;
use crate::bytes32::hex;
use crate::cli::DemoArgs;
use crate::client::failure::Failure;
use crate::client::http::Gateway;
use crate::{clock, keys};

/// How long a node may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(45);
/// How many lines of a log are shown.
const LOG_LINES: usize = 12;

/// All nodes; gone when it is dropped, unless they are left up.
pub(super) struct Network {
    dir: PathBuf,
    config: Option<PathBuf>,
    nodes: Vec<Node>,
    keep: bool,
    left_up: bool,
}

/// One node.
pub(super) struct Node {
    pub(super) number: usize,
    pub(super) pid: u32,
    pub(super) peer_id: String,
    pub(super) listen: String,
    pub(super) gateway: Gateway,
    pub(super) alive: bool,
    child: Child,
}

/// What `up --json` says when it is ready.
#[derive(Deserialize)]
struct Ready {
    event: String,
    peer_id: String,
    owner: String,
    listen: Vec<String>,
    http: String,
}

impl Network {
    /// An empty one.
    pub(super) fn new(args: &DemoArgs) -> Result<Self, Failure> {
        // Children run elsewhere.
        let absolute = |path: &PathBuf| {
            fs::canonicalize(path).map_err(|error| Failure::unreadable(path, &error))
        };
        let config = args.config.as_ref().map(absolute).transpose()?;
        let name = format!("peerless-demo-{}-{}", std::process::id(), clock::unix_ms());
        let dir = std::env::temp_dir().join(name);
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let made = builder.create(&dir);
        made.map_err(|error| Failure::failed(format!("cannot make {}: {error}", dir.display())))?;
        Ok(Self { dir, config, nodes: Vec::new(), keep: args.keep, left_up: false })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Those that were not killed.
    pub(super) fn live(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.alive)
    }

    pub(super) fn node(&self, number: usize) -> &Node {
        &self.nodes[number]
    }

    /// Whether it is one of the live nodes.
    pub(super) fn is_live(&self, peer_id: &str) -> bool {
        self.live().any(|node| node.peer_id == peer_id)
    }

    /// Starts `peers` nodes: the first, and then the others, which join through it.
    pub(super) async fn start(&mut self, peers: usize) -> Result<(), Trouble> {
        let owner = Keypair::generate_ed25519();
        let made = keys::create(&self.dir.join("owner.key"), &owner);
        made.map_err(|error| Trouble::new(error.to_string()))?;
        let first = self.spawn(0, None).await?;
        let bootstrap = first.listen.clone();
        self.nodes.push(first);
        let others = (1..peers).map(|number| self.spawn(number, Some(&bootstrap)));
        let others = try_join_all(others).await?;
        self.nodes.extend(others);
        Ok(())
    }

    fn node_dir(&self, number: usize) -> PathBuf {
        self.dir.join(format!("node-{number}"))
    }

    /// Puts `module` where a node keeps the one with this digest.
    pub(super) fn tamper(&self, number: usize, digest: &[u8; 32], module: &[u8]) -> io::Result<()> {
        let modules = self.node_dir(number).join("modules");
        fs::create_dir_all(&modules)?;
        fs::write(modules.join(hex(digest)), module)
    }

    async fn spawn(&self, number: usize, bootstrap: Option<&str>) -> Result<Node, Trouble> {
        let failed =
            |error: io::Error| Trouble::new(format!("cannot start node {number}: {error}"));
        let dir = self.node_dir(number);
        fs::create_dir_all(&dir).map_err(failed)?;
        let log = File::create(dir.join("log")).map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["up", "--json", "--network", "demo", "--http", "127.0.0.1:0"]);
        command.args(["--listen", "/ip4/127.0.0.1/tcp/0"]);
        command.arg("--data-dir").arg(&dir).arg("--owner-key").arg(self.dir.join("owner.key"));
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(bootstrap) = bootstrap {
            command.args(["--bootstrap", bootstrap]);
        }
        // What the user's own node is told is not for these.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PEERLESS_") && text != "PEERLESS_LOG" {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        // Until the network is left up: a start that fails leaves nobody behind.
        command.kill_on_drop(true);
        #[cfg(unix)]
        if self.keep {
            // Out of the terminal's reach, whose Ctrl-C is for what comes after the demo.
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take().expect("its standard output is a pipe");
        let ready = match tokio::time::timeout(READY_WITHIN, ready(stdout)).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(why)) => {
                let _ = child.start_kill();
                return Err(Trouble::at(number, format!("node {number} did not start: {why}")));
            }
            Err(_) => {
                let _ = child.start_kill();
                let seconds = READY_WITHIN.as_secs();
                let reason = format!("node {number} was not ready within {seconds} s");
                return Err(Trouble::at(number, reason));
            }
        };
        self.joined(number, child, ready)
    }

    fn joined(&self, number: usize, child: Child, ready: Ready) -> Result<Node, Trouble> {
        let wrong = |why: String| Trouble::at(number, format!("node {number} {why}"));
        let owner = keys::load(&self.dir.join("owner.key")).expect("it was just made");
        if ready.owner != keys::owner_text(&keys::owner(&owner)) {
            return Err(wrong(format!("has the owner {}", ready.owner)));
        }
        let listen = ready.listen.into_iter().next();
        let listen = listen.ok_or_else(|| wrong("listens nowhere".into()))?;
        let gateway = Gateway::parse(&ready.http).map_err(|failure| wrong(failure.message))?;
        let pid = child.id().unwrap_or(0);
        let peer_id = ready.peer_id;
        Ok(Node { number, pid, peer_id, listen, gateway, alive: true, child })
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, number: usize) -> Result<(), Trouble> {
        let node = &mut self.nodes[number];
        node.alive = false;
        let killed = node.child.start_kill();
        killed.map_err(|error| Trouble::new(format!("cannot kill node {number}: {error}")))
    }

    /// The number of a node that was not killed and has ended all the same.
    pub(super) fn fallen(&mut self) -> Option<(usize, String)> {
        let mut live = self.nodes.iter_mut().filter(|node| node.alive);
        live.find_map(|node| {
            let status = node.child.try_wait().ok().flatten()?;
            Some((node.number, format!("node {} ended by itself: {status}", node.number)))
        })
    }

    /// The last lines that a node logged.
    pub(super) fn log_tail(&self, number: usize) -> Vec<String> {
        let log = fs::read(self.node_dir(number).join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<_> = text.lines().collect();
        let skipped = lines.len().saturating_sub(LOG_LINES);
        lines[skipped..].iter().map(|line| format!("  {line}")).collect()
    }

    /// The nodes outlive this process.
    pub(super) fn leave_up(&mut self) {
        self.left_up = true;
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.left_up {
            for node in self.nodes.drain(..) {
                // Dropped, it would be killed.
                std::mem::forget(node.child);
            }
            return;
        }
        for node in &mut self.nodes {
            let _ = node.child.start_kill();
        }
        // Their directory can go only when they are gone.
        for _ in 0..200 {
            let gone = |node: &mut Node| !matches!(node.child.try_wait(), Ok(None));
            if self.nodes.iter_mut().all(gone) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

async fn ready(stdout: ChildStdout) -> Result<Ready, String> {
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next_line().await.map_err(|error| error.to_string())?;
    let line = line.ok_or("it ended at once")?;
    let ready: Ready = serde_json::from_str(&line).map_err(|_| format!("it said {line:?}"))?;
    if ready.event != "ready" {
        return Err(format!("it said {line:?}"));
    }
    // What it says later goes nowhere, but a full pipe would hold it up.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(ready)
}
