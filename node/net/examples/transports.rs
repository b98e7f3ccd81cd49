//! Measures calls between two nodes in one process on loopback: `cargo run --release -p
//! peerless-net --example transports [MIB]`.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use peerless_net::{
    Body, CallHandler, Event, Kind, Net, PeerKey, Settings, body, empty, full, identity::Keypair,
};

const MIB: usize = 1024 * 1024;
const CHUNK: usize = 64 * 1024;

/// Echoes, takes (`/take`) or gives (`/give`, as many MiB as the query says) a body.
struct Host;

impl CallHandler for Host {
    fn call(&self, _: PeerKey, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move {
            match request.uri().path() {
                "/take" => {
                    let size = drain(request.into_body()).await;
                    Response::new(full(size.to_string()))
                }
                "/give" => {
                    let mib = request.uri().query().and_then(|mib| mib.parse().ok());
                    Response::new(body(Made::new(mib.unwrap_or(0))))
                }
                _ => Response::new(body(request.into_body())),
            }
        })
    }
}

struct Made {
    chunk: Bytes,
    left: usize,
}

impl Made {
    fn new(mib: usize) -> Self {
        Self { chunk: Bytes::from(vec![7; CHUNK]), left: mib * MIB / CHUNK }
    }
}

impl http_body::Body for Made {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
}

async fn drain(mut body: Body) -> usize {
    let mut size = 0;
    while let Some(Ok(frame)) = body.frame().await {
        size += frame.data_ref().map_or(0, Bytes::len);
    }
    size
}

async fn node() -> (Net, tokio::sync::mpsc::Receiver<Event>) {
    let mut settings = Settings::new(Keypair::generate_ed25519(), "throughput");
    settings.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    settings.limits.requests_per_second_max = 1_000_000;
    settings.limits.requests_burst_max = 1_000_000;
    settings.limits.calls_per_second_max = 1_000_000;
    settings.limits.calls_burst_max = 1_000_000;
    peerless_net::start(settings, Arc::new(Host)).await.expect("loopback is there")
}

/// CPU time of the process so far, both nodes together.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// A figure of `/proc/self/status` in KiB.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0)
}

async fn echo(net: &Net, to: &PeerKey, payload: &Bytes) {
    let request = Request::post("/").body(full(payload.clone())).expect("a request");
    let response = net.call(to, request).await.expect("an answer");
    assert_eq!(drain(response.into_body()).await, payload.len());
}

async fn one_at_a_time(net: &Net, to: &PeerKey) {
    let payload = Bytes::from(vec![1; 1024]);
    let mut took = Vec::new();
    for _ in 0..5_000 {
        let start = Instant::now();
        echo(net, to, &payload).await;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    println!(
        "1 KiB call, one at a time: min {:?}, p50 {:?}, p99 {:?}",
        took[0], took[2_500], took[4_950]
    );
}

async fn in_flight(name: &str, total: u32, each: impl AsyncFn()) {
    let (start, before) = (Instant::now(), cpu());
    let mut flying = FuturesUnordered::new();
    let mut begun = 0;
    loop {
        while begun < total && flying.len() < 64 {
            flying.push(each());
            begun += 1;
        }
        if flying.next().await.is_none() {
            break;
        }
    }
    let (wall, used) = (start.elapsed(), cpu().saturating_sub(before));
    println!(
        "{name}, 64 in flight: {:.0}/s, {:.0} CPU µs each (both ends)",
        f64::from(total) / wall.as_secs_f64(),
        used.as_secs_f64() * 1e6 / f64::from(total),
    );
}

async fn bulk(name: &str, mib: usize, transfer: impl Future<Output = usize>) {
    let (start, before, memory) = (Instant::now(), cpu(), status("VmRSS"));
    assert_eq!(transfer.await, mib * MIB);
    let (wall, used) = (start.elapsed(), cpu().saturating_sub(before));
    println!(
        "{mib} MiB {name}: {:.0} MiB/s, {:.0} CPU µs a MiB (both ends), peak memory +{} KiB (both ends)",
        mib as f64 / wall.as_secs_f64(),
        used.as_secs_f64() * 1e6 / mib as f64,
        status("VmHWM").saturating_sub(memory),
    );
}

#[tokio::main]
async fn main() {
    let mib = std::env::args().nth(1).and_then(|mib| mib.parse().ok()).unwrap_or(1024);
    let (caller, _caller_events) = node().await;
    let (host, mut events) = node().await;
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Request { body, reply, .. } = event {
                reply.send(body);
            }
        }
    });
    let key = host.me();
    caller.learn(&key, host.own_addresses());
    one_at_a_time(&caller, &key).await;
    let payload = Bytes::from(vec![1; 1024]);
    in_flight("1 KiB calls", 50_000, async || {
        echo(&caller, &key, &payload).await;
    })
    .await;
    in_flight("1 KiB requests", 20_000, async || {
        let limit = Duration::from_secs(30);
        let asked = caller.request(&key, Kind::Peer, payload.clone(), limit).await;
        assert_eq!(asked.as_ref(), Ok(&payload));
    })
    .await;
    bulk("down", mib, async {
        let request = Request::get(format!("/give?{mib}")).body(empty()).expect("a request");
        drain(caller.call(&key, request).await.expect("an answer").into_body()).await
    })
    .await;
    bulk("up", mib, async {
        let request = Request::post("/take").body(body(Made::new(mib))).expect("a request");
        let response = caller.call(&key, request).await.expect("an answer");
        let size = response.into_body().collect().await.expect("a size").to_bytes();
        String::from_utf8_lossy(&size).parse().expect("a number")
    })
    .await;
    println!("{:?}", host.counters());
}
