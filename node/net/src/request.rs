//! The asking side of framed requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::AsyncWriteExt as _;
use libp2p::Stream;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::timeout,
};

use crate::{
    Kind, Net, PeerKey, RequestError,
    conn::{Conn, Lease, OpenError, Protocol},
    dial,
    driver::Command,
    frame::{self, FrameError},
    shared::count,
};

/// A stream that we opened, with what it holds.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) conn: Arc<Conn>,
    _lease: Lease,
    /// One of the peer's places for streams.
    pub(crate) place: OwnedSemaphorePermit,
}

/// Opens a stream to a peer, over the open connection or a new one.
///
/// A connection that turns out to be closed before the stream is negotiated is replaced once:
/// both sides close idle connections at will, so this happens in good health.
pub(crate) async fn open(net: &Net, to: &PeerKey, protocol: Protocol) -> Result<Opened, OpenError> {
    let mut last = false;
    loop {
        let conn = connect(net, to).await?;
        let lease = Lease::new(&conn);
        let place = conn.remote.places.clone().acquire_owned().await;
        let place = place.map_err(|_| OpenError::Unreached)?;
        match conn.open(protocol).await {
            Ok(stream) => {
                return Ok(Opened { stream, conn, _lease: lease, place });
            }
            Err(OpenError::Gone) if !last => {
                conn.evict();
                last = true;
            }
            Err(OpenError::Gone) => return Err(OpenError::Unreached),
            Err(error) => return Err(error),
        }
    }
}

async fn connect(net: &Net, to: &PeerKey) -> Result<Arc<Conn>, OpenError> {
    if let Some(conn) = net.shared.live(to) {
        return Ok(conn);
    }
    let known = net.shared.book().get(to);
    let addresses = dial::resolved(known, net.shared.limits.dial_timeout).await;
    let (done, dialled) = oneshot::channel();
    let command = Command::Connect { peer: *to, addresses, done };
    net.commands.send(command).await.map_err(|_| OpenError::Unreached)?;
    match dialled.await {
        Ok(Ok(_)) => net.shared.live(to).ok_or(OpenError::Unreached),
        _ => Err(OpenError::Unreached),
    }
}

impl From<Kind> for Protocol {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Kad => Self::Kad,
            Kind::Peer => Self::Peer,
        }
    }
}

pub(crate) async fn request(
    net: &Net,
    to: &PeerKey,
    kind: Kind,
    body: Bytes,
    limit: Duration,
) -> Result<Bytes, RequestError> {
    let sent = AtomicBool::new(false);
    let exchange = async {
        let mut opened = send(net, to, kind, &body, &sent).await?;
        receive(net, &mut opened, kind).await
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| late(&sent))
}

pub(crate) async fn notify(
    net: &Net,
    to: &PeerKey,
    kind: Kind,
    body: Bytes,
    limit: Duration,
) -> Result<(), RequestError> {
    let sent = AtomicBool::new(false);
    let exchange = async {
        let opened = send(net, to, kind, &body, &sent).await?;
        drop(opened);
        Ok(())
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| late(&sent))
}

/// Time is up: before the stream was open the peer was not reached, after it nobody knows.
fn late<T>(sent: &AtomicBool) -> Result<T, RequestError> {
    Err(if sent.load(Relaxed) { RequestError::TimedOut } else { RequestError::Unreached })
}

async fn send(
    net: &Net,
    to: &PeerKey,
    kind: Kind,
    body: &[u8],
    sent: &AtomicBool,
) -> Result<Opened, RequestError> {
    if body.len() > net.shared.frame_max(kind) {
        return Err(RequestError::TooLarge);
    }
    let mut opened = open(net, to, kind.into()).await.map_err(|error| match error {
        OpenError::Unsupported => RequestError::Unsupported,
        OpenError::Unreached | OpenError::Gone => RequestError::Unreached,
    })?;
    sent.store(true, Relaxed);
    // A peer that refuses may close before it has read everything: its word is waiting to be read
    // all the same, so a failure to write is not yet the answer.
    if frame::write(&mut opened.stream, body).await.is_ok() {
        let _ = opened.stream.close().await;
    }
    Ok(opened)
}

async fn receive(net: &Net, opened: &mut Opened, kind: Kind) -> Result<Bytes, RequestError> {
    let fault = match frame::read(&mut opened.stream, net.shared.frame_max(kind)).await {
        Ok(Some(body)) if body.is_empty() => return Err(RequestError::Refused),
        Ok(Some(body)) => return Ok(body),
        Ok(None) | Err(FrameError::Io) => return Err(RequestError::Cut),
        Err(FrameError::Oversize) => {
            count(&net.shared.counts.frames_oversize);
            RequestError::TooLarge
        }
        Err(FrameError::Malformed) => {
            count(&net.shared.counts.frames_malformed);
            RequestError::Cut
        }
    };
    net.shared.strike(&opened.conn.remote);
    Err(fault)
}
