//! The inbound side: streams of requests, within quotas.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::AsyncWriteExt as _;
use libp2p::Stream;
use tokio::{
    sync::{mpsc::error::TrySendError, oneshot},
    time::timeout,
};

use crate::{
    Answer, Event, Kind, Reply, call,
    conn::{Conn, Lease, Place, Protocol},
    frame::{self, FrameError},
    shared::{Shared, count},
};

/// Refusals that may be under way to one peer; further streams are dropped without a word.
const REFUSING_MAX: usize = 32;

/// Time for a refusal to be written.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes a negotiated inbound stream; runs in the connection's task, so it only spawns.
pub(crate) fn accept(shared: &Arc<Shared>, conn: &Arc<Conn>, stream: Stream, protocol: Protocol) {
    let max = shared.limits.inbound_streams_max;
    let in_rate = conn.remote.account.stream();
    let place = Place::take(&conn.remote, |remote| &remote.streams, max);
    let (Some(place), true, Some(_)) = (place, in_rate, shared.up()) else {
        return match protocol {
            Protocol::Kad | Protocol::Peer => refuse_apart(shared, conn, stream, frame::REFUSAL),
            Protocol::Call => refuse_call(shared, conn, stream),
        };
    };
    let server = Server { shared: shared.clone(), conn: conn.clone() };
    match protocol {
        Protocol::Kad => drop(tokio::spawn(server.serve(stream, Kind::Kad, place))),
        Protocol::Peer => drop(tokio::spawn(server.serve(stream, Kind::Peer, place))),
        Protocol::Call => call::serve(shared, conn, stream, place),
    }
}

/// Refuses a call stream: every call on it was not sent.
pub(crate) fn refuse_call(shared: &Arc<Shared>, conn: &Arc<Conn>, stream: Stream) {
    refuse_apart(shared, conn, stream, frame::CALL_REFUSAL);
}

/// Refuses a stream that is over its quota, in a task of its own.
fn refuse_apart(
    shared: &Arc<Shared>,
    conn: &Arc<Conn>,
    mut stream: Stream,
    refusal: &'static [u8],
) {
    refused(shared, conn);
    match Place::take(&conn.remote, |remote| &remote.refusing, REFUSING_MAX) {
        Some(place) => drop(tokio::spawn(async move {
            refuse(&mut stream, refusal).await;
            drop(place);
        })),
        None => count(&shared.counts.streams_dropped),
    }
}

/// Counts a refusal.
fn refused(shared: &Shared, conn: &Conn) {
    count(&shared.counts.requests_refused);
    shared.refused(conn);
}

async fn refuse(stream: &mut Stream, refusal: &[u8]) {
    let write = async {
        stream.write_all(refusal).await?;
        stream.close().await
    };
    let _ = timeout(REFUSAL_TIMEOUT, write).await;
}

struct Server {
    shared: Arc<Shared>,
    conn: Arc<Conn>,
}

impl Server {
    /// Serves a stream's requests one after another until it ends, fails or breaks a rule.
    async fn serve(self, mut stream: Stream, kind: Kind, _place: Place) {
        let mut first = true;
        while let Some(body) = self.hear(&mut stream, kind, first).await {
            first = false;
            let _lease = Lease::new(&self.conn);
            let limits = &self.shared.limits;
            let waiting = Place::take(
                &self.conn.remote,
                |remote| &remote.in_flight,
                limits.requests_in_flight_max,
            );
            let (Some(_waiting), true) = (waiting, self.conn.remote.account.request()) else {
                refused(&self.shared, &self.conn);
                return refuse(&mut stream, frame::REFUSAL).await;
            };
            match self.ask(kind, body).await {
                Some(Answer::Body(body)) => {
                    let max = self.shared.frame_max(kind);
                    let body = if body.len() > max { Bytes::new() } else { body };
                    let write = frame::write(&mut stream, &body);
                    let Ok(Ok(())) = timeout(limits.frame_timeout, write).await else {
                        return;
                    };
                }
                Some(Answer::Refuse) => return refuse(&mut stream, frame::REFUSAL).await,
                Some(Answer::Malformed) => {
                    count(&self.shared.counts.frames_malformed);
                    return self.shared.strike(&self.conn);
                }
                None => {}
            }
        }
    }

    /// The next request's body; `None` when the stream is over, for whatever reason.
    async fn hear(&self, stream: &mut Stream, kind: Kind, first: bool) -> Option<Bytes> {
        let counts = &self.shared.counts;
        let patience = self.shared.limits.frame_timeout;
        let Ok(begun) = timeout(patience, frame::begin(stream)).await else {
            if first {
                count(&counts.frames_late);
            }
            return None;
        };
        let byte = begun.ok()??;
        let max = self.shared.frame_max(kind);
        let fault = match timeout(patience, frame::finish(stream, byte, max)).await {
            Ok(Ok(body)) if !body.is_empty() => return Some(body),
            Ok(Ok(_) | Err(FrameError::Malformed)) => &counts.frames_malformed,
            Ok(Err(FrameError::Oversize)) => &counts.frames_oversize,
            Ok(Err(FrameError::Io)) => return None,
            Err(_) => &counts.frames_late,
        };
        count(fault);
        self.shared.strike(&self.conn);
        None
    }

    /// Hands a request to the node and waits for what it answers.
    async fn ask(&self, kind: Kind, body: Bytes) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        let from = self.conn.remote.key;
        let event = Event::Request { from, kind, body, reply: Reply(reply) };
        let up = self.shared.up()?;
        match up.events.try_send(event) {
            Ok(()) => count(&self.shared.counts.requests_heard),
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                count(&self.shared.counts.requests_refused);
                return Some(Answer::Refuse);
            }
        }
        drop(up);
        let limit = self.shared.limits.answer_timeout;
        timeout(limit, answer).await.ok()?.ok()
    }
}
