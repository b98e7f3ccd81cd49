//! `/network`: this node and the peers and hosts that it knows.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::{StatusCode, header};
use peerless_core::{Event, Load, Request as Ask};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::{ApiError, Segment, answer, resolve, unexpected};
use crate::asks::ask;
use crate::id::NodeId;
use crate::keys;
use crate::node::Node;

/// A watcher of events hears at least so often that the connection stands, and a proxy on the way
/// does not take it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `GET /network/status`.
pub(super) async fn status(State(node): State<Arc<Node>>) -> Response {
    let connected = node.net().peers().iter().filter(|peer| peer.connected).count();
    answer(
        StatusCode::OK,
        &json!({
            "peer_id": node.me.to_string(),
            "owner": keys::owner_text(&node.owner),
            "addresses": own_addresses(&node),
            "version": env!("CARGO_PKG_VERSION"),
            "functions": node.functions.count(),
            "peers": connected,
            "network": node.settings.network,
            "running": node.served.running(),
        }),
    )
}

/// Where this node is reached, with its id.
pub(crate) fn own_addresses(node: &Node) -> Vec<String> {
    let id = node.me.to_string();
    node.net().own_addresses().iter().map(|address| format!("{address}/p2p/{id}")).collect()
}

/// `GET /network/peers`.
pub(super) async fn peers(State(node): State<Arc<Node>>) -> Response {
    let peers: Vec<Value> = node
        .net()
        .peers()
        .into_iter()
        .map(|peer| {
            json!({
                "peer_id": NodeId::new(peer.peer).to_string(),
                "addresses": peer.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "connected": peer.connected,
                "rtt_ms": peer.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            })
        })
        .collect();
    answer(StatusCode::OK, &peers)
}

/// `POST /network/drain`: answered when nothing is hosted here any more and nothing is under way. Who
/// hangs up before has it called off.
pub(super) async fn drain(State(node): State<Arc<Node>>) -> Result<Response, ApiError> {
    match ask(&node, Ask::Drain).await {
        Event::Drained => Ok(answer(StatusCode::OK, &json!({ "drained": true }))),
        Event::Failed(failure) => Err(ApiError::from_failure(&failure, "this node")),
        other => Err(unexpected(&other)),
    }
}

/// `GET /network/functions/{name}/hosts`.
pub(super) async fn hosts(
    State(node): State<Arc<Node>>,
    Segment(name): Segment,
) -> Result<Response, ApiError> {
    let function = resolve(&node, &name, None)?;
    let (hosts, cost) = match ask(&node, Ask::Hosts(function.key)).await {
        Event::Hosts { record, .. } if record.spec.is_none() => {
            return Err(ApiError::not_found(&name));
        }
        Event::Hosts { hosts, cost, .. } => (hosts, cost),
        Event::Failed(failure) => return Err(ApiError::from_failure(&failure, &name)),
        other => return Err(unexpected(&other)),
    };
    let known = node.net().peers();
    let hosts: Vec<Value> = hosts
        .iter()
        .map(|(host, load)| {
            let view = known.iter().find(|peer| peer.peer == *host.key_bytes());
            let addresses: Vec<String> = if *host == node.me {
                node.net().own_addresses().iter().map(ToString::to_string).collect()
            } else {
                view.into_iter().flat_map(|peer| &peer.addresses).map(ToString::to_string).collect()
            };
            let rtt = view.and_then(|peer| peer.rtt).map(|rtt| rtt.as_secs_f64() * 1000.0);
            json!({
                "peer_id": host.to_string(), "addresses": addresses,
                "load": load.as_ref().map(load_object), "rtt_ms": rtt,
            })
        })
        .collect();
    let found = json!({
        "name": function.name, "hosts": hosts, "rpcs": cost.rpcs, "timeouts": cost.timeouts,
        "rounds": cost.rounds,
    });
    Ok(answer(StatusCode::OK, &found))
}

fn load_object(load: &Load) -> Value {
    json!({
        "slots": load.slots, "running": load.running, "queued": load.queued, "queue": load.queue,
        "hosted": load.hosted, "room": load.room,
    })
}

/// `GET /network/events`: why the core decided what it did, as server-sent events.
pub(super) async fn events(State(node): State<Arc<Node>>) -> Response {
    let notes = node.notes.subscribe();
    let hello = Bytes::from_static(b": watching\n\n");
    let events = stream::unfold((notes, Some(hello)), |(mut notes, hello)| async move {
        if let Some(hello) = hello {
            return Some((Ok::<_, Infallible>(hello), (notes, None)));
        }
        let line = match tokio::time::timeout(HEARTBEAT, notes.recv()).await {
            Ok(Ok(note)) => format!("data: {note}\n\n"),
            Ok(Err(RecvError::Lagged(missed))) => {
                format!("data: {{\"event\":\"missed\",\"count\":{missed}}}\n\n")
            }
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) => ": nothing new\n\n".to_owned(),
        };
        Some((Ok(line.into()), (notes, None)))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}
