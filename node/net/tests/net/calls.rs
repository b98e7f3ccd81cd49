//! HTTP calls between nodes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use peerless_net::{Body, CallError, CallHandler, PeerKey, body, empty, full};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::common::*;

const MIB: usize = 1024 * 1024;

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(empty()).unwrap()
}

/// A body made as it is asked for, each MiB unlike the last.
struct Made {
    chunk: u8,
    left: usize,
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
        self.chunk = self.chunk.wrapping_mul(31).wrapping_add(7);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![self.chunk; MIB])))))
    }
}

async fn digest<B>(body: B) -> (usize, Vec<u8>)
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let (mut body, mut size, mut hash) = (body, 0, Sha256::new());
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap_or_default();
        size += data.len();
        hash.update(&data);
    }
    (size, hash.finalize().to_vec())
}

#[tokio::test]
async fn a_call_arrives_as_it_was_sent() {
    let (caller, host) = (node().await, node().await);
    caller.knows(&host);
    let request = Request::put("/a/b?c=d%20e").header("host", "f.example").header("x-y", "z");
    let response = caller.net.call(&host.key, request.body(empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["x-from"], caller.key[0].to_string());
    assert!(!response.headers().contains_key("date"), "nothing is added");
    let text = text(response).await;
    assert!(text.starts_with("PUT /a/b?c=d%20e {"), "{text}");
    assert!(text.contains("\"host\": \"f.example\"") && text.contains("\"x-y\": \"z\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_both_ways() {
    let (caller, host) = (node().await, node().await);
    caller.knows(&host);
    let made = || Made { chunk: 1, left: 64 };
    let request = Request::post("/echo").body(body(made())).unwrap();
    let response = caller.net.call(&host.key, request).await.unwrap();
    let back = soon("the echo", digest(response.into_body())).await;
    assert_eq!(back, digest(made()).await);
    assert_eq!(back.0, 64 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_one_stream() {
    let (caller, host) = (node().await, node().await);
    caller.knows(&host);
    let calls = (0..64).map(|number| {
        let net = caller.net.clone();
        let key = host.key;
        async move {
            let request = Request::post("/echo").body(full(format!("call {number}"))).unwrap();
            let response = net.call(&key, request).await.unwrap();
            assert_eq!(text(response).await, format!("call {number}"));
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(host.net.counters().calls_heard, 64);
    assert_eq!(caller.net.counters().connections_opened, 1);
}

/// A call that never ends, and tells of what happens to it.
struct Endless(mpsc::Sender<&'static str>);

struct Tell(mpsc::Sender<&'static str>, &'static str);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.try_send(self.1);
    }
}

/// A body that gives one byte and then nothing.
struct Stuck(bool, Tell);

impl http_body::Body for Stuck {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Pending;
        }
        let _ = self.1.0.try_send("body");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

impl CallHandler for Endless {
    fn call(&self, _: PeerKey, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let tell = self.0.clone();
        Box::pin(async move {
            if request.uri().path() == "/head" {
                let _dropped = Tell(tell.clone(), "call dropped");
                let _ = tell.try_send("called");
                std::future::pending::<()>().await;
            }
            if request.uri().path() == "/upload" {
                let mut upload = request.into_body();
                tokio::spawn(async move {
                    while let Some(Ok(_)) = upload.frame().await {}
                    let _ = tell.try_send("upload over");
                });
                return Response::new(empty());
            }
            Response::new(body(Stuck(false, Tell(tell, "body dropped"))))
        })
    }
}

#[tokio::test]
async fn the_host_learns_that_the_caller_hung_up() {
    let (tell, mut told) = mpsc::channel(16);
    let host = node_with(Arc::new(Endless(tell)), |_| {}).await;
    let caller = node().await;
    caller.knows(&host);
    let mut heard = async || soon("word from the host", told.recv()).await.unwrap();

    let (net, key) = (caller.net.clone(), host.key);
    let call = tokio::spawn(async move { net.call(&key, get("/head")).await });
    assert_eq!(heard().await, "called");
    call.abort();
    assert_eq!(heard().await, "call dropped");

    let response = caller.net.call(&host.key, get("/body")).await.unwrap();
    assert_eq!(heard().await, "body");
    drop(response);
    assert_eq!(heard().await, "body dropped");
}

#[tokio::test]
async fn an_upload_does_not_outlive_its_call() {
    let (tell, mut told) = mpsc::channel(16);
    let host = node_with(Arc::new(Endless(tell.clone())), |_| {}).await;
    let caller = node().await;
    caller.knows(&host);
    let request = Request::post("/upload").body(body(Stuck(false, Tell(tell, "sent")))).unwrap();
    let response = caller.net.call(&host.key, request).await.unwrap();
    drop(response);
    let mut seen = vec![];
    while seen.len() < 3 {
        seen.push(soon("the end of the upload", told.recv()).await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, ["body", "sent", "upload over"]);
}

#[tokio::test]
async fn a_call_to_a_peer_that_is_gone_was_not_sent() {
    let (caller, host) = (node().await, node().await);
    caller.knows(&host);
    caller.net.call(&host.key, get("/first")).await.unwrap();
    host.net.close().await;
    until("the loss", || !caller.net.is_connected(&host.key)).await;
    let request = Request::post("/x?y").body(full("kept")).unwrap();
    match caller.net.call(&host.key, request).await {
        Err(CallError::NotSent { request: Some(request), .. }) => {
            assert_eq!(request.uri(), "/x?y");
            assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "kept");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_that_breaks_under_way_may_have_started() {
    let (tell, mut told) = mpsc::channel(16);
    let host = node_with(Arc::new(Endless(tell)), |_| {}).await;
    let caller = node().await;
    caller.knows(&host);
    let (net, key) = (caller.net.clone(), host.key);
    let call = tokio::spawn(async move { net.call(&key, get("/head")).await });
    soon("the call", told.recv()).await.unwrap();
    host.net.close().await;
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::MayHaveStarted { .. }), "{error}");
}

#[tokio::test]
async fn calls_go_on_after_the_host_restarts() {
    let (caller, host) = (node().await, node().await);
    caller.knows(&host);
    caller.net.call(&host.key, get("/1")).await.unwrap();
    let (keypair, listen) = (host.keypair.clone(), vec![host.address()]);
    host.net.close().await;
    until("the loss", || !caller.net.is_connected(&host.key)).await;
    let again = node_with(Arc::new(Echo), |settings| {
        settings.keypair = keypair;
        settings.listen = listen;
    })
    .await;
    caller.net.call(&again.key, get("/2")).await.unwrap();
    assert_eq!(again.net.counters().calls_heard, 1);
}

#[tokio::test]
async fn an_unused_call_stream_is_closed_and_reopened() {
    let idle = std::time::Duration::from_millis(50);
    let (host, caller) =
        (node().await, node_with(Arc::new(Echo), |s| s.limits.call_idle = idle).await);
    caller.knows(&host);
    for round in 0..5 {
        let response = caller.net.call(&host.key, get(&format!("/{round}"))).await.unwrap();
        assert!(text(response).await.starts_with(&format!("GET /{round}")));
        tokio::time::sleep(idle * 2).await;
    }
    assert_eq!(caller.net.counters().connections_opened, 1);
}

/// A peer that takes no more call streams says so, and the caller knows that nothing started.
#[tokio::test]
async fn a_refused_call_was_not_sent() {
    let host = node_with(Arc::new(Echo), |s| s.limits.call_streams_max = 0).await;
    let caller = node().await;
    caller.knows(&host);
    for _ in 0..20 {
        let error = caller.net.call(&host.key, get("/")).await.unwrap_err();
        assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    }
    assert_eq!(host.net.counters().calls_heard, 0);
}

/// Many calls to a peer that is away share one dial, and its failure.
#[tokio::test]
async fn calls_to_a_peer_that_is_away_fail_together() {
    let (caller, host) = (node().await, node().await);
    caller.knows(&host);
    host.net.close().await;
    let calls = (0..64).map(|_| caller.net.call(&host.key, get("/")));
    for result in soon("every failure", futures::future::join_all(calls)).await {
        assert!(matches!(result, Err(CallError::NotSent { request: Some(_), .. })));
    }
    assert!(caller.net.counters().dials_failed <= 2);
}

/// A body without end, which knows when it is dropped.
struct Poured(mpsc::Sender<()>);

impl http_body::Body for Poured {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 4096])))))
    }
}

impl Drop for Poured {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}

struct Pours(mpsc::Sender<()>);

impl CallHandler for Pours {
    fn call(&self, _: PeerKey, _: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let body = body(Poured(self.0.clone()));
        Box::pin(async move { Response::new(body) })
    }
}

/// An answer that nobody reads is dropped and its stream reset, while others go on.
#[tokio::test]
async fn an_answer_that_is_not_read_is_cut_off() {
    let limit = std::time::Duration::from_secs(1);
    let (dropped, mut drops) = mpsc::channel(4);
    let host = node_with(Arc::new(Pours(dropped)), |s| s.limits.take_timeout = limit).await;
    let caller = node().await;
    caller.knows(&host);
    let unread = caller.net.call(&host.key, get("/")).await.unwrap();
    let read = caller.net.call(&host.key, get("/")).await.unwrap();
    let mut read = read.into_body();
    let begun = tokio::time::sleep(limit * 3);
    tokio::pin!(begun);
    loop {
        tokio::select! {
            frame = read.frame() => drop(frame.unwrap().expect("what is read goes on")),
            () = &mut begun => break,
        }
    }
    soon("the unread body's end", drops.recv()).await.unwrap();
    assert!(drops.try_recv().is_err(), "the one that is read lives on");
    let rest = soon("its reset", unread.into_body().collect()).await;
    assert!(rest.is_err(), "it is cut, not ended");
}

/// A host that has nothing to say for a while is not cut off.
#[tokio::test]
async fn a_slow_host_is_no_fault_of_the_caller() {
    let limit = std::time::Duration::from_millis(100);
    let host = node_with(Arc::new(Echo), |s| s.limits.take_timeout = limit).await;
    let caller = node().await;
    caller.knows(&host);
    let (send, mut receive) = mpsc::channel::<Bytes>(1);
    let sent = futures::stream::poll_fn(move |cx| receive.poll_recv(cx));
    let frames = futures::StreamExt::map(sent, |bytes| {
        Ok::<_, std::convert::Infallible>(Frame::data(bytes))
    });
    let stream = body(http_body_util::StreamBody::new(frames));
    let request = Request::post("/echo").body(stream).unwrap();
    let mut echoed = caller.net.call(&host.key, request).await.unwrap().into_body();
    for word in ["one", "two"] {
        tokio::time::sleep(limit * 4).await;
        send.send(word.into()).await.unwrap();
        let frame = soon("a frame", echoed.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    drop(send);
    let rest = soon("the end", echoed.collect()).await.expect("an end");
    assert!(rest.to_bytes().is_empty());
}
