//! Calls that this node makes for its users: bodies under ticket and item, answers under attempts.
//!
//! The core decides which attempt is made where and which one's answer counts. Here a dispatched
//! attempt is one task that sends the body, reports head and end, and keeps the answer until the
//! user's side takes it. Aborting it drops the task, which hangs up.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use peerless_core::{
    Digest, Effect, Ending, Event, Input, Load, Name, Refusal, Stay, Tag, Ticket, Time,
};
use peerless_net::{Body, BoxError, CallError};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::budget::{Budget, Share};
use crate::bytes32::sha256;
use crate::headers;
use crate::id::NodeId;
use crate::node::Node;

/// Frames of an answer's body between the network and the user.
const FRAMES_MAX: usize = 4;
/// The answer to one item; a larger one is an error of its own.
pub(crate) const RESULT_BYTES_MAX: usize = 16 << 20;

/// What is sent, whoever it is sent to.
pub(crate) struct Outgoing {
    pub(crate) method: http::Method,
    /// Path and query behind the function's name, beginning with `/`.
    pub(crate) path: http::Uri,
    pub(crate) headers: http::HeaderMap,
    pub(crate) source: Source,
}

/// Where an attempt's body comes from.
pub(crate) enum Source {
    /// Kept, for any number of attempts.
    Kept(Bytes),
    /// A stream, which can be read once.
    Once(Arc<Once>),
    /// Each item has its own.
    Items(Items),
}

/// A manycall's bodies, and how much its answers may take until they are written.
pub(crate) struct Items {
    pub(crate) bodies: Mutex<HashMap<u64, Bytes>>,
    /// Whether the core compares the answers of an item.
    pub(crate) compared: bool,
    pub(crate) results: Budget,
}

/// A body that is read once, by whichever attempt begins to.
pub(crate) struct Once(Mutex<OnceState>);

struct OnceState {
    body: Body,
    spent: bool,
}

impl Once {
    pub(crate) fn new(body: Body) -> Arc<Self> {
        Arc::new(Self(Mutex::new(OnceState { body, spent: false })))
    }

    fn lock(&self) -> MutexGuard<'_, OnceState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_spent(&self) -> bool {
        self.lock().spent
    }
}

/// One attempt's hold on a [`Once`].
struct OnceBody(Arc<Once>);

impl http_body::Body for OnceBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.0.lock();
        let polled = Pin::new(&mut state.body).poll_frame(context);
        state.spent |= matches!(polled, Poll::Ready(Some(_)));
        polled
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }
}

/// All calls under way.
#[derive(Default)]
pub(crate) struct Calls {
    outgoing: Mutex<HashMap<Ticket, Arc<Outgoing>>>,
    attempts: Mutex<HashMap<Tag, Attempt>>,
}

struct Attempt {
    ticket: Ticket,
    task: Option<AbortHandle>,
    answer: Option<Answer>,
    /// Its task has reported its end.
    ended: bool,
    /// Its user left; the core may still abort it.
    forgotten: bool,
}

/// What an attempt brought.
pub(crate) enum Answer {
    /// To a call: head, and the body as it comes.
    Stream(http::Response<Body>),
    /// To an item: all of it, and what it takes of its job's budget.
    Whole(Bytes, Share),
}

/// Whoever panicked while it held a lock left the maps here whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    /// Lays down what attempts of a ticket will send.
    pub(crate) fn prepare(&self, ticket: Ticket, outgoing: Outgoing) -> Arc<Outgoing> {
        let outgoing = Arc::new(outgoing);
        lock(&self.outgoing).insert(ticket, outgoing.clone());
        outgoing
    }

    /// Takes an attempt's answer, once.
    pub(crate) fn take(&self, attempt: Tag) -> Option<Answer> {
        lock(&self.attempts).get_mut(&attempt)?.answer.take()
    }

    /// Drops an attempt that is over and whose answer was taken.
    pub(crate) fn done(&self, attempt: Tag) {
        lock(&self.attempts).remove(&attempt);
    }

    /// The core has heard an answer that it compares with others: what it does not tell now it never
    /// does, and what waits for others takes no room.
    pub(crate) fn compared(&self, attempt: Tag, effects: &[Effect<NodeId>]) {
        let tells = |effect: &Effect<NodeId>| {
            matches!(effect, Effect::Tell(_, Event::Item { result: Ok(answered), .. })
                if answered.attempt == attempt)
        };
        if !effects.iter().any(tells) {
            self.done(attempt);
        }
    }

    /// The core gave an attempt up: its task ends, its stream is reset.
    pub(crate) fn abort(&self, attempt: Tag) {
        if let Some(Attempt { task: Some(task), .. }) = lock(&self.attempts).remove(&attempt) {
            task.abort();
        }
    }

    /// Drops all that is kept under a ticket. Answers that the user's side took stream on.
    pub(crate) fn forget(&self, ticket: Ticket) {
        if lock(&self.outgoing).remove(&ticket).is_some() {
            lock(&self.attempts).retain(|_, attempt| {
                if attempt.ticket == ticket {
                    (attempt.answer, attempt.forgotten) = (None, true);
                }
                attempt.ticket != ticket || !attempt.ended
            });
        }
    }

    fn ended(&self, attempt: Tag, how: Ending) {
        let mut attempts = lock(&self.attempts);
        if let Some(entry) = attempts.get_mut(&attempt) {
            entry.ended = true;
            if how != Ending::Complete || entry.forgotten {
                attempts.remove(&attempt);
            }
        }
    }

    fn put(&self, attempt: Tag, answer: Answer) {
        if let Some(attempt) = lock(&self.attempts).get_mut(&attempt) {
            attempt.answer = Some(answer);
        }
    }
}

/// One attempt that the core wants made.
pub(crate) struct Dispatch {
    pub(crate) attempt: Tag,
    pub(crate) ticket: Ticket,
    pub(crate) item: u64,
    pub(crate) to: NodeId,
    pub(crate) function: Name,
    pub(crate) deadline: Time,
}

/// Makes an attempt, in a task of its own.
pub(crate) fn dispatch(node: &Arc<Node>, dispatch: Dispatch) {
    let (attempt, ticket) = (dispatch.attempt, dispatch.ticket);
    let outgoing = lock(&node.calls.outgoing).get(&ticket).cloned();
    // The entry is there before the task is, so that an answer always finds its place.
    let entry = Attempt { ticket, task: None, answer: None, ended: false, forgotten: false };
    lock(&node.calls.attempts).insert(attempt, entry);
    let task = tokio::spawn(run(node.clone(), dispatch, outgoing)).abort_handle();
    if let Some(entry) = lock(&node.calls.attempts).get_mut(&attempt) {
        entry.task = Some(task);
    }
}

async fn run(node: Arc<Node>, dispatch: Dispatch, outgoing: Option<Arc<Outgoing>>) {
    let attempt = dispatch.attempt;
    let mut body = None;
    let how = match outgoing.as_ref().and_then(|out| Some((out, request(&node, &dispatch, out)?))) {
        Some((outgoing, request)) => make(&node, &dispatch, outgoing, request, &mut body).await,
        // The user left in the meantime.
        None => Ending::NotSent { spent: false },
    };
    node.calls.ended(attempt, how);
    node.tell(Input::Ended { attempt, how, body }).await;
}

fn request(node: &Node, dispatch: &Dispatch, out: &Outgoing) -> Option<http::Request<Body>> {
    let body = match &out.source {
        Source::Kept(bytes) => peerless_net::full(bytes.clone()),
        Source::Once(once) => peerless_net::body(OnceBody(once.clone())),
        Source::Items(items) => {
            peerless_net::full(lock(&items.bodies).get(&dispatch.item)?.clone())
        }
    };
    let mut request = http::Request::new(body);
    request.method_mut().clone_from(&out.method);
    request.uri_mut().clone_from(&out.path);
    request.headers_mut().clone_from(&out.headers);
    let left = node.clock.until(dispatch.deadline);
    headers::set_call(request.headers_mut(), &dispatch.function, left);
    Some(request)
}

async fn make(
    node: &Arc<Node>,
    dispatch: &Dispatch,
    outgoing: &Outgoing,
    request: http::Request<Body>,
    digest: &mut Option<Digest>,
) -> Ending {
    let spent = || matches!(&outgoing.source, Source::Once(once) if once.is_spent());
    let called = if dispatch.to == node.me {
        Ok(crate::serve::serve(node.clone(), node.me, request).await)
    } else {
        node.net().call(dispatch.to.key_bytes(), request).await
    };
    let response = match called {
        Ok(response) => response,
        Err(CallError::NotSent { why, .. }) => {
            tracing::debug!(host = %dispatch.to, why, "call not sent");
            return Ending::NotSent { spent: spent() };
        }
        // Nothing is known of the host: it counts as busy, not as away.
        Err(CallError::NoRoom { .. }) => {
            tracing::debug!(host = %dispatch.to, "no room for a call");
            return Ending::Refused { why: Refusal::Busy, load: None, spent: spent() };
        }
        Err(CallError::MayHaveStarted { why }) => {
            tracing::debug!(host = %dispatch.to, why, "call broke off");
            return Ending::MayHaveStarted;
        }
    };
    let load = headers::get_load(response.headers());
    let stay = headers::get_stay(response.headers());
    if let Some(why) = headers::get_refusal(response.headers()) {
        return Ending::Refused { why, load, spent: spent() };
    }
    match &outgoing.source {
        Source::Items(items) => {
            let collected = collect(node, dispatch.attempt, items, response, (load, stay)).await;
            *digest = collected.1;
            collected.0
        }
        Source::Kept(_) | Source::Once(_) => {
            stream(node, dispatch.attempt, response, (load, stay)).await
        }
    }
}

/// Passes an answer on as it comes; its head first.
async fn stream(
    node: &Node,
    attempt: Tag,
    response: http::Response<Body>,
    (load, stay): (Option<Load>, Option<Stay>),
) -> Ending {
    let (mut parts, mut body) = response.into_parts();
    headers::strip(&mut parts.headers);
    let status = parts.status.as_u16();
    let (frames, receiver) = mpsc::channel(FRAMES_MAX);
    let passed_on = Passed { frames: receiver, ended: false, size: body.size_hint() };
    let response = http::Response::from_parts(parts, peerless_net::body(passed_on));
    node.calls.put(attempt, Answer::Stream(response));
    node.tell(Input::Head { attempt, status, load, stay }).await;
    loop {
        let (passed, how) = match body.frame().await {
            Some(Ok(frame)) => (Pass::Frame(frame), None),
            Some(Err(error)) => (Pass::Cut(error), Some(Ending::Cut)),
            None => (Pass::End, Some(Ending::Complete)),
        };
        let taken = frames.send(passed).await.is_ok();
        match how {
            Some(how) => return how,
            None if !taken => return Ending::Cut,
            None => {}
        }
    }
}

/// Takes the whole answer to an item, then reports it, and what it is where that is compared. While the job's user reads slowly it is read
/// slowly, too, which in the end holds up the host.
async fn collect(
    node: &Node,
    attempt: Tag,
    items: &Items,
    response: http::Response<Body>,
    (load, stay): (Option<Load>, Option<Stay>),
) -> (Ending, Option<Digest>) {
    let (parts, mut body) = response.into_parts();
    let (mut status, mut whole) = (parts.status.as_u16(), BytesMut::new());
    let mut share = items.results.share();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return (Ending::Cut, None);
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if whole.len() + data.len() > RESULT_BYTES_MAX {
            status = 502;
            let why = format!("the result has more than {RESULT_BYTES_MAX} bytes");
            whole = BytesMut::from(why.as_bytes());
            break;
        }
        share.grow(data.len()).await;
        whole.extend_from_slice(data);
    }
    let digest = items.compared.then(|| Digest(sha256(&whole)));
    node.calls.put(attempt, Answer::Whole(whole.freeze(), share));
    node.tell(Input::Head { attempt, status, load, stay }).await;
    (Ending::Complete, digest)
}

/// What goes from an attempt's task to the user's body.
enum Pass {
    Frame(Frame<Bytes>),
    Cut(BoxError),
    End,
}

/// The user's side of an answer. A task that ended without a word was aborted: the body is cut.
struct Passed {
    frames: mpsc::Receiver<Pass>,
    ended: bool,
    size: SizeHint,
}

impl http_body::Body for Passed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(passed) = self.frames.poll_recv(context) else {
            return Poll::Pending;
        };
        Poll::Ready(match passed {
            Some(Pass::Frame(frame)) => Some(Ok(frame)),
            Some(Pass::End) => {
                self.ended = true;
                None
            }
            Some(Pass::Cut(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            None => {
                self.ended = true;
                Some(Err("the answer broke off".into()))
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        if self.ended { SizeHint::with_exact(0) } else { self.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_nobody_read_serves_another_attempt() {
        let once = Once::new(peerless_net::full("body"));
        drop(OnceBody(once.clone()));
        assert!(!once.is_spent());
        let read = OnceBody(once.clone()).collect().await.unwrap().to_bytes();
        assert_eq!(read, "body");
        assert!(once.is_spent());
    }

    #[tokio::test]
    async fn an_aborted_answer_is_cut_and_a_complete_one_ends() {
        let answer = || {
            let (frames, receiver) = mpsc::channel(FRAMES_MAX);
            (frames, Passed { frames: receiver, ended: false, size: SizeHint::default() })
        };
        let (frames, passed) = answer();
        frames.send(Pass::Frame(Frame::data("half".into()))).await.ok().unwrap();
        drop(frames);
        assert!(passed.collect().await.is_err());
        let (frames, passed) = answer();
        frames.send(Pass::Frame(Frame::data("whole".into()))).await.ok().unwrap();
        frames.send(Pass::End).await.ok().unwrap();
        drop(frames);
        assert_eq!(passed.collect().await.unwrap().to_bytes(), "whole");
    }
}
