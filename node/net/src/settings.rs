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
            agent: concat!("peerless/", env!("CARGO_PKG_VERSION")).into(),
            limits: Limits::default(),
        }
    }
}

/// The limits of one node. All of them are per node unless the name says otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sockets of connections, in and out, with handshakes and dials under way; at least 2. A
    /// quarter of them, but no more than 16, is kept for connections that are being closed, and of
    /// the rest a quarter for our own dials. Over it the least recently used idle one is closed.
    pub connections_max: usize,
    /// Open and half-open inbound connections from one source, which is an IPv4 address or an IPv6
    /// /64. Homes and offices share one, so not too low.
    pub connections_per_ip_max: usize,
    /// New inbound connections a minute from one peer, and at once; from one source four times as
    /// many.
    pub connections_per_minute_max: u32,
    /// Whether loopback is a source like any other. It is not by default, so that many nodes may
    /// share a machine; what comes from it is trusted no more as a peer.
    pub loopback_is_a_source: bool,
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
    /// Bytes that peers together can make us hold for them unread: 256 KiB for each stream and
    /// [`Limits::calls_window_bytes`] for each inbound call stream. Over half of it only those who
    /// hold little get more, over all of it streams are refused.
    pub memory_bytes_max: usize,
    /// Streams that we hold open to one peer; more requests wait for a place.
    pub outbound_streams_max: usize,
    /// Requests from one peer that wait for our answer.
    pub requests_in_flight_max: usize,
    /// Requests a second from one peer, in the long run.
    pub requests_per_second_max: u32,
    /// Requests one peer may send at once after a pause.
    pub requests_burst_max: u32,
    /// Faults at once (malformed, oversized or unfinished frames, streams that never name their
    /// protocol, broken HTTP/2, each 256th refusal) until a peer is disconnected and shunned, and
    /// four times as many for a source; one is forgiven a minute. They are remembered when the
    /// peer is gone.
    pub strikes_max: u32,
    /// How long a peer or source that struck out is not let in.
    pub shun: Duration,
    /// Events that wait for the node; then requests are refused.
    pub events_max: usize,

    /// Calls from one peer at once, on all of its call streams; more wait on the caller's side, or
    /// are refused.
    pub calls_in_flight_max: u32,
    /// Calls a second from one peer, in the long run.
    pub calls_per_second_max: u32,
    /// Calls one peer may send at once after a pause.
    pub calls_burst_max: u32,
    /// A call whose caller takes nothing of an answer that is there for this long is cut off. Long
    /// enough for a person who reads it page by page.
    pub call_stall: Duration,
    /// Inbound call streams a peer may hold; one is the rule, more while one is replaced.
    pub call_streams_max: usize,
    /// Bytes of one call's body, each way, that may lie unread.
    pub call_window_bytes: u32,
    /// Bytes of all bodies between two peers, each way, that may lie unread.
    pub calls_window_bytes: u32,
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
            connections_per_minute_max: 120,
            loopback_is_a_source: false,
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
            negotiating_streams_max: 64,
            memory_bytes_max: 1024 * 1024 * 1024,
            outbound_streams_max: 96,
            requests_in_flight_max: 96,
            requests_per_second_max: 500,
            requests_burst_max: 2_000,
            strikes_max: 8,
            shun: Duration::from_mins(1),
            events_max: 1_024,

            calls_in_flight_max: 256,
            calls_per_second_max: 4_000,
            calls_burst_max: 8_000,
            call_stall: Duration::from_mins(1),
            call_streams_max: 2,
            call_window_bytes: 1024 * 1024,
            calls_window_bytes: 4 * 1024 * 1024,
            call_idle: Duration::from_mins(1),

            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(10),
        }
    }
}
