//! A peer made of raw libp2p, which keeps no rule: it opens what streams it likes and writes what
//! it likes into them. The tests of whole nodes are made of it, too.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncWriteExt as _, StreamExt as _, channel::oneshot};
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, identity::Keypair, noise, tcp, yamux};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Far more than anything here takes, so that only a hang ends by it.
const LONG: Duration = Duration::from_mins(1);

type Wanted = (StreamProtocol, oneshot::Sender<Stream>);

struct Behaviour {
    wanted: mpsc::Receiver<Wanted>,
    peer: Option<(PeerId, ConnectionId)>,
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.peer = Some((peer, id));
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        let Some((peer_id, id)) = self.peer else { return Poll::Pending };
        match self.wanted.poll_recv(cx) {
            Poll::Ready(Some(event)) => {
                let handler = NotifyHandler::One(id);
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event })
            }
            _ => Poll::Pending,
        }
    }
}

#[derive(Default)]
struct Handler(Vec<Wanted>);

impl ConnectionHandler for Handler {
    type FromBehaviour = Wanted;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Stream>;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, wanted: Wanted) {
        self.0.push(wanted);
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Infallible>>
    {
        let Some((name, opened)) = self.0.pop() else { return Poll::Pending };
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(name), opened);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            (),
            Self::OutboundOpenInfo,
        >,
    ) {
        if let ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
            protocol,
            info,
        }) = event
        {
            let _ = info.send(protocol);
        }
    }
}

/// Such a peer, connected to another.
pub(crate) struct Raw {
    wanted: mpsc::Sender<Wanted>,
    /// Ends when the connection has closed, however that came about.
    pub(crate) closed: JoinHandle<()>,
}

impl Raw {
    /// Connects, as whoever has this key.
    pub(crate) async fn connect(keypair: Keypair, to: Multiaddr) -> Self {
        let (wanted, receiver) = mpsc::channel(16);
        let mut swarm = libp2p::SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| Behaviour { wanted: receiver, peer: None })
            .unwrap()
            .build();
        swarm.dial(to).unwrap();
        let connected = async {
            while !matches!(
                swarm.select_next_some().await,
                SwarmEvent::ConnectionEstablished { .. }
            ) {}
        };
        timeout(LONG, connected).await.expect("a connection");
        let closed = tokio::spawn(async move {
            while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {}
        });
        Self { wanted, closed }
    }

    pub(crate) async fn ends_cut_off(self) {
        timeout(LONG, self.closed).await.expect("the end of the connection").unwrap();
    }

    /// A stream, unless the connection is closed or the other does not negotiate it.
    pub(crate) async fn open(&self, name: &StreamProtocol) -> Option<Stream> {
        let (opened, stream) = oneshot::channel();
        self.wanted.send((name.clone(), opened)).await.ok()?;
        timeout(LONG, stream).await.expect("a stream, or none").ok()
    }

    /// A stream into which these bytes went.
    pub(crate) async fn send(&self, name: &StreamProtocol, bytes: &[u8]) -> Option<Stream> {
        let mut stream = self.open(name).await?;
        stream.write_all(bytes).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }
}
