//! The handle: what the node can ask of the network.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use libp2p::Multiaddr;
use tokio::sync::mpsc;

use crate::{
    Body, CallError, Counters, DialError, Kind, PeerKey, PeerView, RequestError, conn::Remote,
    dial, driver::Command, request, shared::Shared,
};

/// The network as the node uses it; cheap to clone, usable from any task.
#[derive(Clone, Debug)]
pub struct Net {
    pub(crate) shared: Arc<Shared>,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Net {
    /// Our own key.
    pub fn me(&self) -> PeerKey {
        self.shared.me
    }

    /// Asks a peer and waits for its answer, `timeout` in all: for the dial (from the book, if no
    /// connection is open), for a place among [`Limits::outbound_streams_max`](crate::Limits), for
    /// the stream and for the answer. The body must not be empty.
    pub async fn request(
        &self,
        to: &PeerKey,
        kind: Kind,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, RequestError> {
        request::request(self, to, kind, body, timeout).await
    }

    /// Calls a function on a peer. Returns with the response's head; both bodies stream on. The
    /// caller's deadline is the caller's: drop the future, or the response's body, to hang up,
    /// which resets the HTTP/2 stream. Of the request's URI only path and query travel.
    pub async fn call(
        &self,
        to: &PeerKey,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, CallError> {
        self.shared.pool.call(self, to, request).await
    }

    /// Connects to an address, with or without `/p2p/ID`, and says who answered; a named peer that
    /// is connected already is not dialled again. `/dns`, `/dns4` and `/dns6` names are resolved by
    /// the system first. Takes at most [`Limits::dial_timeout`](crate::Limits) for each resolved
    /// address. Nothing is tried twice: who is turned away may dial again later.
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerKey, DialError> {
        dial::dial(self, address).await
    }

    /// Files addresses of a peer that our user named or that we remember; the first is tried first.
    /// Malformed, unspecified and multicast ones, and ones that name another peer, are dropped.
    pub fn learn(&self, peer: &PeerKey, addresses: impl IntoIterator<Item = Multiaddr>) {
        self.shared.learn(peer, addresses);
    }

    /// Files addresses of a peer that another one, the informant, told us of. Kept are IP addresses
    /// that the informant, being where it is, can mean; at most four of them. They displace nothing
    /// that is better known, nor what others said.
    pub fn hear(
        &self,
        informant: &PeerKey,
        peer: &PeerKey,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) {
        self.shared.hear(informant, peer, addresses);
    }

    /// The book's addresses of a peer, those that worked first, without `/p2p`.
    pub fn addresses_of(&self, peer: &PeerKey) -> Vec<Multiaddr> {
        self.shared.book().get(peer)
    }

    /// Where we listen, wildcards expanded, without `/p2p`.
    pub fn own_addresses(&self) -> Vec<Multiaddr> {
        self.shared.own_addresses()
    }

    /// Every peer in the book or connected, ordered by key.
    pub fn peers(&self) -> Vec<PeerView> {
        self.shared.peers()
    }

    /// Whether a connection to the peer is open.
    pub fn is_connected(&self, peer: &PeerKey) -> bool {
        self.shared.remote(peer).as_deref().is_some_and(Remote::is_connected)
    }

    /// What was refused, cut off and evicted since the start.
    pub fn counters(&self) -> Counters {
        let memory = self.shared.memory.used();
        Counters { memory_held_bytes: memory as u64, ..self.shared.counts.snapshot() }
    }

    /// Stops listening, closes every connection and waits until the ports are free. Requests and
    /// calls under way are cut; later ones are unreached.
    pub async fn close(&self) {
        let (done, closed) = tokio::sync::oneshot::channel();
        if self.commands.send(Command::Close { done }).await.is_ok() {
            let _ = closed.await;
        }
        self.commands.closed().await;
    }
}
