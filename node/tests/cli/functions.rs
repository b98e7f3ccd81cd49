//! `deploy`, `list`, `describe`, `find`, `remove`, `scale`, `peers`, `status`, `id`.

use serde_json::json;

use crate::server::{Answer, Asked, Server, answer, json, run};

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// SHA-256 of it.
const DIGEST: &str = "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476";

fn module(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A node that has no function yet.
fn fresh(asked: &Asked) -> Answer {
    match asked.line().as_str() {
        "PUT /modules" => {
            json(200, &json!({"digest": format!("sha256:{DIGEST}"), "size_bytes": 8}))
        }
        "PUT /system/functions" => answer(404, "not found"),
        "POST /system/functions" => json(
            202,
            &json!({
                "name": asked.json()["service"], "version": 7, "digest": format!("sha256:{DIGEST}"),
                "replicas": 3, "hosts": ["12D3A", "12D3B"],
            }),
        ),
        other => answer(500, other.to_owned()),
    }
}

#[tokio::test]
async fn deploy_sends_the_module_and_then_the_function() {
    let dir = tempfile::tempdir().unwrap();
    let file = module(&dir, "echo.wasm", MODULE);
    let server = Server::start(fresh).await;
    let ended = server
        .run(&["deploy", &file, "--replicas", "3..5", "--timeout", "5s", "--env", "A=1", "--json"])
        .await;
    let deployed = ended.json();
    assert_eq!((&deployed["name"], &deployed["version"]), (&json!("echo"), &json!(7)));
    assert_eq!(deployed["hosts"], json!(["12D3A", "12D3B"]));
    let asked = server.asked();
    let lines: Vec<_> = asked.iter().map(Asked::line).collect();
    assert_eq!(lines, ["PUT /modules", "PUT /system/functions", "POST /system/functions"]);
    assert_eq!(asked[0].body, MODULE);
    assert_eq!(asked[0].headers["content-length"], "8");
    assert_eq!(asked[1].headers["accept"], "application/json");
    let function = asked[2].json();
    assert_eq!(function, asked[1].json());
    assert_eq!(function["image"], format!("wasm:sha256:{DIGEST}"));
    assert_eq!(function["labels"]["com.openfaas.scale.max"], "5");
    assert_eq!(function["annotations"]["peerless.timeout"], "5s");
    assert_eq!(function["envVars"], json!({"A": "1"}));

    let ended = server.run(&["deploy", &file, "--name", "other"]).await;
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(ended.out, "other version 7 is served by 2 hosts:\n  12D3A\n  12D3B\n");
    assert_eq!(ended.err, "", "no progress where there is no terminal");
}

#[tokio::test]
async fn a_deployment_that_fails_says_what_the_node_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = module(&dir, "echo.wasm", MODULE);
    let server = Server::start(|asked| match asked.target.as_str() {
        "/modules" => fresh(asked),
        _ => json(503, &json!({"error": "no host: 12D3A fetch", "code": "not-placed"})),
    })
    .await;
    let ended = server.run(&["deploy", &file]).await;
    let expected = "cannot deploy echo: no host: 12D3A fetch";
    assert!(ended.error(1).starts_with(expected), "{ended:?}");
    assert!(ended.err.contains("answered 503 not-placed"), "{ended:?}");

    let server = Server::start(|asked| match asked.target.as_str() {
        "/modules" => fresh(asked),
        _ => json(400, &json!({"error": "image: not a command", "code": "bad-module"})),
    })
    .await;
    let ended = server.run(&["deploy", &file]).await;
    assert!(ended.error(2).contains("image: not a command"), "{ended:?}");

    let server =
        Server::start(|_| json(200, &json!({"digest": "sha256:00", "size_bytes": 8}))).await;
    let ended = server.run(&["deploy", &file]).await;
    assert!(ended.error(1).contains("received sha256:00"), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_module_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let text = module(&dir, "echo.wasm", b"text");
    let odd = module(&dir, "My_Echo.wasm", MODULE);
    let server = Server::start(fresh).await;
    for (line, words) in [
        (vec!["deploy", text.as_str()], "echo.wasm is no WebAssembly module"),
        (vec!["deploy", "none.wasm"], "cannot read none.wasm: no such file"),
        (vec!["deploy", "an/image:tag"], "\"an/image:tag\" is no file"),
        (vec!["deploy", odd.as_str()], "give one with --name"),
        (vec!["deploy", odd.as_str(), "--name", "x.y"], "\"y\" is no owner"),
    ] {
        let ended = server.run(&line).await;
        assert!(ended.error(2).contains(words), "{ended:?}");
    }
    assert!(server.asked().is_empty());
}

fn node(asked: &Asked) -> Answer {
    let hosts = json!([{
        "peer_id": "12D3A", "addresses": ["/ip4/192.0.2.1/tcp/4001"],
        "load": {"slots": 4, "running": 1, "queued": 2, "queue": 16}, "rtt_ms": 0.25,
    }]);
    let function = json!({
        "name": "echo", "namespace": "openfaas-fn", "image": "wasm:sha256:00", "replicas": 3,
        "availableReplicas": 3, "owner": "k51owner", "version": 7, "labels": {"a": "b"},
    });
    match asked.line().as_str() {
        "GET /system/functions" => json(200, &json!([function])),
        "GET /system/function/echo" => json(200, &function),
        "GET /network/functions/echo/hosts" => json(200, &json!({"name": "echo", "hosts": hosts})),
        "DELETE /system/functions" if asked.json()["functionName"] == "echo" => answer(202, ""),
        "POST /system/scale-function/echo" => answer(202, ""),
        "GET /network/peers" => json(
            200,
            &json!([{
                "peer_id": "12D3A", "addresses": [], "connected": true, "rtt_ms": null,
            }]),
        ),
        "GET /network/status" => json(
            200,
            &json!({
                "peer_id": "12D3Me", "owner": "k51owner", "addresses": ["/ip4/192.0.2.9/tcp/1"],
                "version": "0.1.0", "functions": 1, "peers": 4,
            }),
        ),
        _ => json(404, &json!({"error": "there is nothing", "code": "not-found"})),
    }
}

#[tokio::test]
async fn functions_are_shown_for_people_and_for_programs() {
    let server = Server::start(node).await;
    let listed = server.run(&["list", "--json"]).await.json();
    let expected =
        json!([{"name": "echo", "owner": "k51owner", "version": 7, "replicas": 3, "available": 3}]);
    assert_eq!(listed, expected);
    let ended = server.run(&["list"]).await;
    let expected =
        "NAME  VERSION  REPLICAS  AVAILABLE  OWNER\necho  7        3         3          k51owner\n";
    assert_eq!(ended.out, expected);

    let found = server.run(&["find", "echo", "--json"]).await.json();
    assert_eq!(found["hosts"][0]["peer_id"], "12D3A");
    let ended = server.run(&["find", "echo"]).await;
    let expected = "HOST   RUNNING  QUEUED  RTT MS  ADDRESSES\n\
                    12D3A  1/4      2/16    0.2     /ip4/192.0.2.1/tcp/4001\n";
    assert_eq!(ended.out, expected);

    let described = server.run(&["describe", "echo", "--json"]).await.json();
    assert_eq!(described["hosts"][0]["peer_id"], "12D3A");
    let ended = server.run(&["describe", "echo"]).await;
    assert!(ended.out.contains("labels     a=b\nhosts      12D3A\n"), "{ended:?}");
}

#[tokio::test]
async fn functions_are_removed_and_scaled() {
    let server = Server::start(node).await;
    let ended = server.run(&["remove", "echo", "--json"]).await;
    assert_eq!(ended.json(), json!({"name": "echo", "removed": true}));
    let ended = server.run(&["scale", "echo", "5"]).await;
    assert_eq!(ended.out, "echo wants 5 hosts\n");
    let body = server.asked().last().unwrap().json();
    assert_eq!(body, json!({"serviceName": "echo", "replicas": 5}));
    for line in [&["remove", "x"][..], &["describe", "x"], &["find", "x"], &["scale", "x", "2"]] {
        let ended = server.run(line).await;
        assert!(ended.error(1).contains("knows no such function"), "{ended:?}");
    }
    assert_eq!(server.run(&["scale", "echo", "0"]).await.status, Some(2));
}

#[tokio::test]
async fn the_node_and_its_peers_are_shown() {
    let server = Server::start(node).await;
    let peers = server.run(&["peers", "--json"]).await.json();
    assert_eq!(peers[0]["connected"], true);
    let ended = server.run(&["peers"]).await;
    assert_eq!(ended.out, "PEER   CONNECTED  RTT MS  ADDRESSES\n12D3A  yes        -\n");
    for command in ["status", "id"] {
        let status = server.run(&[command, "--json"]).await.json();
        assert_eq!(status["peer_id"], "12D3Me");
        let ended = server.run(&[command]).await;
        assert!(ended.out.starts_with("peer_id    12D3Me\nowner      k51owner\n"), "{ended:?}");
    }
}

#[tokio::test]
async fn credentials_and_gateways_are_taken_from_where_they_are_named() {
    let server = Server::start(node).await;
    let with_user = server.url.replace("http://", "http://me:a%20b@");
    let ended = run(&with_user, &["list"], b"").await;
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(server.asked()[0].headers["authorization"], "Basic bWU6YSBi");
    // What is sent to a function is the function's to read.
    let ended = run(&with_user, &["call", "echo"], b"").await;
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(!server.asked()[1].headers.contains_key("authorization"));
    let own = ["call", "echo", "--header", "Authorization: Bearer x"];
    run(&with_user, &own, b"").await;
    assert_eq!(server.asked()[2].headers["authorization"], "Bearer x");
    // A flag stands before the variable.
    let ended = run("http://127.0.0.1:1", &["--json", "list", "-g", &server.url], b"").await;
    assert!(ended.json().is_array());

    let closed = Server::start(|_| answer(401, "invalid credentials")).await;
    let ended = closed.run(&["list"]).await;
    assert!(ended.error(1).contains("invalid credentials"), "{ended:?}");
    assert!(ended.err.contains("--gateway http://USER:PASSWORD@"), "{ended:?}");
    let no_node = Server::start(|_| answer(200, "<html>")).await;
    let ended = no_node.run(&["list"]).await;
    assert!(ended.error(1).contains("is it a node?"), "{ended:?}");
}
