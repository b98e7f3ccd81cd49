//! Nodes as child processes, a client for their API, and waiting for conditions.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::binary::peerless;
use crate::up::{Ready, log_in, up};

/// One network at a time: tests measure time and memory, and the machine may be small.
static GATE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Where a sample function's module is.
pub(crate) fn sample(name: &str) -> PathBuf {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/functions");
    functions.join(name).join(format!("{name}.wasm"))
}

/// Now.
#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A node in a process of its own.
pub(crate) struct Node {
    child: Child,
    pub(crate) dir: PathBuf,
    pub(crate) peer_id: String,
    pub(crate) owner: String,
    pub(crate) listen: String,
    pub(crate) http: SocketAddr,
    /// How it was started, for another start.
    flags: Vec<String>,
}

/// How nodes are started.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    /// A configuration file's text.
    pub(crate) config: String,
    /// Further flags of every node.
    pub(crate) flags: Vec<String>,
}

impl Plan {
    pub(crate) fn config(text: &str) -> Self {
        Self { config: text.to_owned(), ..Self::default() }
    }
}

/// A network on loopback.
pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    plan: Plan,
    pub(crate) dir: TempDir,
    _gate: tokio::sync::MutexGuard<'static, ()>,
}

impl Network {
    /// Starts `n` nodes with one owner key, joined through the first.
    pub(crate) async fn start(n: usize, plan: Plan) -> Self {
        let gate = GATE.lock().await;
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("peerless.toml"), &plan.config).unwrap();
        let mut network = Self { nodes: Vec::new(), plan, dir, _gate: gate };
        for _ in 0..n {
            network.add("owner.key").await;
        }
        network
    }

    /// Starts one more node, with an owner key of this file's name.
    pub(crate) async fn add(&mut self, owner_key: &str) -> &Node {
        let number = self.nodes.len();
        let dir = self.dir.path().join(number.to_string());
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut flags = vec!["--owner-key".to_owned(), path(owner_key)];
        flags.extend(["--config".to_owned(), path("peerless.toml")]);
        flags.extend(["--listen", "/ip4/127.0.0.1/tcp/0"].map(str::to_owned));
        if let Some(first) = self.nodes.first() {
            flags.extend(["--bootstrap".to_owned(), first.listen.clone()]);
        }
        flags.extend(self.plan.flags.iter().cloned());
        let node = Node::start(dir, flags).await;
        self.nodes.push(node);
        self.nodes.last().unwrap()
    }

    /// Further flags of nodes that are started from now on.
    pub(crate) fn replan(&mut self, flags: Vec<String>) {
        self.plan.flags = flags;
    }

    /// Deploys a sample through a node; returns the hosts.
    pub(crate) async fn deploy(&self, node: usize, name: &str, flags: &[&str]) -> Vec<String> {
        let module = sample(name).display().to_string();
        let out = self.nodes[node].cli("deploy", &[&[&module, "--json"], flags].concat()).await;
        assert!(out.status.success(), "deploy {name}: {}", text(&out.stderr));
        let deployed: Value = serde_json::from_slice(&out.stdout).unwrap();
        let hosts = deployed["hosts"].as_array().unwrap();
        hosts.iter().map(|host| host.as_str().unwrap().to_owned()).collect()
    }

    /// The number of the node with this id.
    pub(crate) fn number(&self, peer_id: &str) -> usize {
        self.nodes.iter().position(|node| node.peer_id == peer_id).expect("one of ours")
    }

    /// A node that does not host what these do.
    pub(crate) fn stranger(&self, hosts: &[String]) -> &Node {
        self.nodes.iter().find(|node| !hosts.contains(&node.peer_id)).expect("not all host it")
    }
}

impl Node {
    async fn start(dir: PathBuf, flags: Vec<String>) -> Self {
        let tell = |command: &mut Command| {
            command.args(&flags).env("PEERLESS_LOG", "warn");
        };
        let (child, ready) = up(&dir, tell).await;
        let Ready { peer_id, owner, listen, http } = ready;
        let listen = listen.into_iter().next().unwrap();
        Self { child, dir, peer_id, owner, listen, http: http.parse().unwrap(), flags }
    }

    /// All that it logged.
    pub(crate) fn log(&self) -> String {
        log_in(&self.dir)
    }

    /// Kills it at once.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, and waits for its exit status.
    pub(crate) async fn stop(&mut self) -> std::process::ExitStatus {
        let pid = self.child.id().unwrap().to_string();
        let killed = Command::new("kill").arg(pid).status().await.unwrap();
        assert!(killed.success());
        let ended = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        ended.expect("a node stops within 10 s").unwrap()
    }

    /// Where it listens when it is started again.
    pub(crate) fn listens_on(&mut self, address: &str) {
        let flag = self.flags.iter().position(|flag| flag == "--listen").unwrap();
        address.clone_into(&mut self.flags[flag + 1]);
    }

    /// Starts it again, with the same directory.
    pub(crate) async fn restart(&mut self) {
        *self = Self::start(self.dir.clone(), self.flags.clone()).await;
    }

    /// Forgets what memory it had: its peak counts from now.
    pub(crate) fn reset_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id().unwrap()), "5").unwrap();
    }

    /// The most memory it ever had, or since the peak was reset, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap()));
        let status = status.unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Runs a client command against it.
    pub(crate) async fn cli(&self, command: &str, args: &[&str]) -> std::process::Output {
        let url = format!("http://{}", self.http);
        let mut run = peerless();
        run.arg(command).args(args).args(["--gateway", &url]);
        run.output().await.unwrap()
    }

    /// One request, answered whole.
    pub(crate) async fn send(&self, request: Request<BoxBody<Bytes, std::io::Error>>) -> Reply {
        let (status, headers, body) = self.open(request).await;
        let body = body.collect().await.expect("the answer is whole").to_bytes();
        Reply { status, headers, body }
    }

    /// One request; its answer's body is still to come.
    pub(crate) async fn open(
        &self,
        mut request: Request<BoxBody<Bytes, std::io::Error>>,
    ) -> (StatusCode, HeaderMap, Incoming) {
        let stream = TcpStream::connect(self.http).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let host = self.http.to_string().parse().unwrap();
        request.headers_mut().entry(http::header::HOST).or_insert(host);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        (parts.status, parts.headers, body)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(request(Method::GET, path, Bytes::new())).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send(request(Method::POST, path, body)).await
    }

    /// Watches why the node decides what it does, until it is dropped.
    pub(crate) async fn watch(&self) -> Arc<Mutex<Vec<Value>>> {
        let (status, _, mut body) =
            self.open(request(Method::GET, "/network/events", Bytes::new())).await;
        assert_eq!(status, 200);
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::downgrade(&events);
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            while let (Some(Ok(frame)), Some(seen)) = (body.frame().await, seen.upgrade()) {
                buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    if let Some(event) = line.strip_prefix(b"data: ") {
                        let event: Value = serde_json::from_slice(event).unwrap();
                        assert!(event["event"] != "missed", "too slow a watcher: {event}");
                        seen.lock().unwrap().push(event);
                    }
                }
            }
        });
        events
    }

    /// Sends items as NDJSON; the lines that came back, the summary last.
    pub(crate) async fn many(&self, function: &str, items: String) -> Vec<Value> {
        let mut request = request(Method::POST, &format!("/manycall/{function}"), items);
        request.headers_mut().insert("content-type", "application/x-ndjson".parse().unwrap());
        let reply = self.send(request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        lines(&reply.body)
    }

    /// The function's hosts as a search through this node finds them.
    pub(crate) async fn hosts(&self, function: &str) -> Vec<String> {
        let reply = self.get(&format!("/network/functions/{function}/hosts")).await;
        if reply.status != 200 {
            return Vec::new();
        }
        let found = reply.json();
        let hosts = found["hosts"].as_array().unwrap();
        hosts.iter().map(|host| host["peer_id"].as_str().unwrap().to_owned()).collect()
    }
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The objects of NDJSON.
pub(crate) fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("each line is JSON")).collect()
}

pub(crate) fn request(
    method: Method,
    path: &str,
    body: impl Into<Bytes>,
) -> Request<BoxBody<Bytes, std::io::Error>> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed();
    Request::builder().method(method).uri(path).body(body).unwrap()
}

/// Waits until a condition holds, at most `seconds`; says which did not.
pub(crate) async fn until<F: Future<Output = bool>>(
    seconds: u64,
    what: &str,
    mut holds: impl FnMut() -> F,
) {
    let start = now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(seconds), "after {seconds} s not: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
