//! Every number that can be set, with its unit and the reason for its default.

use std::time::Duration;

use libp2p::{Multiaddr, identity::Keypair};

/// What a node brings to [`start`](crate::start).
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node key; Ed25519.
    pub keypair: Keypair,
    /// The network's name, part of every protocol name: nodes of other networks are not peers.
    pub network: String,
    /// Where to listen: `/ip4|ip6/ADDRESS/tcp/PORT`; port 0 picks one, an unspecified address
    /// means every interface. Empty: dial only.
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach us though we don't listen on them (a forwarded port).
    pub external: Vec<Multiaddr>,
    /// What we call ourselves in identify, such as `peerless/0.1.0`.
    pub agent: String,
    /// Every limit.
    pub limits: Limits,
}

impl Settings {
    /// Settings with the default [`Limits`], listening nowhere.
    pub fn new(keypair: Keypair, network: impl Into<String>) -> Self {
        Self {
            keypair,
            network: network.into(),
            listen: Vec::new(),
            external: Vec::new(),
            agent: concat!("peerless/", env!("CARGO_PKG_VERSION")).into(),
            limits: Limits::default(),
        }
    }
}

/// The limits of one node. All of them are per node unless the name says otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections, in and out. Over it the least recently used idle one is closed.
    pub connections_max: usize,
    /// Open and half-open inbound connections from one IPv4 address or IPv6 /64; loopback is
    /// exempt. Homes and offices share an address, so not too low.
    pub connections_per_ip_max: usize,
    /// Connections to one peer; the oldest is closed over it.
    pub connections_per_peer_max: usize,
    /// Inbound connections whose handshake is not done.
    pub pending_inbound_max: usize,
    /// Time for a dial and its handshake, and for an inbound handshake.
    pub dial_timeout: Duration,
    /// Time to negotiate a stream's protocol.
    pub open_timeout: Duration,

    /// Addresses kept for a peer.
    pub addresses_per_peer_max: usize,
    /// Peers in the address book; the least recently used is forgotten over it.
    pub book_peers_max: usize,

    /// Bytes in a frame of [`Kind::Kad`](crate::Kind::Kad): what libp2p's Kademlia takes.
    pub kad_frame_bytes_max: usize,
    /// Bytes in a frame of [`Kind::Peer`](crate::Kind::Peer).
    pub peer_frame_bytes_max: usize,
    /// Time for a frame, first byte to last, and until a stream's next request begins.
    pub frame_timeout: Duration,
    /// Time for the node to use a [`Reply`](crate::Reply).
    pub answer_timeout: Duration,

    /// Inbound streams of requests and calls that one peer may hold open.
    pub inbound_streams_max: usize,
    /// Inbound streams on one connection whose protocol is not negotiated.
    pub negotiating_streams_max: usize,
    /// Streams that we hold open to one peer; more requests wait for a place.
    pub outbound_streams_max: usize,
    /// Requests from one peer that wait for our answer.
    pub requests_in_flight_max: usize,
    /// Requests a second from one peer, in the long run.
    pub requests_per_second_max: u32,
    /// Requests one peer may send at once after a pause.
    pub requests_burst_max: u32,
    /// Faults at once (malformed, oversized or unfinished frames, each 256th refusal) until a peer
    /// is disconnected and shunned; one is forgiven a minute.
    pub strikes_max: u32,
    /// How long a peer that struck out is not let in.
    pub shun: Duration,
    /// Events that wait for the node; then requests are refused.
    pub events_max: usize,

    /// Calls from one peer at once; more wait on the caller's side.
    pub calls_in_flight_max: u32,
    /// Inbound call streams a peer may hold; one is the rule, more while one is replaced.
    pub call_streams_max: usize,
    /// Bytes of one call's body, each way, that may lie unread.
    pub call_window_bytes: u32,
    /// Bytes of all bodies between two peers, each way, that may lie unread.
    pub calls_window_bytes: u32,
    /// An answer of which the peer takes nothing for this long is cut off; the host's own pauses
    /// do not count.
    pub take_timeout: Duration,
    /// A call stream unused for this long is closed; the connection stays.
    pub call_idle: Duration,

    /// Time between pings; their round trip is what [`Net::peers`](crate::Net::peers) shows.
    pub ping_interval: Duration,
    /// A connection whose ping is not answered in this time is closed.
    pub ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            connections_per_ip_max: 16,
            connections_per_peer_max: 4,
            pending_inbound_max: 64,
            dial_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(10),

            addresses_per_peer_max: 8,
            book_peers_max: 8_192,

            kad_frame_bytes_max: 16 * 1024,
            peer_frame_bytes_max: 64 * 1024,
            frame_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),

            inbound_streams_max: 128,
            negotiating_streams_max: 128,
            outbound_streams_max: 96,
            requests_in_flight_max: 96,
            requests_per_second_max: 500,
            requests_burst_max: 2_000,
            strikes_max: 8,
            shun: Duration::from_mins(1),
            events_max: 1_024,

            calls_in_flight_max: 512,
            call_streams_max: 4,
            call_window_bytes: 1024 * 1024,
            calls_window_bytes: 8 * 1024 * 1024,
            take_timeout: Duration::from_secs(30),
            call_idle: Duration::from_mins(1),

            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(10),
        }
    }
}
