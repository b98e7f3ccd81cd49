//! Requests and answers, dialling, and what the node is told.

use std::time::Duration;

use bytes::Bytes;
use peerless_net::{DialError, Event, Kind, Multiaddr, RequestError, StartError, peer_id};

use crate::common::*;

#[tokio::test]
async fn both_kinds_are_answered() {
    let (asker, other) = (node().await, responder().await);
    asker.knows(&other);
    asker.asks(&other, Kind::Kad, "find").await;
    asker.asks(&other, Kind::Peer, "offer").await;
    let largest = "x".repeat(64 * 1024 - 1);
    asker.asks(&other, Kind::Peer, &largest).await;
    let over = Bytes::from(vec![1; 16 * 1024 + 1]);
    let sent = asker.net.request(&other.key, Kind::Kad, over, LONG).await;
    assert_eq!(sent, Err(RequestError::TooLarge));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once() {
    let (asker, other) = (node().await, responder().await);
    asker.knows(&other);
    let texts: Vec<_> = (0..64).map(|number| format!("request {number}")).collect();
    let asked = texts.iter().enumerate().map(|(number, text)| {
        let kind = if number % 2 == 0 { Kind::Kad } else { Kind::Peer };
        asker.asks(&other, kind, text)
    });
    futures::future::join_all(asked).await;
    assert_eq!(asker.net.counters().connections_opened, 1, "one dial serves them all");
}

#[tokio::test]
async fn peers_are_met_and_lost() {
    let (mut one, mut two) = (node().await, node().await);
    assert_eq!(one.net.dial(two.address()).await, Ok(two.key));
    let met = |event| match event {
        Event::Met { peer, serves: serves @ true, addresses, observed } => {
            let seen = observed.to_string();
            assert!(seen.starts_with("/ip4/127.0.0.1/tcp/") && !seen.contains("/p2p/"), "{seen}");
            Some((peer, serves, addresses))
        }
        _ => None,
    };
    assert_eq!(one.event(met).await, (two.key, true, vec![two.address()]));
    assert_eq!(two.event(met).await, (one.key, true, vec![one.address()]));
    assert_eq!(two.net.addresses_of(&one.key), [one.address()]);
    until("a round trip", || one.net.peers().iter().any(|view| view.rtt.is_some())).await;
    assert!(one.net.peers().iter().all(|view| view.connected && view.peer == two.key));
    two.net.close().await;
    let lost = |event| match event {
        Event::Lost { peer } => Some(peer),
        _ => None,
    };
    assert_eq!(one.event(lost).await, two.key);
    assert!(!one.net.is_connected(&two.key));
}

#[tokio::test]
async fn an_unknown_peer_and_a_closed_one_are_unreached() {
    let (asker, other) = (node().await, responder().await);
    let ask = || asker.net.request(&other.key, Kind::Kad, Bytes::from_static(b"x"), LONG);
    assert_eq!(ask().await, Err(RequestError::Unreached));
    asker.knows(&other);
    assert_eq!(ask().await.as_deref(), Ok(&b"kx"[..]));
    other.net.close().await;
    assert_eq!(ask().await, Err(RequestError::Unreached));
}

#[tokio::test]
async fn a_peer_that_restarts_on_its_key_and_port_is_found_again() {
    let (asker, other) = (node().await, responder().await);
    asker.knows(&other);
    for round in 0..3 {
        asker.asks(&other, Kind::Peer, &format!("before {round}")).await;
    }
    let (keypair, listen) = (other.keypair.clone(), vec![other.address()]);
    other.net.close().await;
    let again = responder_with(|settings| {
        settings.keypair = keypair;
        settings.listen = listen;
    })
    .await;
    assert_eq!(again.key, other.key);
    asker.asks(&again, Kind::Peer, "after").await;
}

#[tokio::test]
async fn answers_that_never_come_are_told_apart() {
    let mut other = node().await;
    let asker = node().await;
    asker.knows(&other);
    let (net, key) = (asker.net.clone(), other.key);
    let ask = |text: &'static str, limit| {
        let net = net.clone();
        let body = Bytes::from_static(text.as_bytes());
        tokio::spawn(async move { net.request(&key, Kind::Peer, body, limit).await })
    };
    let request = |event| match event {
        Event::Request { reply, .. } => Some(reply),
        _ => None,
    };
    let asked = ask("refuse", LONG);
    other.event(request).await.refuse();
    assert_eq!(asked.await.unwrap(), Err(RequestError::Refused));
    let asked = ask("drop", LONG);
    drop(other.event(request).await);
    assert_eq!(asked.await.unwrap(), Err(RequestError::Cut));
    let asked = ask("late", Duration::from_secs(2));
    let held = other.event(request).await;
    assert_eq!(asked.await.unwrap(), Err(RequestError::TimedOut));
    drop(held);
    let asked = ask("gone", LONG);
    let _held = other.event(request).await;
    other.net.close().await;
    assert_eq!(asked.await.unwrap(), Err(RequestError::Cut));
}

#[tokio::test]
async fn dialling_says_what_is_wrong() {
    let (one, two, three) = (node().await, node().await, node().await);
    let id = |node: &Node| peer_id(&node.key).unwrap();
    let named = |at: &Node, who: &Node| -> Multiaddr {
        format!("{}/p2p/{}", at.address(), id(who)).parse().unwrap()
    };
    assert_eq!(one.net.dial(named(&two, &three)).await, Err(DialError::WrongPeer(id(&two))));
    assert_eq!(one.net.dial(named(&two, &two)).await, Ok(two.key));
    assert_eq!(one.net.dial(named(&two, &one)).await, Err(DialError::Own));
    assert_eq!(one.net.dial(one.address()).await, Err(DialError::Own));
    let port = three.address().to_string().replace("/ip4/127.0.0.1", "/dns4/localhost");
    assert_eq!(one.net.dial(port.parse().unwrap()).await, Ok(three.key));
    let udp: Multiaddr = "/ip4/127.0.0.1/udp/1".parse().unwrap();
    assert_eq!(one.net.dial(udp.clone()).await, Err(DialError::Unsupported(udp)));
    let gone = two.address();
    two.net.close().await;
    assert!(matches!(one.net.dial(gone).await, Err(DialError::Failed(_))));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let one = node().await;
    let taken = one.address();
    let keypair = peerless_net::identity::Keypair::generate_ed25519();
    let mut settings = peerless_net::Settings::new(keypair, NETWORK);
    // A plain socket: two libp2p listeners may share a port.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    settings.listen = vec![address.clone()];
    match peerless_net::start(settings, std::sync::Arc::new(Echo)).await {
        Err(StartError::Listen { address: named, cause }) => {
            assert_eq!(named, address);
            assert_eq!(cause.kind(), std::io::ErrorKind::AddrInUse);
        }
        other => panic!("{other:?} on {taken}"),
    }
}

#[tokio::test]
async fn a_wildcard_is_expanded_to_interfaces() {
    let change = |settings: &mut peerless_net::Settings| {
        settings.listen = vec!["/ip4/0.0.0.0/tcp/0".parse().unwrap()];
    };
    let node = node_with(std::sync::Arc::new(Echo), change).await;
    let own = node.net.own_addresses();
    assert!(!own.is_empty());
    assert!(own.iter().all(|address| !address.to_string().contains("0.0.0.0")), "{own:?}");
}

#[tokio::test]
async fn other_networks_are_not_peers() {
    let (asker, other) = (node().await, responder_with(|s| s.network = "other".into()).await);
    asker.knows(&other);
    let asked = asker.net.request(&other.key, Kind::Kad, Bytes::from_static(b"x"), LONG).await;
    assert_eq!(asked, Err(RequestError::Unsupported));
}

/// Both sides dial at the same instant, each from its listening port: whatever the sockets make of
/// it, both requests are answered.
#[tokio::test(flavor = "multi_thread")]
async fn two_that_dial_each_other_at_once_both_get_through() {
    for round in 0..20 {
        let (one, two) = (responder().await, responder().await);
        one.knows(&two);
        two.knows(&one);
        let text = format!("round {round}");
        let there = one.asks(&two, Kind::Kad, &text);
        let back = two.asks(&one, Kind::Peer, &text);
        futures::future::join(there, back).await;
    }
}
