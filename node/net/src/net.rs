//! The handle: what the node can ask of the network.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use libp2p::Multiaddr;
use tokio::sync::mpsc;

use crate::{
    Body, CallError, Counters, DialError, Kind, PeerKey, PeerView, RequestError, book::hearsay,
    conn::Remote, dial, driver::Command, request, shared::Shared,
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

    /// Sends a peer a message that has no answer. `Ok` means that the bytes were handed to the
    /// connection, no more.
    pub async fn notify(
        &self,
        to: &PeerKey,
        kind: Kind,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        request::notify(self, to, kind, body, timeout).await
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
    /// is connected already is not dialled again. `/dns`, `/dns4`
    /// and `/dns6` names are resolved by the system first. Takes at most
    /// [`Limits::dial_timeout`](crate::Limits) for each resolved address.
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerKey, DialError> {
        dial::dial(self, address).await
    }

    /// Files addresses of a peer in the book. Malformed, unspecified and multicast ones, and ones
    /// that name another peer, are dropped; hearsay never displaces an address that has worked.
    pub fn learn(&self, peer: &PeerKey, addresses: impl IntoIterator<Item = Multiaddr>) {
        self.shared.learn(peer, addresses);
    }

    /// Files what a third peer, the informant, says of a peer's addresses: as [`Net::learn`], but
    /// only IP addresses, and none that the informant cannot mean, such as a private one told over
    /// the Internet.
    pub fn hear(
        &self,
        informant: &PeerKey,
        peer: &PeerKey,
        addresses: impl IntoIterator<Item = Multiaddr>,
    ) {
        let seen = self.shared.live(informant).map(|conn| conn.address.clone());
        let told = addresses.into_iter().filter(|address| hearsay(address, seen.as_ref()));
        self.shared.learn(peer, told);
    }

    /// The book's addresses of a peer, those that worked first, without `/p2p`.
    pub fn addresses_of(&self, peer: &PeerKey) -> Vec<Multiaddr> {
        self.shared.book().get(peer)
    }

    /// Where others can reach us: the bound addresses (wildcards expanded) and
    /// [`Settings::external`](crate::Settings), without `/p2p`.
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

    /// Closes every connection to a peer.
    pub fn disconnect(&self, peer: &PeerKey) {
        self.shared.disconnect(peer);
    }

    /// What was refused, cut off and evicted since the start.
    pub fn counters(&self) -> Counters {
        self.shared.counts.snapshot()
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
