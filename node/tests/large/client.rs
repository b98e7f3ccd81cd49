//! A node's HTTP API, as its users ask it.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::network::{LONG, texts};

const JSON: &str = "application/json";

/// Where a node's API is.
#[derive(Clone)]
pub(crate) struct Gateway(pub(crate) String);

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Gateway {
    async fn send(&self, request: Request<Full<Bytes>>) -> Option<Response<Incoming>> {
        let stream = TcpStream::connect(&self.0).await.ok()?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.ok()?;
        tokio::spawn(connection);
        sender.send_request(request).await.ok()
    }

    /// One request on a connection of its own, answered whole.
    async fn whole(&self, request: Request<Full<Bytes>>) -> Reply {
        let path = request.uri().path().to_owned();
        let answering = async {
            let (head, body) = self.send(request).await?.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some(Reply { status: head.status, headers: head.headers, body })
        };
        let reply = timeout(LONG, answering).await.unwrap_or_else(|_| panic!("no answer: {path}"));
        reply.unwrap_or_else(|| panic!("the answer broke off: {path}"))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        of: &str,
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let request = Request::builder().method(method).uri(path).header("host", &self.0);
        request.header(CONTENT_TYPE, of).body(Full::new(body.into())).unwrap()
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        of: &str,
        body: impl Into<Bytes>,
    ) -> Reply {
        self.whole(self.request(method, path, of, body)).await
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let reply = self.ask(Method::GET, path, JSON, "").await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text());
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// The peers that it knows, connected or not.
    pub(crate) async fn knows(&self) -> Vec<String> {
        texts(&self.json("/network/peers").await, "peer_id")
    }

    /// The hosts of a function; none while it is not found.
    pub(crate) async fn hosts(&self, name: &str) -> Vec<String> {
        let path = format!("/network/functions/{name}/hosts");
        let reply = self.ask(Method::GET, &path, JSON, "").await;
        let found: Value = serde_json::from_slice(&reply.body).unwrap();
        texts(&found["hosts"], "peer_id")
    }

    /// Deploys a module under a name.
    pub(crate) async fn deploy(
        &self,
        name: &str,
        module: &'static [u8],
        replicas: usize,
    ) -> Result<(), String> {
        let put = self.ask(Method::PUT, "/modules", "application/wasm", module).await;
        if !put.status.is_success() {
            return Err(put.text().to_owned());
        }
        let put: Value = serde_json::from_slice(&put.body).unwrap();
        let digest = put["digest"].as_str().unwrap();
        let replicas = replicas.to_string();
        let deployment = json!({
            "service": name,
            "image": format!("wasm:{digest}"),
            "labels": { "com.openfaas.scale.min": replicas, "com.openfaas.scale.max": replicas },
        });
        let path = "/system/functions";
        let reply = self.ask(Method::POST, path, JSON, deployment.to_string()).await;
        if reply.status.is_success() { Ok(()) } else { Err(reply.text().to_owned()) }
    }

    /// Calls a function with a body, within a time.
    pub(crate) async fn call(&self, name: &str, body: &'static str, within: Duration) -> Reply {
        let path = format!("/function/{name}");
        let mut request = self.request(Method::POST, &path, "text/plain", body);
        let time = format!("{}ms", within.as_millis());
        request.headers_mut().insert("x-timeout", time.parse().unwrap());
        self.whole(request).await
    }

    /// Why the node decides what it does, from now on.
    pub(crate) async fn events(&self) -> Lines {
        let mut events = self.lines(Method::GET, "/network/events", "").await;
        assert_eq!(events.next().await.as_deref(), Some(": watching"));
        events
    }

    /// A manycall; its results as they come.
    pub(crate) async fn manycall(&self, name: &str, items: String) -> Lines {
        self.lines(Method::POST, &format!("/manycall/{name}"), items).await
    }

    async fn lines(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Lines {
        let request = self.request(method, path, "application/x-ndjson", body);
        let response = self.send(request).await.unwrap_or_else(|| panic!("no answer: {path}"));
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Lines { body: response.into_body(), rest: Vec::new() }
    }
}

/// An answer read line by line, while it comes.
pub(crate) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line that is not empty.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                if !line.trim().is_empty() {
                    return Some(line.trim().to_owned());
                }
            }
            let frame = timeout(LONG, self.body.frame()).await.expect("a line, or the end")?;
            self.rest.extend_from_slice(&frame.ok()?.into_data().unwrap_or_default());
        }
    }

    /// The next line, or event, as JSON.
    pub(crate) async fn json(&mut self) -> Option<Value> {
        let line = self.next().await?;
        let line = line.strip_prefix("data: ").unwrap_or(&line);
        Some(serde_json::from_str(line).unwrap())
    }
}
