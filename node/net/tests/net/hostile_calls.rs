//! Hostile callers.

use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use h2::client::SendRequest;
use peerless_net::Kind;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use crate::{common::*, hostile::*};

/// Garbage in place of HTTP/2 ends its stream, and in the end the peer is cut off.
#[tokio::test]
async fn garbage_calls_strike_out() {
    let (victim, honest) = victim(|settings| settings.limits.strikes_max = 3).await;
    let hostile = Hostile::new(&victim).await;
    for _ in 0..3 {
        let Some(mut stream) = hostile.open(CALL).await else {
            break;
        };
        let _ = stream.write_all(&[0x55; 4096]).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let _ = soon("the end of the stream", stream.read_to_end(&mut answer)).await;
    }
    hostile.ends_cut_off().await;
    let counters = victim.net.counters();
    assert_eq!((counters.calls_malformed, counters.peers_shunned), (3, 1));
    let call = http::Request::get("/").body(peerless_net::empty()).unwrap();
    assert_eq!(honest.net.call(&victim.key, call).await.unwrap().status(), 418);
    assert_eq!(victim.net.counters().calls_heard, 1);
}

/// Call streams opened and dropped without end run into the rate of streams.
#[tokio::test(flavor = "multi_thread")]
async fn opening_and_dropping_call_streams_ends_cut_off() {
    let victim = responder_with(|settings| settings.limits.strikes_max = 1).await;
    let hostile = Hostile::new(&victim).await;
    let flood = async { while hostile.open(CALL).await.is_some() {} };
    soon("the cut", flood).await;
    hostile.ends_cut_off().await;
    assert_eq!(victim.net.counters().peers_shunned, 1);
}

/// Raw HTTP/2 on a call stream, that lets the victim send so many bytes of each answer.
async fn raw(hostile: &Hostile, window: u32) -> SendRequest<Bytes> {
    let stream = hostile.open(CALL).await.expect("a stream").compat();
    let mut builder = h2::client::Builder::new();
    let (sender, connection) = builder.initial_window_size(window).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str) -> http::Request<()> {
    http::Request::get(format!("http://peer{path}")).body(()).unwrap()
}

/// An answer that the caller does not take is cut off, and holds the connection no longer.
#[tokio::test]
async fn an_answer_that_nobody_takes_is_cut_off() {
    let (victim, honest) =
        victim(|settings| settings.limits.call_stall = Duration::from_secs(1)).await;
    let hostile = Hostile::new(&victim).await;
    for window in [0, 4] {
        let mut sender = raw(&hostile, window).await;
        let (response, _) = sender.send_request(request("/"), true).unwrap();
        let response = soon("a head", response).await.unwrap();
        assert_eq!(response.status(), 418);
        let mut body = response.into_body();
        let end = async {
            loop {
                match body.data().await {
                    // What came is never given back, so that the window stays shut.
                    Some(Ok(_)) => {}
                    end => return end,
                }
            }
        };
        let end = soon("the cut", end).await;
        assert!(matches!(&end, Some(Err(_))), "{end:?}");
    }
    assert_eq!(victim.net.counters().calls_stalled, 2);
    honest.asks(&victim, Kind::Kad, "after").await;
}

/// Of a large answer, that call alone is cut off; others on the same stream go on.
#[tokio::test]
async fn a_large_answer_that_nobody_takes_is_reset() {
    let (victim, _honest) =
        victim(|settings| settings.limits.call_stall = Duration::from_secs(1)).await;
    let hostile = Hostile::new(&victim).await;
    let mut sender = raw(&hostile, 40_000).await;
    let post = http::Request::post("http://peer/echo").body(()).unwrap();
    let (response, mut upload) = sender.send_request(post, false).unwrap();
    upload.send_data(Bytes::from(vec![7; 100_000]), true).unwrap();
    let mut body = soon("a head", response).await.unwrap().into_body();
    let end = async {
        loop {
            match body.data().await {
                Some(Ok(_)) => {}
                end => return end,
            }
        }
    };
    let end = soon("the cut", end).await;
    assert!(matches!(&end, Some(Err(error)) if error.is_reset()), "{end:?}");
    assert_eq!(victim.net.counters().calls_stalled, 1);
    let (response, _) = sender.send_request(request("/"), true).unwrap();
    assert_eq!(soon("a head", response).await.unwrap().status(), 418);
}

/// Calls over a peer's number are refused, on however many streams they come.
#[tokio::test]
async fn calls_are_counted_by_peer() {
    let (victim, _honest) = victim(|settings| settings.limits.calls_in_flight_max = 2).await;
    let hostile = Hostile::new(&victim).await;
    let (mut one, mut two) = (raw(&hostile, 0).await, raw(&hostile, 0).await);
    let (first, _) = one.send_request(request("/"), true).unwrap();
    let (second, _) = one.send_request(request("/"), true).unwrap();
    let _first = soon("a head", first).await.unwrap();
    let _second = soon("a head", second).await.unwrap();
    let (third, _) = two.send_request(request("/"), true).unwrap();
    let refused = soon("a refusal", third).await.unwrap_err();
    assert_eq!(refused.reason(), Some(h2::Reason::REFUSED_STREAM));
    assert_eq!(victim.net.counters().calls_refused, 1);
}

/// Calls over a peer's rate are refused, and a peer that never heeds that is cut off.
#[tokio::test]
async fn calls_have_a_rate() {
    let (victim, _honest) = victim(|settings| {
        settings.limits.calls_burst_max = 5;
        settings.limits.calls_per_second_max = 0;
        settings.limits.strikes_max = 1;
    })
    .await;
    let hostile = Hostile::new(&victim).await;
    let mut sender = raw(&hostile, 1_000).await;
    for number in 0..5 {
        let (response, _) = sender.send_request(request("/"), true).unwrap();
        assert_eq!(soon("a head", response).await.unwrap().status(), 418, "{number}");
    }
    let flood = async {
        loop {
            let Ok(mut ready) = sender.clone().ready().await else {
                return;
            };
            let Ok((response, _)) = ready.send_request(request("/"), true) else {
                return;
            };
            assert!(response.await.is_err());
        }
    };
    soon("the cut", flood).await;
    hostile.ends_cut_off().await;
    assert_eq!(victim.net.counters().peers_shunned, 1);
}
