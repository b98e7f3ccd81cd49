//! HTTP Basic credentials, where the operator set some.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use crate::bytes32::{sha256, unbase64};
use crate::node::Node;

/// Lets a request through if it carries the credentials, or if there are none to carry.
pub(super) async fn check(
    State(node): State<Arc<Node>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(wanted) = &node.settings.credentials else {
        return next.run(request).await;
    };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| {
        let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
        unbase64(encoded.trim())
    });
    let expected = format!("{}:{}", wanted.user, wanted.password);
    // Hashes are compared, so that the time it takes says nothing of the password.
    if given.is_some_and(|given| sha256(&given) == sha256(expected.as_bytes())) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"Restricted\"")];
    (StatusCode::UNAUTHORIZED, challenge, "invalid credentials").into_response()
}
