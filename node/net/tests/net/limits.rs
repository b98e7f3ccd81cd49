//! Limits among honest peers.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use peerless_net::{Event, Kind, RequestError};

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
        settings.limits.connections_max = 1;
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
