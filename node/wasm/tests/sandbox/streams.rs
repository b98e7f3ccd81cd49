//! Bodies of any size, in both directions, in bounded memory and without delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, stream};
use http::Request;
use peerless_wasm::{HEAD_HOLD_TIME, Invocation};

use crate::support::{SOON, answer, command, compiled, now, request, sample, sandbox};

const CHUNK_BYTES: u64 = 100_000;

#[tokio::test]
async fn little_is_in_flight_however_much_goes_through() {
    const CHUNKS: u64 = 1_000;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let chunks = (0..CHUNKS).map(move |n| {
        counted.fetch_add(CHUNK_BYTES, SeqCst);
        Ok(Bytes::from(vec![n as u8; CHUNK_BYTES as usize]))
    });
    let echo = sample("echo").await;
    let request = Request::new(stream::iter(chunks).boxed());
    let mut running = sandbox().run(&echo, Invocation::new(request));
    running.head().await.unwrap();
    let (mut body, end) = running.split();
    // A reader that is slow to begin holds the whole chain back.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (mut received, mut most) = (0, 0);
    while let Some(chunk) = body.next().await {
        most = most.max(sent.load(SeqCst) - received);
        for byte in chunk.unwrap() {
            assert_eq!(byte, (received / CHUNK_BYTES) as u8, "at {received}");
            received += 1;
        }
    }
    assert_eq!(received, CHUNKS * CHUNK_BYTES);
    // A pipe, what was held for the head, a chunk, and the guest's own buffer.
    assert!(most < 700_000, "{most} bytes in flight");
    let report = end.await;
    assert_eq!((report.bytes_in, report.bytes_out), (received, received));
}

#[tokio::test]
async fn a_dialogue_is_prompt_after_the_head() {
    let (mut send, receive) = mpsc::channel(1);
    let echo = sample("echo").await;
    let mut running = sandbox().run(&echo, Invocation::new(Request::new(receive.boxed())));
    let begun = now();
    send.send(Ok(Bytes::from("first"))).await.unwrap();
    let head = tokio::time::timeout(SOON, running.head()).await.unwrap().unwrap();
    assert!(begun.elapsed() >= HEAD_HOLD_TIME);
    assert_eq!(head.body_bytes, None);
    let (mut body, _end) = running.split();
    assert_eq!(body.next().await.unwrap().unwrap(), "first");
    for n in 0..100 {
        let word = format!("word {n}");
        send.send(Ok(Bytes::from(word.clone()))).await.unwrap();
        let back = tokio::time::timeout(SOON, body.next()).await.unwrap();
        assert_eq!(back.unwrap().unwrap(), word);
    }
    drop(send);
    assert_eq!(body.next().await, None);
}

#[tokio::test]
async fn waiting_for_the_head_may_be_given_up_and_begun_again() {
    let sleep = sample("sleep").await;
    let mut running = sandbox().run(&sleep, request("100"));
    let short = tokio::time::timeout(Duration::from_millis(10), running.head()).await;
    assert!(short.is_err());
    let (_, body, _) = answer(running).await;
    assert_eq!(&body[..], b"100\n");
}

#[tokio::test]
async fn single_bytes_are_gathered() {
    let module = command(
        r#"(func (export "_start") (local $n i32)
            (loop $more
                (call $write (i32.const 1) (i32.const 1))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $n) (i32.const 300000)))))"#,
    );
    let module = compiled(sandbox(), module).await;
    let mut running = sandbox().run(&module, request(""));
    running.head().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sizes: Vec<usize> = running.split().0.map(|chunk| chunk.unwrap().len()).collect().await;
    assert_eq!(sizes.iter().sum::<usize>(), 300_000);
    assert!(sizes.len() < 3_000, "{} chunks", sizes.len());
}

#[tokio::test]
async fn a_large_write_at_once_goes_through() {
    let module = command(
        r#"(func (export "_start")
            (drop (memory.grow (i32.const 320)))
            (call $write (i32.const 1) (i32.const 20000000)))"#,
    );
    let module = compiled(sandbox(), module).await;
    let (_, body, _) = answer(sandbox().run(&module, request(""))).await;
    assert_eq!(body.len(), 20_000_000);
}

#[tokio::test]
async fn a_guest_need_not_read_its_body() {
    let module = compiled(sandbox(), command(r#"(func (export "_start"))"#)).await;
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"x"))).boxed();
    let invocation = Invocation::new(Request::new(endless));
    let (_, body, report) = answer(sandbox().run(&module, invocation)).await;
    assert_eq!((body.len(), report.bytes_in), (0, 0));
}
