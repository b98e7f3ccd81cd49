//! Hostile peers that come again, under their own key or new ones.

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use peerless_net::{Kind, identity::Keypair};

use crate::{common::*, hostile::*};

/// Who closes the connection and comes again is no newcomer.
#[tokio::test]
async fn strikes_outlive_connections() {
    let (victim, honest) = victim(|settings| settings.limits.strikes_max = 3).await;
    let keypair = Keypair::generate_ed25519();
    for _ in 0..2 {
        let hostile = Hostile::with(keypair.clone(), &victim).await;
        let mut stream = hostile.sends(&[0xff; 64]).await.expect("a stream");
        let _ = soon("the end of the stream", stream.read_to_end(&mut Vec::new())).await;
        hostile.leaves(&victim).await;
    }
    let hostile = Hostile::with(keypair.clone(), &victim).await;
    let _stream = hostile.sends(&[0xff; 64]).await;
    hostile.ends_cut_off().await;
    assert_eq!(victim.net.counters().peers_shunned, 1);
    honest.asks(&victim, Kind::Kad, "after").await;
}

/// So does a rate.
#[tokio::test]
async fn rates_outlive_connections() {
    let victim = responder_with(|settings| {
        settings.limits.requests_burst_max = 3;
        settings.limits.requests_per_second_max = 0;
    })
    .await;
    let keypair = Keypair::generate_ed25519();
    for round in 0..5 {
        let hostile = Hostile::with(keypair.clone(), &victim).await;
        let mut stream = hostile.sends(&[1, 7]).await.expect("a stream");
        stream.close().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the end of the stream", stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, if round < 3 { &[2, b'k', 7][..] } else { &[0][..] }, "{round}");
        hostile.leaves(&victim).await;
    }
}

/// A peer that comes and goes all the time is turned away.
#[tokio::test]
async fn coming_and_going_has_a_rate() {
    let victim = responder_with(|settings| settings.limits.connections_per_minute_max = 3).await;
    let keypair = Keypair::generate_ed25519();
    for _ in 0..3 {
        Hostile::with(keypair.clone(), &victim).await.leaves(&victim).await;
    }
    Hostile::with(keypair, &victim).await.ends_cut_off().await;
    assert_eq!(victim.net.counters().connections_denied, 1);
}

/// Many names at one address are worth four.
#[tokio::test]
async fn an_address_strikes_out_too() {
    let victim = responder_with(|settings| {
        settings.limits.loopback_is_a_source = true;
        settings.limits.strikes_max = 2;
    })
    .await;
    for _ in 0..8 {
        let hostile = Hostile::new(&victim).await;
        let _stream = hostile.sends(&[0xff; 64]).await;
        until("a strike", || victim.net.counters().frames_malformed > 0).await;
        drop(hostile);
    }
    until("the shunning", || victim.net.counters().sources_shunned == 1).await;
    assert_eq!(victim.net.counters().peers_shunned, 0);
    let other = node().await;
    assert!(other.net.dial(victim.address()).await.is_err());
}
