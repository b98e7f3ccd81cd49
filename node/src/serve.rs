//! Calls that this node is asked to run: from arrival to the answer's last byte.
//!
//! ```text
//! serve       Arrived ─► core ─► Refuse ─► a refusal with this host's load
//!                             └► Run ─► the sandbox ─► RanHead ─► core ─► Respond ─► head and body
//!                                             └► RanEnd, when the guest has ended
//! ```
//!
//! A caller that hangs up, before or while the body passes, is `Gone`; so is one that takes nothing
//! of the body for `call_stall`, for then the network drops it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::StreamBody;
use peerless_core::{Call, Input, Load, Name, Refusal, Stay, Tag, Time};
use peerless_net::{Body, BoxError, CallHandler, PeerKey};
use peerless_wasm::{Canceller, Failure, Head, Running};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::calls::lock;
use crate::clock::span;
use crate::headers;
use crate::id::NodeId;
use crate::node::Node;

/// Calls and runs under way here.
#[derive(Default)]
pub(crate) struct Served {
    last: AtomicU64,
    calls: Mutex<HashMap<Call, Serving>>,
    jobs: Mutex<HashMap<Tag, Canceller>>,
}

/// One call that arrived.
struct Serving {
    /// Taken when it runs.
    request: Option<http::Request<Body>>,
    /// What the guest answered, until the core says that it may go out.
    answer: Option<Answer>,
    verdict: oneshot::Sender<http::Response<Body>>,
}

/// A guest's answer.
enum Answer {
    Response(http::Response<Body>),
    /// The sandbox could not even start it: another host may.
    NotStarted,
}

/// Takes other nodes' calls.
pub(crate) struct Host(pub(crate) std::sync::OnceLock<Arc<Node>>);

impl CallHandler for Host {
    fn call(
        &self,
        from: PeerKey,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, http::Response<Body>> {
        let Some(node) = self.0.get().cloned() else {
            return async { not_hosted() }.boxed();
        };
        serve(node, NodeId::new(from), request).boxed()
    }
}

/// Answers one call or fetch, another node's or our own.
pub(crate) async fn serve(
    node: Arc<Node>,
    from: NodeId,
    request: http::Request<Body>,
) -> http::Response<Body> {
    if request.headers().contains_key(headers::FETCH) {
        return crate::fetch::give(&node, from, request.headers()).await;
    }
    let Some((function, left)) = headers::get_call(request.headers()) else {
        return plain(StatusCode::BAD_REQUEST, "neither a call nor a fetch");
    };
    let call = node.served.last.fetch_add(1, Ordering::Relaxed) + 1;
    let (verdict, decided) = oneshot::channel();
    let serving = Serving { request: Some(request), answer: None, verdict };
    lock(&node.served.calls).insert(call, serving);
    let mut caller = Caller { node: node.clone(), call, waits: false };
    node.tell(Input::Arrived { call, from, function, left: span(left) }).await;
    // Before that the core knows of no caller that could be gone.
    caller.waits = true;
    match decided.await {
        Ok(response) if headers::get_refusal(response.headers()).is_some() => {
            caller.waits = false;
            response
        }
        Ok(response) => {
            // Nobody asks an empty body for its end.
            caller.waits = !response.body().is_end_stream();
            response.map(|body| peerless_net::body(Watched { body, caller: Some(caller) }))
        }
        Err(_) => not_hosted(),
    }
}

fn plain(status: StatusCode, text: &'static str) -> http::Response<Body> {
    let mut response = http::Response::new(peerless_net::full(text));
    *response.status_mut() = status;
    response
}

/// Says `Gone` when the caller hangs up before it has the whole answer.
struct Caller {
    node: Arc<Node>,
    call: Call,
    waits: bool,
}

impl Drop for Caller {
    fn drop(&mut self) {
        lock(&self.node.served.calls).remove(&self.call);
        if self.waits
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let gone = Input::Gone { call: self.call };
            // While the core is behind, such tasks wait in line with what arrives: there are no
            // more of them than inputs that were let in before.
            if let Err(TrySendError::Full(gone)) = self.node.inputs.try_send(gone) {
                let node = self.node.clone();
                runtime.spawn(async move { node.tell(gone).await });
            }
        }
    }
}

/// An answer's body on its way out.
struct Watched {
    body: Body,
    caller: Option<Caller>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let ended = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        if ended && let Some(mut caller) = self.caller.take() {
            caller.waits = false;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Served {
    /// [`Effect::Refuse`](peerless_core::Effect::Refuse).
    pub(crate) fn refuse(&self, call: Call, why: Refusal, load: &Load) {
        if let Some(serving) = lock(&self.calls).remove(&call) {
            let _ = serving.verdict.send(refusal(why, load));
        }
    }

    /// [`Effect::Respond`](peerless_core::Effect::Respond).
    pub(crate) fn respond(&self, call: Call, load: &Load, stay: Stay) {
        let Some(serving) = lock(&self.calls).remove(&call) else {
            return;
        };
        let response = match serving.answer {
            Some(Answer::Response(mut response)) => {
                headers::set_load(response.headers_mut(), load);
                headers::set_stay(response.headers_mut(), stay);
                response
            }
            Some(Answer::NotStarted) | None => refusal(Refusal::Busy, load),
        };
        let _ = serving.verdict.send(response);
    }

    /// [`Effect::Cancel`](peerless_core::Effect::Cancel).
    pub(crate) fn cancel(&self, job: Tag) {
        if let Some(canceller) = lock(&self.jobs).get(&job) {
            canceller.cancel();
        }
    }

    /// Runs that have not ended.
    pub(crate) fn running(&self) -> usize {
        lock(&self.jobs).len()
    }
}

fn refusal(why: Refusal, load: &Load) -> http::Response<Body> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "refused");
    headers::set_refusal(response.headers_mut(), why);
    headers::set_load(response.headers_mut(), load);
    response
}

/// A node that is starting, or going down, hosts nothing: the caller goes elsewhere.
fn not_hosted() -> http::Response<Body> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "not up");
    headers::set_refusal(response.headers_mut(), Refusal::NotHosted);
    response
}

/// [`Effect::Run`](peerless_core::Effect::Run): starts the guest, then reports on it.
pub(crate) fn run(
    node: &Arc<Node>,
    job: Tag,
    call: Call,
    (function, version): (Name, u64),
    deadline: Time,
) {
    let request =
        lock(&node.served.calls).get_mut(&call).and_then(|serving| serving.request.take());
    let head_only = request.as_ref().is_some_and(|request| request.method() == http::Method::HEAD);
    let started = request.and_then(|request| {
        node.functions.start(&function, version, request, node.clock.until(deadline))
    });
    let node = node.clone();
    if let Some(running) = &started {
        lock(&node.served.jobs).insert(job, running.canceller());
    }
    tokio::spawn(async move {
        match started {
            Some(running) => report(&node, job, call, running, head_only).await,
            // The caller left in the meantime, or the version was replaced.
            None => answer(&node, job, call, Answer::NotStarted).await,
        }
        lock(&node.served.jobs).remove(&job);
        node.tell(Input::RanEnd { job }).await;
    });
}

async fn report(node: &Node, job: Tag, call: Call, mut running: Running, head_only: bool) {
    let head = running.head().await;
    let (body, end) = running.split();
    match head {
        Ok(head) => {
            let body = if head_only {
                // A guest whose output nobody takes would hold its slot to the deadline.
                drop(body);
                peerless_net::empty()
            } else {
                let frames = body.map(|chunk| chunk.map(Frame::data));
                peerless_net::body(StreamBody::new(frames))
            };
            answer(node, job, call, Answer::Response(response(head, body))).await;
        }
        Err(Failure::NotStarted(why)) => {
            tracing::warn!(why, "the sandbox could not start a call");
            answer(node, job, call, Answer::NotStarted).await;
        }
        Err(failure) => {
            let response = failed(node, &failure);
            answer(node, job, call, Answer::Response(response)).await;
        }
    }
    let report = end.await;
    if let Err(failure) = &report.outcome {
        let said = String::from_utf8_lossy(&report.stderr);
        tracing::debug!(call, %failure, stderr = %said, "a call ended badly");
    }
}

async fn answer(node: &Node, job: Tag, call: Call, answer: Answer) {
    if let Some(serving) = lock(&node.served.calls).get_mut(&call) {
        serving.answer = Some(answer);
    }
    node.tell(Input::RanHead { job }).await;
}

fn response(head: Head, body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    headers::strip(response.headers_mut());
    if let Some(bytes) = head.body_bytes
        && !matches!(head.status.as_u16(), 204 | 304)
    {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, bytes.into());
    }
    response
}

/// A failure of the function, or of its limits, as its caller sees it.
fn failed(node: &Node, failure: &Failure) -> http::Response<Body> {
    let (status, code) = match failure {
        Failure::Memory => (StatusCode::INTERNAL_SERVER_ERROR, "memory"),
        Failure::Deadline => (StatusCode::GATEWAY_TIMEOUT, "deadline"),
        Failure::Trapped(_) => (StatusCode::INTERNAL_SERVER_ERROR, "trapped"),
        Failure::Output => (StatusCode::INTERNAL_SERVER_ERROR, "output"),
        Failure::Malformed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "malformed-output"),
        Failure::Exited(_) => (StatusCode::INTERNAL_SERVER_ERROR, "exited"),
        Failure::Input(_) => (StatusCode::BAD_REQUEST, "body-broke-off"),
        Failure::Cancelled => (StatusCode::INTERNAL_SERVER_ERROR, "cancelled"),
        Failure::NotStarted(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-started"),
    };
    let hop = format!("host {}", node.me);
    crate::api::error_body(status, code, &format!("the function failed: {failure}"), &hop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its caller must not take the answer for the function's.
    #[tokio::test]
    async fn a_node_that_is_starting_refuses() {
        let host = Host(std::sync::OnceLock::new());
        let answer = host.call([1; 32], http::Request::new(peerless_net::empty())).await;
        assert_eq!(headers::get_refusal(answer.headers()), Some(Refusal::NotHosted));
    }
}
