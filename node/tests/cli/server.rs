//! A server that answers as it is told, and the binary under test.

use std::convert::Infallible;
use std::future::Future;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::binary;

pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// A server on a port of its own.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Reads each request whole, and answers what `answer` says.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        let answer = Arc::new(answer);
        let url = serve(move |request: Request<Incoming>| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let target = head.uri.to_string();
                let asked = Asked { method: head.method, target, headers: head.headers, body };
                let answer = answer(&asked);
                log.lock().unwrap().push(asked);
                answer
            }
        })
        .await;
        Self { url, asked }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Runs a command of the client against it.
    pub(crate) async fn run(&self, line: &[&str]) -> Ended {
        run(&self.url, line, b"").await
    }
}

/// Serves until the test ends; returns where.
pub(crate) async fn serve<H, F>(handle: H) -> String
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handle = handle.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let answer = handle(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).boxed();
    Response::builder().status(status).body(body).unwrap()
}

pub(crate) fn json(status: u16, body: &Value) -> Answer {
    answer(status, body.to_string())
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// Its standard output as JSON, of one that went well.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Its one line of complaint, of one that ended with `status`.
    pub(crate) fn error(&self, status: i32) -> &str {
        assert_eq!(self.status, Some(status), "{self:?}");
        let line = self.err.strip_prefix("error: ").unwrap_or_else(|| panic!("{self:?}"));
        let line = line.trim_end();
        assert!(!line.contains('\n'), "one line: {self:?}");
        line
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The binary, told of a gateway.
pub(crate) fn peerless(url: &str, line: &[&str]) -> Command {
    let mut command = binary::peerless();
    command.env("PEERLESS_URL", url).args(line);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with `input` on its standard input.
pub(crate) async fn run(url: &str, line: &[&str], input: &[u8]) -> Ended {
    let mut child = peerless(url, line).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writing = tokio::spawn(async move {
        let _ = stdin.write_all(&input).await;
    });
    let output = child.wait_with_output().await.unwrap();
    writing.await.unwrap();
    output.into()
}
