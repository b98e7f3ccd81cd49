//! Building the swarm and binding its addresses.

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, core::transport::TransportError, identify, noise, ping,
    swarm::NetworkBehaviour, tcp,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    CallHandler, Event, Net, Settings, StartError,
    behaviour::Behaviour,
    driver::Driver,
    muxer, peer_key,
    shared::{Names, Shared, Up},
};

/// Commands that wait for the task; more wait in their callers.
const COMMANDS_MAX: usize = 256;

/// Time for bound addresses to be reported.
const BOUND_WITHIN: Duration = Duration::from_secs(2);

#[derive(NetworkBehaviour)]
pub(crate) struct Node {
    streams: Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

pub(crate) async fn start(
    settings: Settings,
    calls: Arc<dyn CallHandler>,
) -> Result<(Net, mpsc::Receiver<Event>), StartError> {
    let me = peer_key(&settings.keypair.public().to_peer_id()).ok_or(StartError::Key)?;
    let names = Names::new(&settings.network);
    let names = names.ok_or_else(|| StartError::Name(settings.network.clone()))?;
    let (sender, events) = mpsc::channel(settings.limits.events_max.max(1));
    let up = Up { events: sender.clone(), calls };
    let shared = Arc::new(Shared::new(me, settings.limits.clone(), names, up));
    let mut swarm = build(&settings, &shared)?;
    let mut unbound = HashSet::new();
    for address in settings.listen {
        let listener = swarm.listen_on(address.clone());
        unbound.insert(listener.map_err(|error| listen_error(address, error))?);
    }
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let (bound, all_bound) = oneshot::channel();
    let driver = Driver::new(shared.clone(), swarm, sender, unbound, bound);
    tokio::spawn(driver.run(receiver));
    let _ = timeout(BOUND_WITHIN, all_bound).await;
    Ok((Net { shared, commands }, events))
}

fn listen_error(address: Multiaddr, error: TransportError<io::Error>) -> StartError {
    let cause = match error {
        TransportError::MultiaddrNotSupported(_) => {
            io::Error::new(io::ErrorKind::Unsupported, "not a TCP address")
        }
        // Transports wrap what the system said; its kind is what a caller can act on.
        TransportError::Other(cause) => io::Error::new(kind(&cause), cause.to_string()),
    };
    StartError::Listen { address, cause }
}

fn build(settings: &Settings, shared: &Arc<Shared>) -> Result<Swarm<Node>, StartError> {
    let Settings { keypair, network, agent, limits, .. } = settings;
    let version = format!("/peerless/{network}/1");
    let identify = identify::Config::new(version, keypair.public())
        .with_agent_version(agent.clone())
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    let ping =
        ping::Config::new().with_interval(limits.ping_interval).with_timeout(limits.ping_timeout);
    let node = Node {
        streams: Behaviour::new(shared.clone()),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
    };
    let muxer = || muxer::Upgrade(shared.clone());
    let swarm = SwarmBuilder::with_existing_identity(keypair.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, muxer)
        .map_err(|error| StartError::Transport(error.to_string()))?
        .with_behaviour(|_| node)
        .map_err(|error| StartError::Transport(error.to_string()))?
        .with_swarm_config(|config| {
            config
                // Connections stay until our handler lets go of them, and then go at once.
                .with_idle_connection_timeout(Duration::ZERO)
                .with_max_negotiating_inbound_streams(limits.negotiating_streams_max)
                .with_smart_dial()
        })
        .with_connection_timeout(limits.dial_timeout)
        .build();
    Ok(swarm)
}

/// The kind of what the system said. Transports wrap it, some so that no source leads back to it;
/// the number in the text is what always comes through.
pub(crate) fn kind(error: &io::Error) -> io::ErrorKind {
    let text = error.to_string();
    let code = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.split(')').next());
    let code = code.and_then(|code| code.parse().ok());
    code.map_or_else(|| error.kind(), |code| io::Error::from_raw_os_error(code).kind())
}
