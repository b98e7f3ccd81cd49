//! Large bodies stream through gateway and host, and neither grows.

use bytes::Bytes;
use http::{Method, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use sha2::{Digest as _, Sha256};

use crate::common::{Network, Plan};

const MIB: u64 = 1 << 20;
const CHUNK: usize = 64 << 10;

/// The same bytes on both sides, none of them kept.
fn chunk(number: u64) -> Bytes {
    let mut bytes = vec![0; CHUNK];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = (at as u64 * 31 + number * 17) as u8;
    }
    bytes.into()
}

async fn echoed(size: u64) {
    let network = Network::start(3, Plan::default()).await;
    let hosts = network.deploy(0, "echo", &["--replicas", "1", "--timeout", "10m"]).await;
    let (gateway, host) = (network.stranger(&hosts), &network.nodes[network.number(&hosts[0])]);
    // Once before, so that what is made only once is there.
    let reply = gateway.post("/function/echo", "small").await;
    assert_eq!(reply.text(), "small");
    // What starting and compiling took is not to hide what the body takes.
    gateway.reset_peak();
    host.reset_peak();
    let before = (gateway.peak_memory(), host.peak_memory());

    let chunks = size / CHUNK as u64;
    let sent = futures::stream::iter((0..chunks).map(|n| Ok(Frame::data(chunk(n)))));
    let request = Request::builder()
        .method(Method::POST)
        .uri("/function/echo")
        .header("content-length", size)
        .body(StreamBody::new(sent).boxed())
        .unwrap();
    let (status, _, mut body) = gateway.open(request).await;
    assert_eq!(status, 200);
    let (mut hash, mut received) = (Sha256::new(), 0);
    while let Some(frame) = body.frame().await {
        let data = frame.expect("the answer is whole").into_data().unwrap();
        received += data.len() as u64;
        hash.update(&data);
    }
    assert_eq!(received, size);
    let mut wanted = Sha256::new();
    (0..chunks).for_each(|n| wanted.update(chunk(n)));
    assert!(hash.finalize() == wanted.finalize(), "the bytes are those that were sent");

    let grown = (gateway.peak_memory() - before.0, host.peak_memory() - before.1);
    assert!(grown.0 < 32 * MIB && grown.1 < 32 * MIB, "gateway and host grew by {grown:?} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_stream_through() {
    echoed(64 * MIB).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_streams_through() {
    echoed(1024 * MIB).await;
}
