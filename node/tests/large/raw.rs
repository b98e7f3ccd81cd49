//! A peer made of raw libp2p, which keeps no rule: it opens what streams it likes and writes what
//! it likes into them.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _, channel::oneshot};
use libp2p::core::upgrade::{DeniedUpgrade, ReadyUpgrade};
use libp2p::core::{Endpoint, transport::PortUse};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, noise, tcp, yamux};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::network::LONG;

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

/// Such a peer, connected to one node.
pub(crate) struct Raw {
    wanted: mpsc::Sender<Wanted>,
    /// Ends when the connection has closed, however that came about.
    closed: JoinHandle<()>,
}

impl Raw {
    pub(crate) async fn connect(node: &str) -> Self {
        let (wanted, receiver) = mpsc::channel(16);
        let mut swarm = libp2p::SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| Behaviour { wanted: receiver, peer: None })
            .unwrap()
            .build();
        swarm.dial(node.parse::<Multiaddr>().unwrap()).unwrap();
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

    pub(crate) fn is_cut_off(&self) -> bool {
        self.closed.is_finished()
    }

    pub(crate) async fn ends_cut_off(self) {
        timeout(LONG, self.closed).await.expect("the end of the connection").unwrap();
    }

    /// A stream, unless the connection is closed or the node does not negotiate it.
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

    /// Writes the same bytes into stream after stream until it is cut off. Nothing is answered.
    pub(crate) async fn repeat_until_cut_off(self, name: &StreamProtocol, bytes: &[u8]) {
        while !self.is_cut_off() {
            let Some(mut stream) = self.send(name, bytes).await else { break };
            let mut answer = Vec::new();
            let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("its end");
            assert_eq!(answer, b"");
        }
        self.ends_cut_off().await;
    }
}

/// Bytes behind their length.
pub(crate) fn frame(bytes: &[u8]) -> Vec<u8> {
    let (mut frame, mut length) = (Vec::new(), bytes.len());
    while length >= 0x80 {
        frame.push(length as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend_from_slice(bytes);
    frame
}
