//! `call` and `manycall`, with bodies that stream.

use std::convert::Infallible;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::server::{Answer, Asked, Ended, Server, answer, peerless, run, serve};

fn function(asked: &Asked) -> Answer {
    let mut answer = match asked.target.split('?').next().unwrap() {
        "/function/fail" => answer(500, "own words"),
        "/function/bytes" => answer(200, &b"a\xff"[..]),
        _ => answer(200, asked.body.clone()),
    };
    let headers = answer.headers_mut();
    headers.insert("x-peerless-host", "12D3A".parse().unwrap());
    headers.insert("x-peerless-attempts", "2".parse().unwrap());
    answer
}

#[tokio::test]
async fn a_call_sends_what_it_was_told() {
    let server = Server::start(function).await;
    let line = [
        "call",
        "echo",
        "--data",
        "hello",
        "--method",
        "put",
        "--path",
        "/a/b?x=1",
        "--header",
        "X-Mine: a b",
        "--timeout",
        "1500ms",
    ];
    let ended = server.run(&line).await;
    assert_eq!((ended.status, ended.out.as_str()), (Some(0), "hello"));
    let asked = &server.asked()[0];
    assert_eq!(asked.line(), "PUT /function/echo/a/b?x=1");
    assert_eq!(asked.headers["x-mine"], "a b");
    assert_eq!(asked.headers["x-timeout"], "1500ms");
    assert_eq!(asked.headers["content-length"], "5");

    let ended = server.run(&["call", "echo"]).await;
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(server.asked()[1].line(), "GET /function/echo");
    let ended = run(&server.url, &["call", "echo", "-"], b"typed").await;
    assert_eq!(ended.out, "typed");
    assert_eq!(server.asked()[2].line(), "POST /function/echo");
}

#[tokio::test]
async fn a_call_that_fails_prints_the_body_and_ends_with_1() {
    let server = Server::start(function).await;
    let ended = server.run(&["call", "fail", "--data", "x"]).await;
    assert_eq!(ended.out, "own words");
    let expected = "fail answered 500 Internal Server Error after 2 attempts (host 12D3A)";
    assert_eq!(ended.error(1), expected);
}

#[tokio::test]
async fn a_call_as_json_has_all_of_the_answer() {
    let server = Server::start(function).await;
    let answer = server.run(&["call", "echo", "--data", "é", "--json"]).await.json();
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("é")));
    assert_eq!((&answer["host"], &answer["attempts"]), (&json!("12D3A"), &json!(2)));
    assert_eq!(answer["headers"]["x-peerless-host"], "12D3A");
    assert!(answer["seconds"].is_f64());
    let answer = server.run(&["call", "bytes", "--json"]).await.json();
    assert_eq!(answer["body"], json!({"base64": "Yf8="}));
    let ended = server.run(&["call", "fail", "--json"]).await;
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.status, &answer["status"]), (Some(1), &json!(500)));
}

#[tokio::test]
async fn a_file_is_sent_whole_and_a_node_that_sleeps_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("body");
    let bytes: Vec<u8> = (0..=255_u8).cycle().take(3_000_001).collect();
    std::fs::write(&path, &bytes).unwrap();
    let server = Server::start(function).await;
    let line = ["call", "echo", "--data-file", path.to_str().unwrap()];
    let output = peerless(&server.url, &line).output().await.unwrap();
    assert!(output.status.success() && output.stdout == bytes);
    assert_eq!(server.asked()[0].headers["content-length"], "3000001");

    let url = serve(|_: http::Request<Incoming>| async { std::future::pending().await }).await;
    let ended = run(&url, &["call", "echo", "--timeout", "10ms"], b"").await;
    assert!(ended.error(1).contains("within 10ms"), "{ended:?}");
}

/// Answers each item as soon as it has come; `42` fails, and `bye` breaks the answer off.
async fn many(request: http::Request<Incoming>) -> Answer {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let mut body = request.into_body();
        let (mut index, mut failed, mut rest) = (0, 0, Vec::new());
        while let Some(Ok(frame)) = body.frame().await {
            rest.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                if text == "\"bye\"" {
                    return;
                }
                let status = if text == "42" { 500 } else { 200 };
                failed += u64::from(status == 500);
                let result = json!({
                    "index": index, "status": status, "body": text, "host": "12D3A",
                    "attempts": 1, "seconds": 0.01,
                });
                index += 1;
                let _ = sender.send(format!("{result}\n").into()).await;
            }
        }
        let summary = json!({"summary": {
            "items": index, "succeeded": index - failed, "failed": failed, "unknown": 0,
            "attempts": index, "hedged": 0, "hosts": 1, "seconds": 0.5,
        }});
        let _ = sender.send(format!("{summary}\n").into()).await;
    });
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
    });
    Response::new(StreamBody::new(frames).boxed())
}

#[tokio::test]
async fn results_come_while_items_still_go() {
    let url = serve(many).await;
    let mut child = peerless(&url, &["manycall", "f", "--items", "-"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 0..3 {
        stdin.write_all(format!("{n}\n").as_bytes()).await.unwrap();
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
        let line: Value = serde_json::from_str(&line.unwrap().unwrap().unwrap()).unwrap();
        assert_eq!((&line["index"], &line["body"]), (&json!(n), &json!(n.to_string())));
    }
    drop(stdin);
    let summary = lines.next_line().await.unwrap().unwrap();
    assert!(summary.starts_with("{\"summary\":"), "{summary}");
    assert_eq!(lines.next_line().await.unwrap(), None);
    let ended: Ended = child.wait_with_output().await.unwrap().into();
    let expected = "3 items: 3 succeeded, 0 failed, 0 unknown; 3 attempts on 1 host, 0.5 s\n";
    assert_eq!((ended.status, ended.err.as_str()), (Some(0), expected));
}

#[tokio::test]
async fn failed_items_end_it_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let (items, out) = (dir.path().join("items"), dir.path().join("out"));
    std::fs::write(&items, "1\n42\n3\n").unwrap();
    let (items, out_arg) = (items.to_str().unwrap(), out.to_str().unwrap());
    let url = serve(many).await;
    let line = ["manycall", "f", "--items", items, "--out", out_arg, "--json"];
    let ended = run(&url, &line, b"").await;
    assert_eq!((ended.status, ended.err.as_str()), (Some(3), ""), "{ended:?}");
    let summary: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(summary["summary"]["failed"], 1);
    let results = std::fs::read_to_string(&out).unwrap();
    let lines: Vec<Value> = results.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!((&lines[1]["status"], &lines[3]), (&json!(500), &summary));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_success() {
    let url = serve(many).await;
    let ended = run(&url, &["manycall", "f", "--items", "-"], b"1\n2\n\"bye\"\n").await;
    let expected = "the answer broke off after 2 results, without a summary";
    assert_eq!(ended.error(1), expected);
    assert_eq!(ended.out.lines().count(), 2);

    let server = Server::start(|_| answer(404, r#"{"error":"error finding function f"}"#)).await;
    let line = ["manycall", "f", "--items", "-", "--retries", "2", "--deadline", "30s"];
    let ended = run(&server.url, &line, b"1\n").await;
    assert!(ended.error(1).starts_with("cannot call f: error finding function f"), "{ended:?}");
    let asked = &server.asked()[0];
    assert_eq!(asked.line(), "POST /manycall/f?retries=2&deadline=30s");
    assert_eq!(asked.headers["content-type"], "application/x-ndjson");
}

#[tokio::test]
async fn a_file_is_not_emptied_before_there_is_something_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("items");
    std::fs::write(&file, "1\n").unwrap();
    let path = file.to_str().unwrap();
    let url = serve(many).await;
    let ended = run(&url, &["manycall", "f", "--items", path, "--out", path], b"").await;
    assert!(ended.error(2).contains("is the file that --items reads"), "{ended:?}");
    let missing = dir.path().join("none/out");
    let line = ["manycall", "f", "--items", path, "--out", missing.to_str().unwrap()];
    assert!(run(&url, &line, b"").await.error(2).contains("none/out"));
    let nowhere = "http://127.0.0.1:1";
    let ended = run(nowhere, &["manycall", "f", "--items", "-", "--out", path], b"").await;
    assert!(ended.error(1).contains("connection refused"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n");
}

#[tokio::test]
async fn a_job_that_failed_is_passed_on_with_its_summary() {
    let text = "{\"index\":0,\"status\":200}\n{\"error\":\"no host\",\"code\":\"no-host\",\
                \"hop\":\"gateway\"}\n{\"summary\":{\"items\":2,\"unknown\":1}}\n";
    let server = Server::start(move |_| answer(200, text)).await;
    let ended = server.run(&["manycall", "f", "--items", "-"]).await;
    assert_eq!(ended.error(1), "the manycall failed: no host (no-host)");
    assert_eq!(ended.out, text);
}

#[tokio::test]
async fn completions_are_printed() {
    let ended = run("", &["completions", "bash"], b"").await;
    assert_eq!(ended.status, Some(0));
    assert!(ended.out.contains("complete -F _peerless"), "{ended:?}");
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_says_that_a_job_cannot_be_resumed() {
    let url = serve(many).await;
    let mut child = peerless(&url, &["manycall", "f", "--items", "-"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"1\n").await.unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().is_some());
    interrupt(&child);
    let ended: Ended = child.wait_with_output().await.unwrap().into();
    let expected = "interrupted after 1 result; a job cannot be resumed: call again";
    assert_eq!(ended.error(130), expected);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error_to_speak_of() {
    let server = Server::start(|_| answer(200, vec![b'x'; 4 << 20])).await;
    let mut command = peerless(&server.url, &["call", "echo"]);
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).await.unwrap();
    drop(stdout);
    let ended: Ended = child.wait_with_output().await.unwrap().into();
    assert_eq!((ended.status, ended.err.as_str()), (Some(1), ""));
}
