//! OpenFaaS's `/system`: the owner's functions.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::StatusCode;
use peerless_core::{Event, Record, Request as Ask};
use serde::Deserialize;
use serde_json::{Value, json};

use super::deployment::{Deployment, image_digest, own};
use super::{
    ApiError, DEFAULT_NAMESPACE, DOCUMENT_BYTES_MAX, FunctionRef, Segment, answer, document,
    modules, not_placed, parameter, resolve, unexpected,
};
use crate::asks::ask;
use crate::bytes32::hex;
use crate::clock;
use crate::keys;
use crate::node::Node;
use crate::record::{self, Details, What};
use crate::units::rfc3339;

/// Functions whose hosts a listing asks for at once, and how long it waits for all of them.
const COUNTED_AT_ONCE: usize = 16;
const COUNTING_MAX: Duration = Duration::from_secs(3);

/// The owner's functions, with the hosts that live. This node knows those of the functions that it
/// hosts or has lately called; for the others it asks, as far as there is time.
async fn counted(node: &Arc<Node>) -> Result<Vec<(Arc<Record>, u16)>, ApiError> {
    let mut functions = listed(node).await?;
    let unknown = functions.iter().enumerate().filter(|(_, (_, hosts))| *hosts == 0);
    let unknown: Vec<_> = unknown.map(|(at, (record, _))| (at, record.function)).collect();
    let asking = futures::stream::iter(unknown).map(|(at, function)| async move {
        match ask(node, Ask::Hosts(function)).await {
            Event::Hosts { hosts, .. } => (at, hosts.len() as u16),
            _ => (at, 0),
        }
    });
    let mut answers = std::pin::pin!(asking.buffer_unordered(COUNTED_AT_ONCE));
    let counting = async {
        while let Some((at, hosts)) = answers.next().await {
            functions[at].1 = hosts;
        }
    };
    // Whoever lists would rather have most of the numbers soon than all of them late.
    let _ = tokio::time::timeout(COUNTING_MAX, counting).await;
    Ok(functions)
}

/// The owner's functions, with the hosts known to live.
async fn listed(node: &Arc<Node>) -> Result<Vec<(Arc<Record>, u16)>, ApiError> {
    match ask(node, Ask::List).await {
        Event::Listed(functions) => Ok(functions),
        Event::Failed(failure) => Err(ApiError::from_failure(&failure, "functions")),
        other => Err(unexpected(&other)),
    }
}

async fn current(
    node: &Arc<Node>,
    function: &FunctionRef,
) -> Result<Option<(Arc<Record>, u16)>, ApiError> {
    let all = listed(node).await?;
    Ok(all.into_iter().find(|(record, _)| record.function == function.key))
}

/// `GET /system/functions`.
pub(super) async fn list(
    State(node): State<Arc<Node>>,
    request: Request,
) -> Result<Response, ApiError> {
    match parameter(&request, "namespace").as_deref() {
        None | Some("" | DEFAULT_NAMESPACE) => {}
        Some(namespace) if keys::parse_owner(namespace) == Some(node.owner) => {}
        Some(namespace) => {
            let why = format!(
                "namespace: {namespace:?} is not this node's owner, whose functions alone can be \
                 listed here: leave it out, or ask one of that owner's nodes"
            );
            return Err(ApiError::bad(why));
        }
    }
    let mut functions: Vec<Value> = Vec::new();
    for (record, available) in counted(&node).await? {
        functions.extend(status(&node, &record, available));
    }
    functions.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    Ok(answer(StatusCode::OK, &functions))
}

/// `FunctionStatus`, with more; `None` for a tombstone.
fn status(node: &Node, record: &Record, available: u16) -> Option<Value> {
    let details = record::details(record);
    let what = details.what?;
    let namespace = if details.owner == node.owner {
        DEFAULT_NAMESPACE.to_owned()
    } else {
        keys::owner_text(&details.owner)
    };
    let digest = format!("sha256:{}", hex(&what.digest.0));
    Some(json!({
        "name": details.name,
        "image": format!("wasm:{digest}"),
        "namespace": namespace,
        "envVars": what.env,
        "constraints": what.constraints,
        "labels": what.labels,
        "annotations": what.annotations,
        "limits": { "memory": what.memory_bytes.to_string() },
        "replicas": what.replicas.0,
        "availableReplicas": available,
        "createdAt": rfc3339(details.version),
        "owner": keys::owner_text(&details.owner),
        "version": details.version,
        "digest": digest,
        "size_bytes": what.size,
        "replicas_max": what.replicas.1,
        "timeout_ms": what.timeout.as_millis() as u64,
        "idempotent": what.idempotent,
        "expires_ms": details.expires_ms,
    }))
}

/// `POST /system/functions`: a function that is not there yet.
pub(super) async fn create(
    State(node): State<Arc<Node>>,
    request: Request,
) -> Result<Response, ApiError> {
    deploy(&node, request, false).await
}

/// `PUT /system/functions`: a function that is there.
pub(super) async fn update(
    State(node): State<Arc<Node>>,
    request: Request,
) -> Result<Response, ApiError> {
    deploy(&node, request, true).await
}

async fn deploy(node: &Arc<Node>, request: Request, replace: bool) -> Result<Response, ApiError> {
    let deployment: Deployment = document(node, request, DOCUMENT_BYTES_MAX).await?;
    let digest = image_digest(&deployment.image)?;
    // Read whole: what is signed must be so, and a damaged file is no module.
    let size = node.modules.sound_size(&digest).await;
    let (function, what) = deployment.read(node, size.unwrap_or(0))?;
    let before = current(node, &function).await?;
    match (&before, replace) {
        (None, true) => return Err(ApiError::not_found(&function.name)),
        (Some(_), false) => {
            let why = format!("functions \"{}\" already exists", function.name);
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "exists", why));
        }
        _ => {}
    }
    if size.is_none() {
        let digest = crate::bytes32::hex(&digest.0);
        let why = format!("image: module sha256:{digest} is not here; PUT it to /modules first");
        return Err(ApiError::bad(why));
    }
    // Better heard here than from every peer that would have fetched it.
    modules::check(node, digest).await?;
    let seen = before.map_or(0, |(record, _)| record.version);
    publish(node, &function, seen, what).await
}

/// Signs a version that replaces `seen`, and has the core place it.
async fn publish(
    node: &Arc<Node>,
    function: &FunctionRef,
    seen: u64,
    what: What,
) -> Result<Response, ApiError> {
    let version = node.next_version(seen);
    let digest = format!("sha256:{}", hex(&what.digest.0));
    let replicas = what.replicas.0;
    let details = Details {
        name: function.name.clone(),
        owner: node.owner,
        version,
        expires_ms: clock::unix_ms() + record::LIFE_MS,
        what: Some(what),
    };
    let record = record::sign(&details, &node.owner_key)
        .map_err(|error| ApiError::bad(format!("it does not fit into a record: {error}")))?;
    match ask(node, Ask::Deploy(record)).await {
        Event::Deployed { hosts, declined } => {
            let declined: Vec<Value> = declined
                .into_iter()
                .map(|(peer, why)| {
                    json!({ "peer_id": peer.to_string(), "reason": crate::notes::reason(why) })
                })
                .collect();
            let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
            let deployed = json!({
                "name": function.name, "version": version, "digest": digest,
                "replicas": replicas, "hosts": hosts, "declined": declined,
            });
            Ok(answer(StatusCode::ACCEPTED, &deployed))
        }
        Event::NotPlaced(declined) => Err(not_placed(&function.name, &declined)),
        Event::Failed(failure) => Err(ApiError::from_failure(&failure, &function.name)),
        other => Err(unexpected(&other)),
    }
}

/// OpenFaaS's `DeleteFunctionRequest`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Deletion {
    function_name: String,
    namespace: Option<String>,
}

/// `DELETE /system/functions`.
pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    request: Request,
) -> Result<Response, ApiError> {
    let beside = parameter(&request, "namespace");
    let Deletion { function_name, namespace } =
        document(&node, request, DOCUMENT_BYTES_MAX).await?;
    let function = own(&node, &function_name, namespace.or(beside).as_deref())?;
    let Some((before, _)) = current(&node, &function).await? else {
        return Err(ApiError::not_found(&function.name));
    };
    let details = Details {
        name: function.name.clone(),
        owner: node.owner,
        version: node.next_version(before.version),
        // So long a node that was away may bring the removed version back.
        expires_ms: before.expires.unix_ms(),
        what: None,
    };
    let tombstone = record::sign(&details, &node.owner_key)
        .map_err(|error| ApiError::bad(error.to_string()))?;
    match ask(&node, Ask::Remove(tombstone)).await {
        Event::Removed => {
            let removed = json!({ "name": function.name, "version": details.version });
            Ok(answer(StatusCode::ACCEPTED, &removed))
        }
        Event::Failed(failure) => Err(ApiError::from_failure(&failure, &function.name)),
        other => Err(unexpected(&other)),
    }
}

/// `GET /system/function/{name}`.
pub(super) async fn describe(
    State(node): State<Arc<Node>>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let namespace = parameter(&request, "namespace");
    let function = resolve(&node, &name, namespace.as_deref())?;
    let own = match current(&node, &function).await? {
        None if function.owner == node.owner => return Err(ApiError::not_found(&name)),
        own => own.filter(|(_, hosts)| *hosts > 0),
    };
    let found = match own {
        Some(own) => Some(own),
        None => match ask(&node, Ask::Hosts(function.key)).await {
            Event::Hosts { record, hosts, .. } => Some((record, hosts.len() as u16)),
            Event::Failed(failure) => return Err(ApiError::from_failure(&failure, &name)),
            other => return Err(unexpected(&other)),
        },
    };
    let status = found.and_then(|(record, available)| status(&node, &record, available));
    status.map(|status| answer(StatusCode::OK, &status)).ok_or_else(|| ApiError::not_found(&name))
}

/// OpenFaaS's `ScaleServiceRequest`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Scaling {
    service_name: Option<String>,
    replicas: u64,
    namespace: Option<String>,
}

/// `POST /system/scale-function/{name}`.
pub(super) async fn scale(
    State(node): State<Arc<Node>>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let beside = parameter(&request, "namespace");
    let scaling: Scaling = document(&node, request, DOCUMENT_BYTES_MAX).await?;
    if scaling.service_name.is_some_and(|other| !other.is_empty() && other != name) {
        return Err(ApiError::bad("serviceName is not the function in the path"));
    }
    let wanted = u16::try_from(scaling.replicas).ok();
    let wanted = wanted.filter(|n| (1..=record::REPLICAS_MAX).contains(n)).ok_or_else(|| {
        ApiError::bad(format!("replicas: {} is not 1..{}", scaling.replicas, record::REPLICAS_MAX))
    })?;
    let function = own(&node, &name, scaling.namespace.or(beside).as_deref())?;
    let before = current(&node, &function).await?;
    let details = before.map(|(record, _)| record::details(&record));
    let Some(Details { version, what: Some(mut what), .. }) = details else {
        return Err(ApiError::not_found(&name));
    };
    what.replicas = (wanted, wanted.max(what.replicas.1));
    publish(&node, &function, version, what).await
}

/// `GET /system/info`.
pub(super) async fn info() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    answer(
        StatusCode::OK,
        &json!({
            "provider": {
                "provider": "peerless", "orchestration": "peerless",
                "version": { "sha": "", "release": version },
            },
            "version": { "sha": "", "release": version },
            "arch": std::env::consts::ARCH,
        }),
    )
}

/// `GET /system/namespaces`.
pub(super) async fn namespaces() -> Response {
    answer(StatusCode::OK, &[DEFAULT_NAMESPACE]).into_response()
}
