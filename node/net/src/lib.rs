//! Peerless's transports: libp2p connections, framed requests and HTTP/2 calls between nodes.
//!
//! A leaf crate: it holds every libp2p generic, so that an edit elsewhere never compiles them
//! again, and it speaks bytes and plain types. It decides nothing: it picks no peer, keeps no
//! protocol timer and repeats nothing that may have been seen by the other side. (A request whose
//! connection turned out to be closed before a byte of it left is sent over a new connection;
//! nobody could have seen it.)
//!
//! # The contract
//!
//! [`start`] listens and hands back a [`Net`], cheap to clone, and the one receiver of [`Event`]s.
//!
//! | to do | call | then |
//! |---|---|---|
//! | ask a peer | [`Net::request`] | one answer, or one [`RequestError`] |
//! | call a function | [`Net::call`] | a response as soon as its head is here; bodies stream both ways |
//! | reach an address | [`Net::dial`] | the key that answered there |
//! | be asked | [`Event::Request`] | use its [`Reply`] once; dropping it answers nothing |
//! | be called | [`CallHandler::call`] | the future is dropped when the caller hangs up |
//!
//! Dropping the future of a request or call abandons it; the other side sees its stream reset.
//! [`Event::Met`] is sent when a peer connects, and again once identify told what it is or that
//! changed;
//! [`Event::Lost`] follows only a `Met`, when the last connection to the peer has closed. A
//! consumer slower than the peers is never overrun: `Met` and `Lost` wait and merge (a peer met
//! and lost unseen leaves no trace), requests are refused and counted.
//!
//! # The wire
//!
//! TCP, Noise, Yamux; identify and ping; then three protocols, each under the network's name:
//!
//! - `/peerless/NETWORK/kad/1` ([`Kind::Kad`]): an unsigned varint length and that many bytes;
//!   libp2p's Kademlia framing. A stream carries one request after another, and an ADD_PROVIDER has
//!   no answer. Our own client opens a stream for each request.
//! - `/peerless/NETWORK/peer/1` ([`Kind::Peer`]): the same framing for our own messages.
//! - `/peerless/NETWORK/call/1`: HTTP/2. A long-lived stream for each peer in use; method, path,
//!   query, headers, trailers and bodies arrive as they were sent.
//!
//! A frame of length 0 in place of an answer means *refused, and not looked at*; no message of
//! ours is empty. A refused call is HTTP/2's `REFUSED_STREAM`.
//!
//! # What a hostile peer can cost
//!
//! Every number is a field of [`Limits`]. Yamux grants each stream 256 KiB that nobody has read
//! yet, and a call stream some MiB of bodies; both are set aside from one budget for the whole node
//! ([`Limits::memory_bytes_max`]), and over it refused. Beyond it there are 16 MiB a connection at
//! most by which Yamux's windows grow with the round trip, and only as fast as we read. Frames are
//! checked before they are allocated. Streams, requests and calls over a quota or rate are refused;
//! answers that nobody takes are cut off. A peer that sends garbage, holds streams up or never
//! heeds refusals is disconnected `strikes_max` such faults later and shut out for `shun`, and so
//! is the address that four times as many come from. Rates and faults outlive connections: the last
//! 4,096 peers and addresses are remembered. [`Net::counters`] tells what happened.
//!
//! # Figures
//!
//! `examples/transports.rs`, both nodes in one process on loopback; 2 virtual cores shared with
//! other builds, so minima and CPU time are what can be trusted; Rust 1.95, libp2p 0.57, hyper 1.12:
//!
//! | | |
//! |---|---|
//! | 1 KiB call, one at a time | 0.11 ms at least, 0.21 ms p50 |
//! | 1 KiB calls, 64 in flight | 12,000–20,000 a second, 71–93 CPU µs each, both ends |
//! | 1 KiB requests, a stream each, 64 in flight | 8,000–9,000 a second, 110–140 CPU µs each |
//! | body of 1 GiB, either way | 170–290 MiB/s, 4.2–4.5 CPU ms a MiB, both ends |
//! | peak memory for it | 2 MiB more, both ends together |
//!
//! A fifth of a large body's CPU time is ChaCha20-Poly1305, two fifths are the kernel's; larger
//! Yamux frames were tried and change nothing.

#![forbid(unsafe_code)]

mod account;
mod behaviour;
mod book;
mod call;
mod clock;
mod conn;
mod dial;
mod driver;
mod flow;
mod frame;
mod group;
mod muxer;
mod net;
mod outbox;
mod request;
mod serve;
mod settings;
mod shared;
mod start;
mod table;
mod wire;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use tokio::sync::oneshot;

pub use group::{address_group, is_relayed};
pub use libp2p::{Multiaddr, PeerId, identity};
pub use net::Net;
pub use settings::{Limits, Settings};
pub use shared::Counters;

/// The Ed25519 public key of a peer; its [`PeerId`] follows from it.
pub type PeerKey = [u8; 32];

/// The libp2p id of a key, or `None` if the 32 bytes are no point of the curve.
pub fn peer_id(key: &PeerKey) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(key).ok()?;
    Some(identity::PublicKey::from(key).to_peer_id())
}

/// The key inside a libp2p id: `None` unless the id is the identity multihash of an Ed25519 key,
/// the only kind of peer this network has.
pub fn peer_key(peer: &PeerId) -> Option<PeerKey> {
    // 00 24: identity multihash of 36 bytes; 08 01: key type Ed25519; 12 20: 32 bytes of key.
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20])?;
    let key = PeerKey::try_from(key).ok()?;
    (peer_id(&key)? == *peer).then_some(key)
}

/// Any error of a body's producer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streaming HTTP body of [`Bytes`]; see [`body`], [`full`] and [`empty`].
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Boxes any body of [`Bytes`].
pub fn body<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A body that is already whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    body(http_body_util::Full::new(bytes.into()))
}

/// A body of no bytes.
pub fn empty() -> Body {
    body(http_body_util::Empty::new())
}

/// Which framed protocol a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// libp2p's Kademlia messages; frames of at most [`Limits::kad_frame_bytes_max`].
    Kad,
    /// Peerless's own messages; frames of at most [`Limits::peer_frame_bytes_max`].
    Peer,
}

/// What the network tells the node.
#[derive(Debug)]
pub enum Event {
    /// We listen on this address (wildcards come as one event for each interface's address).
    Listening(Multiaddr),
    /// A peer has connected, or has said what it is, or something new.
    Met {
        /// Who: authenticated by the connection's handshake.
        peer: PeerKey,
        /// Whether it answers our Kademlia protocol (by its own word, through identify; before that
        /// it does not).
        serves: bool,
        /// Where it says it listens: checked for form and capped at
        /// [`Limits::addresses_per_peer_max`], but hearsay until a dial succeeds.
        addresses: Vec<Multiaddr>,
        /// The address the connection really comes from or goes to: fit for grouping peers.
        observed: Multiaddr,
    },
    /// The last connection to a peer that was met has closed.
    Lost {
        /// Who.
        peer: PeerKey,
    },
    /// A peer asks.
    Request {
        /// Who: authenticated by the connection's handshake.
        from: PeerKey,
        /// In which protocol.
        kind: Kind,
        /// The message, without its length; never empty.
        body: Bytes,
        /// How to answer, at most once and within [`Limits::answer_timeout`].
        reply: Reply,
    },
}

/// The way back to whoever asked. Dropping it answers nothing, which is right for messages that
/// have no answer (ADD_PROVIDER); an asker who waits for one then gets [`RequestError::Cut`].
#[derive(Debug)]
pub struct Reply(pub(crate) oneshot::Sender<Answer>);

/// What became of a request that we were asked.
#[derive(Debug)]
pub(crate) enum Answer {
    Body(Bytes),
    Refuse,
    Malformed,
}

impl Reply {
    /// Answers. An empty body, or one over the kind's frame limit, is sent as a refusal: it could
    /// not be told from one, or not be received.
    pub fn send(self, body: Bytes) {
        let _ = self.0.send(Answer::Body(body));
    }

    /// Says that the request was not looked at; the asker gets [`RequestError::Refused`].
    pub fn refuse(self) {
        let _ = self.0.send(Answer::Refuse);
    }

    /// Says that the body made no sense: the stream is closed and the peer gets a strike, as for a
    /// malformed frame.
    pub fn malformed(self) {
        let _ = self.0.send(Answer::Malformed);
    }
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No connection: no address known, or none of them answered. Nothing was sent.
    #[error("peer could not be reached")]
    Unreached,
    /// Every connection of ours is busy, so none could be opened in the time given. Nothing was
    /// sent, and nothing is known of the peer.
    #[error("no room for another connection")]
    NoRoom,
    /// All of [`Limits::outbound_streams_max`] were in use for the time given. Nothing was sent.
    #[error("too many requests to the peer under way")]
    NoPlace,
    /// The peer said that it did not look at the request (over a quota, or busy).
    #[error("peer refused the request")]
    Refused,
    /// The connection or stream ended before the answer; the peer may have seen the request.
    #[error("connection was cut")]
    Cut,
    /// No answer in the time given; the peer may have seen the request.
    #[error("no answer in time")]
    TimedOut,
    /// Our message, or the answer's announced length, is over the kind's frame limit.
    #[error("message over the size limit")]
    TooLarge,
    /// The peer does not speak this kind. Nothing was sent.
    #[error("peer does not speak this protocol")]
    Unsupported,
}

/// Why a call has no response.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The function cannot have started: nothing reached it.
    #[error("call was not sent: {why}")]
    NotSent {
        /// The request as it was, if its body is untouched (it is gone where the peer refused the
        /// call after its head was on the wire).
        request: Option<Box<http::Request<Body>>>,
        /// In words, for a person.
        why: String,
    },
    /// This node has no room for a connection or stream to the peer: nothing was sent, and nothing
    /// is known of the peer.
    #[error("no room for a call to this peer")]
    NoRoom {
        /// The request as it was.
        request: Box<http::Request<Body>>,
    },
    /// The connection broke after bytes may have left: the function may have run.
    #[error("call may have started: {why}")]
    MayHaveStarted {
        /// In words, for a person.
        why: String,
    },
}

/// Why an address could not be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The address is not `/ip4|ip6|dns|dns4|dns6/…/tcp/PORT`, perhaps with `/p2p/ID`.
    #[error("unsupported address {0}")]
    Unsupported(Multiaddr),
    /// The name has no address of the kind asked for.
    #[error("cannot resolve {name}: {why}")]
    Unresolved {
        /// The host name.
        name: String,
        /// What the resolver said.
        why: String,
    },
    /// Another peer answers at that address.
    #[error("another peer answered: {0}")]
    WrongPeer(PeerId),
    /// Nobody answered.
    #[error("cannot connect: {0}")]
    Failed(String),
    /// Somebody is there and ended the handshake: it has no room for another connection, or speaks
    /// another protocol.
    #[error("turned away: {0}")]
    TurnedAway(String),
    /// The address is our own.
    #[error("the address is this node's own")]
    Own,
    /// The connection limit is reached and every connection is busy, or the network is closed.
    #[error("no room for another connection")]
    NoRoom,
}

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address to listen on does not work (in use, not ours, no such transport).
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// Which of [`Settings::listen`].
        address: Multiaddr,
        /// Why.
        cause: io::Error,
    },
    /// The network's name does not fit into a protocol name.
    #[error("network name {0:?} must be 1 to 63 of a-z, A-Z, 0-9, '-', '_' or '.'")]
    Name(String),
    /// The node key is no Ed25519 key.
    #[error("node key must be an Ed25519 key")]
    Key,
    /// The Noise handshake could not be set up.
    #[error("cannot set up the transport: {0}")]
    Transport(String),
}

/// A peer as the book and the connections show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub peer: PeerKey,
    /// Known addresses, those that worked first.
    pub addresses: Vec<Multiaddr>,
    /// Whether a connection is open.
    pub connected: bool,
    /// The last ping's round trip on the newest connection.
    pub rtt: Option<Duration>,
}

/// Takes the calls of other nodes.
pub trait CallHandler: Send + Sync + 'static {
    /// Answers one call. The URI is in origin form (`/path?query`). The future, and later the
    /// response's body, are dropped when the caller hangs up; the request's body then ends with an
    /// error.
    fn call(
        &self,
        from: PeerKey,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, http::Response<Body>>;
}

/// Listens, and returns when every address of [`Settings::listen`] is bound.
///
/// Dropping the last [`Net`] and [`Net::close`] both end everything. The receiver's bound is
/// [`Limits::events_max`].
pub async fn start(
    settings: Settings,
    calls: Arc<dyn CallHandler>,
) -> Result<(Net, tokio::sync::mpsc::Receiver<Event>), StartError> {
    start::start(settings, calls).await
}
