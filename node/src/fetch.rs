//! Modules from other nodes and for them, by digest.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use peerless_core::{Digest, Got, Input, Tag};
use peerless_net::{Body, BoxError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::io::ReaderStream;

use crate::bytes32::{hex, unhex32};
use crate::clock;
use crate::headers;
use crate::id::NodeId;
use crate::modules::{ModuleError, Modules};
use crate::node::Node;

/// Bytes of a module that are read from the disk at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a source may take to its answer's head, and to each further [`PROGRESS_BYTES`] or the
/// end.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// What counts as progress: so little that any connection brings it, so much that one who drips
/// bytes does not keep others from being asked.
const PROGRESS_BYTES: usize = 64 * 1024;
/// Modules that are given at a time; each is an open file.
const GIVEN_MAX: usize = 8;
/// Modules that one peer may be given or wait for at a time.
const GIVEN_TO_ONE_MAX: usize = 2;
/// How long a peer waits for its turn before it is refused; less than [`PROGRESS_TIMEOUT`].
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// [`Effect::Fetch`](peerless_core::Effect::Fetch): from this peer, unless it is here.
///
/// The core ends an arrival after `install_timeout` and has no word to end its fetch earlier, so
/// that time bounds this task, too.
pub(crate) fn fetch(
    node: &Arc<Node>,
    tag: Tag,
    (digest, size): (Digest, u64),
    from: Option<NodeId>,
) {
    let node = node.clone();
    let limit = clock::duration(node.settings.core.install_timeout);
    tokio::spawn(async move {
        let got = timeout(limit, get(&node, &digest, size, from)).await.unwrap_or_else(|_| {
            tracing::warn!(digest = %hex(&digest.0), ?limit, "gave up fetching a module");
            Got::Nothing
        });
        node.tell(Input::Fetched { tag, digest, got }).await;
    });
}

async fn get(node: &Node, digest: &Digest, size: u64, from: Option<NodeId>) -> Got {
    // What comes is held from before it is there, so that nothing drops it before its install.
    node.modules.hold(digest, clock::duration(node.settings.core.install_timeout));
    if node.modules.verified(digest).await {
        return Got::Code;
    }
    let Some(peer) = from else {
        return Got::Nothing;
    };
    match fetch_from(node, digest, size, peer).await {
        Ok(true) => Got::Code,
        Ok(false) => Got::Busy,
        Err(error) => {
            tracing::warn!(%peer, %error, "cannot fetch a module");
            Got::Nothing
        }
    }
}

/// Whether the peer gave it; `false` if it is busy.
async fn fetch_from(
    node: &Node,
    digest: &Digest,
    size: u64,
    peer: NodeId,
) -> Result<bool, ModuleError> {
    let broken = |why: String| ModuleError::Broken(why);
    let mut request = http::Request::new(peerless_net::empty());
    request.headers_mut().insert(headers::FETCH, headers::text(&hex(&digest.0)));
    let response = timeout(PROGRESS_TIMEOUT, node.net().call(peer.key_bytes(), request)).await;
    let response =
        response.map_err(|_| broken(format!("no answer within {PROGRESS_TIMEOUT:?}")))?;
    let response = response.map_err(|error| broken(error.to_string()))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::SERVICE_UNAVAILABLE => return Ok(false),
        other => return Err(broken(format!("the peer answered {other}"))),
    }
    receive(&node.modules, response.into_body(), digest, size, PROGRESS_TIMEOUT).await?;
    Ok(true)
}

/// Writes down what comes, which must be the module.
async fn receive(
    modules: &Modules,
    mut body: Body,
    digest: &Digest,
    size: u64,
    patience: Duration,
) -> Result<(), ModuleError> {
    let broken = |why: String| ModuleError::Broken(why);
    let mut writer = modules.writer().await?;
    let (mut read, mut progress) = (0, 0);
    let mut late = pin!(sleep(patience));
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = &mut late => {
                return Err(broken(format!("no more came within {patience:?}")));
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| broken(error.to_string()))?;
        let Some(data) = frame.data_ref() else { continue };
        read += data.len() as u64;
        if read > size {
            return Err(broken(format!("it has more than the {size} bytes it should have")));
        }
        progress += data.len();
        if progress >= PROGRESS_BYTES {
            progress = 0;
            late.set(sleep(patience));
        }
        writer.write(data).await?;
    }
    writer.finish(Some(digest)).await?;
    Ok(())
}

/// Who is being given modules.
pub(crate) struct Given {
    all: Arc<Semaphore>,
    patience: Duration,
    /// How many each peer is given or waits for.
    peers: Mutex<BTreeMap<NodeId, usize>>,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(GIVEN_MAX)),
            patience: TURN_TIMEOUT,
            peers: Mutex::default(),
        }
    }
}

impl Given {
    /// One of the peer's places, and then one of all; `None` if it has too many or its turn does
    /// not come.
    async fn place(self: &Arc<Self>, peer: NodeId) -> Option<Place> {
        let share = Share::take(self, peer)?;
        let turn = timeout(self.patience, self.all.clone().acquire_owned()).await;
        Some(Place { _turn: turn.ok()?.ok()?, _share: share })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, usize>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one open file, given back when dropped.
struct Place {
    _turn: OwnedSemaphorePermit,
    _share: Share,
}

/// One of a peer's places.
struct Share {
    given: Arc<Given>,
    peer: NodeId,
}

impl Share {
    fn take(given: &Arc<Given>, peer: NodeId) -> Option<Self> {
        let mut peers = given.lock();
        let count = peers.entry(peer).or_default();
        if *count == GIVEN_TO_ONE_MAX {
            return None;
        }
        *count += 1;
        Some(Self { given: given.clone(), peer })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut peers = self.given.lock();
        if let Some(count) = peers.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

/// Gives another node a module, within its share. A peer that stops reading loses its place by the
/// network's patience, one that reads too slowly when its own fetch would be over.
pub(crate) async fn give(
    node: &Node,
    from: NodeId,
    headers: &http::HeaderMap,
) -> http::Response<Body> {
    let digest = headers.get(headers::FETCH).and_then(|value| unhex32(value.to_str().ok()?));
    let Some(digest) = digest.map(Digest) else {
        return empty(StatusCode::BAD_REQUEST);
    };
    if node.modules.size(&digest).await.is_none() {
        return empty(StatusCode::NOT_FOUND);
    }
    let Some(place) = node.given.place(from).await else {
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    };
    let limit = clock::duration(node.settings.core.install_timeout);
    match stream(node, &digest).await {
        Some(response) => response.map(|body| {
            let late = Box::pin(sleep(limit));
            peerless_net::body(Giving { body, late, _place: place })
        }),
        None => empty(StatusCode::NOT_FOUND),
    }
}

fn empty(status: StatusCode) -> http::Response<Body> {
    let mut response = http::Response::new(peerless_net::empty());
    *response.status_mut() = status;
    response
}

/// A module on its way to a peer: holds its place, and has an end.
struct Giving {
    body: Body,
    late: Pin<Box<Sleep>>,
    _place: Place,
}

impl http_body::Body for Giving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.late.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err("the module took too long".into())));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A module as an answer; `None` if it is not here.
pub(crate) async fn stream(node: &Node, digest: &Digest) -> Option<http::Response<Body>> {
    let file = node.modules.file(digest).await?;
    let size = file.metadata().await.ok()?.len();
    let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES);
    let body = peerless_net::body(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))));
    let mut response = http::Response::new(body);
    response.headers_mut().insert(http::header::CONTENT_LENGTH, size.into());
    let wasm = http::HeaderValue::from_static("application/wasm");
    response.headers_mut().insert(http::header::CONTENT_TYPE, wasm);
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes32::sha256;

    fn modules() -> (tempfile::TempDir, Modules) {
        let dir = tempfile::tempdir().unwrap();
        let modules = Modules::open(dir.path().into(), 1 << 20, 1 << 20).unwrap();
        (dir, modules)
    }

    /// Frames with a pause before each, then nothing for ever.
    fn drip(pause: Duration, frames: usize, size: usize) -> Body {
        let frames = futures::stream::unfold(0, move |sent| async move {
            if sent == frames {
                return std::future::pending().await;
            }
            sleep(pause).await;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from(vec![7; size]))), sent + 1))
        });
        peerless_net::body(StreamBody::new(frames))
    }

    async fn stalls(body: Body) {
        let (dir, modules) = modules();
        let patience = Duration::from_millis(200);
        let receiving = receive(&modules, body, &Digest([0; 32]), 1 << 20, patience);
        let ended = timeout(Duration::from_secs(20), receiving).await.expect("it is given up");
        assert!(ended.unwrap_err().to_string().contains("no more came within 200ms"));
        let left = std::fs::read_dir(dir.path().join("partial")).unwrap().count();
        assert_eq!(left, 0, "the partial file is gone");
    }

    #[tokio::test]
    async fn a_source_that_stalls_or_drips_is_given_up() {
        stalls(drip(Duration::ZERO, 3, 1000)).await;
        stalls(drip(Duration::from_millis(20), 10_000, 100)).await;
    }

    #[tokio::test]
    async fn a_slow_source_that_goes_on_is_waited_for() {
        let (_dir, modules) = modules();
        let bytes = vec![7; 4 * PROGRESS_BYTES];
        let frames = futures::stream::iter(0..4).then(|_| async {
            sleep(Duration::from_millis(400)).await;
            Ok::<_, BoxError>(Frame::data(Bytes::from(vec![7; PROGRESS_BYTES])))
        });
        let body = peerless_net::body(StreamBody::new(frames.boxed()));
        let digest = Digest(sha256(&bytes));
        let patience = Duration::from_secs(1);
        receive(&modules, body, &digest, bytes.len() as u64, patience).await.unwrap();
        assert!(modules.verified(&digest).await);
    }

    #[tokio::test]
    async fn modules_are_given_to_a_few_at_a_time() {
        let patience = Duration::from_millis(300);
        let given = Arc::new(Given { patience, ..Given::default() });
        let peer = |number: u8| NodeId::new([number; 32]);
        let first = given.place(peer(0)).await.unwrap();
        let second = given.place(peer(0)).await.unwrap();
        assert!(given.place(peer(0)).await.is_none(), "its share is two");
        let mut held = Vec::new();
        for number in 1..=3 {
            held.push(given.place(peer(number)).await.unwrap());
            held.push(given.place(peer(number)).await.unwrap());
        }
        assert!(given.place(peer(9)).await.is_none(), "all eight are out");
        let (waiting, ()) = tokio::join!(given.place(peer(9)), async { drop(first) });
        assert!(waiting.is_some(), "whoever waits has the next");
        drop((held, waiting, second));
        assert!(given.lock().is_empty());
    }
}
