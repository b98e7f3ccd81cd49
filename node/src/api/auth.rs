//! Who may use what guards the node: HTTP Basic credentials, where the operator set some, and no
//! page of another site, which a browser on this machine would let speak to loopback.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderMap, StatusCode, header};

use super::ApiError;
use crate::bytes32::{sha256, unbase64};
use crate::node::Node;

/// Lets a request through if it carries the credentials, or if there are none to carry.
pub(super) async fn check(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if is_foreign(headers) {
        let why = "a page of another site may not use this API";
        return ApiError::new(StatusCode::FORBIDDEN, "origin", why).into_response();
    }
    if node.settings.credentials.is_some() {
        if carries_credentials(&node, headers) {
            return next.run(request).await;
        }
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"Restricted\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "invalid credentials").into_response();
    }
    if node.settings.http.ip().is_loopback() && !is_local(headers) {
        let why = "Host: expected localhost or an IP address: without credentials this API is for \
                   this machine alone";
        return ApiError::new(StatusCode::FORBIDDEN, "host", why).into_response();
    }
    next.run(request).await
}

/// Whether a request carries the credentials that this node asks for.
pub(super) fn carries_credentials(node: &Node, headers: &HeaderMap) -> bool {
    let Some(wanted) = &node.settings.credentials else {
        return false;
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("Basic").then(|| unbase64(encoded.trim()))?
    });
    let expected = format!("{}:{}", wanted.user, wanted.password);
    // Hashes are compared, so that the time it takes says nothing of the password.
    given.is_some_and(|given| sha256(&given) == sha256(expected.as_bytes()))
}

/// Whether the request was meant for this machine. A page whose own name was made to lead to
/// loopback is no other site to the browser, but it names its site here.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
    })
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
    fn a_name_that_leads_to_loopback_is_not_this_machine() {
        let local = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_local(&headers)
        };
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "192.0.2.1"] {
            assert!(local(host), "{host}");
        }
        for host in ["example.org", "localhost.example.org:8080", "127.0.0.1.example.org", ""] {
            assert!(!local(host), "{host}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }

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
