//! What the sandbox costs on this machine: `cargo run --release -p peerless-wasm --example throughput`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use peerless_wasm::{Input, Invocation, Module, Sandbox, Settings};
use sha2::{Digest, Sha256};

const WARM_CALLS: u32 = 20_000;
const STREAM_BYTES: u64 = 1 << 30;
const CHUNK_BYTES: usize = 256 * 1024;

type Any = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Any> {
    let dir = tempfile::tempdir()?;
    let settings = Settings { cache_dir: Some(dir.path().join("code")), ..Settings::standard() };
    let sandbox = Sandbox::new(settings.clone())?;
    for name in ["echo", "words", "mandelbrot"] {
        let (digest, bytes) = sample(name)?;
        let begun = now();
        let module = sandbox.compile(digest, bytes).await?;
        let cold = begun.elapsed();
        let begun = now();
        let again = sandbox.cached(digest).await.ok_or("not cached")?;
        say(&format!(
            "{name}: compiled in {cold:.2?} (CPU {:.2?}), from the cache in {:.2?}",
            module.compile_time(),
            begun.elapsed()
        ));
        drop(again);
    }
    let (digest, bytes) = sample("echo")?;
    let echo = sandbox.compile(digest, bytes).await?;
    warm(&sandbox, &echo).await?;
    for at_once in [2, 16, 64] {
        many(&sandbox, &echo, at_once).await?;
    }
    streaming(&sandbox, &echo, "echo").await?;
    let (digest, bytes) = sample("words")?;
    let words = sandbox.compile(digest, bytes).await?;
    streaming(&sandbox, &words, "words").await?;
    fairness(&sandbox, &echo).await
}

async fn warm(sandbox: &Sandbox, echo: &Module) -> Result<(), Any> {
    let body = Bytes::from(vec![7; 1024]);
    let mut took = Vec::with_capacity(WARM_CALLS as usize);
    let begun = now();
    let mut cpu = Duration::ZERO;
    for _ in 0..WARM_CALLS {
        let begun = now();
        let (answer, report) = call(sandbox, echo, Invocation::input(body.clone())).await;
        took.push(begun.elapsed());
        cpu += report;
        assert_eq!(answer, body.len());
    }
    let all = begun.elapsed();
    took.sort_unstable();
    let at = |part: usize| took[took.len() * part / 100];
    say(&format!(
        "warm call of 1 KiB: min {:.0?}, p50 {:.0?}, p99 {:.0?}; {:.0} calls/s, guest's CPU {:.0?}",
        took[0],
        at(50),
        at(99),
        f64::from(WARM_CALLS) / all.as_secs_f64(),
        cpu / WARM_CALLS
    ));
    Ok(())
}

async fn many(sandbox: &Sandbox, echo: &Module, at_once: usize) -> Result<(), Any> {
    let body = Bytes::from(vec![7; 1024]);
    let begun = now();
    stream::iter(0..WARM_CALLS)
        .map(|_| {
            let (sandbox, echo, body) = (sandbox.clone(), echo.clone(), body.clone());
            tokio::spawn(async move { call(&sandbox, &echo, Invocation::input(body)).await })
        })
        .buffer_unordered(at_once)
        .for_each(|_| async {})
        .await;
    let rate = f64::from(WARM_CALLS) / begun.elapsed().as_secs_f64();
    say(&format!("{at_once} at once: {rate:.0} calls/s"));
    Ok(())
}

async fn streaming(sandbox: &Sandbox, module: &Module, name: &str) -> Result<(), Any> {
    let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
    let count = STREAM_BYTES / CHUNK_BYTES as u64;
    let before = resident_bytes();
    let begun = now();
    let input = stream::iter((0..count).map(move |_| Ok(chunk.clone()))).boxed();
    let mut running = sandbox.run(module, Invocation::new(http::Request::new(input)));
    running.head().await?;
    let (mut body, end) = running.split();
    let (mut size, mut chunks) = (0, 0u64);
    while let Some(chunk) = body.next().await {
        size += chunk?.len() as u64;
        chunks += 1;
    }
    let took = begun.elapsed();
    let report = end.await;
    say(&format!(
        "{name} of 1 GiB: {:.0} MiB/s, guest's CPU {:.2?}, {size} bytes out in {chunks} chunks, \
         process's peak grew by {:.1} MiB",
        1024.0 / took.as_secs_f64(),
        report.cpu,
        resident_bytes().saturating_sub(before) as f64 / f64::from(1 << 20)
    ));
    Ok(())
}

/// A short call, and a timer of the caller's runtime, beside guests that never make room.
async fn fairness(sandbox: &Sandbox, echo: &Module) -> Result<(), Any> {
    let (digest, bytes) = sample("spin")?;
    let spin = sandbox.compile(digest, bytes).await?;
    for spinning in [0, 2, 16] {
        let spinners: Vec<_> = (0..spinning)
            .map(|_| sandbox.run(&spin, Invocation::new(http::Request::new(Invocation::input("")))))
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (mut calls, mut timers) = (Vec::new(), Vec::new());
        for _ in 0..200 {
            let begun = now();
            call(sandbox, echo, Invocation::input("hello")).await;
            calls.push(begun.elapsed());
            let begun = now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            timers.push(begun.elapsed());
        }
        calls.sort_unstable();
        timers.sort_unstable();
        say(&format!(
            "beside {spinning} spinning guests: call p50 {:.2?} p99 {:.2?}, timer of 1 ms p50 {:.2?} p99 {:.2?}",
            calls[100], calls[198], timers[100], timers[198]
        ));
        drop(spinners);
    }
    Ok(())
}

/// Size of the answer, and the guest's processor time.
async fn call(sandbox: &Sandbox, module: &Module, input: Input) -> (usize, Duration) {
    let (answer, report) =
        sandbox.run(module, Invocation::new(http::Request::new(input))).collect().await;
    (answer.map_or(0, |(_, body)| body.len()), report.cpu)
}

fn sample(name: &str) -> Result<([u8; 32], Bytes), Any> {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/functions");
    let bytes = fs::read(functions.join(name).join(format!("{name}.wasm")))?;
    Ok((Sha256::digest(&bytes).into(), bytes.into()))
}

/// The most memory that this process ever had; 0 where /proc is not there.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[expect(clippy::disallowed_methods, reason = "times what it shows")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "its purpose")]
fn say(line: &str) {
    println!("{line}");
}
