//! What goes wrong, in the one form that every error has.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use peerless_core::{Decline, Event, Failure};
use serde_json::{Value, json};

use crate::id::NodeId;

/// Peers whose reasons not to host a function are named.
const REASONS_MAX: usize = 16;
/// Which hop speaks here.
const HOP: &str = "gateway";

/// Why a request fails, as its user sees it.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) error: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> Self {
        Self { status, code, error: error.into() }
    }

    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", error)
    }

    /// A limit of this node on what it does at once.
    pub(super) fn too_many(what: &str) -> Self {
        let why = format!("this node has too many {what} under way");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", why)
    }

    /// The client has sent nothing for too long.
    pub(super) fn silent(idle: std::time::Duration) -> Self {
        let idle = crate::units::show_duration(idle);
        let why = format!("nothing came of the request's body for {idle}");
        Self::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", why)
    }

    pub(super) fn not_found(function: &str) -> Self {
        let error = format!("error finding function {function}");
        Self::new(StatusCode::NOT_FOUND, "not-found", error)
    }

    /// What its user is told.
    pub(super) fn object(&self) -> Value {
        json!({ "error": self.error, "code": self.code, "hop": HOP })
    }

    /// What the core says of a request for `function`.
    pub(super) fn from_failure(failure: &Failure, function: &str) -> Self {
        let (status, code) = of_failure(failure);
        let error = match failure {
            Failure::Unknown => return Self::not_found(function),
            Failure::Incomplete { answered, of } => format!(
                "only {answered} of the {of} nodes that would know {function} answered; \
                 it may exist"
            ),
            Failure::NobodyThere => "nobody is there".to_owned(),
            Failure::NoHost => format!("no host of {function} can be reached"),
            Failure::Overloaded => format!("every host of {function} is too busy"),
            Failure::MayHaveStarted => {
                format!("{function} may have been started, and is not said to be idempotent")
            }
            Failure::Cut => format!("the answer of {function} broke off"),
            Failure::Late => format!("{function} did not answer before the deadline"),
            Failure::OutOfAttempts => format!("every attempt to run {function} failed"),
            Failure::NoQuorum => format!("too few hosts of {function} gave the same answer"),
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
pub(super) fn of_failure(failure: &Failure) -> (StatusCode, &'static str) {
    match failure {
        Failure::Unknown => (StatusCode::NOT_FOUND, "not-found"),
        Failure::Incomplete { .. } => (StatusCode::SERVICE_UNAVAILABLE, "lookup-incomplete"),
        Failure::NobodyThere => (StatusCode::BAD_GATEWAY, "nobody-there"),
        Failure::NoHost => (StatusCode::SERVICE_UNAVAILABLE, "no-host"),
        Failure::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
        Failure::MayHaveStarted => (StatusCode::BAD_GATEWAY, "may-have-started"),
        Failure::Cut => (StatusCode::BAD_GATEWAY, "cut"),
        Failure::Late => (StatusCode::GATEWAY_TIMEOUT, "deadline"),
        Failure::OutOfAttempts => (StatusCode::BAD_GATEWAY, "out-of-attempts"),
        Failure::NoQuorum => (StatusCode::BAD_GATEWAY, "no-quorum"),
        Failure::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "cancelled"),
        Failure::Superseded { .. } => (StatusCode::CONFLICT, "superseded"),
        Failure::NotKept => (StatusCode::INTERNAL_SERVER_ERROR, "store"),
        Failure::NoHolder => (StatusCode::SERVICE_UNAVAILABLE, "no-holder"),
        Failure::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"),
    }
}

/// No peer hosts a function: the reasons, by peer.
pub(super) fn not_placed(function: &str, declined: &[(NodeId, Decline)]) -> ApiError {
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
        let response = error_body(self.status, self.code, &self.error, HOP);
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

/// An event that should not have come to this request: a fault of ours, said as such.
pub(super) fn unexpected(event: &Event<NodeId>) -> ApiError {
    tracing::error!(?event, "an event of another request");
    let why = "the node lost track of this request";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", why)
}
