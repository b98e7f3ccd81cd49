//! OpenFaaS's `/system`: the owner's functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::StatusCode;
use peerless_core::{Event, Record, Request as Ask};
use serde::Deserialize;
use serde_json::{Value, json};

use super::modules::parse_digest;
use super::{
    ApiError, DEFAULT_NAMESPACE, DOCUMENT_BYTES_MAX, FunctionRef, answer, document, not_placed,
    parameter, resolve, unexpected,
};
use crate::asks::ask;
use crate::bytes32::hex;
use crate::clock;
use crate::keys;
use crate::node::Node;
use crate::record::{self, Details, What};
use crate::units::{parse_duration, parse_size};

/// How long a record lives unless it is renewed.
const LIFE_MS: u64 = 90 * 86_400_000;
const MEMORY_BYTES: u64 = 128 << 20;
const TIMEOUT: Duration = Duration::from_mins(1);
const REPLICAS: (u16, u16) = (3, 5);

/// Functions whose hosts a listing asks for at once, and how long it waits for all of them.
const COUNTED_AT_ONCE: usize = 16;
const COUNTING_MAX: Duration = Duration::from_secs(3);

/// Annotations that say what OpenFaaS has no field for.
const REPLICAS_ANNOTATION: &str = "peerless.replicas";
const TIMEOUT_ANNOTATION: &str = "peerless.timeout";
const IDEMPOTENT_ANNOTATION: &str = "peerless.idempotent";

/// OpenFaaS's `FunctionDeployment`. What has no meaning here must be empty.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Deployment {
    service: String,
    image: String,
    namespace: Option<String>,
    env_process: Option<String>,
    env_vars: Option<BTreeMap<String, String>>,
    constraints: Option<Vec<String>>,
    secrets: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    limits: Option<Resources>,
    requests: Option<Resources>,
    /// A guest has no file system at all.
    #[serde(rename = "readOnlyRootFilesystem")]
    _read_only_root_filesystem: Option<bool>,
    /// Deprecated by OpenFaaS.
    #[serde(rename = "registryAuth")]
    _registry_auth: Option<String>,
    /// Deprecated by OpenFaaS.
    #[serde(rename = "network")]
    _network: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    memory: Option<String>,
    cpu: Option<String>,
}

impl Deployment {
    fn read(self, node: &Node, size: u64) -> Result<(FunctionRef, What), ApiError> {
        let function = own(node, &self.service, self.namespace.as_deref())?;
        refuse("envProcess", self.env_process.as_deref().unwrap_or(""))?;
        refuse("secrets", &self.secrets.unwrap_or_default().join(","))?;
        if let Some(requests) = self.requests {
            refuse("requests.memory", requests.memory.as_deref().unwrap_or(""))?;
            refuse("requests.cpu", requests.cpu.as_deref().unwrap_or(""))?;
        }
        let limits = self.limits.unwrap_or(Resources { memory: None, cpu: None });
        refuse("limits.cpu", limits.cpu.as_deref().unwrap_or(""))?;
        let memory = limits.memory.filter(|text| !text.is_empty());
        let memory_bytes = memory.map_or(Ok(MEMORY_BYTES), |text| parse_size(&text));
        let memory_bytes =
            memory_bytes.map_err(|why| ApiError::bad(format!("limits.memory: {why}")))?;
        let labels = self.labels.unwrap_or_default();
        let annotations = self.annotations.unwrap_or_default();
        let constraints = self.constraints.unwrap_or_default();
        if let Some(bad) = constraints.iter().find(|label| !record::is_label(label)) {
            return Err(ApiError::bad(format!("constraints: {bad:?} is not KEY=VALUE")));
        }
        if constraints.len() > record::CONSTRAINTS_MAX {
            return Err(ApiError::bad("constraints: there are too many"));
        }
        let what = What {
            digest: image_digest(&self.image)?,
            size,
            timeout: timeout(&annotations)?,
            replicas: replicas(&annotations, &labels)?,
            idempotent: idempotent(&annotations)?,
            memory_bytes,
            env: self.env_vars.unwrap_or_default(),
            labels,
            annotations,
            constraints,
        };
        Ok((function, what))
    }
}

fn refuse(field: &str, value: &str) -> Result<(), ApiError> {
    if value.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad(format!("{field}: WebAssembly modules have no use for it")))
}

fn image_digest(image: &str) -> Result<peerless_core::Digest, ApiError> {
    image.strip_prefix("wasm:").and_then(parse_digest).ok_or_else(|| {
        ApiError::bad(format!("image: {image:?} is not wasm:sha256:HEX of a module put here"))
    })
}

fn timeout(annotations: &BTreeMap<String, String>) -> Result<Duration, ApiError> {
    let Some(text) = annotations.get(TIMEOUT_ANNOTATION) else {
        return Ok(TIMEOUT);
    };
    let timeout = parse_duration(text)
        .map_err(|why| ApiError::bad(format!("{TIMEOUT_ANNOTATION}: {why}")))?;
    if timeout.is_zero() || timeout > Duration::from_hours(24) {
        let why = format!("{TIMEOUT_ANNOTATION}: {text:?} is not between 1ms and 24h");
        return Err(ApiError::bad(why));
    }
    Ok(timeout)
}

/// Ours, else OpenFaaS's labels, else the default.
fn replicas(
    annotations: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> Result<(u16, u16), ApiError> {
    let check = |key: &str, text: &str, range: Option<(u16, u16)>| {
        range
            .filter(|(min, max)| 1 <= *min && min <= max && *max <= record::REPLICAS_MAX)
            .ok_or_else(|| ApiError::bad(format!("{key}: {text:?} is not MIN..MAX")))
    };
    if let Some(text) = annotations.get(REPLICAS_ANNOTATION) {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let range = min.parse().ok().zip(max.parse().ok());
        return check(REPLICAS_ANNOTATION, text, range);
    }
    let (min_key, max_key) = ("com.openfaas.scale.min", "com.openfaas.scale.max");
    let (min, max) = (labels.get(min_key), labels.get(max_key));
    if min.is_none() && max.is_none() {
        return Ok(REPLICAS);
    }
    let number = |text: Option<&String>, default| text.map_or(Some(default), |t| t.parse().ok());
    let min_number: Option<u16> = number(min, 1);
    let max_number = number(max, min_number.unwrap_or(1).max(REPLICAS.1));
    let text = format!("{min:?}..{max:?}");
    check(min_key, &text, min_number.zip(max_number))
}

fn idempotent(annotations: &BTreeMap<String, String>) -> Result<Option<bool>, ApiError> {
    match annotations.get(IDEMPOTENT_ANNOTATION).map(String::as_str) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => {
            let why = format!("{IDEMPOTENT_ANNOTATION}: {other:?} is neither true nor false");
            Err(ApiError::bad(why))
        }
    }
}

/// A function that this node's owner may change.
fn own(node: &Node, name: &str, namespace: Option<&str>) -> Result<FunctionRef, ApiError> {
    let function = resolve(node, name, namespace).map_err(|_| {
        ApiError::bad(format!(
            "service: {name:?} is no function's name: a-z, 0-9 and -, at most 63 characters"
        ))
    })?;
    if function.owner != node.owner {
        let why = format!("{name} is another owner's");
        return Err(ApiError::new(StatusCode::FORBIDDEN, "not-owner", why));
    }
    Ok(function)
}

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
            let why = format!("the functions of {namespace} cannot be listed from here");
            return Err(ApiError::new(StatusCode::NOT_FOUND, "not-found", why));
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

/// Milliseconds since the Unix epoch as RFC 3339 in UTC; days to dates as Howard Hinnant does it.
fn rfc3339(ms: u64) -> String {
    let (days, second) = (ms / 86_400_000, ms / 1000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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
    let deployment: Deployment = document(request, DOCUMENT_BYTES_MAX).await?;
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
        expires_ms: clock::unix_ms() + LIFE_MS,
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
    let Deletion { function_name, namespace } = document(request, DOCUMENT_BYTES_MAX).await?;
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
    Path(name): Path<String>,
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
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let beside = parameter(&request, "namespace");
    let scaling: Scaling = document(request, DOCUMENT_BYTES_MAX).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696_000, "2000-02-29T12:34:56Z"),
            (1_795_392_000_000, "2026-11-23T00:00:00Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }

    #[test]
    fn replicas_are_ours_or_openfaas_s() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let none = map(&[]);
        assert_eq!(replicas(&none, &none).unwrap(), (3, 5));
        assert_eq!(replicas(&map(&[(REPLICAS_ANNOTATION, "2..4")]), &none).unwrap(), (2, 4));
        assert_eq!(replicas(&none, &map(&[("com.openfaas.scale.min", "2")])).unwrap(), (2, 5));
        assert_eq!(replicas(&none, &map(&[("com.openfaas.scale.min", "9")])).unwrap(), (9, 9));
        assert!(replicas(&map(&[(REPLICAS_ANNOTATION, "0")]), &none).is_err());
    }
}
