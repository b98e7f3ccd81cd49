//! The ways in which a call ends, and that none of them harms another.

use std::time::Duration;

use futures::{StreamExt, stream};
use http::{Request, StatusCode};
use peerless_wasm::{Failure, Input, Invocation, Sandbox, Settings};

use crate::support::{
    SOON, answer, command, compiled, empties, failure, now, request, sample, sample_bytes, sandbox,
    settings, wat, within,
};

const SHORT: Duration = Duration::from_millis(50);

/// How much later than its deadline a guest may end here; alone on a machine it is 5 ms.
const SLACK: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_guest_that_spins_ends_at_its_deadline() {
    let in_start =
        wat(r#"(module (memory (export "memory") 1) (func $spin (loop $more (br $more)))
            (start $spin) (func (export "_start")))"#);
    for module in [sample("spin").await, compiled(sandbox(), in_start).await] {
        let report = failure(sandbox().run(&module, within(SHORT, request("")))).await;
        assert_eq!(report.outcome, Err(Failure::Deadline));
        assert!(report.wall >= SHORT && report.wall < SHORT + SLACK, "{report:?}");
        assert!(report.cpu <= report.wall);
    }
}

#[tokio::test]
async fn a_guest_that_waits_ends_at_its_deadline() {
    let sleep = sample("sleep").await;
    let report = failure(sandbox().run(&sleep, within(SHORT, request("60000")))).await;
    assert_eq!(report.outcome, Err(Failure::Deadline));
    let echo = sample("echo").await;
    let never = Invocation::new(Request::new(stream::pending().boxed()));
    let report = failure(sandbox().run(&echo, within(SHORT, never))).await;
    assert_eq!(report.outcome, Err(Failure::Deadline));
    assert!(report.wall < SHORT + SLACK, "{report:?}");
}

#[tokio::test]
async fn memory_over_the_limit_is_named() {
    let greedy = sample("greedy").await;
    let mut invocation = request("");
    invocation.limits.memory_bytes = 32 << 20;
    let report = failure(sandbox().run(&greedy, invocation)).await;
    assert_eq!(report.outcome, Err(Failure::Memory));
    assert!((31 << 20..=32 << 20).contains(&report.memory_peak_bytes), "{report:?}");

    // It sees no more than -1, and traps.
    let traps = command(
        r#"(func (export "_start")
            (if (i32.eq (memory.grow (i32.const 4096)) (i32.const -1)) (then unreachable)))"#,
    );
    let report = failure(sandbox().run(&compiled(sandbox(), traps).await, request(""))).await;
    assert_eq!(report.outcome, Err(Failure::Memory));

    // It begins with more than the call allows.
    let large = wat(r#"(module (memory (export "memory") 64) (func (export "_start")))"#);
    let mut invocation = request("");
    invocation.limits.memory_bytes = 1 << 20;
    let report = failure(sandbox().run(&compiled(sandbox(), large).await, invocation)).await;
    assert_eq!(report.outcome, Err(Failure::Memory));

    // It can do without.
    let copes = command(r#"(func (export "_start") (drop (memory.grow (i32.const 60000))))"#);
    let (_, _, report) =
        answer(sandbox().run(&compiled(sandbox(), copes).await, request(""))).await;
    assert_eq!(report.outcome, Ok(()));
}

#[tokio::test]
async fn traps_are_said_in_words() {
    for (body, words) in [
        (r#"(func (export "_start") unreachable)"#, "unreachable"),
        (r#"(func $f (export "_start") (call $f))"#, "stack"),
        (r#"(func (export "_start") (drop (i32.load (i32.const -4))))"#, "out of bounds"),
        (
            r#"(func (export "_start") (drop (i32.div_u (i32.const 1) (i32.const 0))))"#,
            "divide by zero",
        ),
        (
            r#"(table 1 funcref) (func (export "_start") (call_indirect (i32.const 0)))"#,
            "uninitialized element",
        ),
    ] {
        let module = compiled(sandbox(), command(body)).await;
        let report = failure(sandbox().run(&module, request(""))).await;
        let Err(Failure::Trapped(said)) = &report.outcome else { panic!("{report:?}") };
        assert!(said.contains(words) && said.len() <= 4096, "{said}");
    }
}

#[tokio::test]
async fn output_over_the_limit_ends_the_guest() {
    let echo = sample("echo").await;
    let mut invocation = request(vec![1; 20_000]);
    invocation.limits.output_bytes_max = Some(20_000);
    let (_, body, _) = answer(sandbox().run(&echo, invocation)).await;
    assert_eq!(body.len(), 20_000);
    let mut invocation = request(vec![1; 20_001]);
    invocation.limits.output_bytes_max = Some(20_000);
    let report = failure(sandbox().run(&echo, invocation)).await;
    assert_eq!(report.outcome, Err(Failure::Output));
}

#[tokio::test]
async fn standard_error_is_kept_to_its_end() {
    let module = command(
        r#"(func (export "_start") (local $n i32)
            (memory.fill (i32.const 1024) (i32.const 120) (i32.const 10000))
            (i32.store8 (i32.const 11023) (i32.const 46))
            (loop $more
                (call $write (i32.const 2) (i32.const 10000))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $n) (i32.const 100)))))"#,
    );
    let mut invocation = request("");
    invocation.limits.stderr_bytes_max = 16;
    let module = compiled(sandbox(), module).await;
    let (_, body, report) = answer(sandbox().run(&module, invocation)).await;
    assert!(body.is_empty());
    assert_eq!((&report.stderr[..], report.stderr_bytes), (&b"xxxxxxxxxxxxxxx."[..], 1_000_000));
}

#[tokio::test]
async fn a_failure_after_the_head_cuts_the_body() {
    let module = command(
        r#"(func (export "_start")
            (call $write (i32.const 1) (i32.const 100000))
            (call $sleep (i64.const 300))
            (call $exit (i32.const 3)))"#,
    );
    let module = compiled(sandbox(), module).await;
    let mut running = sandbox().run(&module, request(""));
    let head = running.head().await.unwrap();
    assert_eq!((head.status, head.body_bytes), (StatusCode::OK, None));
    let (body, end) = running.split();
    let items: Vec<_> = body.collect().await;
    let (last, chunks) = items.split_last().unwrap();
    assert_eq!(last, &Err(Failure::Exited(3)));
    let size: usize = chunks.iter().map(|chunk| chunk.as_ref().unwrap().len()).sum();
    assert_eq!(size, 100_000);
    assert_eq!(end.await.outcome, Err(Failure::Exited(3)));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_taken_for_whole() {
    let broken = stream::iter([Ok("a b".into()), Err(std::io::Error::other("reset"))]).boxed();
    let words = sample("words").await;
    let report = failure(sandbox().run(&words, Invocation::new(Request::new(broken)))).await;
    assert_eq!(report.outcome, Err(Failure::Input("reset".to_owned())));
}

fn one(body: Input) -> Invocation {
    Invocation::new(Request::new(body))
}

#[tokio::test]
async fn cancelling_stops_a_guest_wherever_it_is() {
    let sandbox = Sandbox::new(settings()).unwrap();
    let load = |name| compiled(&sandbox, sample_bytes(name));
    let endless = || stream::repeat_with(|| Ok(vec![0; 65_536].into())).boxed();
    let spin = load("spin").await;
    let (sleep, echo) = (load("sleep").await, load("echo").await);
    for round in 0..4 {
        let running = match round {
            0 => sandbox.run(&spin, request("")),
            1 => sandbox.run(&sleep, request("60000")),
            2 => sandbox.run(&echo, one(stream::pending().boxed())),
            // Nobody takes its output.
            _ => sandbox.run(&echo, one(endless())),
        };
        tokio::time::sleep(SHORT).await;
        assert_eq!(sandbox.live(), 1, "round {round}");
        let begun = now();
        running.canceller().cancel();
        let (body, end) = running.split();
        let report = tokio::time::timeout(SOON, end).await.unwrap();
        assert!(begun.elapsed() < SLACK, "round {round}: {:?}", begun.elapsed());
        assert_eq!(report.outcome, Err(Failure::Cancelled), "round {round}");
        assert_eq!(sandbox.live(), 0, "round {round}");
        drop(body);
    }
}

#[tokio::test]
async fn a_thousand_dropped_calls_leave_nothing() {
    let sandbox = Sandbox::new(Settings { instances_max: 50, ..settings() }).unwrap();
    let spin = compiled(&sandbox, sample_bytes("spin")).await;
    let sleep = compiled(&sandbox, sample_bytes("sleep")).await;
    let echo = compiled(&sandbox, sample_bytes("echo")).await;
    for round in 0..20 {
        let running: Vec<_> = (0..50)
            .map(|n| match n % 3 {
                0 => sandbox.run(&spin, request("")),
                1 => sandbox.run(&sleep, request("60000")),
                _ => sandbox.run(&echo, one(stream::pending().boxed())),
            })
            .collect();
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(running);
    }
    empties(&sandbox).await;
    let (_, body, _) = answer(sandbox.run(&echo, request("still here"))).await;
    assert_eq!(&body[..], b"still here");
}

#[tokio::test]
async fn calls_wait_for_an_instance_within_their_deadline() {
    let sandbox = Sandbox::new(Settings { instances_max: 2, ..settings() }).unwrap();
    let sleep = compiled(&sandbox, sample_bytes("sleep")).await;
    let calls = (0..6).map(|_| answer(sandbox.run(&sleep, request("40"))));
    let reports = futures::future::join_all(calls).await;
    let longest = reports.iter().map(|(.., report)| report.queued).max().unwrap();
    assert!(longest >= Duration::from_millis(70), "{longest:?}");

    let _held = [0, 1].map(|_| sandbox.run(&sleep, request("60000")));
    tokio::time::sleep(SHORT).await;
    let report = failure(sandbox.run(&sleep, within(SHORT, request("1")))).await;
    assert_eq!((report.outcome, report.cpu), (Err(Failure::Deadline), Duration::ZERO));
}

#[tokio::test]
async fn short_calls_go_on_beside_guests_that_spin() {
    let (spin, echo) = (sample("spin").await, sample("echo").await);
    let spinning: Vec<_> = (0..8).map(|_| sandbox().run(&spin, request(""))).collect();
    tokio::time::sleep(SHORT).await;
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = now();
        let (_, body, _) = answer(sandbox().run(&echo, request("hello"))).await;
        took.push(begun.elapsed());
        assert_eq!(&body[..], b"hello");
    }
    took.sort_unstable();
    assert!(took[10] < SLACK, "{took:?}");
    drop(spinning);
}

#[tokio::test]
async fn calls_end_with_their_sandbox() {
    let sandbox = Sandbox::new(settings()).unwrap();
    let spin = compiled(&sandbox, sample_bytes("spin")).await;
    let running = sandbox.run(&spin, request(""));
    tokio::time::sleep(SHORT).await;
    drop((sandbox, spin));
    let report = failure(running).await;
    assert_eq!(report.outcome, Err(Failure::Cancelled));
}
