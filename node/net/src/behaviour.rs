//! Streams and connections in the swarm: an own behaviour, since libp2p-stream negotiates one
//! stream at a time and drops inbound ones without a word.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    InboundUpgrade, Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, UpgradeInfo, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionHandler,
        ConnectionHandlerEvent, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour,
        StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock,
    conn::{Conn, Open, OpenError, Protocol},
    serve,
    shared::{Names, Shared, count},
    table::Denied,
};

pub(crate) struct Behaviour {
    shared: Arc<Shared>,
}

impl Behaviour {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn deny(&self, denied: Denied) -> ConnectionDenied {
        count(&self.shared.counts.connections_denied);
        ConnectionDenied::new(denied)
    }

    fn handler(
        &self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        let (sender, opens) = Shared::opens();
        let conn = self.shared.admit(id, peer, address, sender).map_err(|why| self.deny(why))?;
        Ok(Handler { shared: self.shared.clone(), conn, opens })
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.shared.knock(id, from).map_err(|why| self.deny(why))
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(id, peer, from)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        to: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(id, peer, to)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.shared.closed(connection_id);
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.shared.left(connection_id);
            }
            _ => {}
        }
    }

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
        let Some((peer_id, id)) = self.shared.next_close(cx.waker()) else {
            return Poll::Pending;
        };
        let connection = CloseConnection::One(id);
        Poll::Ready(ToSwarm::CloseConnection { peer_id, connection })
    }
}

/// One connection's end of [`Behaviour`]; runs in the connection's own task.
pub(crate) struct Handler {
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    opens: mpsc::Receiver<Open>,
}

impl Drop for Handler {
    fn drop(&mut self) {
        // From here on nobody may pick the connection, though the swarm has yet to say it closed.
        self.conn.evict();
    }
}

type Wanted = oneshot::Sender<Result<Stream, OpenError>>;

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Accept;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Wanted;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        let accept = Accept {
            names: self.shared.names.clone(),
            since: clock::now(),
            handler: Some((self.shared.clone(), self.conn.clone())),
        };
        SubstreamProtocol::new(accept, ()).with_timeout(self.shared.limits.open_timeout)
    }

    fn connection_keep_alive(&self) -> bool {
        self.conn.keep()
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Wanted, Infallible>> {
        self.conn.register(cx.waker());
        while let Poll::Ready(Some(open)) = self.opens.poll_recv(cx) {
            if open.stream.is_closed() {
                continue; // given up before it began
            }
            let name = self.shared.names.of(open.protocol).clone();
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(name), open.stream)
                .with_timeout(self.shared.limits.open_timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Accept, Self::OutboundProtocol, (), Wanted>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => serve::accept(&self.shared, &self.conn, stream, protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => {
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    // The peer has the connection but does not answer: another would do no better.
                    StreamUpgradeError::Timeout => OpenError::Unreached,
                    StreamUpgradeError::Apply(_) | StreamUpgradeError::Io(_) => OpenError::Gone,
                }));
            }
            _ => {}
        }
    }
}

/// Accepts our three protocols and says which was chosen.
///
/// The swarm says nothing of streams whose protocol was not negotiated in time, so this strikes the
/// peer when it is dropped unused and old. (The swarm also makes one of these whenever it looks
/// what we speak, and drops it at once.)
pub(crate) struct Accept {
    names: Names,
    since: Instant,
    /// Taken when the protocol is negotiated.
    handler: Option<(Arc<Shared>, Arc<Conn>)>,
}

impl Drop for Accept {
    fn drop(&mut self) {
        if let Some((shared, conn)) = self.handler.take()
            && clock::now().saturating_duration_since(self.since) >= shared.limits.open_timeout
        {
            count(&shared.counts.streams_late);
            shared.strike(&conn);
        }
    }
}

impl UpgradeInfo for Accept {
    type Info = StreamProtocol;
    type InfoIter = std::array::IntoIter<StreamProtocol, 3>;

    fn protocol_info(&self) -> Self::InfoIter {
        let Names { kad, peer, call } = self.names.clone();
        [kad, peer, call].into_iter()
    }
}

impl InboundUpgrade<Stream> for Accept {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(mut self, stream: Stream, name: StreamProtocol) -> Self::Future {
        self.handler = None;
        let protocol = match name {
            name if name == self.names.kad => Protocol::Kad,
            name if name == self.names.peer => Protocol::Peer,
            _ => Protocol::Call,
        };
        ready(Ok((stream, protocol)))
    }
}
