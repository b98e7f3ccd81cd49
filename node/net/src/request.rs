//! The asking side of framed requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{AsyncWriteExt as _, FutureExt as _, future::select_ok};
use libp2p::{Multiaddr, Stream};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::timeout,
};

use crate::{
    DialError, Kind, Net, PeerKey, RequestError,
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

/// How far a request or call has come; what it means to run out of time depends on it.
#[derive(Debug, Default)]
pub(crate) struct Stage(AtomicU8);

impl Stage {
    /// Every connection is busy, and none may be opened.
    const ROOM: u8 = 1;
    /// On the way to the peer.
    const REACH: u8 = 0;
    /// Every stream that we may hold open to the peer is.
    const PLACE: u8 = 2;
    /// The peer may have seen it.
    const SENT: u8 = 3;

    fn is(&self, stage: u8) {
        self.0.store(stage, Relaxed);
    }

    /// What running out of time means now.
    fn late(&self) -> RequestError {
        match self.0.load(Relaxed) {
            Self::ROOM => RequestError::NoRoom,
            Self::PLACE => RequestError::NoPlace,
            Self::SENT => RequestError::TimedOut,
            _ => RequestError::Unreached,
        }
    }

    /// Whether it is for want of something of our own that nothing was sent.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.0.load(Relaxed), Self::ROOM | Self::PLACE)
    }
}

/// Time between two looks for room, in case a connection has become idle.
const ROOM_AGAIN: Duration = Duration::from_millis(50);

/// Opens a stream to a peer, over the open connection or a new one.
///
/// A connection that turns out to be closed before the stream is negotiated is replaced once:
/// both sides close idle connections at will, so this happens in good health.
pub(crate) async fn open(
    net: &Net,
    to: &PeerKey,
    protocol: Protocol,
    stage: &Stage,
) -> Result<Opened, OpenError> {
    let mut last = false;
    loop {
        let conn = connect(net, to, stage).await?;
        let lease = Lease::new(&conn);
        stage.is(Stage::PLACE);
        let place = conn.remote.places.clone().acquire_owned().await;
        stage.is(Stage::REACH);
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

/// The open connection to a peer, or a new one; waits until there is room for it.
async fn connect(net: &Net, to: &PeerKey, stage: &Stage) -> Result<Arc<Conn>, OpenError> {
    // Whoever has waited for room stays at that stage: the next look at it is no sign of the peer.
    stage.is(Stage::REACH);
    loop {
        if let Some(conn) = net.shared.live(to) {
            return Ok(conn);
        }
        let (ips, names) = dial::known(net, to);
        let at_once = dial_all(net, to, ips, true);
        let dialled = if names.is_empty() {
            at_once.await
        } else {
            let named =
                async { dial_all(net, to, dial::resolve_all(net, names).await, false).await };
            match select_ok([at_once.boxed(), named.boxed()]).await {
                Ok(((), _)) => Ok(()),
                Err(error) => Err(error),
            }
        };
        match dialled {
            Ok(()) => return net.shared.live(to).ok_or(OpenError::Unreached),
            Err(OpenError::NoRoom) => {}
            Err(error) => return Err(error),
        }
        stage.is(Stage::ROOM);
        let _ = timeout(ROOM_AGAIN, net.shared.room.notified()).await;
    }
}

async fn dial_all(
    net: &Net,
    to: &PeerKey,
    addresses: Vec<Multiaddr>,
    joins: bool,
) -> Result<(), OpenError> {
    let (done, dialled) = oneshot::channel();
    let command = Command::Connect { peer: *to, addresses, joins, done };
    net.commands.send(command).await.map_err(|_| OpenError::Unreached)?;
    match dialled.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(DialError::NoRoom)) => Err(OpenError::NoRoom),
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
    let stage = Stage::default();
    let exchange = async {
        let mut opened = send(net, to, kind, &body, &stage).await?;
        receive(net, &mut opened, kind).await
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(stage.late()))
}

async fn send(
    net: &Net,
    to: &PeerKey,
    kind: Kind,
    body: &[u8],
    stage: &Stage,
) -> Result<Opened, RequestError> {
    if body.len() > net.shared.frame_max(kind) {
        return Err(RequestError::TooLarge);
    }
    let mut opened = open(net, to, kind.into(), stage).await.map_err(|error| match error {
        OpenError::Unsupported => RequestError::Unsupported,
        OpenError::NoRoom => RequestError::NoRoom,
        OpenError::Unreached | OpenError::Gone => RequestError::Unreached,
    })?;
    stage.is(Stage::SENT);
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
    net.shared.strike(&opened.conn);
    Err(fault)
}
