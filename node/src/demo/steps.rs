//! The steps up to the first manycall: start, join, deploy, call, count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Cursor};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::check::{Tally, count_words, median, pieces};
use super::network::{Network, Node};
use super::{Demo, Trouble, heal};
use crate::bytes32::{base64, sha256};
use crate::client::deploy;
use crate::client::http::{Gateway, Request, streamed, whole};
use crate::client::manycall::{self, Line, Results};
use crate::clock::Stopwatch;

pub(super) const ECHO: &str = "echo";
pub(super) const WORDS: &str = "words";
pub(super) const SLEEP: &str = "sleep";

const SAMPLES: [(&str, &[u8]); 3] = [
    (ECHO, include_bytes!("../../../deploy/functions/echo/echo.wasm")),
    (WORDS, include_bytes!("../../../deploy/functions/words/words.wasm")),
    (SLEEP, include_bytes!("../../../deploy/functions/sleep/sleep.wasm")),
];
const TEXT: &[u8] = include_bytes!("../../../deploy/functions/text/kjv.txt");

/// How long the network may take to settle after the start, and after a deployment.
const SETTLE_WITHIN: Duration = Duration::from_secs(45);
/// A node answers such questions from what it has, or after one search.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);
pub(super) const POLL_EVERY: Duration = Duration::from_millis(200);
/// Beyond the size of a bucket, nobody needs to know everybody.
const SEEN_MAX: usize = 20;
const CALLS: usize = 20;
const PIECE_BYTES: usize = 8 << 10;

/// What the steps leave for those that follow.
pub(super) struct Deployed {
    /// Fewest hosts of each function.
    pub(super) min: usize,
    /// Who hosts what.
    pub(super) hosts: BTreeMap<&'static str, BTreeSet<String>>,
}

/// The whole demo.
pub(super) async fn all(demo: &mut Demo) -> Result<(), Trouble> {
    let done = in_order(demo).await;
    // A node that died explains more than what its death led to.
    match (done, demo.network.fallen()) {
        (Ok(()), None) => Ok(()),
        (Err(trouble), None) => Err(trouble),
        (done, Some((node, fell))) => {
            let then =
                done.err().map(|trouble| format!("; {}", trouble.reason)).unwrap_or_default();
            Err(Trouble::at(node, format!("{fell}{then}")))
        }
    }
}

async fn in_order(demo: &mut Demo) -> Result<(), Trouble> {
    start(demo).await?;
    join(demo).await?;
    let deployed = deploy(demo).await?;
    call(demo, &deployed).await?;
    count(demo, &deployed).await?;
    let killed = heal::kill(demo, &deployed).await?;
    heal::repair(demo, &deployed, &killed).await?;
    heal::remove(demo).await
}

async fn start(demo: &mut Demo) -> Result<(), Trouble> {
    let peers = usize::from(demo.args.peers);
    demo.begin("start", &format!("{peers} nodes on this machine, one owner"));
    let watch = Stopwatch::start();
    demo.network.start(peers).await?;
    demo.row("nodes ready", peers.to_string());
    demo.row("until all were ready", format!("{:.1} s", watch.seconds()));
    Ok(())
}

async fn join(demo: &mut Demo) -> Result<(), Trouble> {
    demo.begin("join", "through the first one, until everybody sees everybody");
    let watch = Stopwatch::start();
    let network = &demo.network;
    let wanted = SEEN_MAX.min(network.live().count() - 1);
    let seen = join_all(network.live().map(|node| async move {
        let mut most = 0;
        let enough = until(SETTLE_WITHIN, async || {
            most = seen(network, node).await.ok()?;
            (most >= wanted).then_some(())
        });
        (node.number, enough.await.is_some(), most)
    }));
    let seen = seen.await;
    if let Some((node, _, most)) = seen.iter().find(|(_, enough, _)| !enough) {
        return Err(Trouble::at(*node, format!("node {node} sees {most} of {wanted} others")));
    }
    let fewest = seen.iter().map(|(_, _, most)| *most).min().unwrap_or(0);
    demo.row("others that each node sees, at least", fewest.to_string());
    demo.row("until then", format!("{:.1} s", watch.seconds()));
    Ok(())
}

/// How many of the other nodes a node knows.
async fn seen(network: &Network, node: &Node) -> Result<usize, Trouble> {
    let reply = node.gateway.ask(Method::GET, "/network/peers", None, ANSWER_WITHIN).await?;
    let peers = reply.json(&node.gateway, "list peers")?;
    let known: BTreeSet<&str> = peers
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|peer| peer["peer_id"].as_str())
        .collect();
    let others = network.live().filter(|other| other.number != node.number);
    Ok(others.filter(|other| known.contains(other.peer_id.as_str())).count())
}

async fn deploy(demo: &mut Demo) -> Result<Deployed, Trouble> {
    let names = SAMPLES.map(|(name, _)| name).join(", ");
    demo.begin("deploy", &format!("{names} through node 0"));
    let watch = Stopwatch::start();
    // Beside the deployer one node must be left that hosts nothing.
    let min = 3.min(usize::from(demo.args.peers) - 2);
    let network = &demo.network;
    let gateway = &network.node(0).gateway;
    let deploying = SAMPLES.map(|(name, module)| deploy_one(demo, name, module, min));
    let deployed = try_join_all(deploying).await;
    deployed.map_err(|trouble| Trouble { node: Some(0), ..trouble })?;
    let took = watch.seconds();
    let mut hosts = BTreeMap::new();
    for (name, _) in SAMPLES {
        let mut known = BTreeSet::new();
        let enough = until(SETTLE_WITHIN, async || {
            known = live_hosts(network, gateway, name).await.ok()?;
            (known.len() >= min).then_some(())
        });
        if enough.await.is_none() {
            let reason = format!("{name} has {} hosts, and {min} were wanted", known.len());
            return Err(Trouble::at(0, reason));
        }
        hosts.insert(name, known);
    }
    demo.row("functions deployed", SAMPLES.len().to_string());
    demo.row("until the first host of each served it", format!("{took:.1} s"));
    demo.row(format!("until each had its {min} hosts"), format!("{:.1} s", watch.seconds()));
    Ok(Deployed { min, hosts })
}

async fn deploy_one(demo: &Demo, name: &str, module: &[u8], min: usize) -> Result<Value, Trouble> {
    let gateway = &demo.network.node(0).gateway;
    let digest = deploy::upload(gateway, module.to_vec()).await?;
    if let (ECHO, Some(path)) = (name, &demo.args.tamper) {
        tamper(&demo.network, path, module).map_err(|error| {
            Trouble::new(format!("cannot tamper with {}: {error}", path.display()))
        })?;
    }
    let deployment = json!({
        "service": name,
        "image": format!("wasm:{digest}"),
        "labels": {
            "com.openfaas.scale.min": min.to_string(),
            "com.openfaas.scale.max": (min + 2).to_string(),
        },
        "annotations": if name == ECHO { json!({"peerless.output": "cgi"}) } else { json!({}) },
    });
    Ok(deploy::describe(gateway, &deployment, name).await?)
}

/// Puts another module where node 0 keeps this one.
fn tamper(network: &Network, path: &Path, module: &[u8]) -> io::Result<()> {
    network.tamper(0, &sha256(module), &fs::read(path)?)
}

/// The hosts of a function that a node finds, without those that were killed.
pub(super) async fn live_hosts(
    network: &Network,
    gateway: &Gateway,
    name: &str,
) -> Result<BTreeSet<String>, Trouble> {
    let path = format!("/network/functions/{name}/hosts");
    let reply = gateway.ask(Method::GET, &path, None, ANSWER_WITHIN).await?;
    let found = reply.json(gateway, &format!("find {name}"))?;
    let hosts = found["hosts"].as_array().into_iter().flatten();
    let hosts = hosts.filter_map(|host| host["peer_id"].as_str());
    Ok(hosts.filter(|host| network.is_live(host)).map(str::to_owned).collect())
}

/// A live node that neither hosts a function nor deployed it.
pub(super) fn stranger<'a>(
    network: &'a Network,
    deployed: &Deployed,
    name: &str,
) -> Result<&'a Node, Trouble> {
    let hosts = &deployed.hosts[name];
    let mut others = network.live().filter(|node| node.number != 0);
    let stranger = others.find(|node| !hosts.contains(&node.peer_id));
    stranger.ok_or_else(|| Trouble::new(format!("every node but the deployer hosts {name}")))
}

async fn call(demo: &mut Demo, deployed: &Deployed) -> Result<(), Trouble> {
    let number = stranger(&demo.network, deployed, ECHO)?.number;
    demo.begin("call", &format!("{ECHO} through node {number}, which does not host it"));
    let gateway = demo.network.node(number).gateway.clone();
    let body: Vec<u8> = (0..=255_u8).cycle().take(100_000).collect();
    let (mut times, mut hosts) = (Vec::new(), BTreeSet::new());
    for _ in 0..CALLS {
        let watch = Stopwatch::start();
        let host = call_echo(&gateway, &body).await;
        let host = host.and_then(|host| a_host(deployed, ECHO, host));
        hosts.insert(host.map_err(|trouble| Trouble { node: Some(number), ..trouble })?);
        times.push(watch.seconds() * 1000.0);
    }
    let size = body.len();
    demo.row("calls, each echoed whole", CALLS.to_string());
    demo.row("body of each", format!("{size} bytes of all values"));
    demo.row("hosts that answered", hosts.len().to_string());
    demo.row("median time of a call", format!("{:.1} ms", median(&mut times)));

    let piece = &TEXT[..PIECE_BYTES];
    let words = count_words(piece).to_string();
    for (name, body, expected) in [(WORDS, piece, words.as_str()), (SLEEP, b"20", "20")] {
        let number = stranger(&demo.network, deployed, name)?.number;
        let gateway = demo.network.node(number).gateway.clone();
        let watch = Stopwatch::start();
        let called = call_plain(&gateway, name, body).await.and_then(|(host, answer)| {
            if answer.trim() != expected {
                return Err(Trouble::new(format!("{name} answered {answer:?}, not {expected}")));
            }
            a_host(deployed, name, host)
        });
        called.map_err(|trouble| Trouble { node: Some(number), ..trouble })?;
        let seconds = watch.seconds();
        demo.row(
            format!("{name} through node {number}, answered rightly in"),
            format!("{:.1} ms", seconds * 1000.0),
        );
    }
    Ok(())
}

/// Whoever answered must be one of the hosts that were deployed to.
fn a_host(deployed: &Deployed, name: &str, host: String) -> Result<String, Trouble> {
    if deployed.hosts[name].contains(&host) {
        return Ok(host);
    }
    Err(Trouble::new(format!("{host} answered, which is no host of {name}")))
}

/// Calls a function; returns who answered, and what.
async fn call_plain(
    gateway: &Gateway,
    name: &str,
    body: &[u8],
) -> Result<(String, String), Trouble> {
    let request = http::Request::post(format!("/function/{name}"))
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(whole(body.to_vec()))
        .expect("constant parts of a request");
    let (head, answer) = exchange(gateway, request).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok((text(&head.headers, "x-peerless-host"), answer))
}

/// Sends a call that must go well; returns the answer's head and body.
async fn exchange(gateway: &Gateway, request: Request) -> Result<(Parts, Bytes), Trouble> {
    let response = tokio::time::timeout(ANSWER_WITHIN, gateway.send(request)).await;
    let response = response.map_err(|_| Trouble::new("a call was not answered"))??;
    let (head, answer) = response.into_parts();
    let answer = answer.collect().await.map_err(|error| gateway.broke(&error))?.to_bytes();
    if head.status != StatusCode::OK {
        let text = String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
        return Err(Trouble::new(format!("a call was answered with {}: {text}", head.status)));
    }
    Ok((head, answer))
}

/// Calls `echo` and checks that everything arrived; returns who answered.
async fn call_echo(gateway: &Gateway, body: &[u8]) -> Result<String, Trouble> {
    let request = http::Request::patch("/function/echo/deep/path?x=1&y=two")
        .header(CONTENT_TYPE, "application/x-demo")
        .header("X-Demo", "one, two")
        .body(whole(body.to_vec()))
        .expect("constant parts of a request");
    let (head, answer) = exchange(gateway, request).await?;
    for (name, value) in [
        ("x-echo-method", "PATCH"),
        ("x-echo-path", "/deep/path"),
        ("x-echo-query", "x=1&y=two"),
        ("x-echo-header-x-demo", "one, two"),
        ("content-type", "application/x-demo"),
    ] {
        let came = text(&head.headers, name);
        if came != value {
            return Err(Trouble::new(format!("{name} came back as {came:?}, not {value:?}")));
        }
    }
    if *answer != *body {
        return Err(Trouble::new("the body did not come back as it was sent"));
    }
    Ok(text(&head.headers, "x-peerless-host"))
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    value.unwrap_or_default().into_owned()
}

async fn count(demo: &mut Demo, deployed: &Deployed) -> Result<(), Trouble> {
    let number = stranger(&demo.network, deployed, WORDS)?.number;
    demo.begin("count", &format!("the words of a text, by a manycall through node {number}"));
    let node = demo.network.node(number);
    let pieces = pieces(TEXT, PIECE_BYTES);
    let item = |piece: &&[u8]| format!("{}\n", json!({ "base64": base64(piece) }));
    let items: String = pieces.iter().map(item).collect();
    let watch = Stopwatch::start();
    let mut sum = 0;
    let (tally, summary) = many(&node.gateway, WORDS, items, |result, tally| {
        tally.add(result, None);
        let words = result.body.as_str().and_then(|text| text.trim().parse::<u64>().ok());
        sum += words.unwrap_or(0);
        Ok(())
    })
    .await
    .map_err(|trouble| Trouble { node: Some(number), ..trouble })?;
    let seconds = watch.seconds();
    let wrong = |reason| Trouble::at(number, reason);
    tally.check(pieces.len() as u64).map_err(wrong)?;
    let expected = count_words(TEXT);
    if sum != expected {
        return Err(wrong(format!("the sum is {sum}, and counted at once it is {expected}")));
    }
    if summary["succeeded"].as_u64() != Some(pieces.len() as u64) {
        return Err(wrong(format!("the summary says {summary}")));
    }
    demo.row("text", format!("{} bytes in {} items", TEXT.len(), pieces.len()));
    demo.row("words, counted by the network", sum.to_string());
    demo.row("words, counted without it", expected.to_string());
    demo.row("hosts that took part", tally.hosts.len().to_string());
    demo.row("time", format!("{seconds:.2} s"));
    Ok(())
}

/// A manycall through a node, each result handed to `each` as it comes.
pub(super) async fn many(
    gateway: &Gateway,
    name: &str,
    items: String,
    mut each: impl FnMut(&manycall::ItemResult, &mut Tally) -> Result<(), Trouble>,
) -> Result<(Tally, Value), Trouble> {
    let path = manycall::path(name, None, None, None);
    let mut results = Results::open(gateway, &path, streamed(Cursor::new(items))).await?;
    let mut tally = Tally::default();
    loop {
        let line = tokio::time::timeout(ANSWER_WITHIN, results.next()).await;
        let received = tally.received;
        let line =
            line.map_err(|_| Trouble::new(format!("no result after the first {received}")))?;
        let Some(line) = line? else {
            return Err(Trouble::new(format!("the answer broke off after {received} results")));
        };
        match Line::read(&line)? {
            Line::Result(result) => each(&result, &mut tally)?,
            Line::Summary(summary) => return Ok((tally, summary)),
            Line::Failed(failure) => return Err(failure.into()),
        }
    }
}

/// Tries again until there is something, or the time is over.
pub(super) async fn until<T>(
    within: Duration,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let trying = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    tokio::time::timeout(within, trying).await.ok()
}
