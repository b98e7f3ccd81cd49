//! Hostile peers, made of raw libp2p: each is cut off at a bounded cost while another peer's
//! requests keep working.

use std::{future::poll_fn, task::Poll, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Stream, StreamProtocol, Transport as _,
    core::{
        Endpoint,
        muxing::StreamMuxerExt as _,
        transport::{DialOpts, PortUse},
    },
    swarm::{NetworkBehaviour, SwarmEvent},
};
use peerless_net::{Counters, Kind, Settings, identity::Keypair};

use crate::{common::*, raw::Raw};

const KAD: StreamProtocol = StreamProtocol::new("/peerless/test/kad/1");
pub(crate) const CALL: StreamProtocol = StreamProtocol::new("/peerless/test/call/1");

/// A hostile peer connected to a victim.
pub(crate) struct Hostile {
    pub(crate) key: peerless_net::PeerKey,
    pub(crate) keypair: Keypair,
    raw: Raw,
}

impl Hostile {
    pub(crate) async fn new(victim: &Node) -> Self {
        Self::with(Keypair::generate_ed25519(), victim).await
    }

    pub(crate) async fn with(keypair: Keypair, victim: &Node) -> Self {
        let raw = Raw::connect(keypair.clone(), victim.address()).await;
        let key = peerless_net::peer_key(&keypair.public().to_peer_id()).unwrap();
        Self { key, keypair, raw }
    }

    /// A stream, unless the connection is closed or the victim refuses to negotiate.
    pub(crate) async fn open(&self, name: StreamProtocol) -> Option<Stream> {
        self.raw.open(&name).await
    }

    /// Goes away, once the victim has let it in.
    pub(crate) async fn leaves(self, victim: &Node) {
        until("the connection", || victim.net.is_connected(&self.key)).await;
        self.raw.closed.abort();
        until("the loss", || !victim.net.is_connected(&self.key)).await;
    }

    pub(crate) async fn sends(&self, bytes: &[u8]) -> Option<Stream> {
        self.raw.send(&KAD, bytes).await
    }

    pub(crate) async fn ends_cut_off(self) {
        self.raw.ends_cut_off().await;
    }
}

pub(crate) async fn victim(change: impl FnOnce(&mut Settings)) -> (Node, Node) {
    let victim = responder_with(change).await;
    let honest = node().await;
    honest.knows(&victim);
    honest.asks(&victim, Kind::Kad, "before").await;
    (victim, honest)
}

/// Sends the same bytes on stream after stream until it is cut off.
async fn strikes_out(bytes: &[u8], counted: fn(&Counters) -> u64) {
    let (victim, honest) = victim(|settings| settings.limits.strikes_max = 3).await;
    let hostile = Hostile::new(&victim).await;
    for _ in 0..3 {
        let Some(mut stream) = hostile.sends(bytes).await else {
            break;
        };
        // Each stream ends without an answer.
        let mut answer = Vec::new();
        let _ = soon("the end of the stream", stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
        honest.asks(&victim, Kind::Kad, "meanwhile").await;
    }
    let keypair = hostile.keypair.clone();
    hostile.ends_cut_off().await;
    let counters = victim.net.counters();
    assert_eq!((counted(&counters), counters.peers_shunned), (3, 1));
    // Nor is it let in again.
    Hostile::with(keypair, &victim).await.ends_cut_off().await;
    assert_eq!(victim.net.counters().connections_denied, 1);
    honest.asks(&victim, Kind::Peer, "after").await;
}

#[tokio::test]
async fn garbage_frames_strike_out() {
    strikes_out(&[0xff; 64], |counters| counters.frames_malformed).await;
}

#[tokio::test]
async fn oversized_lengths_strike_out() {
    strikes_out(&[0x81, 0x80, 0x01], |counters| counters.frames_oversize).await;
}

#[tokio::test]
async fn empty_frames_strike_out() {
    strikes_out(&[0], |counters| counters.frames_malformed).await;
}

#[tokio::test]
async fn frames_that_never_end_are_cut_off() {
    let (victim, honest) = victim(|settings| {
        settings.limits.strikes_max = 4;
        settings.limits.frame_timeout = Duration::from_secs(1);
    })
    .await;
    let hostile = Hostile::new(&victim).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(hostile.sends(&[100, 1, 2, 3]).await.expect("a stream"));
    }
    honest.asks(&victim, Kind::Kad, "meanwhile").await;
    hostile.ends_cut_off().await;
    assert_eq!(victim.net.counters().frames_late, 4);
    honest.asks(&victim, Kind::Kad, "after").await;
}

/// A byte every now and then does not extend a frame's time.
#[tokio::test]
async fn a_slow_loris_ends_cut_off() {
    let (victim, honest) = victim(|settings| {
        settings.limits.strikes_max = 1;
        settings.limits.frame_timeout = Duration::from_secs(1);
    })
    .await;
    let hostile = Hostile::new(&victim).await;
    let mut stream = hostile.sends(&[100]).await.expect("a stream");
    let drip = tokio::spawn(async move {
        while stream.write_all(&[1]).await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    honest.asks(&victim, Kind::Kad, "meanwhile").await;
    hostile.ends_cut_off().await;
    soon("the end of the drip", drip).await.unwrap();
    assert_eq!(victim.net.counters().frames_late, 1);
    honest.asks(&victim, Kind::Kad, "after").await;
}

/// Streams beyond the quota are refused in words, then dropped; none is handed to the node.
#[tokio::test]
async fn streams_without_end_are_refused() {
    let (victim, honest) = victim(|settings| settings.limits.inbound_streams_max = 8).await;
    let hostile = Hostile::new(&victim).await;
    let heard = victim.net.counters().requests_heard;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hostile.open(KAD).await.expect("within the quota"));
    }
    for _ in 0..100 {
        let mut over = hostile.open(KAD).await.expect("negotiated, then refused");
        let mut answer = Vec::new();
        let _ = soon("a refusal", over.read_to_end(&mut answer)).await;
        assert!(matches!(answer[..], [] | [0]), "{answer:?}");
    }
    honest.asks(&victim, Kind::Kad, "meanwhile").await;
    let counters = victim.net.counters();
    assert_eq!((counters.requests_refused, counters.requests_heard), (100, heard + 1));
    drop(held);
    // Within its quota again, it is served again.
    soon("a place", async {
        loop {
            let mut stream = hostile.sends(&[1, 7]).await.expect("a stream");
            let mut answer = [0; 3];
            if stream.read_exact(&mut answer).await.is_ok() {
                assert_eq!(answer, [2, b'k', 7]);
                return;
            }
        }
    })
    .await;
}

/// A peer that goes on opening streams over its quota is cut off in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_streams_ends_cut_off() {
    let victim = responder_with(|settings| {
        settings.limits.inbound_streams_max = 0;
        settings.limits.strikes_max = 2;
    })
    .await;
    let hostile = Hostile::new(&victim).await;
    let flood = async { while hostile.open(KAD).await.is_some() {} };
    soon("the cut", flood).await;
    hostile.ends_cut_off().await;
    assert_eq!(victim.net.counters().peers_shunned, 1);
}

/// Every connection of a peer counts towards the same quotas, and the oldest gives way.
#[tokio::test]
async fn connections_of_one_peer_are_few() {
    let (victim, honest) = victim(|_| {}).await;
    let keypair = Keypair::generate_ed25519();
    let first = Hostile::with(keypair.clone(), &victim).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(Hostile::with(keypair.clone(), &victim).await);
    }
    first.ends_cut_off().await;
    assert!(victim.net.is_connected(&others[0].key));
    honest.asks(&victim, Kind::Kad, "after").await;
}

/// Streams that never say what they are for strike, and are reset.
#[tokio::test]
async fn streams_without_a_protocol_strike_out() {
    let (victim, honest) = victim(|settings| {
        settings.limits.strikes_max = 3;
        settings.limits.open_timeout = Duration::from_secs(1);
    })
    .await;
    let keypair = Keypair::generate_ed25519();
    let mut transport = libp2p::tcp::tokio::Transport::default()
        .upgrade(libp2p::core::upgrade::Version::V1)
        .authenticate(libp2p::noise::Config::new(&keypair).unwrap())
        .multiplex(libp2p::yamux::Config::default())
        .boxed();
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let (_, mut muxer) = transport.dial(victim.address(), options).unwrap().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.unwrap());
    }
    for stream in &mut streams {
        // The first byte of a length, and nothing more.
        stream.write_all(&[0x13]).await.unwrap();
    }
    let mut inbound = Vec::new();
    let cut = poll_fn(|cx| {
        while let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx) {
            match stream {
                Ok(stream) => inbound.push(stream),
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    });
    soon("the cut", cut).await;
    let counters = victim.net.counters();
    assert_eq!((counters.streams_late, counters.peers_shunned), (3, 1));
    honest.asks(&victim, Kind::Kad, "after").await;
}

/// What peers hold unread is bounded for all of them together; who holds little is served still.
#[tokio::test]
async fn memory_is_shared() {
    let mib = 1024 * 1024;
    let (victim, honest) = victim(|settings| settings.limits.memory_bytes_max = 16 * mib).await;
    let hostile = Hostile::new(&victim).await;
    let mut held = Vec::new();
    // Half of it is 32 streams; over it a peer may have 16.
    for _ in 0..64 {
        held.extend(hostile.open(KAD).await);
    }
    let counters = victim.net.counters();
    assert!(held.len() < 40 && counters.streams_dropped > 0, "{} {counters:?}", held.len());
    assert!(counters.memory_held_bytes <= 16 * mib as u64);
    honest.asks(&victim, Kind::Kad, "meanwhile").await;
    let call = http::Request::get("/").body(peerless_net::empty()).unwrap();
    assert_eq!(honest.net.call(&victim.key, call).await.unwrap().status(), 418);
}

#[derive(NetworkBehaviour)]
struct Chatty {
    identify: libp2p::identify::Behaviour,
}

/// A peer that says something new of itself all the time is heard now and then.
#[tokio::test]
async fn news_of_oneself_has_a_rate() {
    let mut victim = node().await;
    let mut swarm = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            libp2p::tcp::Config::default(),
            libp2p::noise::Config::new,
            libp2p::yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|key| {
            let config = libp2p::identify::Config::new("/x/1".into(), key.public());
            Chatty { identify: libp2p::identify::Behaviour::new(config) }
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(LONG))
        .build();
    swarm.dial(victim.address()).unwrap();
    let mut pushed = 0;
    soon("every push", async {
        while pushed < 60 {
            if let SwarmEvent::Behaviour(ChattyEvent::Identify(event)) =
                swarm.select_next_some().await
            {
                use libp2p::identify::Event::{Pushed, Received};
                if let Received { peer_id, .. } | Pushed { peer_id, .. } = event {
                    pushed += 1;
                    let new = format!("/ip4/127.0.0.1/tcp/{}", 1_000 + pushed);
                    swarm.add_external_address(new.parse().unwrap());
                    swarm.behaviour_mut().identify.push([peer_id]);
                }
            }
        }
    })
    .await;
    let mut met = 0;
    while let Ok(event) = victim.events.try_recv() {
        met += usize::from(matches!(event, peerless_net::Event::Met { .. }));
    }
    assert!((1..=10).contains(&met), "met {met} times");
}
