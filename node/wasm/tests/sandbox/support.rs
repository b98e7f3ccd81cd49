//! Modules, requests and waiting.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use peerless_wasm::{Head, Invocation, Module, Report, Running, Sandbox, Settings};
use sha2::{Digest, Sha256};

/// Time in which whatever should end has ended, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

#[expect(clippy::disallowed_methods, reason = "tests measure")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn settings() -> Settings {
    Settings { instances_max: 32, memory_bytes_max: 256 << 20, ..Settings::standard() }
}

/// One for all tests that do not count instances.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(settings()).expect("a sandbox"))
}

pub(crate) fn functions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/functions")
}

pub(crate) fn sample_bytes(name: &str) -> Bytes {
    let path = functions().join(name).join(format!("{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

pub(crate) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) async fn compiled(sandbox: &Sandbox, bytes: Bytes) -> Module {
    sandbox.compile(digest(&bytes), bytes).await.expect("a module that compiles")
}

pub(crate) async fn sample(name: &str) -> Module {
    compiled(sandbox(), sample_bytes(name)).await
}

/// The module of a WAT text.
pub(crate) fn wat(text: &str) -> Bytes {
    wat::parse_str(text).expect("sound WAT").into()
}

/// A command whose `_start` is `body`; it may call `$write fd size`, which writes so many bytes from
/// address 1024, `$exit status` and `$sleep milliseconds`.
pub(crate) fn command(body: &str) -> Bytes {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read"
                (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 4)
            (func $write (param $fd i32) (param $size i32)
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (local.get $size))
                (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
                    (then unreachable)))
            (func $sleep (param $ms i64)
                (memory.fill (i32.const 64) (i32.const 0) (i32.const 48))
                (i32.store (i32.const 80) (i32.const 1))
                (i64.store (i32.const 88) (i64.mul (local.get $ms) (i64.const 1000000)))
                (drop (call $poll_oneoff
                    (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 8))))
            {body})"#
    ))
}

/// A command that writes `text` and ends well.
pub(crate) fn says(text: &str) -> Bytes {
    let escaped = text.bytes().fold(String::new(), |text, byte| text + &format!("\\{byte:02x}"));
    command(&format!(
        r#"(data (i32.const 1024) "{escaped}")
           (func (export "_start") (call $write (i32.const 1) (i32.const {})))"#,
        text.len()
    ))
}

pub(crate) fn request(body: impl Into<Bytes>) -> Invocation {
    Invocation::new(Request::post("/").body(Invocation::input(body)).expect("a request"))
}

pub(crate) fn within(time: Duration, mut invocation: Invocation) -> Invocation {
    invocation.limits.time = time;
    invocation
}

pub(crate) fn with_cgi(mut invocation: Invocation) -> Invocation {
    invocation.cgi = true;
    invocation
}

/// An answer that there is, and its report.
pub(crate) async fn answer(running: Running) -> (Head, Bytes, Report) {
    let (answer, report) = tokio::time::timeout(SOON, running.collect()).await.expect("an end");
    let (head, body) = answer.unwrap_or_else(|failure| panic!("{failure}: {report:?}"));
    (head, body, report)
}

/// The report of a call with no answer.
pub(crate) async fn failure(running: Running) -> Report {
    let (answer, report) = tokio::time::timeout(SOON, running.collect()).await.expect("an end");
    let failure = answer.expect_err("no answer");
    assert_eq!(report.outcome, Err(failure), "the report says what the caller was told");
    report
}

pub(crate) async fn empties(sandbox: &Sandbox) {
    let begun = now();
    while sandbox.live() > 0 {
        assert!(begun.elapsed() < SOON, "{} instances are left", sandbox.live());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
