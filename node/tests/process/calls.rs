//! Calls through a node that does not host the function: everything arrives as it was sent.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::common::{Network, Node, Plan, now, request};

async fn network() -> Network {
    Network::start(5, Plan::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_and_its_answer_cross_whole() {
    let network = network().await;
    let hosts = network.deploy(0, "echo", &["--annotation", "peerless.output=cgi"]).await;
    let gateway = network.stranger(&hosts);
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"] {
        let method: Method = method.parse().unwrap();
        let has_body = !matches!(method, Method::GET | Method::HEAD);
        let body = if has_body { binary.clone() } else { Vec::new() };
        let mut request =
            request(method.clone(), "/function/echo/a/b%20c?x=1&y=%C3%BC", body.clone());
        request.headers_mut().insert("x-custom", "some value".parse().unwrap());
        request.headers_mut().insert("content-type", "application/x-strange".parse().unwrap());
        let reply = gateway.send(request).await;
        assert_eq!(reply.status, 200, "{method}: {}", reply.text());
        assert_eq!(reply.header("x-echo-method"), method.as_str());
        // Decoded, as OpenFaaS's watchdog does it.
        assert_eq!(reply.header("x-echo-path"), "/a/b c", "{method}");
        assert_eq!(reply.header("x-echo-query"), "x=1&y=%C3%BC", "{method}");
        assert_eq!(reply.header("x-echo-header-x-custom"), "some value", "{method}");
        assert_eq!(reply.header("x-echo-header-content-type"), "application/x-strange");
        assert!(hosts.contains(&reply.header("x-peerless-host").to_owned()));
        assert!(!reply.header("x-call-id").is_empty());
        assert!(reply.body == body, "{method}: {} bytes", reply.body.len());
    }
    let reply = gateway.send(request(Method::TRACE, "/function/echo", "")).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_stay_with_who_made_them() {
    let network = network().await;
    network.deploy(0, "echo", &[]).await;
    network.deploy(0, "fail", &[]).await;
    let cgi = ["--name", "fail-cgi", "--annotation", "peerless.output=cgi"];
    network.deploy(0, "fail", &cgi).await;
    network.deploy(0, "spin", &["--timeout", "1s"]).await;
    network.deploy(0, "greedy", &["--memory", "16MiB"]).await;
    let node = &network.nodes[4];

    let start = now();
    let reply = node.post("/function/nothing-like-it", "").await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["code"], "not-found");
    assert!(start.elapsed() < Duration::from_secs(2));

    // Calls go on beside the faults until the last of them has ended.
    let (ended, mut beside) = (Cell::new(false), 0);
    let well = async {
        while !ended.get() {
            let reply = node.post("/function/echo", "beside").await;
            assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "beside"));
            beside += 1;
        }
    };
    let faults = async {
        tokio::join!(spins(node), spins(node), eats_and_fails(node));
        ended.set(true);
    };
    tokio::join!(well, faults);
    assert!(beside >= 20, "{beside} calls were answered beside a second of spinning");
    for node in &network.nodes {
        assert_eq!(node.get("/healthz").await.status, 200);
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

async fn spins(node: &Node) {
    let start = now();
    let reply = node.post("/function/spin", "").await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert_eq!(reply.json()["code"], "deadline");
    let took = start.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

async fn eats_and_fails(node: &Node) {
    for _ in 0..5 {
        let reply = node.post("/function/greedy", "").await;
        assert_eq!(reply.status, 500, "{}", reply.text());
        assert_eq!(reply.json()["code"], "memory");
        assert!(reply.json()["hop"].as_str().unwrap().starts_with("host "));

        let reply = node.post("/function/fail", "").await;
        assert_eq!(reply.status, 500);
        assert!(reply.text().contains("this function fails"), "{}", reply.text());
        // With the annotation it sets a status and headers of its own.
        let reply = node.post("/function/fail-cgi?status=418", "").await;
        assert_eq!(reply.status, 418, "{}", reply.text());
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(reply.text(), "this function fails with status 418\n");
    }
    let mut short = request(Method::POST, "/function/sleep-not-here", "");
    short.headers_mut().insert("x-timeout", "soon".parse().unwrap());
    let reply = node.send(short).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("X-Timeout"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_of_the_caller_s_own_is_kept() {
    let network = Network::start(3, Plan::default()).await;
    network.deploy(0, "sleep", &[]).await;
    let start = now();
    let mut slow = request(Method::POST, "/function/sleep", "20000");
    slow.headers_mut().insert("x-timeout", "500ms".parse().unwrap());
    let reply = network.nodes[1].send(slow).await;
    assert_eq!(reply.status, 504, "{}", reply.text());
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_hangs_up_frees_the_slot() {
    let plan = Plan {
        flags: ["--slots", "1", "--queue", "1"].map(str::to_owned).into(),
        ..Plan::default()
    };
    let network = Network::start(1, plan).await;
    network.deploy(0, "sleep", &["--replicas", "1"]).await;
    let node = &network.nodes[0];
    for _ in 0..3 {
        let call = node.post("/function/sleep", "30000");
        let hung_up = tokio::time::timeout(Duration::from_millis(300), call).await;
        assert!(hung_up.is_err(), "{}", hung_up.unwrap().text());
    }
    let start = now();
    let reply = node.post("/function/sleep", "1").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_too_many_hears_it_at_once() {
    let plan = Plan {
        flags: ["--slots", "1", "--queue", "1"].map(str::to_owned).into(),
        ..Plan::default()
    };
    let network = Network::start(1, plan).await;
    network.deploy(0, "sleep", &["--replicas", "1"]).await;
    let node = &network.nodes[0];
    let start = now();
    let calls = (0..8).map(|_| node.post("/function/sleep", "1500"));
    let replies = futures::future::join_all(calls).await;
    let count = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!(
        count(200) + count(429),
        8,
        "{:?}",
        replies.iter().map(|r| r.status).collect::<Vec<_>>()
    );
    assert!(count(429) >= 1);
    let refused = replies.iter().find(|reply| reply.status == 429).unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.json()["code"], "overloaded");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_owner_s_function_is_called_by_its_full_name_and_cannot_be_removed() {
    let mut network = Network::start(2, Plan::default()).await;
    network.deploy(0, "echo", &["--replicas", "1..2"]).await;
    let owner = network.nodes[0].owner.clone();
    let other = network.add("other.key").await;
    assert_ne!(other.owner, owner);
    let reply = other.post("/function/echo", "x").await;
    assert_eq!(reply.status, 404, "a bare name is one's own: {}", reply.text());
    let reply = other.post(&format!("/function/echo.{owner}"), "x").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let delete = format!("{{\"functionName\":\"echo\",\"namespace\":\"{owner}\"}}");
    let reply = other.send(request(Method::DELETE, "/system/functions", Bytes::from(delete))).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    let reply = network.nodes[1].post("/function/echo.openfaas-fn", "x").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_too_much_is_ended_and_that_is_said() {
    let network = Network::start(1, Plan::config("[wasm]\noutput_max = \"32KiB\"\n")).await;
    network.deploy(0, "echo", &["--replicas", "1"]).await;
    let node = &network.nodes[0];
    let reply = node.post("/function/echo", vec![b'x'; 16 << 10]).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 16 << 10));
    let reply = node.post("/function/echo", vec![b'x'; 48 << 10]).await;
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert_eq!(reply.json()["code"], "output");
}

/// The guest writes more than its pipe holds, and nobody will read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_request_to_the_host_itself_frees_the_slot() {
    let plan = Plan {
        flags: ["--slots", "1", "--queue", "1"].map(str::to_owned).into(),
        ..Plan::default()
    };
    let network = Network::start(1, plan).await;
    network.deploy(0, "echo", &["--replicas", "1"]).await;
    let node = &network.nodes[0];
    for _ in 0..3 {
        let start = now();
        let reply = node.send(request(Method::HEAD, "/function/echo", vec![b'x'; 1 << 20])).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 0));
        let reply = node.post("/function/echo", "next").await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "next"));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
