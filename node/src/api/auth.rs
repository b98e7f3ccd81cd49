//! Who may use what guards the node: HTTP Basic credentials, where the operator set some, and no
//! page of another site, which a browser on this machine would let speak to loopback.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use super::ApiError;
use crate::bytes32::{sha256, unbase64};
use crate::node::Node;

/// Lets a request through if it carries the credentials, or if there are none to carry.
pub(super) async fn check(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        let why = "a page of another site may not use this API";
        return ApiError::new(StatusCode::FORBIDDEN, "origin", why).into_response();
    }
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

/// Whether a browser says that another site's page asks.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    site.is_none_or(|(_, site)| text(header::HOST) != Some(site))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_speaks_to_its_own_host_alone() {
        let headers = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:8080".parse().unwrap());
            if !origin.is_empty() {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            headers
        };
        assert!(!is_foreign(&headers("")));
        assert!(!is_foreign(&headers("http://127.0.0.1:8080")));
        assert!(is_foreign(&headers("http://127.0.0.1:9090")));
        assert!(is_foreign(&headers("https://example.org")));
        assert!(is_foreign(&headers("null")));
    }
}
