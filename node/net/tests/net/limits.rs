//! Limits among honest peers.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use peerless_net::{DialError, Event, Kind, Reply, RequestError, Settings};

use crate::common::*;

/// Twelve nodes of eight connections each: everybody reaches everybody, and nobody holds more.
#[tokio::test(flavor = "multi_thread")]
async fn connections_make_room_for_each_other() {
    let mut nodes = Vec::new();
    for _ in 0..12 {
        nodes.push(responder_with(|settings| settings.limits.connections_max = 8).await);
    }
    for one in &nodes {
        for other in nodes.iter().filter(|other| other.key != one.key) {
            one.knows(other);
        }
    }
    for step in 1..nodes.len() {
        for (index, asker) in nodes.iter().enumerate() {
            let other = &nodes[(index + step) % nodes.len()];
            asker.asks(other, Kind::Kad, "around").await;
            asker.asks(other, Kind::Peer, "and around").await;
            let call = http::Request::get("/").body(peerless_net::empty()).unwrap();
            asker.net.call(&other.key, call).await.unwrap();
        }
    }
    let connected = |node: &Node| node.net.peers().iter().filter(|view| view.connected).count();
    for node in &nodes {
        until("room", || connected(node) <= 8).await;
    }
    assert!(nodes.iter().any(|node| node.net.counters().connections_evicted > 0));
}

/// A connection with a request under way is not given up; a newcomer is turned away instead.
#[tokio::test]
async fn busy_connections_are_kept() {
    let mut full = node_with(Arc::new(Echo), |settings| {
        settings.limits.connections_max = 2; // one in use, and one on its way out
    })
    .await;
    let (first, second) = (node().await, node().await);
    first.knows(&full);
    second.knows(&full);
    let (net, key) = (first.net.clone(), full.key);
    let ask =
        tokio::spawn(
            async move { net.request(&key, Kind::Peer, Bytes::from_static(b"x"), LONG).await },
        );
    let reply = full.event(|event| match event {
        Event::Request { reply, .. } => Some(reply),
        _ => None,
    });
    let reply = reply.await;
    let turned_away = second.net.request(&key, Kind::Peer, Bytes::from_static(b"y"), LONG).await;
    assert!(turned_away.is_err());
    reply.send(Bytes::from_static(b"z"));
    assert_eq!(ask.await.unwrap().as_deref(), Ok(&b"z"[..]));
    assert!(full.net.counters().connections_denied > 0);

    // Now that it is idle, it makes room.
    let (net, key) = (second.net.clone(), full.key);
    let ask =
        tokio::spawn(
            async move { net.request(&key, Kind::Peer, Bytes::from_static(b"y"), LONG).await },
        );
    let reply = full.event(|event| match event {
        Event::Request { reply, .. } => Some(reply),
        _ => None,
    });
    reply.await.send(Bytes::from_static(b"z"));
    assert_eq!(ask.await.unwrap().as_deref(), Ok(&b"z"[..]));
}

/// A node that takes no events refuses requests, tells so, and loses nobody it has met.
#[tokio::test]
async fn a_slow_node_refuses_and_loses_nothing() {
    let mut slow = node_with(Arc::new(Echo), |settings| settings.limits.events_max = 4).await;
    let asker = node().await;
    asker.knows(&slow);
    let asked = (0..32).map(|_| {
        let (net, key) = (asker.net.clone(), slow.key);
        let body = Bytes::from_static(b"x");
        tokio::spawn(async move { net.request(&key, Kind::Peer, body, LONG).await })
    });
    let mut asked: futures::stream::FuturesUnordered<_> = asked.collect();
    let fates = || slow.net.counters().requests_refused + slow.net.counters().requests_heard;
    until("refusals", || fates() == 32).await;
    let (mut met, mut answered) = (false, 0);
    let heard = slow.net.counters().requests_heard;
    while !met || answered < heard {
        match soon("an event", slow.events.recv()).await.unwrap() {
            Event::Request { reply, .. } => {
                reply.send(Bytes::from_static(b"y"));
                answered += 1;
            }
            Event::Met { peer, .. } => met = peer == asker.key,
            _ => {}
        }
    }
    let (mut good, mut refused) = (0, 0);
    while let Some(result) = soon("every answer", asked.next()).await {
        match result.unwrap() {
            Ok(_) => good += 1,
            Err(RequestError::Refused) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((good, refused), (heard, 32 - heard));
}

/// One peer's flood of requests is refused beyond its rate, in words.
#[tokio::test]
async fn a_flood_is_refused_beyond_its_rate() {
    let other = responder_with(|settings| {
        settings.limits.requests_burst_max = 10;
        settings.limits.requests_per_second_max = 0;
    })
    .await;
    let asker = node().await;
    asker.knows(&other);
    for _ in 0..10 {
        asker.asks(&other, Kind::Kad, "in time").await;
    }
    let over = asker.net.request(&other.key, Kind::Kad, Bytes::from_static(b"x"), LONG).await;
    assert_eq!(over, Err(RequestError::Refused));
    assert_eq!(other.net.counters().requests_refused, 1);
}

/// Asks, and hands back what the other must use to answer, so that the connection stays busy.
async fn hold(asker: &Node, other: &mut Node) -> Reply {
    let (net, key) = (asker.net.clone(), other.key);
    let body = Bytes::from_static(b"hold");
    tokio::spawn(async move { net.request(&key, Kind::Peer, body, LONG).await });
    other
        .event(|event| match event {
            Event::Request { reply, .. } => Some(reply),
            _ => None,
        })
        .await
}

/// Others that keep a node busy do not shut it off: a share of its connections is for its own
/// dials. When these are busy too, it says so, and not that the peer is away.
#[tokio::test]
async fn own_saturation_is_nobody_elses_death() {
    let full = |settings: &mut Settings| settings.limits.connections_max = 8;
    let mut full = node_with(Arc::new(Echo), full).await;
    let mut held = Vec::new();
    let mut askers = Vec::new();
    // Six may be in use, and five of them inbound.
    for _ in 0..5 {
        let asker = node().await;
        asker.knows(&full);
        held.push(hold(&asker, &mut full).await);
        askers.push(asker);
    }
    let late = node().await;
    late.knows(&full);
    let turned_away = late.net.request(&full.key, Kind::Peer, Bytes::from_static(b"y"), LONG).await;
    assert_eq!(turned_away, Err(RequestError::Unreached), "the share is not for others");
    let mut other = node().await;
    full.knows(&other);
    held.push(hold(&full, &mut other).await);
    let third = responder().await;
    full.knows(&third);
    let short = Duration::from_millis(300);
    let ask = full.net.request(&third.key, Kind::Peer, Bytes::from_static(b"z"), short).await;
    assert_eq!(ask, Err(RequestError::NoRoom));
    assert!(full.net.counters().dials_deferred > 0);
    assert_eq!(full.net.dial(third.address()).await, Err(DialError::NoRoom));
    // As soon as one of them is idle, whoever waits gets through.
    let (net, key) = (full.net.clone(), third.key);
    let ask =
        tokio::spawn(
            async move { net.request(&key, Kind::Peer, Bytes::from_static(b"z"), LONG).await },
        );
    held.pop().expect("held").send(Bytes::from_static(b"done"));
    assert_eq!(soon("an answer", ask).await.unwrap().as_deref(), Ok(&b"pz"[..]));
}

/// Waiting for a stream of our own is not the peer's fault either.
#[tokio::test]
async fn want_of_a_stream_is_told_apart() {
    let one = |settings: &mut Settings| settings.limits.outbound_streams_max = 1;
    let asker = node_with(Arc::new(Echo), one).await;
    let mut other = node().await;
    asker.knows(&other);
    let _held = hold(&asker, &mut other).await;
    let short = Duration::from_millis(200);
    let ask = asker.net.request(&other.key, Kind::Kad, Bytes::from_static(b"x"), short).await;
    assert_eq!(ask, Err(RequestError::NoPlace));
}

/// The open sockets of listening ports, by port and inode. Those that the kernel has not handed to
/// the program yet have no inode, and do not count.
#[cfg(target_os = "linux")]
fn sockets() -> BTreeSet<(u16, String)> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let socket = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields[1].rsplit(':').next()?, 16).ok()?;
        let open = matches!(fields[3], "01" | "02" | "03") && fields[9] != "0";
        open.then(|| (port, fields[9].to_owned()))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// The most sockets that any of these ports had at one moment. The kernel's table changes while it
/// is read, so what is in two readings is what there was between them.
#[cfg(target_os = "linux")]
fn most_sockets(ports: &[u16], before: &BTreeSet<(u16, String)>) -> usize {
    let now = sockets();
    let both: Vec<_> = before.intersection(&now).collect();
    let of = |port: &u16| both.iter().filter(|(own, _)| own == port).count();
    ports.iter().map(of).max().unwrap_or(0)
}

/// Nodes that all talk to all, with room for a few: at no moment has one more sockets than it may,
/// but for the one that it is about to turn away.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn sockets_stay_within_the_limit_at_all_times() {
    const MAX: usize = 8;
    const ROUNDS: usize = 4;
    let mut nodes = Vec::new();
    for _ in 0..16 {
        nodes.push(responder_with(|settings| settings.limits.connections_max = MAX).await);
    }
    for one in &nodes {
        for other in nodes.iter().filter(|other| other.key != one.key) {
            one.knows(other);
        }
    }
    let port =
        |node: &Node| node.address().to_string().rsplit('/').next().unwrap().parse().unwrap();
    let ports: Vec<u16> = nodes.iter().map(port).collect();
    let over = Arc::new(AtomicBool::new(false));
    let sampler = {
        let over = over.clone();
        tokio::task::spawn_blocking(move || {
            let (mut most, mut samples) = (0, 0);
            while !over.load(Relaxed) {
                most = most_sockets(&ports, &sockets()).max(most);
                samples += 1;
            }
            (most, samples)
        })
    };
    let rounds = (1..nodes.len()).map(|step| {
        let nodes = &nodes;
        async move {
            let mut answered = 0;
            for (index, asker) in nodes.iter().enumerate().cycle().take(ROUNDS * nodes.len()) {
                let other = &nodes[(index + step) % nodes.len()];
                let body = Bytes::from_static(b"churn");
                answered += usize::from(
                    asker.net.request(&other.key, Kind::Peer, body, LONG).await.is_ok(),
                );
            }
            answered
        }
    });
    let answered: usize = futures::future::join_all(rounds).await.into_iter().sum();
    over.store(true, Relaxed);
    let (most, samples) = sampler.await.unwrap();
    assert!(samples > 10 && most >= MAX / 2, "{most} sockets at most in {samples} samples");
    assert!(most <= MAX + 1, "{most} sockets");
    assert!(answered > 0 && nodes.iter().any(|node| node.net.counters().connections_evicted > 0));
}
