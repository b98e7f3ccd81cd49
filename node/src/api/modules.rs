//! Modules, up and down.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;
use peerless_core::Digest;
use serde_json::json;

use super::{ApiError, answer};
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
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::bad(format!("the body broke off: {error}")))?;
        if let Some(data) = frame.data_ref() {
            if first && !data.starts_with(&b"\0asm"[..data.len().min(4)]) {
                return Err(ApiError::bad("the body is no WebAssembly module"));
            }
            first &= data.is_empty();
            writer.write(data).await.map_err(|error| refused(&error))?;
        }
    }
    if first {
        return Err(ApiError::bad("the body is no WebAssembly module: it is empty"));
    }
    let (digest, size) = writer.finish(None).await.map_err(|error| refused(&error))?;
    let digest = format!("sha256:{}", hex(&digest.0));
    Ok(answer(StatusCode::OK, &json!({ "digest": digest, "size_bytes": size })))
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
    Path(digest): Path<String>,
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
