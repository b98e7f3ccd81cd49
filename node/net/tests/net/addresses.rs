//! Where peers are, and who says so.

use std::{sync::Arc, time::Duration};

use peerless_net::{Kind, Multiaddr, Settings};

use crate::common::*;

/// Two nodes, the one on the lower port first: that is the order in which libp2p dials.
async fn by_port() -> (Node, Node) {
    let port = |node: &Node| -> u16 {
        node.address().to_string().rsplit('/').next().unwrap().parse().unwrap()
    };
    let (one, two) = (responder().await, responder().await);
    if port(&one) < port(&two) { (one, two) } else { (two, one) }
}

/// A peer that names another at its own address, where it answers first, does not hide it.
#[tokio::test]
async fn a_wrong_address_does_not_hide_a_peer() {
    let asker = node().await;
    let (hostile, peer) = by_port().await;
    asker.net.dial(hostile.address()).await.unwrap();
    asker.knows(&peer);
    asker.net.hear(&hostile.key, &peer.key, [hostile.address()]);
    assert_eq!(asker.net.addresses_of(&peer.key), [peer.address(), hostile.address()]);
    asker.asks(&peer, Kind::Kad, "found all the same").await;
}

/// Where another peer answers, the address is forgotten.
#[tokio::test]
async fn a_wrong_address_is_forgotten() {
    let (asker, hostile, peer) = (node().await, responder().await, responder().await);
    asker.net.dial(hostile.address()).await.unwrap();
    asker.net.hear(&hostile.key, &peer.key, [hostile.address()]);
    let body = bytes::Bytes::from_static(b"x");
    assert!(asker.net.request(&peer.key, Kind::Kad, body, LONG).await.is_err());
    assert_eq!(asker.net.addresses_of(&peer.key), []);
}

/// Names that a stranger gives are never resolved; those of our own user are, beside addresses
/// that do not answer.
#[tokio::test]
async fn names_are_resolved_for_our_user_alone() {
    let (asker, informant, peer) = (node().await, responder().await, responder().await);
    let name: Multiaddr =
        peer.address().to_string().replace("/ip4/127.0.0.1", "/dns4/localhost").parse().unwrap();
    asker.net.dial(informant.address()).await.unwrap();
    asker.net.hear(&informant.key, &peer.key, [name.clone()]);
    assert_eq!(asker.net.addresses_of(&peer.key), []);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let silent_at: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let unknown: Multiaddr = "/dns4/no-such-host.invalid/tcp/1".parse().unwrap();
    asker.net.learn(&peer.key, [silent_at, unknown, name]);
    asker.asks(&peer, Kind::Kad, "by name").await;
}

/// A stranger's word counts only where the stranger can know.
#[tokio::test]
async fn hearsay_needs_an_informant() {
    let (asker, peer) = (node().await, node().await);
    asker.net.hear(&[7; 32], &peer.key, [peer.address()]);
    assert_eq!(asker.net.addresses_of(&peer.key), []);
}

/// An address where nobody says anything is dialled once.
#[tokio::test]
async fn silence_is_not_dialled_twice() {
    let quick = |settings: &mut Settings| settings.limits.dial_timeout = Duration::from_secs(1);
    let asker = node_with(Arc::new(Echo), quick).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let dial = asker.net.dial(format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap());
    let mut held = Vec::new();
    let mut dial = std::pin::pin!(dial);
    loop {
        tokio::select! {
            biased;
            socket = silent.accept() => held.push(socket.unwrap()),
            dialled = &mut dial => break assert!(dialled.is_err()),
        }
    }
    assert_eq!(held.len(), 1);
}
