//! Hostile peers against a whole node: it cuts them off, at a bounded cost, and goes on hosting and
//! calling meanwhile.

use std::fs;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::AsyncReadExt as _;
use futures::future::join_all;
use http::StatusCode;
use libp2p::{Multiaddr, StreamProtocol};
use peerless_core::{Name, Query, Record};
use peerless_net::identity::Keypair;
use peerless_node::id::NodeId;
use peerless_node::record::{self, Details};
use peerless_node::{keys, wire};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::network::{LONG, Network, Plan};
use crate::raw::Raw;

const ECHO: &[u8] = include_bytes!("../../../deploy/functions/echo/echo.wasm");

const KAD: StreamProtocol = StreamProtocol::new("/peerless/large/kad/1");
const PEER: StreamProtocol = StreamProtocol::new("/peerless/large/peer/1");
const CALL: StreamProtocol = StreamProtocol::new("/peerless/large/call/1");

/// What all attacks together may have cost the node at any time.
const GROWTH_MAX: u64 = 32 << 20;
/// Names that one peer says it hosts.
const NAMES: u64 = 20_000;
/// Streams at a time, within a peer's quota.
const STREAMS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_peers_are_cut_off_while_calls_go_on() {
    let network = Network::start(Plan::default(), 3).await;
    network.nodes[0].gateway.deploy("echo", ECHO, 1).await.unwrap();
    let host = network.hosted(&network.nodes[0], "echo", 1).await.remove(0);
    // Called through the others, and a gateway itself.
    let victim = network.by_id(&host).unwrap();
    calls(&network).await;
    let before = memory(victim.pid, "VmRSS");

    let at = victim.listen.as_str();
    let repeat = |protocol, bytes| repeat_until_cut_off(at, protocol, bytes);
    during(&network, "garbage", repeat(KAD, vec![0xff; 4096])).await;
    during(&network, "garbage in a frame", repeat(PEER, frame(&[0xff; 4096]))).await;
    during(&network, "an oversized frame", repeat(KAD, vec![0x81, 0x80, 0x01])).await;
    during(&network, "a forged record", repeat(PEER, frame(&forged()))).await;
    during(&network, "absurd counts", repeat(PEER, frame(&too_many()))).await;
    during(&network, "too many providers", repeat(KAD, frame(&crowd()))).await;
    during(&network, "frames without end", unfinished(at)).await;
    during(&network, "streams without end", streams(at)).await;
    during(&network, "garbage calls", garbage_calls(at)).await;
    during(&network, "names without end", names(at)).await;

    calls(&network).await;
    let peak = memory(victim.pid, "VmHWM");
    eprintln!("memory: {} MiB before, {} MiB at most", before >> 20, peak >> 20);
    assert!(peak - before < GROWTH_MAX, "{before} bytes before, {peak} at most");
    let log = network.log_of(victim.number);
    assert!(!log.contains("panicked"), "{log}");
}

/// Who names hosts of a function that is not expected here teaches nothing of where they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_in_an_unexpected_confirmation_are_not_learnt() {
    let network = Network::start(Plan::default(), 1).await;
    let node = &network.nodes[0];
    let raw = connect(&node.listen).await;
    let strangers = |from: u8| (from..from + 100).map(|byte| NodeId::new([byte; 32])).collect();
    let query = Query::Confirm {
        function: name(1),
        version: 1,
        sources: strangers(1),
        mates: strangers(101),
    };
    let (_, bytes) = wire::encode_query(&query, &Somewhere);
    let mut stream = raw.send(&PEER, &frame(&bytes)).await.expect("a stream");
    let mut first = [0];
    stream.read_exact(&mut first).await.expect("an answer");
    assert_ne!(first, [0], "it is answered, and not refused");
    let known = node.gateway.json("/network/peers").await;
    let strange: Vec<_> = known
        .as_array()
        .unwrap()
        .iter()
        .filter(|peer| peer["addresses"].to_string().contains("127.0.0.9"))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

/// Everybody is said to be there.
struct Somewhere;

impl wire::Addresses for Somewhere {
    fn addresses(&self, _: &NodeId) -> Vec<Multiaddr> {
        vec!["/ip4/127.0.0.9/tcp/9".parse().unwrap()]
    }
}

/// An attack, to whose end calls through every node are answered, each soon.
async fn during(network: &Network, what: &str, attack: impl Future<Output = ()>) {
    let mut attack = pin!(attack);
    let mut answered = 0;
    loop {
        tokio::select! {
            () = &mut attack => break,
            () = calls(network) => answered += network.nodes.len(),
        }
    }
    eprintln!("{what}: {answered} calls meanwhile");
    calls(network).await;
}

/// A call through every node.
async fn calls(network: &Network) {
    let within = Duration::from_secs(10);
    let calls = network.nodes.iter().map(|node| node.gateway.call("echo", "still here", within));
    for reply in join_all(calls).await {
        assert_eq!((reply.status, reply.text()), (StatusCode::OK, "still here"));
    }
}

/// Of a process, in bytes.
fn memory(pid: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// No addresses are sent along.
struct Nowhere;

impl wire::Addresses for Nowhere {
    fn addresses(&self, _: &NodeId) -> Vec<Multiaddr> {
        Vec::new()
    }
}

fn message(query: &Query<NodeId>) -> Vec<u8> {
    let (_, bytes) = wire::encode_query(query, &Nowhere);
    bytes.to_vec()
}

/// A removal of somebody's function, whose signature is not the owner's.
fn forged() -> Vec<u8> {
    let (owner, thief) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let details = |key| Details {
        name: "echo".into(),
        owner: keys::owner(key),
        version: 1 << 40,
        expires_ms: 1 << 42,
        what: None,
    };
    let genuine = record::sign(&details(&owner), &owner).unwrap();
    let stolen = record::sign(&details(&thief), &thief).unwrap();
    // The last 64 bytes are the signature.
    let cut = genuine.bytes.len() - 64;
    let bytes = [&genuine.bytes[..cut], &stolen.bytes[cut..]].concat();
    assert!(record::verify(&bytes).is_err() && record::verify(&genuine.bytes).is_ok());
    message(&Query::Store(Record { bytes: bytes.into(), ..(*genuine).clone() }.into()))
}

/// More functions probed at once than any two nodes share.
fn too_many() -> Vec<u8> {
    message(&Query::Probe((0..1500).map(|n| (name(n), n)).collect()))
}

/// ADD_PROVIDER with as many providers as a frame takes, by a peer that is none of them.
fn crowd() -> Vec<u8> {
    let mut bytes = [&[8, 2, 18, 34, 0x12, 0x20][..], &name(0).0].concat();
    for _ in 0..300 {
        let id = Keypair::generate_ed25519().public().to_peer_id().to_bytes();
        bytes.extend_from_slice(&[0x4a, 40, 0x0a, 38]);
        bytes.extend_from_slice(&id);
    }
    bytes
}

fn name(number: u64) -> Name {
    Name(Sha256::digest(number.to_le_bytes()).into())
}

/// A peer with a key of its own.
async fn connect(at: &str) -> Raw {
    Raw::connect(Keypair::generate_ed25519(), at.parse().unwrap()).await
}

/// Bytes behind their length.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let (mut frame, mut length) = (Vec::new(), bytes.len());
    while length >= 0x80 {
        frame.push(length as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend_from_slice(bytes);
    frame
}

/// Writes the same bytes into stream after stream until it is cut off. Nothing is answered.
async fn repeat_until_cut_off(at: &str, name: StreamProtocol, bytes: Vec<u8>) {
    let raw = connect(at).await;
    while !raw.closed.is_finished() {
        let Some(mut stream) = raw.send(&name, &bytes).await else { break };
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("its end");
        assert_eq!(answer, b"");
    }
    raw.ends_cut_off().await;
}

/// Frames that begin and never end.
async fn unfinished(at: &str) {
    let raw = connect(at).await;
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        held.extend(raw.send(&KAD, &frame(&[0; 4096])[..100]).await);
    }
    raw.ends_cut_off().await;
}

/// Streams that are opened, held and not used, far over the quota.
async fn streams(at: &str) {
    let raw = connect(at).await;
    let mut held = Vec::new();
    while !raw.closed.is_finished() {
        let Some(stream) = raw.open(&PEER).await else { break };
        held.push(stream);
    }
    raw.ends_cut_off().await;
}

/// What is no HTTP/2 ends its stream, and in the end the connection.
async fn garbage_calls(at: &str) {
    let raw = connect(at).await;
    while !raw.closed.is_finished() {
        let Some(mut stream) = raw.send(&CALL, &[0x55; 4096]).await else { break };
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    raw.ends_cut_off().await;
}

/// Says that it hosts function after function, as fast as it is let, without heeding refusals.
async fn names(at: &str) {
    let raw = connect(at).await;
    let lanes = (0..STREAMS as u64).map(|lane| lane_of_names(&raw, lane));
    let (answered, refused) = join_all(lanes)
        .await
        .into_iter()
        .fold((0, 0), |sum, lane| (sum.0 + lane.0, sum.1 + lane.1));
    eprintln!("names: {answered} answered, {refused} refused");
    assert!(answered < NAMES && refused > 0);
    raw.ends_cut_off().await;
}

/// One name after another; how many were answered, and how many refused.
async fn lane_of_names(raw: &Raw, lane: u64) -> (u64, u64) {
    let (mut answered, mut refused) = (0, 0);
    for number in (lane..NAMES).step_by(STREAMS) {
        let bytes = frame(&message(&Query::Provide(name(number), None)));
        let Some(mut stream) = raw.send(&PEER, &bytes).await else { break };
        let mut first = [0];
        match stream.read(&mut first).await {
            Ok(1) if first != [0] => answered += 1,
            _ => refused += 1,
        }
    }
    (answered, refused)
}
