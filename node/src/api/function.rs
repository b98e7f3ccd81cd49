//! `/function/{name}[/path][?query]`: one call, any method, streaming both ways.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Limited, StreamBody};
use peerless_core::{Event, Failure, Request as Ask};
use peerless_net::Body as NetBody;

use super::{ApiError, auth, resolve, unexpected};
use crate::asks::Asking;
use crate::calls::{Answer, Once, Outgoing, Source};
use crate::clock::span;
use crate::headers;
use crate::id::NodeId;
use crate::node::Node;
use crate::units::parse_duration;

/// A body that is kept for another attempt.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// How long a body of unknown length may take before it is streamed instead of kept: long enough
/// for any that lies ready, too short to be noticed.
const KEEPING_TIME: Duration = Duration::from_millis(100);

const PREFIX: &str = "/function/";

/// Every path that no other route has.
pub(super) async fn function(
    State(node): State<Arc<Node>>,
    request: Request,
) -> Result<Response, ApiError> {
    let no_route = || {
        let why = format!("there is nothing at {}", request.uri().path());
        ApiError::new(StatusCode::NOT_FOUND, "not-found", why)
    };
    let rest = request.uri().path().strip_prefix(PREFIX).ok_or_else(no_route)?;
    let (name, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let name = name.to_owned();
    let path = target(path, request.uri().query())?;
    if !is_offered(request.method()) {
        let why = format!("{} is no method for functions", request.method());
        return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", why));
    }
    let function = resolve(&node, &name, None)?;
    let cap = node.settings.limits.call_timeout_max;
    let time = timeout(request.headers())?.map_or(cap, |time| time.min(cap));
    let call_id = call_id(request.headers())?;
    let idempotent = request.headers().contains_key("idempotency-key");
    let bodiless = request.method() == Method::HEAD;
    // The time runs from here, whether or not the body comes.
    let deadline = node.clock.now() + span(time);
    let (mut parts, body) = request.into_parts();
    if auth::carries_credentials(&node, &parts.headers) {
        // They are for this gateway: a function has no business with them.
        parts.headers.remove(header::AUTHORIZATION);
    }
    let late = || ApiError::from_failure(&Failure::Late, &name);
    let kept = tokio::time::timeout(time, keep(&node, body)).await;
    let (source, kept) = kept.map_err(|_| late())??;
    let outgoing = Outgoing {
        method: parts.method,
        path,
        headers: forwarded(parts.headers, &call_id),
        source,
    };
    let mut asking = Asking::new(&node);
    node.calls.prepare(asking.ticket, outgoing);
    asking.ask(Ask::Call { function: function.key, deadline, kept, idempotent }).await;
    match asking.event().await {
        Event::Head { attempt, host, attempts } => {
            let Some(Answer::Stream(response)) = node.calls.take(attempt) else {
                let why = "the answer was lost";
                return Err(ApiError::new(StatusCode::BAD_GATEWAY, "cut", why));
            };
            Ok(pass_on(asking, response, &host, attempts, &call_id, bodiless))
        }
        Event::Failed(failure) => Err(ApiError::from_failure(&failure, &name)),
        other => Err(unexpected(&other)),
    }
}

/// OpenFaaS's list.
fn is_offered(method: &Method) -> bool {
    let offered = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::HEAD,
    ];
    offered.contains(method)
}

/// What the function sees as its path and query.
fn target(path: &str, query: Option<&str>) -> Result<Uri, ApiError> {
    let path = if path.is_empty() { "/" } else { path };
    let text = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    text.parse().map_err(|_| ApiError::bad(format!("{text:?} is no path")))
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(headers::TIMEOUT) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| ApiError::bad("X-Timeout is no text"))?;
    parse_duration(text).map(Some).map_err(|why| ApiError::bad(format!("X-Timeout: {why}")))
}

/// The caller's own, or a random UUID.
fn call_id(headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    if let Some(given) = headers.get(headers::CALL_ID) {
        if given.len() > 128 || given.to_str().is_err() {
            return Err(ApiError::bad("X-Call-Id is longer than 128 characters, or no text"));
        }
        return Ok(given.clone());
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "random", error.to_string())
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crate::bytes32::hex(&bytes);
    let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    Ok(headers::text(&uuid))
}

/// The user's headers, as the function shall see them.
pub(super) fn forwarded(mut given: HeaderMap, call_id: &HeaderValue) -> HeaderMap {
    headers::strip(&mut given);
    if let Some(host) = given.get(header::HOST).cloned() {
        given.entry(HeaderName::from_static("x-forwarded-host")).or_insert(host);
    }
    // It was answered by this gateway already.
    given.remove(header::EXPECT);
    given.insert(headers::CALL_ID, call_id.clone());
    let start = format!("{}000000", crate::clock::unix_ms());
    given.insert(headers::START_TIME, headers::text(&start));
    given
}

/// Takes a body that is short and comes soon; any other is streamed to whichever attempt first
/// begins to read it.
async fn keep(node: &Node, body: Body) -> Result<(Source, bool), ApiError> {
    let (max, idle) = (node.settings.limits.body_bytes_max, node.settings.limits.body_idle);
    let known = body.size_hint().exact();
    if known.zip(max).is_some_and(|(size, max)| size > max) {
        return Err(too_large(max.unwrap_or(0)));
    }
    let mut body = match max {
        Some(max) => peerless_net::body(Limited::new(body, max as usize)),
        None => peerless_net::body(body),
    };
    if known.is_some_and(|size| size > KEPT_BYTES_MAX as u64) {
        return Ok((Source::Once(Once::new(body)), false));
    }
    let mut kept = BytesMut::new();
    let patience = if known.is_some() { idle } else { KEEPING_TIME };
    match tokio::time::timeout(patience, read(&mut body, &mut kept)).await {
        Ok(Ok(true)) => Ok((Source::Kept(kept.freeze()), true)),
        // Whoever announces a body and sends nothing of it only holds a connection.
        Err(_) if known.is_some() && kept.is_empty() => Err(ApiError::silent(idle)),
        Ok(Ok(false)) | Err(_) => {
            Ok((Source::Once(Once::new(rejoined(kept.freeze(), body))), false))
        }
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(too_large(max.unwrap_or(0)))
        }
        Ok(Err(error)) => Err(ApiError::bad(format!("the body broke off: {error}"))),
    }
}

fn too_large(max: u64) -> ApiError {
    let why = format!("a body may have at most {max} bytes here");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", why)
}

/// Reads a body up to what is kept; whether that was all.
async fn read(body: &mut NetBody, kept: &mut BytesMut) -> Result<bool, peerless_net::BoxError> {
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            kept.extend_from_slice(data);
        }
        if kept.len() > KEPT_BYTES_MAX {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What was read, and the rest behind it.
fn rejoined(read: Bytes, rest: NetBody) -> NetBody {
    let first = (!read.is_empty()).then(|| Ok(Frame::data(read)));
    let frames = futures::stream::unfold((first, rest), |(first, mut rest)| async move {
        if let Some(first) = first {
            return Some((first, (None, rest)));
        }
        let frame = rest.frame().await?;
        Some((frame, (None, rest)))
    });
    peerless_net::body(StreamBody::new(frames))
}

/// The host's answer, with what only the gateway knows. The request ends with its body.
fn pass_on(
    asking: Asking,
    response: http::Response<NetBody>,
    host: &NodeId,
    attempts: u16,
    call_id: &HeaderValue,
    bodiless: bool,
) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(headers::HOST, headers::text(&host.to_string()));
    parts.headers.insert(headers::ATTEMPTS, attempts.into());
    parts.headers.entry(headers::CALL_ID).or_insert_with(|| call_id.clone());
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let left = if bodiless || matches!(parts.status.as_u16(), 204 | 304) {
        Some(0)
    } else {
        length.and_then(|value| value.to_str().ok()?.parse().ok())
    };
    let mut held = Held { body, asking: Some(asking), left };
    held.count(0);
    Response::from_parts(parts, Body::new(held))
}

/// An answer's body that keeps its request alive: a user who hangs up cancels it.
struct Held {
    body: NetBody,
    asking: Option<Asking>,
    /// Bytes that are still to come, where that is known: a server stops reading when it has them.
    left: Option<u64>,
}

impl Held {
    fn count(&mut self, bytes: usize) {
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
        if self.left == Some(0)
            && let Some(asking) = self.asking.take()
        {
            asking.finish();
        }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = peerless_net::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            std::task::Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.count(bytes);
            }
            std::task::Poll::Ready(None) => {
                self.left = Some(0);
                self.count(0);
            }
            std::task::Poll::Ready(Some(Err(_))) | std::task::Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
