//! The HTTP API: OpenFaaS's routes and ours.

mod auth;
mod body;
mod deployment;
mod error;
mod function;
mod manycall;
mod modules;
mod network;
mod server;
mod system;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Path, Request};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use http::request::Parts;
use http::{StatusCode, header};
use peerless_core::{Name, Owner};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::keys;
use crate::node::Node;
use crate::record;

use body::{document, read_body};
use error::{ApiError, not_placed, of_failure, unexpected};

pub(crate) use error::error_body;
pub(crate) use manycall::fuzz_items;
pub(crate) use network::own_addresses;
pub(crate) use server::serve;

/// OpenFaaS's default namespace: here it means this node's owner.
const DEFAULT_NAMESPACE: &str = "openfaas-fn";
/// A JSON document of anything but a manycall.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Bytes of all manycalls' JSON documents and their results together; see [`Node::documents`].
pub(crate) const DOCUMENTS_BYTES_MAX: usize = 512 << 20;
/// Modules that are read into memory to be checked at once; further ones wait.
pub(crate) const CHECKS_MAX: usize = 2;

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
        .route("/network/drain", post(network::drain))
        .method_not_allowed_fallback(no_such_method)
        .route_layer(middleware::from_fn_with_state(node.clone(), auth::check));
    Router::new()
        .merge(guarded)
        .route("/healthz", any(|| async { "OK" }))
        .fallback(function::function)
        .with_state(node.clone())
}

/// A path that is there, for other methods.
async fn no_such_method(request: Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    let why = format!("{path} is not there for {method}");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", why)
}

/// The one variable segment of a route's path.
struct Segment(String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(error) => Err(ApiError::bad(format!("{}: {error}", parts.uri.path()))),
        }
    }
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
