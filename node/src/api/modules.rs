//! Modules, up and down.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use peerless_core::Digest;
use peerless_wasm::CompileError;
use serde_json::json;

use super::body::piece;
use super::{ApiError, Segment, answer};
use crate::bytes32::{hex, unhex32};
use crate::fetch;
use crate::modules::ModuleError;
use crate::node::Node;

/// `PUT /modules`.
pub(super) async fn put(
    State(node): State<Arc<Node>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut writer = node.modules.writer().await.map_err(|error| refused(&error))?;
    let mut body = request.into_body();
    let mut first = true;
    while let Some(data) = piece(&mut body, node.settings.limits.body_idle).await? {
        if first && !data.starts_with(&b"\0asm"[..data.len().min(4)]) {
            return Err(ApiError::bad("the body is no WebAssembly module"));
        }
        first &= data.is_empty();
        writer.write(&data).await.map_err(|error| refused(&error))?;
    }
    if first {
        return Err(ApiError::bad("the body is no WebAssembly module: it is empty"));
    }
    let (digest, size) = writer.finish(None).await.map_err(|error| refused(&error))?;
    let digest = format!("sha256:{}", hex(&digest.0));
    Ok(answer(StatusCode::OK, &json!({ "digest": digest, "size_bytes": size })))
}

/// Whether a module that is here can be run: it is compiled, which every host would have to do, and
/// what the compiler has against it is said.
pub(super) async fn check(node: &Node, digest: Digest) -> Result<(), ApiError> {
    let _place = node.checks.acquire().await.expect("it is never closed");
    let bytes = node.modules.read(&digest).await.map_err(|error| {
        let why = format!("cannot read the module: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "store", why)
    })?;
    let name = format!("wasm:sha256:{}", hex(&digest.0));
    match node.functions.compile(digest, bytes.into()).await {
        Ok(()) => Ok(()),
        Err(CompileError::Timeout(_) | CompileError::Failed(_)) if node.settings.slots == 0 => {
            // This machine hosts nothing; others may be quicker.
            Ok(())
        }
        Err(error @ (CompileError::Timeout(_) | CompileError::Failed(_))) => {
            let why = format!("image: {name}: {error}");
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "compiler", why))
        }
        Err(error) => {
            let why = format!("image: {name}: {error}");
            Err(ApiError::new(StatusCode::BAD_REQUEST, "bad-module", why))
        }
    }
}

fn refused(error: &ModuleError) -> ApiError {
    let (status, code) = match error {
        ModuleError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
        ModuleError::NoRoom { .. } => (StatusCode::INSUFFICIENT_STORAGE, "no-room"),
        ModuleError::Digest(_) | ModuleError::Broken(_) => (StatusCode::BAD_REQUEST, "bad-module"),
        ModuleError::File { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
    };
    ApiError::new(status, code, error.to_string())
}

/// `GET /modules/{digest}`.
pub(super) async fn get(
    State(node): State<Arc<Node>>,
    Segment(digest): Segment,
) -> Result<Response, ApiError> {
    let wanted = parse_digest(&digest)
        .ok_or_else(|| ApiError::bad(format!("{digest:?} is not sha256:HEX")))?;
    let found = fetch::stream(&node, &wanted).await;
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "not-found", "no such module here");
    Ok(found.ok_or_else(missing)?.map(Body::new))
}

/// `sha256:HEX`.
pub(super) fn parse_digest(text: &str) -> Option<Digest> {
    text.strip_prefix("sha256:").and_then(unhex32).map(Digest)
}
