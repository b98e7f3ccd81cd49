//! `peerless up`: puts a node together, runs it, takes it down.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, bail};
use peerless_core::{Core, Input, Setup};
use peerless_net::{Multiaddr, Net};
use peerless_wasm::Sandbox;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::api;
use crate::daemon::Daemon;
use crate::functions::Functions;
use crate::id::NodeId;
use crate::journal::{Header, Journal};
use crate::keys;
use crate::modules::Modules;
use crate::node::{INPUTS_MAX, Node, Parts};
use crate::peers;
use crate::record;
use crate::serve::Host;
use crate::settings::Settings;
use crate::store::{self, Opened, Store};

/// Known peers that are dialled at the start, beside those the user named.
const REDIALS_MAX: usize = 8;

/// Runs a node until it is told to stop.
pub(crate) async fn up(settings: Settings, json: bool) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let running = start(settings).await?;
    announce(&running, json);
    stop.await;
    tracing::info!("going down");
    running.stop().await;
    Ok(())
}

struct Running {
    node: Arc<Node>,
    http: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    daemon: tokio::task::JoinHandle<()>,
    server: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.server.abort();
        self.node.net().close().await;
        drop(self.stop);
        let _ = self.daemon.await;
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
    let parts = Parts { me, owner, owner_key, settings, inputs, functions, modules, store };
    let node = Arc::new(Node::new(parts));
    let host = Arc::new(Host(OnceLock::new()));
    let (net, events) = peerless_net::start(net_settings, host.clone()).await?;
    let first_use = node.net.set(net.clone());
    assert!(first_use.is_ok(), "the network starts once");
    let first_use = host.0.set(node.clone());
    assert!(first_use.is_ok(), "calls are taken for one node");

    let mut daemon = Daemon::new(node.clone(), core, received, journal);
    daemon.restore(items);
    let (stop, stopped) = oneshot::channel();
    let daemon = tokio::spawn(daemon.run(stopped));
    tokio::spawn(peers::listen(node.clone(), events));
    let server = tokio::spawn(api::serve(node.clone(), listener));
    let running = Running { node, http, stop, daemon, server };
    if let Err(error) = join(&running.node, &net, known).await {
        running.stop().await;
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

/// Dials the nodes that the user named, and some that were known before. It is an error if the
/// user named some and nobody at all answers.
async fn join(
    node: &Arc<Node>,
    net: &Net,
    known: Vec<(peerless_net::PeerKey, Vec<Multiaddr>)>,
) -> anyhow::Result<()> {
    let mut dials = JoinSet::new();
    let mut known_addresses: Vec<Multiaddr> = Vec::new();
    for (peer, addresses) in known {
        if known_addresses.len() < REDIALS_MAX {
            let id = NodeId::new(peer).peer_id();
            let with_id = |address: &Multiaddr| format!("{address}/p2p/{id}").parse().ok();
            known_addresses.extend(addresses.first().and_then(with_id));
        }
        net.learn(&peer, addresses);
    }
    let named = node.settings.bootstrap.clone();
    for (address, is_named) in named
        .iter()
        .map(|address| (address, true))
        .chain(known_addresses.iter().map(|address| (address, false)))
    {
        let (net, address) = (net.clone(), address.clone());
        dials.spawn(async move {
            let dialled = net.dial(address.clone()).await;
            (address, is_named, dialled)
        });
    }
    let (mut answered, mut failures) = (0, Vec::new());
    while let Some(dialled) = dials.join_next().await {
        match dialled.context("a dial ended badly")? {
            (_, _, Ok(peer)) => {
                answered += 1;
                // A busy node may close the connection before it has said what it is, and then
                // nothing else would tell the core of it.
                node.tell(Input::Met { peer: NodeId::new(peer), serves: true }).await;
            }
            (address, true, Err(error)) => {
                tracing::warn!(%address, %error, "a bootstrap node does not answer");
                failures.push(format!("{address}: {error}"));
            }
            (address, false, Err(error)) => tracing::debug!(%address, %error, "not there"),
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
