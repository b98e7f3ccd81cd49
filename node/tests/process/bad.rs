//! Bad input: one clear line that names it, the right exit status, no panic.

use http::Method;

use crate::binary::peerless;
use crate::common::{Network, Plan, request, text};

/// Runs the binary to its end; its exit status and what it said.
async fn run(args: &[&str]) -> (i32, String) {
    let mut command = peerless();
    command.args(args);
    let out = tokio::time::timeout(std::time::Duration::from_secs(20), command.output());
    let out = out.await.expect("it ends").unwrap();
    let said = text(&out.stderr);
    assert!(!said.contains("panicked"), "{said}");
    (out.status.code().unwrap(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        path.display().to_string()
    };
    let data = dir.path().join("data").display().to_string();
    let bad_key = file("bad.key", "no key at all");
    let config = file("bad.toml", "slots = 2\n\n[core]\nkay = 3\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_http = taken.local_addr().unwrap().to_string();
    let taken_tcp = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let any = ["--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let nobody = "/ip4/127.0.0.1/tcp/1";
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--bootstrap", "nonsense"], 2, "bootstrap: \"nonsense\""),
        (&["--listen", "/ip4/300.0.0.1/tcp/1"], 2, "listen: \"/ip4/300.0.0.1/tcp/1\""),
        (&["--owner-key", &bad_key], 2, "bad.key is not an Ed25519 private key"),
        (&["--config", &config], 2, "bad.toml:4: unknown field `kay`"),
        (&["--config", "/nowhere/x.toml"], 2, "/nowhere/x.toml"),
        (&["--accept", "somebody"], 2, "accept: \"somebody\""),
        (&["--network", "a/b"], 2, "network name \"a/b\""),
        (&["--http", &taken_http], 1, &taken_http),
        (&["--listen", &taken_tcp], 1, &taken_tcp),
        (&["--bootstrap", nobody], 1, nobody),
        (&["--hedge"], 2, "--hedge"),
        (&["--listen", "/ip4/127.0.0.1/udp/0/quic-v1"], 2, "quic-v1\" is not supported"),
    ];
    for (flags, code, word) in cases {
        let mut args = vec!["up", "--data-dir", &data];
        let mut defaults = any.chunks(2);
        args.extend(defaults.by_ref().filter(|pair| !flags.contains(&pair[0])).flatten());
        args.extend_from_slice(flags);
        let (ended, said) = run(&args).await;
        assert_eq!(ended, *code, "{flags:?}: {said}");
        assert!(said.contains(word), "{flags:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_says_what_is_wrong() {
    let network = Network::start(1, Plan::default()).await;
    let node = &network.nodes[0];
    let put = |path: &str, body: &str| node.send(request(Method::PUT, path, body.to_owned()));
    let reply = put("/modules", "no module").await;
    assert_eq!((reply.status.as_u16(), reply.json()["code"].as_str()), (400, Some("bad-request")));
    // A header that is right and nothing behind it: it is told before any host is asked.
    let reply = node.send(request(Method::PUT, "/modules", &b"\0asm\x01\0\0\0"[..])).await.json();
    let image = format!("wasm:{}", reply["digest"].as_str().unwrap());
    let deployment = format!("{{\"service\":\"empty\",\"image\":\"{image}\"}}");
    let reply = node.post("/system/functions", deployment).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("it exports no function `_start`"), "{}", reply.text());

    for (body, word) in [
        ("{", "bad JSON"),
        ("{\"service\":\"x\"}", "image"),
        ("{\"service\":\"x\",\"image\":\"images/x\"}", "wasm:sha256"),
        ("{\"service\":\"X y\",\"image\":\"wasm:sha256:00\"}", "wasm:sha256"),
        ("{\"service\":\"x\",\"image\":\"x\",\"replicaz\":3}", "replicaz"),
    ] {
        let reply = node.post("/system/functions", body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.text().contains(word), "{body}: {}", reply.text());
    }
    let missing = format!("{{\"service\":\"x\",\"image\":\"wasm:sha256:{}\"}}", "0".repeat(64));
    let reply = node.post("/system/functions", missing.clone()).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    let reply = put("/system/functions", &missing).await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    let reply = node.post("/manycall/echo", "1\n").await;
    assert_eq!(reply.status, 415);
    let mut unknown = request(Method::POST, "/manycall/echo?hedge=1", "1\n");
    unknown.headers_mut().insert("content-type", "application/x-ndjson".parse().unwrap());
    let reply = node.send(unknown).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("hedge"), "{}", reply.text());
    assert_eq!(node.get("/nothing/here").await.status, 404);
    assert_eq!(node.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_are_no_items_have_their_own_results() {
    let network = Network::start(1, Plan::default()).await;
    network.deploy(0, "echo", &["--replicas", "1"]).await;
    let node = &network.nodes[0];
    let results = node.many("echo", "1\nnope\n\n{\"base64\":\"/w==\"}\n[1, 2]".to_owned()).await;
    assert_eq!(results.len(), 5);
    let at = |index: u64| results.iter().find(|result| result["index"] == index).unwrap();
    assert_eq!(at(0)["body"], "1");
    assert_eq!((at(1)["status"].as_u64(), at(1)["line"].as_u64()), (Some(400), Some(2)));
    assert_eq!(at(2)["body"]["base64"], "/w==");
    assert_eq!(at(3)["body"], "[1,2]");
    for result in &results[..4] {
        for field in ["index", "status", "body", "host", "attempts", "seconds"] {
            assert!(result.get(field).is_some(), "{field}: {result}");
        }
    }
    assert!(at(1)["host"].is_null() && at(0)["host"].is_string());
    let summary = &results[4]["summary"];
    assert_eq!((summary["items"].as_u64(), summary["failed"].as_u64()), (Some(4), Some(1)));

    let mut json = request(
        Method::POST,
        "/manycall/echo",
        "{\"items\":[\"b\",\"a\"],\"options\":{\"retries\":0}}",
    );
    json.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let reply = node.send(json).await.json();
    assert_eq!(reply["results"][0]["body"], "\"b\"");
    assert_eq!(reply["results"][1]["index"], 1);
    assert_eq!(reply["summary"]["succeeded"], 2);
    let none = node.many("echo", String::new()).await;
    assert_eq!(none.len(), 1, "{none:?}");
    assert_eq!(none[0]["summary"]["items"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_guard_what_changes_or_shows_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let flags = vec![
        "--basic-auth-user-file".to_owned(),
        file("user", "admin\n"),
        "--basic-auth-password-file".to_owned(),
        file("password", "secret\n"),
    ];
    let network = Network::start(1, Plan { flags, ..Plan::default() }).await;
    let node = &network.nodes[0];
    for path in ["/system/functions", "/network/status", "/system/info"] {
        let reply = node.get(path).await;
        assert_eq!((reply.status.as_u16(), reply.text().as_str()), (401, "invalid credentials"));
        assert!(reply.header("www-authenticate").starts_with("Basic"));
        let mut with = request(Method::GET, path, "");
        with.headers_mut().insert("authorization", "Basic YWRtaW46c2VjcmV0".parse().unwrap());
        assert_eq!(node.send(with).await.status, 200);
        let mut wrong = request(Method::GET, path, "");
        wrong.headers_mut().insert("authorization", "Basic YWRtaW46c2VjcmVU".parse().unwrap());
        assert_eq!(node.send(wrong).await.status, 401);
    }
    assert_eq!(node.get("/healthz").await.status, 200);
    assert_eq!(node.get("/function/none").await.status, 404);
}

/// Sends bytes, and reads until the node closes the connection.
async fn raw(node: &crate::common::Node, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(node.http).await.unwrap();
    // The node may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let read = stream.read_to_end(&mut said);
    let closed = tokio::time::timeout(std::time::Duration::from_secs(10), read).await;
    let _ = closed.expect("the node closes the connection");
    text(&said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_that_is_too_much_or_none_is_cut_off() {
    let config = "[api]\nidle = \"1s\"\njson_max = \"1KiB\"\nbody_max = \"1MiB\"\n\
                  [wasm]\nmodule_max = \"100KiB\"\n";
    let network = Network::start(1, Plan::config(config)).await;
    let node = &network.nodes[0];
    assert!(raw(node, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.contains("400"));
    assert!(raw(node, b"GET / HTTP/9.9\r\n\r\n").await.contains("400"));
    let mut head = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ".to_vec();
    head.resize(2 << 20, b'a');
    assert!(raw(node, &head).await.contains("431"));
    // Half a head, and silence: closed after the time for a head.
    raw(node, b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await;

    network.deploy(0, "echo", &["--replicas", "1"]).await;
    let reply = node.post("/function/echo", vec![0; 1 << 20]).await;
    assert_eq!(reply.status, 200);
    let reply = node.post("/function/echo", vec![0; (1 << 20) + 1]).await;
    assert_eq!((reply.status.as_u16(), reply.json()["code"].as_str()), (413, Some("too-large")));
    let mut json =
        request(Method::POST, "/manycall/echo", format!("{{\"items\":[{:?}]}}", "a".repeat(2000)));
    json.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let reply = node.send(json).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.resize(101 << 10, 0);
    let reply = node.send(request(Method::PUT, "/modules", module)).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    let mut foreign = request(Method::POST, "/system/functions", "{}");
    foreign.headers_mut().insert("origin", "https://example.org".parse().unwrap());
    assert_eq!(node.send(foreign).await.status, 403);
    assert_eq!(node.post("/function/echo", "still here").await.text(), "still here");
}
