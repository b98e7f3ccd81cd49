//! Calls: HTTP/2 over one long-lived stream for each peer in use.
//!
//! libp2p's Yamux can stand still when both ends write a whole window without reading. HTTP/2 reads
//! whatever it has to write, with three exceptions: h2 stops reading while an answer to a PING, an
//! acknowledgement of SETTINGS or a refusal waits for a writer that is blocked. Two honest ends do
//! not meet there: neither sends a PING or new SETTINGS under way, and a refusal only answers a
//! peer that went over its number of calls before it knew it. 64 calls each way at once, of 8 MiB
//! up and down each, pass (`large_bodies_cross`). Two ends that do stand still are cut off when a
//! write has waited for [`Limits::call_stall`].

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, Response, Uri, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http2::SendRequest},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use libp2p::Stream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    Body, CallError, Limits, Net, PeerKey, body, clock,
    conn::{Conn, Lease, OpenError, Place, Protocol},
    flow::{Flow, Guarded, Held, Outgoing, Paced},
    muxer::Portion,
    request::{self, Stage},
    serve,
    shared::{Shared, count, lock},
    wire::Wire,
};

/// Bytes of an HTTP/2 frame: more would only be split again by Yamux and Noise.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of one body that wait to be written, within what the peer's window has let through.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a call's head, decoded.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// HTTP/2 wants an authority; ours means nothing and is taken off again at the other end.
const AUTHORITY: &str = "peer";

/// The call streams that we keep, one for each peer in use.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    slots: Mutex<HashMap<PeerKey, Arc<Slot>>>,
    ids: AtomicU64,
}

/// One peer's place in the pool.
#[derive(Debug, Default)]
struct Slot {
    /// Locked while a stream is opened.
    kept: tokio::sync::Mutex<Kept>,
    /// Openings that failed.
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    client: Option<Client>,
    /// Why the last opening failed.
    failure: Option<NotOpened>,
}

/// Why there is no call stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotOpened {
    /// For want of a connection or stream of our own.
    NoRoom,
    Why(&'static str),
}

/// A hold on a peer's slot. The last one to go takes an empty slot out of the pool, however it
/// goes: a caller may be dropped while it opens a stream.
struct Seat<'a> {
    pool: &'a Pool,
    peer: PeerKey,
    slot: Arc<Slot>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut slots = lock(&self.pool.slots);
        let ours = slots.get(&self.peer).is_some_and(|slot| Arc::ptr_eq(slot, &self.slot));
        // Two: the pool's hold and this one. Nobody gets another while the pool is locked.
        let last = ours && Arc::strong_count(&self.slot) == 2;
        if last && self.slot.kept.try_lock().is_ok_and(|kept| kept.client.is_none()) {
            slots.remove(&self.peer);
        }
    }
}

/// A call stream in use.
#[derive(Clone, Debug)]
struct Client {
    id: u64,
    sender: SendRequest<Outgoing>,
    conn: Arc<Conn>,
    activity: Arc<Activity>,
}

impl Client {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.conn.is_evicted()
    }
}

/// When a call stream was last used.
#[derive(Debug)]
struct Activity {
    calls: AtomicUsize,
    last: Mutex<Instant>,
}

impl Activity {
    fn new() -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0), last: Mutex::new(clock::now()) })
    }

    /// How long from now on the stream may stay unused; `None` if that is over.
    fn left(&self, idle: Duration) -> Option<Duration> {
        if self.calls.load(SeqCst) > 0 {
            return Some(idle);
        }
        let left = idle.saturating_sub(clock::now().saturating_duration_since(*lock(&self.last)));
        (!left.is_zero()).then_some(left)
    }
}

/// A call under way: keeps its connection and stream from being idle. Dropping it hangs up.
struct Ongoing {
    activity: Arc<Activity>,
    _lease: Lease,
    _hang_up: oneshot::Sender<Infallible>,
}

impl Ongoing {
    fn new(client: &Client, hang_up: oneshot::Sender<Infallible>) -> Self {
        client.activity.calls.fetch_add(1, SeqCst);
        Self {
            activity: client.activity.clone(),
            _lease: Lease::new(&client.conn),
            _hang_up: hang_up,
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        *lock(&self.activity.last) = clock::now();
        self.activity.calls.fetch_sub(1, SeqCst);
    }
}

impl Pool {
    pub(crate) async fn call(
        &self,
        net: &Net,
        to: &PeerKey,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, CallError> {
        let uri = match absolute(&request) {
            Ok(absolute) => std::mem::replace(request.uri_mut(), absolute),
            Err(why) => return Err(not_sent(Some(request), why)),
        };
        // The body is the caller's again whenever nothing of the request has left.
        let restored = |mut request: Request<Outgoing>| {
            *request.uri_mut() = uri.clone();
            request.map(|outgoing| outgoing.body)
        };
        let (mut hang_up, hung_up) = oneshot::channel();
        let mut request = request.map(|body| Outgoing { body, hung_up });
        loop {
            let (mut client, fresh) = match self.client(net, to).await {
                Ok(client) => client,
                Err(NotOpened::Why(why)) => return Err(not_sent(Some(restored(request)), why)),
                Err(NotOpened::NoRoom) => {
                    let request = Box::new(restored(request));
                    return Err(CallError::NoRoom { request });
                }
            };
            let ongoing = Ongoing::new(&client, hang_up);
            let mut error = match client.sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(response.map(|incoming| body(Held::new(incoming, ongoing))));
                }
                Err(error) => error,
            };
            self.forget(to, client.id);
            let Some(unsent) = error.take_message() else {
                return Err(classify(error));
            };
            if fresh {
                return Err(not_sent(Some(restored(unsent)), "call stream closed"));
            }
            // The kept stream had been closed: nothing was sent, so a new one may be tried.
            (hang_up, request) = again(unsent);
        }
    }

    /// A usable call stream to a peer, and whether it is new.
    async fn client(&self, net: &Net, to: &PeerKey) -> Result<(Client, bool), NotOpened> {
        let slot = lock(&self.slots).entry(*to).or_default().clone();
        let seat = Seat { pool: self, peer: *to, slot };
        let slot = &seat.slot;
        let failures = slot.failures.load(SeqCst);
        let mut kept = slot.kept.lock().await;
        if let Some(client) = kept.client.as_ref().filter(|client| client.is_usable()) {
            return Ok((client.clone(), false));
        }
        // Whoever waited for an opening that failed has its answer: else many calls to a peer that
        // is away would dial it one after another, each for the whole timeout.
        if slot.failures.load(SeqCst) != failures
            && let Some(failure) = kept.failure
        {
            return Err(failure);
        }
        kept.client = None;
        let opened = self.open(net, to).await;
        kept.client = opened.as_ref().ok().cloned();
        kept.failure = opened.as_ref().err().copied();
        if kept.failure.is_some() {
            slot.failures.fetch_add(1, SeqCst);
        }
        opened.map(|client| (client, true))
    }

    async fn open(&self, net: &Net, to: &PeerKey) -> Result<Client, NotOpened> {
        let stage = Stage::default();
        let opening = request::open(net, to, Protocol::Call, &stage);
        let limits = &net.shared.limits;
        let opening = tokio::time::timeout(limits.dial_timeout + limits.open_timeout, opening);
        let Ok(opened) = opening.await else {
            let away = NotOpened::Why("no call stream in time");
            return Err(if stage.is_ours() { NotOpened::NoRoom } else { away });
        };
        let opened = opened.map_err(|error| match error {
            OpenError::NoRoom => NotOpened::NoRoom,
            _ => NotOpened::Why("peer could not be reached"),
        })?;
        let memory = net.shared.memory.hold(limits.calls_window_bytes as usize);
        let (sender, connection) = client_builder(limits)
            .handshake(Wire::new(opened.stream, limits.call_stall))
            .await
            .map_err(|_| NotOpened::Why("no call stream"))?;
        let id = self.ids.fetch_add(1, Relaxed);
        let activity = Activity::new();
        let conn = opened.conn;
        let client = Client { id, sender, conn: conn.clone(), activity: activity.clone() };
        let keeper = Keeper {
            shared: Arc::downgrade(&net.shared),
            conn,
            id,
            activity,
            idle: limits.call_idle,
            _place: opened.place,
            _memory: memory,
        };
        tokio::spawn(keeper.keep(connection));
        Ok(client)
    }

    /// Drops a client from the pool, unless it was replaced already.
    fn forget(&self, peer: &PeerKey, id: u64) {
        let Some(slot) = lock(&self.slots).get(peer).cloned() else {
            return;
        };
        let seat = Seat { pool: self, peer: *peer, slot };
        // A held lock means that somebody is replacing the client at this moment.
        if let Ok(mut kept) = seat.slot.kept.try_lock()
            && kept.client.as_ref().is_some_and(|client| client.id == id)
        {
            kept.client = None;
        }
    }

    pub(crate) fn clear(&self) {
        lock(&self.slots).clear();
    }
}

/// Runs a call stream until it fails or has been idle for long enough.
struct Keeper {
    shared: Weak<Shared>,
    conn: Arc<Conn>,
    id: u64,
    activity: Arc<Activity>,
    idle: Duration,
    _place: OwnedSemaphorePermit,
    _memory: Portion,
}

impl Keeper {
    async fn keep<F: Future>(self, connection: F) {
        {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                _ = &mut connection => true,
                () = self.unused() => false,
                () = self.conn.evicted() => false,
            };
            if let Some(shared) = self.shared.upgrade() {
                shared.pool.forget(&self.conn.remote.key, self.id);
            }
            // With its last sender gone, the connection says goodbye and ends.
            if !ended {
                connection.await;
            }
        }
        self.conn.wake();
    }

    async fn unused(&self) {
        while let Some(left) = self.activity.left(self.idle) {
            tokio::time::sleep(left).await;
        }
    }
}

fn client_builder(limits: &Limits) -> hyper::client::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits.call_window_bytes)
        .initial_connection_window_size(limits.calls_window_bytes)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX);
    builder
}

/// Serves a peer's call stream in tasks of its own.
pub(crate) fn serve(shared: &Arc<Shared>, conn: &Arc<Conn>, stream: Stream, place: Place) {
    let limits = &shared.limits;
    let calls = Place::take(&conn.remote, |remote| &remote.call_streams, limits.call_streams_max);
    let memory = shared.memory.take(limits.calls_window_bytes as usize, true);
    let (Some(calls), Some(memory)) = (calls, memory) else {
        return serve::refuse_call(shared, conn, stream);
    };
    let small = Arc::new(Flow::default());
    let guarded = Guarded { shared: shared.clone(), small: small.clone() };
    let mut builder = hyper::server::conn::http2::Builder::new(guarded);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(limits.calls_in_flight_max)
        .initial_stream_window_size(limits.call_window_bytes)
        .initial_connection_window_size(limits.calls_window_bytes)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX);
    let service = {
        let (shared, conn) = (shared.clone(), conn.clone());
        service_fn(move |request| answer(shared.clone(), conn.clone(), request))
    };
    let serving = builder.serve_connection(Wire::new(stream, limits.call_stall), service);
    let (shared, conn) = (shared.clone(), conn.clone());
    tokio::spawn(async move {
        let served = {
            let mut serving = std::pin::pin!(serving);
            let serve = async {
                tokio::select! {
                    served = &mut serving => served,
                    () = conn.evicted() => {
                        serving.as_mut().graceful_shutdown();
                        serving.await
                    }
                }
            };
            tokio::select! {
                served = serve => served,
                () = small.stalled(shared.limits.call_stall) => {
                    count(&shared.counts.calls_stalled);
                    Ok(())
                }
            }
        };
        if served.is_err_and(|error| is_violation(&error)) {
            count(&shared.counts.calls_malformed);
            shared.strike(&conn);
        }
        drop((place, calls, memory));
        conn.wake();
    });
}

/// Whether HTTP/2 ended for what the peer sent, rather than for the stream's end or our own.
fn is_violation(error: &hyper::Error) -> bool {
    let mut below = std::error::Error::source(error);
    while let Some(error) = below {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_library();
        }
        below = error.source();
    }
    false
}

/// A node on its way down says in HTTP/2's words that it never looked at the call.
async fn answer(
    shared: Arc<Shared>,
    conn: Arc<Conn>,
    request: Request<Incoming>,
) -> Result<Response<Paced>, h2::Error> {
    let lease = Lease::new(&conn);
    let max = shared.limits.calls_in_flight_max as usize;
    let place = Place::take(&conn.remote, |remote| &remote.calls, max);
    let (Some(place), true) = (place, conn.remote.account.call()) else {
        count(&shared.counts.calls_refused);
        shared.refused(&conn);
        return Err(h2::Reason::REFUSED_STREAM.into());
    };
    let Some(up) = shared.up() else {
        return Err(h2::Reason::REFUSED_STREAM.into());
    };
    count(&shared.counts.calls_heard);
    let (mut parts, incoming) = request.into_parts();
    let path = parts.uri.path_and_query().cloned();
    parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let request = Request::from_parts(parts, body(incoming));
    let response = up.calls.call(conn.remote.key, request).await;
    Ok(response.map(|body| Paced::new(body, Some((lease, place)))))
}

/// The URI that HTTP/2 wants.
fn absolute(request: &Request<Body>) -> Result<Uri, &'static str> {
    if request.method() == Method::CONNECT {
        return Err("CONNECT is no call");
    }
    let path = request.uri().path_and_query().cloned();
    Uri::builder()
        .scheme("http")
        .authority(AUTHORITY)
        .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
        .map_err(|_| "path does not fit HTTP/2")
}

fn not_sent(request: Option<Request<Body>>, why: impl Into<String>) -> CallError {
    CallError::NotSent { request: request.map(Box::new), why: why.into() }
}

/// An unsent request with a new end to hang up by.
fn again(request: Request<Outgoing>) -> (oneshot::Sender<Infallible>, Request<Outgoing>) {
    let (hang_up, hung_up) = oneshot::channel();
    (hang_up, request.map(|outgoing| Outgoing { hung_up, ..outgoing }))
}

/// Tells a request that the peer says it never looked at from one that it may have begun.
fn classify(error: TrySendError<Request<Outgoing>>) -> CallError {
    let error = error.into_error();
    let mut why = error.to_string();
    let mut below = std::error::Error::source(&error);
    let mut refused = false;
    while let Some(error) = below {
        why = format!("{why}: {error}");
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let reset = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            // h2 reports a GOAWAY on streams past the last one that the peer processed, alone.
            refused |= error.is_remote() && (reset || error.is_go_away());
        }
        below = error.source();
    }
    if refused { not_sent(None, why) } else { CallError::MayHaveStarted { why } }
}
