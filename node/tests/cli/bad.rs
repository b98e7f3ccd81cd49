//! What is typed wrong, or is not there.

use crate::server::{Server, answer, run};

#[tokio::test]
async fn a_gateway_that_is_none_is_named() {
    for (url, status, words) in [
        (
            "http://127.0.0.1:1",
            1,
            "http://127.0.0.1:1: connection refused; start one with `peerless up`",
        ),
        ("https://u:secret@node", 2, "gateway \"https://…@node\": https is not supported"),
        ("ftp://node", 2, "expected a URL such as http://127.0.0.1:8080"),
    ] {
        let ended = run(url, &["list"], b"").await;
        assert!(ended.error(status).contains(words), "{ended:?}");
        assert!(!ended.err.contains("secret"), "{ended:?}");
    }
}

#[tokio::test]
async fn wrong_words_end_with_2() {
    let server = Server::start(|_| answer(200, "")).await;
    for line in [
        &["call"][..],
        &["call", "Echo"],
        &["call", "echo.me"],
        &["call", "echo", "x"],
        &["call", "echo", "--data", "a", "-"],
        &["call", "echo", "--data-file", "none"],
        &["call", "echo", "--method", "a b"],
        &["call", "echo", "--path", "/a b"],
        &["call", "echo", "--header", "no colon"],
        &["call", "echo", "--timeout", "soon"],
        &["manycall", "echo"],
        &["manycall", "echo", "--items", "none"],
        &["manycall", "echo", "--items", "-", "--retries", "many"],
        &["manycall", "echo", "--items", "-", "--hedge"],
        &["deploy", "x.wasm", "--memory", "much"],
        &["deploy", "x.wasm", "--replicas", "5..3"],
        &["deploy", "x.wasm", "--env", "A"],
        &["scale", "echo", "many"],
        &["replay", "none"],
        &["replay", "Cargo.toml"],
        &["demo", "--peers", "3"],
        &["completions", "none"],
        &["nonsense"],
    ] {
        let ended = server.run(line).await;
        assert_eq!(ended.status, Some(2), "{line:?}: {ended:?}");
        assert!(ended.err.starts_with("error: ") && !ended.err.contains("panicked"), "{ended:?}");
    }
    assert!(server.asked().is_empty());
}
