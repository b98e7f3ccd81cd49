//! The HTTP API: OpenFaaS's routes and ours.

mod auth;
mod function;
mod manycall;
mod modules;
mod network;
mod server;
mod system;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use http::{HeaderValue, StatusCode, header};
use peerless_core::{Decline, Event, Failure, Name, Owner};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;

use crate::id::NodeId;
use crate::keys;
use crate::node::Node;
use crate::record;

pub(crate) use network::own_addresses;
pub(crate) use server::serve;

/// OpenFaaS's default namespace: here it means this node's owner.
const DEFAULT_NAMESPACE: &str = "openfaas-fn";
/// A JSON document of anything but a manycall.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Peers whose reasons not to host a function are named.
const REASONS_MAX: usize = 16;

/// All routes.
fn router(node: &Arc<Node>) -> Router {
    let guarded = Router::new()
        .route("/modules", put(modules::put))
        .route("/modules/{digest}", get(modules::get))
        .route(
            "/system/functions",
            get(system::list).post(system::create).put(system::update).delete(system::remove),
        )
        .route("/system/function/{name}", get(system::describe))
        .route("/system/scale-function/{name}", post(system::scale))
        .route("/system/info", get(system::info))
        .route("/system/namespaces", get(system::namespaces))
        .route("/manycall/{function}", post(manycall::manycall))
        .route("/network/status", get(network::status))
        .route("/network/peers", get(network::peers))
        .route("/network/functions/{name}/hosts", get(network::hosts))
        .route("/network/events", get(network::events))
        .route_layer(middleware::from_fn_with_state(node.clone(), auth::check));
    Router::new()
        .merge(guarded)
        .route("/healthz", any(|| async { "OK" }))
        .fallback(function::function)
        .with_state(node.clone())
}

/// Why a request fails, as its user sees it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    error: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> Self {
        Self { status, code, error: error.into() }
    }

    fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", error)
    }

    fn not_found(function: &str) -> Self {
        let error = format!("error finding function {function}");
        Self::new(StatusCode::NOT_FOUND, "not-found", error)
    }

    /// What the core says of a request for `function`.
    fn from_failure(failure: &Failure, function: &str) -> Self {
        let (status, code) = of_failure(failure);
        let error = match failure {
            Failure::Unknown => return Self::not_found(function),
            Failure::Incomplete { answered, of } => format!(
                "only {answered} of the {of} nodes that would know {function} answered; \
                 it may exist"
            ),
            Failure::NoHost => format!("no host of {function} can be reached"),
            Failure::Overloaded => format!("every host of {function} is too busy"),
            Failure::MayHaveStarted => {
                format!("{function} may have been started, and is not said to be idempotent")
            }
            Failure::Cut => format!("the answer of {function} broke off"),
            Failure::Late => format!("{function} did not answer before the deadline"),
            Failure::OutOfAttempts => format!("every attempt to run {function} failed"),
            Failure::Cancelled => "cancelled".to_owned(),
            Failure::Superseded { version } => {
                format!("version {version} of {function} is known, which is newer")
            }
            Failure::NotKept => "this node's store failed".to_owned(),
            Failure::NoHolder => {
                format!("none of the nodes closest to {function} keeps its record")
            }
            Failure::TooMany => "this node has too many requests under way".to_owned(),
        };
        Self::new(status, code, error)
    }
}

/// Status and code of what the core says.
fn of_failure(failure: &Failure) -> (StatusCode, &'static str) {
    match failure {
        Failure::Unknown => (StatusCode::NOT_FOUND, "not-found"),
        Failure::Incomplete { .. } => (StatusCode::SERVICE_UNAVAILABLE, "lookup-incomplete"),
        Failure::NoHost => (StatusCode::SERVICE_UNAVAILABLE, "no-host"),
        Failure::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
        Failure::MayHaveStarted => (StatusCode::BAD_GATEWAY, "may-have-started"),
        Failure::Cut => (StatusCode::BAD_GATEWAY, "cut"),
        Failure::Late => (StatusCode::GATEWAY_TIMEOUT, "deadline"),
        Failure::OutOfAttempts => (StatusCode::BAD_GATEWAY, "out-of-attempts"),
        Failure::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "cancelled"),
        Failure::Superseded { .. } => (StatusCode::CONFLICT, "superseded"),
        Failure::NotKept => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
        Failure::NoHolder => (StatusCode::SERVICE_UNAVAILABLE, "no-holder"),
        Failure::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"),
    }
}

/// No peer hosts a function: the reasons, by peer.
fn not_placed(function: &str, declined: &[(NodeId, Decline)]) -> ApiError {
    let reasons = declined.iter().take(REASONS_MAX);
    let reasons = reasons.map(|(peer, why)| format!("{peer}: {}", crate::notes::reason(*why)));
    let reasons: Vec<String> = reasons.collect();
    let more = declined.len().saturating_sub(REASONS_MAX);
    let error = match (reasons.is_empty(), more) {
        (true, _) => format!("no peer took {function}: none could be asked"),
        (_, 0) => format!("no peer took {function}; {}", reasons.join("; ")),
        _ => format!("no peer took {function}; {}; and {more} more", reasons.join("; ")),
    };
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not-placed", error)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let response = error_body(self.status, self.code, &self.error, "gateway");
        response.map(Body::new)
    }
}

/// The one form of an error.
pub(crate) fn error_body(
    status: StatusCode,
    code: &str,
    error: &str,
    hop: &str,
) -> http::Response<peerless_net::Body> {
    let text = json!({ "error": error, "code": code, "hop": hop }).to_string();
    let mut response = http::Response::new(peerless_net::full(text));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).expect("our own values are JSON");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// A function as a user names it.
struct FunctionRef {
    /// Bare.
    name: String,
    owner: Owner,
    key: Name,
}

/// `NAME`, `NAME.openfaas-fn` or `NAME.OWNER`, perhaps with the namespace beside it. A bare name is
/// this node's owner's.
fn resolve(node: &Node, text: &str, namespace: Option<&str>) -> Result<FunctionRef, ApiError> {
    let (name, inner) = text.rsplit_once('.').map_or((text, None), |(name, ns)| (name, Some(ns)));
    let owner = match inner.or(namespace.filter(|ns| !ns.is_empty())) {
        None | Some(DEFAULT_NAMESPACE) => node.owner,
        Some(owner) => keys::parse_owner(owner).ok_or_else(|| ApiError::not_found(text))?,
    };
    if !record::is_name(name) {
        return Err(ApiError::not_found(text));
    }
    let key = record::function_name(name, &owner);
    Ok(FunctionRef { name: name.to_owned(), owner, key })
}

/// Parameters of a query string, in their order.
fn parameters(request: &Request) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = request.uri().query().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn parameter(request: &Request, name: &str) -> Option<String> {
    parameters(request).into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// A JSON document of bounded size.
async fn document<T: serde::de::DeserializeOwned>(
    request: Request,
    max: usize,
) -> Result<T, ApiError> {
    let bytes = axum::body::to_bytes(request.into_body(), max).await.map_err(|error| {
        let cause = std::error::Error::source(&error);
        if cause.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
            let why = format!("the document has more than {max} bytes");
            return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", why);
        }
        ApiError::bad(format!("the body broke off: {error}"))
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::bad(format!("bad JSON: {error}")))
}

/// An event that should not have come to this request: a fault of ours, said as such.
fn unexpected(event: &Event<NodeId>) -> ApiError {
    tracing::error!(?event, "an event of another request");
    let why = "the node lost track of this request";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", why)
}
