//! What a gateway bears: clients that are slow, silent, or of another kind than it expects.

use std::time::Duration;

use bytes::BytesMut;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{Network, Node, Plan, lines, now, request, text};

const MIB: u64 = 1 << 20;

/// Writes to a connection of its own, and leaves it open.
async fn begin(node: &Node, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(node.http).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("it is cut off").unwrap();
    text(&answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_large_results_costs_bounded_memory() {
    let network = Network::start(1, Plan::default()).await;
    let node = &network.nodes[0];
    network.deploy(0, "mandelbrot", &["--replicas", "1"]).await;
    // Each answer has about 1 MiB of bytes that are no text.
    let item = "{\"width\":592,\"height\":592,\"iterations\":2,\"format\":\"ppm\"}\n";
    let warm = node.many("mandelbrot", item.repeat(8)).await;
    let size = warm[0]["body"]["base64"].as_str().unwrap().len() as u64;
    assert!(size > MIB, "{size}");
    let before = node.peak_memory();

    let items = 300;
    let mut many = request(Method::POST, "/manycall/mandelbrot", item.repeat(items));
    many.headers_mut().insert("content-type", "application/x-ndjson".parse().unwrap());
    let (status, _, mut body) = node.open(many).await;
    assert_eq!(status, 200);
    // Long enough for several times the bound, were there none.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let held = node.peak_memory() - before;
    eprintln!("{} MiB are held of {} MiB", held / MIB, items as u64 * size / MIB);
    assert!(held < 192 * MIB, "{} MiB are held of {} MiB", held / MIB, items as u64 * size / MIB);
    // Nothing of it was lost.
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        whole.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    let results = lines(&whole);
    assert_eq!(results.len(), items + 1);
    assert_eq!(results[items]["summary"]["succeeded"], items);
    let peak = node.peak_memory() - before;
    assert!(peak < 192 * MIB, "{} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_of_many_small_items_takes_little_more_than_its_bytes() {
    let network = Network::start(1, Plan::default()).await;
    let node = &network.nodes[0];
    let before = node.peak_memory();
    let mut document = b"{\"items\":[".to_vec();
    document.extend(b"1,".repeat(16 << 20));
    // What is wrong is found out only when all of it has been read and taken apart.
    document.extend(b"1],\"options\":{\"deadline\":\"soon\"}}");
    let bytes = document.len() as u64;
    let mut many = request(Method::POST, "/manycall/echo", document);
    many.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let reply = node.send(many).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("deadline: \\\"soon\\\""), "{}", reply.text());
    let grown = node.peak_memory() - before;
    eprintln!("{} MiB for a document of {} MiB", grown / MIB, bytes / MIB);
    assert!(grown < 3 * bytes + 16 * MIB, "{} MiB for {} MiB", grown / MIB, bytes / MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_nothing_is_cut_off_and_others_are_served() {
    let config = "[api]\nconnections_max = 8\nidle = \"1s\"\nbody_idle = \"1s\"\n";
    let network = Network::start(1, Plan::config(config)).await;
    let node = &network.nodes[0];
    network.deploy(0, "echo", &["--replicas", "1"]).await;
    for head in [
        "POST /function/echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n",
        "POST /system/functions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n",
        "PUT /modules HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n",
        "POST /manycall/echo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 10\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost:",
    ] {
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(begin(node, head.as_bytes()).await);
        }
        let start = now();
        let health = tokio::time::timeout(Duration::from_secs(15), node.get("/healthz")).await;
        assert_eq!(health.expect("others are served").status, 200, "{head}");
        assert!(start.elapsed() < Duration::from_secs(10), "{head}");
        let said = rest(silent.remove(0)).await;
        if head.starts_with('P') {
            assert!(said.contains("408") && said.contains("body-timeout"), "{head}: {said}");
        }
    }
    // The time runs from the arrival, whether or not the body comes.
    let head = "POST /function/echo HTTP/1.1\r\nhost: localhost\r\nx-timeout: 300ms\r\n\
                content-length: 10\r\n\r\n12345";
    let start = now();
    let said = rest(begin(node, head.as_bytes()).await).await;
    assert!(said.contains("504") && said.contains("deadline"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_the_gateway_are_not_the_function_s_to_see() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let user = ["--basic-auth-user-file".to_owned(), file("user", "admin\n")];
    let password = ["--basic-auth-password-file".to_owned(), file("password", "secret\n")];
    let plan = Plan { flags: [user, password].concat(), ..Plan::default() };
    let network = Network::start(1, plan).await;
    let node = &network.nodes[0];
    let gateway = format!("http://admin:secret@{}", node.http);
    let module = crate::common::sample("echo").display().to_string();
    let mut deploy = crate::binary::peerless();
    deploy.args(["deploy", &module, "--replicas", "1", "--annotation", "peerless.output=cgi"]);
    let out = deploy.args(["--gateway", &gateway]).output().await.unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));

    for (given, seen) in [
        ("Basic YWRtaW46c2VjcmV0", ""),
        ("basic YWRtaW46c2VjcmV0", ""),
        ("Basic b3RoZXI6c2VjcmV0", "Basic b3RoZXI6c2VjcmV0"),
        ("Bearer token", "Bearer token"),
    ] {
        let mut call = request(Method::POST, "/function/echo", "x");
        call.headers_mut().insert("authorization", given.parse().unwrap());
        let reply = node.send(call).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("x-echo-header-authorization"), seen, "{given}");
    }
}

fn to_host(
    host: &str,
    path: &str,
) -> Request<http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error>> {
    let mut request = request(Method::GET, path, "");
    request.headers_mut().insert("host", host.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_made_to_lead_here_is_refused() {
    let network = Network::start(1, Plan::default()).await;
    let node = &network.nodes[0];
    let port = node.http.port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "[::1]".into()] {
        let reply = node.send(to_host(&host, "/network/status")).await;
        assert_eq!(reply.status, 200, "{host}: {}", reply.text());
    }
    let reply = node.send(to_host(&format!("rebound.example:{port}"), "/network/status")).await;
    assert_eq!((reply.status.as_u16(), reply.json()["code"].as_str()), (403, Some("host")));
    assert_eq!(node.send(to_host("rebound.example", "/healthz")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_has_the_one_form() {
    let network = Network::start(1, Plan::default()).await;
    let node = &network.nodes[0];
    let other = "k51qzi5uqu5dh9ihj4p2v5sl3hxvv27ryx2w0xrsv6jmmqi91t9xp8p9kaipc2";
    let of =
        |method: Method, path: &str, body: &str| node.send(request(method, path, body.to_owned()));
    let deploy = |service: &str, rest: &str| {
        let image = format!("wasm:sha256:{}", "0".repeat(64));
        format!("{{\"service\":{service:?},\"image\":{image:?}{rest}}}")
    };
    let labels = ",\"labels\":{\"com.openfaas.scale.min\":\"0\"}";
    for (reply, status, words) in [
        (of(Method::PATCH, "/system/functions", "").await, 405, "not there for PATCH"),
        (of(Method::POST, "/network/status", "").await, 405, "/network/status is not there for"),
        (of(Method::GET, "/system/function/%ff", "").await, 400, "/system/function/%ff"),
        (of(Method::GET, "/modules/sha256:x", "").await, 400, "is not sha256:HEX"),
        (of(Method::GET, &format!("/system/functions?namespace={other}"), "").await, 400, other),
        (
            of(Method::POST, "/system/functions", &deploy("x", labels)).await,
            400,
            "label com.openfaas.scale.min: \\\"0\\\": expected a number of 1 to",
        ),
        (
            of(Method::POST, "/system/functions", &deploy("x", ",\"namespace\":\"me\"")).await,
            400,
            "namespace: \\\"me\\\" is no owner: expected openfaas-fn or an owner",
        ),
        (
            of(Method::POST, "/system/functions", &deploy("X y", "")).await,
            400,
            "service: \\\"X y\\\" is no function's name: expected lower-case",
        ),
    ] {
        let said = reply.text();
        assert_eq!(reply.status, status, "{said}");
        assert!(said.contains(words), "{words}: {said}");
        let error: Value = reply.json();
        assert!(error["code"].is_string() && error["hop"] == "gateway", "{said}");
    }
    let reply = of(Method::PATCH, "/system/functions", "").await;
    assert!(reply.header("allow").contains("PUT"), "{:?}", reply.headers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_cannot_run_is_refused_with_the_reason() {
    let network = Network::start(2, Plan::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let mut broken = std::fs::read(crate::common::sample("echo")).unwrap();
    let half = broken.len() / 2;
    broken.truncate(half);
    for (name, bytes, words) in [
        ("empty", &b"\0asm\x01\0\0\0"[..], "not a WASI preview 1 command: it exports no function"),
        ("broken", &broken, "not a module that can be run"),
        // It imports `env` `f`, a function without parameters.
        (
            "import",
            b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01f\0\0",
            "imports `env` `f`, which is not offered",
        ),
    ] {
        let file = dir.path().join(format!("{name}.wasm"));
        std::fs::write(&file, bytes).unwrap();
        let out = network.nodes[0].cli("deploy", &[file.to_str().unwrap()]).await;
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && said.contains("image: wasm:sha256:"), "{said}");
        assert!(network.nodes[1].hosts(name).await.is_empty());
    }
}
