//! The swarm's task: a thin loop between libp2p, the handles' commands and the node's events.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    core::{
        ConnectedPoint,
        transport::{ListenerId, TransportError},
    },
    identify, noise, ping,
    swarm::{
        ConnectionId, DialError as SwarmError, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    CallHandler, DialError, Event, Net, PeerKey, Settings, StartError,
    behaviour::Behaviour,
    book::{Rank, plausible, usable},
    outbox::{Met, Outbox},
    peer_id, peer_key,
    shared::{Denied, Names, Shared, Up, count},
};

/// Yamux streams on a connection. Each is guaranteed 256 KiB of the fixed budget of 1 GiB, so this
/// leaves 16 MiB for windows that grow with the round trip; the streams themselves are limited by
/// [`Limits`](crate::Limits).
const YAMUX_STREAMS_MAX: usize = 4_032;

/// Commands that wait for the task; more wait in their callers.
const COMMANDS_MAX: usize = 256;

/// Time for bound addresses to be reported at the start, and for connections to close at the end.
const SETTLE: Duration = Duration::from_secs(2);

type Dialled = oneshot::Sender<Result<PeerKey, DialError>>;

/// What the handles ask of the task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Connect to a peer, unless connected, by whichever dial is under way or else by this one.
    Connect {
        peer: PeerKey,
        addresses: Vec<Multiaddr>,
        done: Dialled,
    },
    /// Connect to an address, unless connected to the peer it is said to be of.
    Dial {
        peer: Option<PeerKey>,
        address: Multiaddr,
        done: Dialled,
    },
    /// End.
    Close { done: oneshot::Sender<()> },
}

#[derive(NetworkBehaviour)]
struct Node {
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
    let up = Up {
        events: sender.clone(),
        calls,
    };
    let shared = Arc::new(Shared::new(me, settings.limits.clone(), names, up));
    let mut swarm = build(&settings, Behaviour::new(shared.clone()))?;
    for address in &settings.external {
        swarm.add_external_address(address.clone());
        shared.own_address(address.clone(), true);
    }
    let mut unbound = HashSet::new();
    for address in settings.listen {
        let listener = swarm.listen_on(address.clone());
        unbound.insert(listener.map_err(|error| listen_error(address, error))?);
    }
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let (bound, all_bound) = oneshot::channel();
    let driver = Driver {
        shared: shared.clone(),
        swarm,
        events: sender,
        outbox: Outbox::default(),
        listening: VecDeque::new(),
        dials: BTreeMap::new(),
        waiting: BTreeMap::new(),
        bound: (!unbound.is_empty()).then_some(bound),
        unbound,
    };
    tokio::spawn(driver.run(receiver));
    let _ = timeout(SETTLE, all_bound).await;
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

fn build(settings: &Settings, streams: Behaviour) -> Result<Swarm<Node>, StartError> {
    let Settings {
        keypair,
        network,
        agent,
        limits,
        ..
    } = settings;
    let version = format!("/peerless/{network}/1");
    let identify = identify::Config::new(version, keypair.public())
        .with_agent_version(agent.clone())
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    let ping = ping::Config::new()
        .with_interval(limits.ping_interval)
        .with_timeout(limits.ping_timeout);
    let node = Node {
        streams,
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
    };
    let muxer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(YAMUX_STREAMS_MAX);
        config
    };
    let swarm = SwarmBuilder::with_existing_identity(keypair.clone())
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            muxer,
        )
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

/// A dial under way.
#[derive(Debug)]
struct Dial {
    peer: Option<PeerKey>,
    addresses: Vec<Multiaddr>,
    /// Who waits for this very dial; those who wait for a peer are in [`Driver::waiting`].
    done: Option<Dialled>,
    /// Whether it is tried from a port of its own, after our listening port did not do.
    own_port: bool,
}

struct Driver {
    shared: Arc<Shared>,
    swarm: Swarm<Node>,
    events: mpsc::Sender<Event>,
    outbox: Outbox,
    /// Bound addresses that the node has not heard of; bounded by our own interfaces.
    listening: VecDeque<Multiaddr>,
    dials: BTreeMap<ConnectionId, Dial>,
    /// Who waits for a connection to a peer, whoever opens it.
    waiting: BTreeMap<PeerKey, Vec<Dialled>>,
    /// Listeners that have yet to report an address, and who waits for that.
    unbound: HashSet<ListenerId>,
    bound: Option<oneshot::Sender<()>>,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let events = self.events.clone();
        let done = loop {
            let news = !self.outbox.is_empty() || !self.listening.is_empty();
            tokio::select! {
                event = self.swarm.select_next_some() => self.on(event),
                command = commands.recv() => match command {
                    Some(Command::Connect { peer, addresses, done }) => {
                        self.connect(peer, addresses, done, true);
                    }
                    Some(Command::Dial { peer: Some(peer), address, done }) => {
                        self.connect(peer, vec![address], done, false);
                    }
                    Some(Command::Dial { peer: None, address, done }) => {
                        self.dial(Dial::new(None, vec![address], Some(done)));
                    }
                    Some(Command::Close { done }) => break Some(done),
                    None => break None,
                },
                place = events.reserve(), if news => self.tell(place.ok()),
            }
        };
        self.shared.clear();
        self.close().await;
        drop(commands);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Sends the next event to the place that is free for it; there is none once nobody listens.
    fn tell(&mut self, place: Option<mpsc::Permit<'_, Event>>) {
        let Some(place) = place else {
            self.listening.clear();
            return self.outbox.clear();
        };
        let listening = self.listening.pop_front().map(Event::Listening);
        if let Some(event) = listening.or_else(|| self.outbox.next()) {
            place.send(event);
        }
    }

    /// Closes every connection in good order, then whatever is left.
    async fn close(mut self) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        let _ = timeout(SETTLE, closed).await;
    }

    /// Connects to a peer; `joins`: a dial under way to other addresses will do.
    fn connect(&mut self, peer: PeerKey, to: Vec<Multiaddr>, done: Dialled, joins: bool) {
        if self.shared.live(&peer).is_some() {
            let _ = done.send(Ok(peer));
            return;
        }
        let joins = joins && self.dials.values().any(|dial| dial.peer == Some(peer));
        let waiting = self.waiting.entry(peer).or_default();
        waiting.retain(|done| !done.is_closed());
        waiting.push(done);
        if !joins {
            self.dial(Dial::new(Some(peer), to, None));
        }
    }

    fn dial(&mut self, dial: Dial) {
        let Some(opts) = dial.opts() else {
            return self.failed(dial, &DialError::Failed("no address known".into()));
        };
        let id = opts.connection_id();
        match self.swarm.dial(opts) {
            Ok(()) => drop(self.dials.insert(id, dial)),
            Err(error) => self.failed(dial, &dial_error(&error)),
        }
    }

    /// Tells everybody who waits for a dial, unless another way to the peer is open or under way.
    fn failed(&mut self, dial: Dial, error: &DialError) {
        count(&self.shared.counts.dials_failed);
        if let Some(done) = dial.done {
            let _ = done.send(Err(error.clone()));
        }
        let Some(peer) = dial.peer else {
            return;
        };
        if self.dials.values().any(|other| other.peer == Some(peer)) {
            return;
        }
        let connected = self.shared.live(&peer).is_some();
        for done in self.waiting.remove(&peer).unwrap_or_default() {
            let _ = done.send(if connected {
                Ok(peer)
            } else {
                Err(error.clone())
            });
        }
    }

    fn on(&mut self, event: SwarmEvent<NodeEvent>) {
        match event {
            SwarmEvent::Behaviour(NodeEvent::Streams(never)) => match never {},
            SwarmEvent::Behaviour(NodeEvent::Identify(event)) => self.identified(event),
            SwarmEvent::Behaviour(NodeEvent::Ping(event)) => self.pinged(&event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => {
                if let Some(peer) = peer_key(&peer_id) {
                    self.outbox.lost(peer);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                self.unestablished(connection_id, &error);
            }
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                tracing::info!(%address, "listening");
                self.shared.own_address(address.clone(), true);
                self.listening.push_back(address);
                self.unbound.remove(&listener_id);
                if self.unbound.is_empty() {
                    self.bound = None; // tells start
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.shared.own_address(address, false);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener"),
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                tracing::warn!(?addresses, ?reason, "listener closed");
            }
            _ => {}
        }
    }

    fn established(&mut self, peer_id: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let Some(peer) = peer_key(&peer_id) else {
            return;
        };
        if let ConnectedPoint::Dialer { address, .. } = endpoint
            && let Some(address) = usable(&peer, address.clone())
        {
            self.shared.book().learn(&peer, address, Rank::Worked);
        }
        let own = self.dials.remove(&id).and_then(|dial| dial.done);
        let waiting = self.waiting.remove(&peer).unwrap_or_default();
        for done in waiting.into_iter().chain(own) {
            let _ = done.send(Ok(peer));
        }
    }

    fn unestablished(&mut self, id: ConnectionId, error: &SwarmError) {
        let Some(mut dial) = self.dials.remove(&id) else {
            return;
        };
        if let (Some(peer), SwarmError::Transport(errors)) = (dial.peer, error) {
            let mut book = self.shared.book();
            for address in errors
                .iter()
                .filter_map(|(to, _)| usable(&peer, to.clone()))
            {
                book.failed(&peer, &address);
            }
        }
        if !dial.own_port && may_be_the_port(error) {
            dial.own_port = true;
            return self.dial(dial);
        }
        tracing::debug!(%error, "dial failed");
        self.failed(dial, &dial_error(error));
    }

    fn identified(&mut self, event: identify::Event) {
        let identify::Event::Received {
            connection_id,
            peer_id,
            info,
        } = event
        else {
            return;
        };
        let (Some(peer), Some(conn)) = (peer_key(&peer_id), self.shared.conn(connection_id)) else {
            return;
        };
        let claimed = info.listen_addrs.into_iter();
        let claimed = claimed.filter_map(|address| usable(&peer, address));
        let claimed = claimed.filter(|address| plausible(address, &conn.address));
        let addresses: Vec<_> = claimed
            .take(self.shared.limits.addresses_per_peer_max)
            .collect();
        let mut book = self.shared.book();
        for address in addresses.iter().rev() {
            book.learn(&peer, address.clone(), Rank::Claimed);
        }
        drop(book);
        let serves = info.protocols.contains(&self.shared.names.kad);
        let observed = conn.address.clone();
        self.outbox.met(
            peer,
            Met {
                serves,
                addresses,
                observed,
            },
        );
    }

    fn pinged(&mut self, event: &ping::Event) {
        let Some(conn) = self.shared.conn(event.connection) else {
            return;
        };
        match &event.result {
            Ok(rtt) => conn.set_rtt(*rtt),
            // libp2p leaves it to us to close a connection whose other end is gone.
            Err(ping::Failure::Timeout | ping::Failure::Other { .. }) => self.shared.close(&conn),
            Err(ping::Failure::Unsupported) => {}
        }
    }
}

impl Dial {
    fn new(peer: Option<PeerKey>, addresses: Vec<Multiaddr>, done: Option<Dialled>) -> Self {
        Self {
            peer,
            addresses,
            done,
            own_port: false,
        }
    }

    /// `None` if there is nothing to dial.
    fn opts(&self) -> Option<DialOpts> {
        let first = self.addresses.first()?.clone();
        let Some(peer) = self.peer else {
            let opts = DialOpts::unknown_peer_id().address(first);
            return Some(
                if self.own_port {
                    opts.allocate_new_port()
                } else {
                    opts
                }
                .build(),
            );
        };
        let opts = DialOpts::peer_id(peer_id(&peer)?)
            .condition(PeerCondition::Always)
            .addresses(self.addresses.clone());
        Some(
            if self.own_port {
                opts.allocate_new_port()
            } else {
                opts
            }
            .build(),
        )
    }
}

/// Whether a dial may have failed because it came from our listening port: the pair of ports is
/// still in use from an earlier connection, or both sides dialled at the same instant and each
/// took the other for the listener.
fn may_be_the_port(error: &SwarmError) -> bool {
    match error {
        SwarmError::Transport(errors) => errors.iter().any(|(_, error)| match error {
            TransportError::MultiaddrNotSupported(_) => false,
            TransportError::Other(error) => kind(error) != io::ErrorKind::ConnectionRefused,
        }),
        _ => false,
    }
}

/// The kind of what the system said. Transports wrap it, some so that no source leads back to it;
/// the number in the text is what always comes through.
fn kind(error: &io::Error) -> io::ErrorKind {
    let text = error.to_string();
    let code = text
        .rsplit_once("(os error ")
        .and_then(|(_, rest)| rest.split(')').next());
    let code = code.and_then(|code| code.parse().ok());
    code.map_or_else(
        || error.kind(),
        |code| io::Error::from_raw_os_error(code).kind(),
    )
}

fn dial_error(error: &SwarmError) -> DialError {
    match error {
        // The swarm takes our own listening addresses off the list.
        SwarmError::LocalPeerId { .. } | SwarmError::NoAddresses => DialError::Own,
        SwarmError::WrongPeerId { obtained, .. } => DialError::WrongPeer(*obtained),
        SwarmError::Denied { cause } => match cause.downcast_ref::<Denied>() {
            Some(Denied::Full) => DialError::NoRoom,
            _ => DialError::Failed(cause.to_string()),
        },
        SwarmError::Transport(errors) => {
            let one = |(to, error): &(Multiaddr, TransportError<io::Error>)| match error {
                TransportError::Other(error) => format!("{to}: {error}"),
                TransportError::MultiaddrNotSupported(_) => format!("{to}: not supported"),
            };
            DialError::Failed(errors.iter().map(one).collect::<Vec<_>>().join("; "))
        }
        other => DialError::Failed(other.to_string()),
    }
}
