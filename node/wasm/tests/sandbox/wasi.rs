//! What WASI offers a guest, and what it refuses.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Request;
use peerless_wasm::{Failure, Invocation};

use crate::support::{answer, compiled, failure, now, request, sandbox, wat, within};

/// Imports of these functions, `memory`, and `$expect value wanted`, which traps if they differ.
fn guest(imports: &[(&str, &str)], body: &str) -> Bytes {
    let imports: Vec<String> = imports
        .iter()
        .map(|(name, ty)| {
            format!(
                r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} {ty} (result i32)))"#
            )
        })
        .collect();
    wat(&format!(
        r#"(module {}
            (memory (export "memory") 1)
            (func $expect (param $value i32) (param $wanted i32)
                (if (i32.ne (local.get $value) (local.get $wanted)) (then unreachable)))
            {body})"#,
        imports.join("\n")
    ))
}

async fn runs_well(module: Bytes, invocation: Invocation) -> Bytes {
    let module = compiled(sandbox(), module).await;
    let (_, body, report) = answer(sandbox().run(&module, invocation)).await;
    assert_eq!(report.outcome, Ok(()));
    body
}

const READ_OR_WRITE: &str = "(param i32 i32 i32 i32)";
const TWO: &str = "(param i32 i32)";

#[tokio::test]
async fn there_are_no_files_and_no_network() {
    let module = guest(
        &[
            ("fd_prestat_get", TWO),
            ("path_open", "(param i32 i32 i32 i32 i32 i64 i64 i32 i32)"),
            ("fd_seek", "(param i32 i64 i32 i32)"),
            ("sock_accept", "(param i32 i32 i32)"),
            ("fd_fdstat_get", TWO),
            ("fd_filestat_get", TWO),
            ("fd_close", "(param i32)"),
            ("fd_write", READ_OR_WRITE),
            ("proc_raise", "(param i32)"),
        ],
        r#"(func $open (param $fd i32) (result i32)
                (call $path_open (local.get $fd) (i32.const 0) (i32.const 100) (i32.const 1)
                    (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 200)))
            (func (export "_start")
                (call $expect (call $fd_prestat_get (i32.const 3) (i32.const 0)) (i32.const 8))
                (call $expect (call $open (i32.const 3)) (i32.const 8))
                (call $expect (call $open (i32.const 0)) (i32.const 54))
                (call $expect (call $fd_seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 0)) (i32.const 70))
                (call $expect (call $sock_accept (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 57))
                (call $expect (call $fd_fdstat_get (i32.const 1) (i32.const 64)) (i32.const 0))
                (call $expect (i32.load8_u (i32.const 64)) (i32.const 0))
                (call $expect (i32.load (i32.const 72)) (i32.const 0x08000040))
                (call $expect (call $fd_fdstat_get (i32.const 3) (i32.const 64)) (i32.const 8))
                (call $expect (call $fd_filestat_get (i32.const 0) (i32.const 64)) (i32.const 0))
                (call $expect (call $proc_raise (i32.const 9)) (i32.const 58))
                (call $expect (call $fd_close (i32.const 1)) (i32.const 0))
                (call $expect (call $fd_close (i32.const 1)) (i32.const 8))
                (call $expect (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 8))
                (call $expect (call $fd_write (i32.const -1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 8)))"#,
    );
    assert!(runs_well(module, request("")).await.is_empty());
}

#[tokio::test]
async fn addresses_beyond_memory_are_refused() {
    let module = guest(
        &[
            ("fd_write", READ_OR_WRITE),
            ("fd_read", READ_OR_WRITE),
            ("environ_get", TWO),
            ("args_sizes_get", TWO),
            ("random_get", TWO),
            ("poll_oneoff", READ_OR_WRITE),
            ("clock_time_get", "(param i32 i64 i32)"),
        ],
        r#"(func (export "_start")
                ;; a list, a buffer, and a result out of bounds
                (call $expect (call $fd_write (i32.const 1) (i32.const -4) (i32.const 1) (i32.const 8)) (i32.const 21))
                (i32.store (i32.const 0) (i32.const 65533)) (i32.store (i32.const 4) (i32.const 100))
                (call $expect (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 21))
                (call $expect (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 21))
                (i32.store (i32.const 4) (i32.const -1))
                (call $expect (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 21))
                (call $expect (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const -1)) (i32.const 21))
                (call $expect (call $environ_get (i32.const 65534) (i32.const -1)) (i32.const 21))
                (call $expect (call $args_sizes_get (i32.const 0) (i32.const -2)) (i32.const 21))
                (call $expect (call $random_get (i32.const 65000) (i32.const -1)) (i32.const 21))
                (call $expect (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const -8)) (i32.const 21))
                (call $expect (call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 0)) (i32.const 28))
                (call $expect (call $poll_oneoff (i32.const -8) (i32.const 0) (i32.const 1) (i32.const 0)) (i32.const 21))
                (call $expect (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 28))
                (call $expect (call $poll_oneoff (i32.const 0) (i32.const 0) (i32.const 1025) (i32.const 0)) (i32.const 28)))"#,
    );
    runs_well(module, request("hello")).await;
}

#[tokio::test]
async fn the_environment_and_the_argument_are_handed_out() {
    let module = guest(
        &[
            ("args_sizes_get", TWO),
            ("args_get", TWO),
            ("environ_sizes_get", TWO),
            ("environ_get", TWO),
            ("fd_write", READ_OR_WRITE),
        ],
        r#"(func (export "_start")
                (call $expect (call $args_sizes_get (i32.const 0) (i32.const 4)) (i32.const 0))
                (call $expect (i32.load (i32.const 0)) (i32.const 1))
                (call $expect (i32.load (i32.const 4)) (i32.const 9))
                (call $expect (call $args_get (i32.const 8) (i32.const 100)) (i32.const 0))
                (call $expect (i32.load (i32.const 8)) (i32.const 100))
                (call $expect (call $environ_sizes_get (i32.const 0) (i32.const 4)) (i32.const 0))
                (call $expect (call $environ_get (i32.const 16) (i32.const 1024)) (i32.const 0))
                (call $expect (i32.load (i32.const 16)) (i32.const 1024))
                ;; says all of it, NULs and all
                (i32.store (i32.const 0) (i32.const 1024))
                (call $expect (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 0)))"#,
    );
    let mut invocation = request("");
    invocation.env = vec![("Z".to_owned(), "last".to_owned())];
    let said = runs_well(module, invocation).await;
    let said = "Http_ContentLength=-1\0Http_Content_Length=-1\0Http_Method=POST\0Http_Path=/\0Z=last\0"
        == said;
    assert!(said);
}

#[tokio::test]
async fn random_numbers_differ_and_clocks_run() {
    let module = guest(
        &[
            ("random_get", TWO),
            ("clock_time_get", "(param i32 i64 i32)"),
            ("clock_res_get", TWO),
            ("fd_write", READ_OR_WRITE),
        ],
        r#"(func (export "_start")
                (drop (memory.grow (i32.const 16)))
                (call $expect (call $random_get (i32.const 1024) (i32.const 1000000)) (i32.const 0))
                (call $expect (call $clock_res_get (i32.const 0) (i32.const 64)) (i32.const 0))
                (call $expect (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 16)) (i32.const 0))
                (call $expect (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 24)) (i32.const 0))
                (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 16))
                (call $expect (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 0))
                (i32.store (i32.const 0) (i32.const 1000976)) (i32.store (i32.const 4) (i32.const 48))
                (call $expect (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 0)))"#,
    );
    let one = runs_well(module.clone(), request("")).await;
    let two = runs_well(module, request("")).await;
    assert_ne!(one[16..], two[16..], "the end of the random bytes");
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let (wall, own) = (number(&one[..8]), number(&one[8..16]));
    let year = 365 * 24 * 3600 * 1_000_000_000;
    assert!(wall > 50 * year && wall < 200 * year, "{wall}");
    assert!(own < 10_000_000_000, "its own time begins with it: {own}");
}

/// Polls the body (user data 1) and a timer of 40 ms (user data 2), and says the events.
fn polls() -> Bytes {
    guest(
        &[("poll_oneoff", READ_OR_WRITE), ("fd_write", READ_OR_WRITE)],
        r#"(func (export "_start")
                (i64.store (i32.const 1000) (i64.const 1))
                (i32.store8 (i32.const 1008) (i32.const 1))
                (i64.store (i32.const 1048) (i64.const 2))
                (i32.store (i32.const 1064) (i32.const 1))
                (i64.store (i32.const 1072) (i64.const 40000000))
                (call $expect (call $poll_oneoff (i32.const 1000) (i32.const 2000) (i32.const 2) (i32.const 1996)) (i32.const 0))
                (i32.store (i32.const 0) (i32.const 1996)) (i32.store (i32.const 4) (i32.const 68))
                (call $expect (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (i32.const 0)))"#,
    )
}

#[tokio::test]
async fn polling_tells_input_from_time() {
    let first = |said: &Bytes| (said[0], said[4], said[14], said[20], said[28]);
    let said = runs_well(polls(), request("hello")).await;
    // One event: user data 1, a read of 5 bytes, not the end.
    assert_eq!(first(&said), (1, 1, 1, 5, 0));
    let said = runs_well(polls(), request("")).await;
    assert_eq!(first(&said), (1, 1, 1, 0, 1), "the end of the body");
    let begun = now();
    let never = Invocation::new(Request::new(stream::pending().boxed()));
    let said = runs_well(polls(), never).await;
    assert!(begun.elapsed() >= Duration::from_millis(40));
    assert_eq!(first(&said), (1, 2, 0, 0, 0), "the timer");
    let broken = stream::iter([Err(std::io::Error::other("reset"))]).boxed();
    let module = compiled(sandbox(), polls()).await;
    let report = failure(sandbox().run(&module, Invocation::new(Request::new(broken)))).await;
    assert_eq!(report.outcome, Err(Failure::Input("reset".to_owned())));
}

#[tokio::test]
async fn long_calls_of_the_host_end_at_the_deadline_too() {
    for body in [
        // Fills 64 MiB with random numbers again and again.
        r#"(func (export "_start")
            (drop (memory.grow (i32.const 1024)))
            (loop $more (drop (call $random_get (i32.const 0) (i32.const 67108864))) (br $more)))"#,
        // Complains 64 MiB at a time.
        r#"(func (export "_start")
            (drop (memory.grow (i32.const 1024)))
            (i32.store (i32.const 4) (i32.const 67108864))
            (loop $more
                (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
                (br $more)))"#,
    ] {
        let module = guest(&[("random_get", TWO), ("fd_write", READ_OR_WRITE)], body);
        let module = compiled(sandbox(), module).await;
        let time = Duration::from_millis(50);
        let report = failure(sandbox().run(&module, within(time, request("")))).await;
        assert_eq!(report.outcome, Err(Failure::Deadline));
        assert!(report.wall < Duration::from_millis(550), "{report:?}");
    }
}
