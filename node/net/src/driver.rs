//! The swarm's task: a thin loop between libp2p, the handles' commands and the node's events.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{
        ConnectedPoint,
        transport::{ListenerId, TransportError},
    },
    identify,
    multiaddr::Protocol as Part,
    ping,
    swarm::{
        ConnectionId, DialError as SwarmError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    DialError, Event, PeerKey,
    book::{Rank, is_ip, plausible, usable},
    outbox::{Met, Outbox},
    peer_id, peer_key,
    shared::{Shared, count},
    start::{Node, NodeEvent, kind},
    table::DialPlace,
};

/// Time for connections to close at the end.
const SETTLE: Duration = Duration::from_secs(2);

type Dialled = oneshot::Sender<Result<PeerKey, DialError>>;

/// What the handles ask of the task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Connect to a peer, unless connected.
    Connect {
        peer: PeerKey,
        addresses: Vec<Multiaddr>,
        /// Whether a dial under way to other addresses will do as well.
        joins: bool,
        done: Dialled,
    },
    /// Connect to whoever answers at an address.
    Dial { address: Multiaddr, done: Dialled },
    /// End.
    Close { done: oneshot::Sender<()> },
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
    /// Its place among the connections, while it may become one.
    _place: DialPlace,
}

pub(crate) struct Driver {
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
    /// A driver of a swarm that begins to listen; `bound` hears when every listener has.
    pub(crate) fn new(
        shared: Arc<Shared>,
        swarm: Swarm<Node>,
        events: mpsc::Sender<Event>,
        unbound: HashSet<ListenerId>,
        bound: oneshot::Sender<()>,
    ) -> Self {
        Self {
            shared,
            swarm,
            events,
            outbox: Outbox::default(),
            listening: VecDeque::new(),
            dials: BTreeMap::new(),
            waiting: BTreeMap::new(),
            bound: (!unbound.is_empty()).then_some(bound),
            unbound,
        }
    }

    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let events = self.events.clone();
        let done = loop {
            let news = !self.outbox.is_empty() || !self.listening.is_empty();
            tokio::select! {
                event = self.swarm.select_next_some() => self.on(event),
                command = commands.recv() => match command {
                    Some(Command::Connect { peer, addresses, joins, done }) => {
                        self.connect(peer, addresses, joins, done);
                    }
                    Some(Command::Dial { address, done }) => match self.shared.dial_place() {
                        Some(place) => {
                            self.dial(Dial::new(None, vec![address], place, Some(done)));
                        }
                        None => drop(done.send(Err(DialError::NoRoom))),
                    },
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
    fn connect(&mut self, peer: PeerKey, to: Vec<Multiaddr>, joins: bool, done: Dialled) {
        if self.has(&peer) {
            let _ = done.send(Ok(peer));
            return;
        }
        let dial = if joins && self.is_dialling(&peer) {
            None
        } else {
            let Some(place) = self.shared.dial_place() else {
                let _ = done.send(Err(DialError::NoRoom));
                return;
            };
            Some(Dial::new(Some(peer), to, place, None))
        };
        let waiting = self.waiting.entry(peer).or_default();
        waiting.retain(|done| !done.is_closed());
        waiting.push(done);
        if let Some(dial) = dial {
            self.dial(dial);
        }
    }

    fn has(&self, peer: &PeerKey) -> bool {
        self.shared.live(peer).is_some()
    }

    fn is_dialling(&self, peer: &PeerKey) -> bool {
        self.dials.values().any(|dial| dial.peer == Some(*peer))
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
        if self.is_dialling(&peer) {
            return;
        }
        let connected = self.has(&peer);
        for done in self.waiting.remove(&peer).unwrap_or_default() {
            let _ = done.send(if connected { Ok(peer) } else { Err(error.clone()) });
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
                concurrent_dial_errors,
                ..
            } => {
                let errors = concurrent_dial_errors.unwrap_or_default();
                self.established(peer_id, connection_id, &endpoint, &errors);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                if let Some(peer) = peer_key(&peer_id) {
                    self.outbox.lost(peer);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.unestablished(connection_id, &error);
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
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
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "listener closed");
            }
            _ => {}
        }
    }

    fn established(
        &mut self,
        peer_id: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        errors: &[(Multiaddr, TransportError<io::Error>)],
    ) {
        let Some(peer) = peer_key(&peer_id) else {
            return;
        };
        self.unanswered(&peer, errors.iter().map(|(to, _)| to));
        if let ConnectedPoint::Dialer { address, .. } = endpoint
            && let Some(address) = usable(&peer, address.clone())
        {
            self.shared.book().learn(&peer, address, Rank::Worked);
        }
        // From where it comes is known before what it is, and before it can answer anything.
        if self.outbox.state(&peer).is_none() {
            let (addresses, observed) = (Vec::new(), bare(endpoint.get_remote_address()));
            let met = Met { identified: false, serves: false, addresses, observed };
            self.outbox.met(peer, met);
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
        tracing::debug!(%error, "dial failed");
        if let Some(rest) = self.rest(&dial, error) {
            (dial.addresses, dial.own_port) = rest;
            return self.dial(dial);
        }
        self.failed(dial, &dial_error(error));
    }

    /// Files what a failed dial taught; the addresses to dial again, and whether from a port of
    /// their own.
    fn rest(&mut self, dial: &Dial, error: &SwarmError) -> Option<(Vec<Multiaddr>, bool)> {
        let (rest, own_port) = match error {
            // Whoever answered first ended the dial: the others may not have been tried.
            SwarmError::WrongPeerId { address, .. } => {
                let wrong = bare(address);
                if let Some(peer) = &dial.peer {
                    self.shared.book().wrong(peer, &wrong);
                }
                let others = dial.addresses.iter().filter(|other| bare(other) != wrong);
                (others.cloned().collect(), dial.own_port)
            }
            SwarmError::Transport(errors) => {
                let (again, over): (Vec<_>, Vec<_>) =
                    errors.iter().partition(|(_, error)| !dial.own_port && may_be_the_port(error));
                if let Some(peer) = &dial.peer {
                    self.unanswered(peer, over.into_iter().map(|(to, _)| to));
                }
                (again.into_iter().map(|(to, _)| bare(to)).collect::<Vec<_>>(), true)
            }
            _ => return None,
        };
        // Each round is of fewer addresses, or the one from a port of their own.
        let goes_on = rest.len() < dial.addresses.len() || own_port && !dial.own_port;
        (goes_on && !rest.is_empty()).then_some((rest, own_port))
    }

    /// Nobody answered at these addresses of a peer.
    fn unanswered<'a>(&self, peer: &PeerKey, addresses: impl Iterator<Item = &'a Multiaddr>) {
        let mut book = self.shared.book();
        for address in addresses.filter_map(|to| usable(peer, to.clone())) {
            book.failed(peer, &address);
        }
    }

    fn identified(&mut self, event: identify::Event) {
        let identify::Event::Received { connection_id, peer_id, info } = event else {
            return;
        };
        let (Some(peer), Some(conn)) = (peer_key(&peer_id), self.shared.conn(connection_id)) else {
            return;
        };
        // A peer may say something new as often as it likes; it is heard so often and no more.
        let is_known = self.outbox.state(&peer).is_some_and(|met| met.identified);
        if !conn.remote.account.news() && is_known {
            return;
        }
        let claimed = info.listen_addrs.into_iter();
        let claimed = claimed.filter(is_ip).filter_map(|address| usable(&peer, address));
        let claimed = claimed.filter(|address| plausible(address, &conn.address));
        let addresses: Vec<_> = claimed.take(self.shared.limits.addresses_per_peer_max).collect();
        let mut book = self.shared.book();
        for address in addresses.iter().rev() {
            book.learn(&peer, address.clone(), Rank::Claimed);
        }
        drop(book);
        let serves = info.protocols.contains(&self.shared.names.kad);
        // What we dialled may name the peer.
        let observed = bare(&conn.address);
        self.outbox.met(peer, Met { identified: true, serves, addresses, observed });
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
    fn new(
        peer: Option<PeerKey>,
        addresses: Vec<Multiaddr>,
        place: DialPlace,
        done: Option<Dialled>,
    ) -> Self {
        Self { peer, addresses, done, own_port: false, _place: place }
    }

    /// `None` if there is nothing to dial.
    fn opts(&self) -> Option<DialOpts> {
        let first = self.addresses.first()?.clone();
        let Some(peer) = self.peer else {
            let opts = DialOpts::unknown_peer_id().address(first);
            return Some(if self.own_port { opts.allocate_new_port() } else { opts }.build());
        };
        let opts = DialOpts::peer_id(peer_id(&peer)?)
            .condition(PeerCondition::Always)
            .addresses(self.addresses.clone());
        Some(if self.own_port { opts.allocate_new_port() } else { opts }.build())
    }
}

/// An address without the peer's id.
fn bare(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if let Some(Part::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

/// Whether a dial may have failed because it came from our listening port: the pair of ports is
/// still in use from an earlier connection, or both sides dialled at the same instant and each
/// took the other for the listener, so that the handshake failed. An address where nobody is, or
/// nobody answers, does not do better from another port.
fn may_be_the_port(error: &TransportError<io::Error>) -> bool {
    let TransportError::Other(error) = error else {
        return false;
    };
    match kind(error) {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::TimedOut => false,
        _ => !timed_out(error),
    }
}

/// Whether somebody was reached and ended the handshake.
fn is_handshake(error: &TransportError<io::Error>) -> bool {
    let local = |error: &io::Error| {
        matches!(kind(error), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
    };
    may_be_the_port(error) && !matches!(error, TransportError::Other(error) if local(error))
}

/// Whether the transport gave up waiting. It says so in an error of generic type, behind several
/// boxes; its words are what comes through.
fn timed_out(error: &io::Error) -> bool {
    error.to_string().contains("Timeout has been reached")
}

fn dial_error(error: &SwarmError) -> DialError {
    match error {
        // The swarm takes our own listening addresses off the list.
        SwarmError::LocalPeerId { .. } | SwarmError::NoAddresses => DialError::Own,
        SwarmError::WrongPeerId { obtained, .. } => DialError::WrongPeer(*obtained),
        SwarmError::Denied { cause } => DialError::Failed(cause.to_string()),
        SwarmError::Transport(errors) => {
            let one = |(to, error): &(Multiaddr, TransportError<io::Error>)| match error {
                TransportError::Other(error) => format!("{to}: {error}"),
                TransportError::MultiaddrNotSupported(_) => format!("{to}: not supported"),
            };
            let words = errors.iter().map(one).collect::<Vec<_>>().join("; ");
            let there = errors.iter().any(|(_, error)| is_handshake(error));
            if there { DialError::TurnedAway(words) } else { DialError::Failed(words) }
        }
        other => DialError::Failed(other.to_string()),
    }
}
