//! `peerless up`: puts a node together, runs it, takes it down.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use peerless_core::{Core, Event, Input, Request, Setup};
use peerless_net::{Multiaddr, PeerKey};
use peerless_wasm::Sandbox;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::api;
use crate::asks;
use crate::contacts::Contacts;
use crate::daemon::Daemon;
use crate::functions::Functions;
use crate::id::NodeId;
use crate::journal::{Header, Journal};
use crate::keys;
use crate::modules::Modules;
use crate::node::{self, INPUTS_MAX, Node};
use crate::peers;
use crate::record;
use crate::serve::Host;
use crate::settings::Settings;
use crate::store::{self, Opened, Store};

/// Known peers that are dialled at the start, beside those the user named.
const REDIALS_MAX: usize = 8;

/// How long a node that has lost a part may take to close its connections.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// Runs a node until it is told to stop, or until a part of it ends by itself.
pub(crate) async fn up(settings: Settings, json: bool) -> anyhow::Result<()> {
    let mut stop = Box::pin(stop_signal()?);
    let mut running = tokio::select! {
        running = start(settings) => running?,
        // What has been started goes with the process.
        () = &mut stop => return Ok(()),
    };
    announce(&running, json);
    let fallen = tokio::select! {
        () = stop => None,
        why = running.parts.fallen() => Some(why),
    };
    tracing::info!("going down");
    match fallen {
        None => {
            running.stop().await;
            Ok(())
        }
        Some(why) => {
            let _ = tokio::time::timeout(CLOSE_WITHIN, running.stop()).await;
            bail!(why)
        }
    }
}

struct Running {
    node: Arc<Node>,
    http: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    parts: Parts,
}

impl Running {
    async fn stop(mut self) {
        self.parts.abort(SERVER);
        self.node.net().close().await;
        drop(self.stop);
        self.parts.wait(CORE).await;
    }
}

const CORE: &str = "core";
const SERVER: &str = "HTTP API";

/// What a node cannot be without: none of these ends before the node does.
#[derive(Default)]
struct Parts(Vec<(&'static str, JoinHandle<()>)>);

impl Parts {
    fn start(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.0.push((name, tokio::spawn(part)));
    }

    /// Waits until one of them ends, and says which and why.
    async fn fallen(&mut self) -> String {
        let tasks = self.0.iter_mut().map(|(_, task)| task);
        let (ended, at, _) = futures::future::select_all(tasks).await;
        let (name, _) = self.0.remove(at);
        match ended.err().and_then(|error| error.try_into_panic().ok()) {
            None => format!("the node's {name} ended by itself"),
            Some(panic) => {
                let text = panic.downcast_ref::<&str>().map(ToString::to_string);
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                let text = text.unwrap_or_else(|| "without a word".into());
                format!("the node's {name} failed, which is a bug: {text}")
            }
        }
    }

    fn abort(&mut self, name: &str) {
        self.0.iter().filter(|(other, _)| *other == name).for_each(|(_, task)| task.abort());
    }

    /// Waits for the end of one, unless it has fallen.
    async fn wait(&mut self, name: &str) {
        for (_, task) in self.0.iter_mut().filter(|(other, _)| *other == name) {
            let _ = task.await;
        }
    }
}

fn announce(running: &Running, json: bool) {
    let node = &running.node;
    let (owner, listen) = (keys::owner_text(&node.owner), api::own_addresses(node));
    let http = running.http.to_string();
    if json {
        let ready = json!({
            "event": "ready", "schema": 1, "peer_id": node.me.to_string(), "owner": owner,
            "listen": listen, "http": http,
        });
        crate::say(&ready.to_string());
    } else {
        let at = listen.join(" ");
        crate::say(&format!("ready: {} on {at}, API on http://{http}", node.me));
    }
}

async fn start(settings: Settings) -> anyhow::Result<Running> {
    let dir = settings.data_dir.clone();
    make_dir(&dir)?;
    let identity = keys::load_or_create(&dir.join("identity.key"))?;
    let owner_key = keys::load_or_create(&settings.owner_key)?;
    let (me, owner) = (NodeId::new(keys::public(&identity)), keys::owner(&owner_key));
    let opened = store::open(&dir.join("store.redb"))?;
    let limits = &settings.limits;
    let modules_dir = dir.join("modules");
    let modules =
        Modules::open(modules_dir.clone(), limits.modules_bytes_max, limits.module_bytes_max)
            .with_context(|| format!("cannot use {}", modules_dir.display()))?;
    let functions = Functions::new(sandbox(&settings, &dir)?, limits.output_bytes_max);
    let listener = TcpListener::bind(settings.http)
        .await
        .with_context(|| format!("cannot listen on {} for the HTTP API", settings.http))?;
    let http = listener.local_addr()?;

    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let setup = setup(&settings, owner);
    let (core, journal) = core(&settings, me, setup, opened.incarnation)?;
    let (items, known) = (opened.items.clone(), opened.peers.clone());
    let store = start_store(opened, &inputs)?;
    let net_settings = net_settings(&settings, identity);
    let contacts = Contacts::new(&settings.bootstrap, known_addresses(&known));
    let parts =
        node::Parts { me, owner, owner_key, settings, contacts, inputs, functions, modules, store };
    let node = Arc::new(Node::new(parts));
    let host = Arc::new(Host(OnceLock::new()));
    let (net, events) = peerless_net::start(net_settings, host.clone()).await?;
    for (peer, addresses) in known {
        net.learn(&peer, addresses);
    }
    let first_use = node.net.set(net);
    assert!(first_use.is_ok(), "the network starts once");
    let first_use = host.0.set(node.clone());
    assert!(first_use.is_ok(), "calls are taken for one node");

    let mut daemon = Daemon::new(node.clone(), core, received, journal);
    daemon.restore(items);
    let (stop, stopped) = oneshot::channel();
    let mut parts = Parts::default();
    parts.start(CORE, daemon.run(stopped));
    parts.start("network", peers::listen(node.clone(), events));
    parts.start(SERVER, api::serve(node.clone(), listener));
    parts.start("store", node.store.ended());
    let mut running = Running { node, http, stop, parts };
    let joined = tokio::select! {
        joined = join(&running.node) => joined,
        why = running.parts.fallen() => Err(anyhow!(why)),
    };
    if let Err(error) = joined {
        let _ = tokio::time::timeout(CLOSE_WITHIN, running.stop()).await;
        return Err(error);
    }
    Ok(running)
}

fn make_dir(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))
}

fn sandbox(settings: &Settings, dir: &Path) -> anyhow::Result<Sandbox> {
    let mut sandbox = peerless_wasm::Settings::standard();
    sandbox.cache_dir = Some(dir.join("compiled"));
    sandbox.instances_max = u32::from(settings.slots).max(1);
    sandbox.memory_bytes_max = settings.limits.memory_max;
    sandbox.module_bytes_max = settings.limits.module_bytes_max;
    Ok(Sandbox::new(sandbox)?)
}

fn start_store(opened: Opened, inputs: &mpsc::Sender<Input<NodeId>>) -> anyhow::Result<Store> {
    Store::start(opened, inputs.clone()).context("cannot start the store's thread")
}

fn setup(settings: &Settings, owner: peerless_core::Owner) -> Setup {
    let hosts = settings.slots > 0;
    Setup {
        owner: Some(owner),
        slots: settings.slots,
        queue: settings.queue,
        room: if hosts { settings.limits.functions_max } else { 0 },
        accept: settings.accept.clone(),
        labels: settings.labels.iter().map(|label| record::label_name(label)).collect(),
    }
}

fn core(
    settings: &Settings,
    me: NodeId,
    setup: Setup,
    incarnation: u32,
) -> anyhow::Result<(Core<NodeId>, Option<Journal>)> {
    let mut seed = [0; 8];
    if let Err(error) = getrandom::fill(&mut seed) {
        bail!("the system has no random bytes: {error}");
    }
    let seed = u64::from_le_bytes(seed);
    let header = Header::new(me, setup.clone(), settings.core.clone(), seed, incarnation);
    let journal = match &settings.journal {
        None => None,
        Some(dir) => {
            let journal = Journal::create(dir, &header);
            Some(journal.with_context(|| format!("cannot write a journal in {}", dir.display()))?)
        }
    };
    Ok((Core::new(me, setup, seed, incarnation), journal))
}

fn net_settings(
    settings: &Settings,
    identity: peerless_net::identity::Keypair,
) -> peerless_net::Settings {
    let mut net = peerless_net::Settings::new(identity, settings.network.clone());
    net.listen.clone_from(&settings.listen);
    net.limits.connections_max = settings.connections_max;
    net
}

/// Where some of the nodes were that were known before.
fn known_addresses(known: &[(PeerKey, Vec<Multiaddr>)]) -> Vec<Multiaddr> {
    let first = known.iter().filter_map(|(peer, addresses)| {
        let id = NodeId::new(*peer).peer_id();
        format!("{}/p2p/{id}", addresses.first()?).parse().ok()
    });
    first.take(REDIALS_MAX).collect()
}

/// Has the core meet the nodes that the user named, and some that were known before. It is an error
/// if the user named some and nobody at all answers.
async fn join(node: &Arc<Node>) -> anyhow::Result<()> {
    let mut meetings = JoinSet::new();
    for contact in node.contacts.all() {
        let node = node.clone();
        meetings.spawn(async move { (contact, asks::ask(&node, Request::Meet(contact)).await) });
    }
    let (mut answered, mut failures) = (0, Vec::new());
    while let Some(meeting) = meetings.join_next().await {
        let (contact, event) = meeting.context("a dial ended badly")?;
        if matches!(event, Event::Met(_)) {
            answered += 1;
            continue;
        }
        let (address, named, why) = node.contacts.described(contact);
        if named {
            tracing::warn!(%address, why, "a bootstrap node is of no use");
            failures.push(format!("{address}: {why}"));
        }
    }
    if answered == 0 && !failures.is_empty() {
        bail!("no bootstrap node answers: {}", failures.join("; "));
    }
    Ok(())
}

/// Ends when the user or the system asks this process to.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_named_with_its_reason() {
        let mut parts = Parts::default();
        parts.start("store", std::future::pending());
        parts.start(CORE, async { panic!("an invariant in {} words", "three") });
        let why = parts.fallen().await;
        assert_eq!(why, "the node's core failed, which is a bug: an invariant in three words");
        parts.start("network", async {});
        assert_eq!(parts.fallen().await, "the node's network ended by itself");
        // What has fallen is not waited for.
        parts.wait(CORE).await;
        parts.abort("store");
        assert_eq!(parts.fallen().await, "the node's store ended by itself");
    }
}
