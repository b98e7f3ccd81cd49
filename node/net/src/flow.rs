//! Bodies under way: what they hold, and that they move.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::{
    Body, BoxError, clock,
    conn::{Lease, Place},
    shared::{Shared, count, lock},
};

/// Bytes of an answer that is small.
const SMALL_MAX: usize = 16 * 1024;

/// Bytes of an answer that may be given out and not written.
const UNWRITTEN_MAX: usize = 64 * 1024;

/// A request's body on its way out; ends with an error when the caller has hung up, so that an
/// upload does not outlive its call.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) body: Body,
    pub(crate) hung_up: oneshot::Receiver<Infallible>,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if Pin::new(&mut self.hung_up).poll(cx).is_ready() {
            return Poll::Ready(Some(Err("caller hung up".into())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that holds something until it is dropped.
pub(crate) struct Held<B, T> {
    body: B,
    _held: T,
}

impl<B, T> Held<B, T> {
    pub(crate) fn new(body: B, held: T) -> Self {
        Self { body, _held: held }
    }
}

impl<B, T> http_body::Body for Held<B, T>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    T: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

tokio::task_local! {
    /// The flows of the answer to the call whose task this is.
    static FLOWS: Flows;
}

/// Where an answer's bytes are counted.
#[derive(Clone, Debug, Default)]
struct Flows {
    /// On its own.
    own: Arc<Flow>,
    /// With the other small answers on the call stream.
    small: Arc<Flow>,
}

/// Bytes of one answer between its body and the socket.
///
/// hyper takes a body's end as the end of its work, though h2 may hold the last bytes for as long
/// as the caller's window is shut; and it takes whole chunks, whatever their size. So a body is
/// given out in bounded pieces that tell when they are written, and ends when all of them are.
///
/// Small answers would pay for this with a frame and a turn of the task more. They end at once, are
/// counted together, and when they are stuck it is the whole call stream that is cut off: they fit
/// any honest caller's window, unless it has shut all of them.
#[derive(Debug, Default)]
pub(crate) struct Flow(Mutex<Pieces>);

#[derive(Debug, Default)]
struct Pieces {
    /// Bytes given out and not written.
    bytes: usize,
    /// When one of them was last written, or the first given out.
    since: Option<Instant>,
    /// The body, if it waits for them to be written.
    waker: Option<Waker>,
}

impl Flow {
    fn gave(&self, bytes: usize) {
        let mut pieces = lock(&self.0);
        pieces.bytes += bytes;
        pieces.since.get_or_insert_with(clock::now);
    }

    fn wrote(&self, bytes: usize) {
        let mut pieces = lock(&self.0);
        pieces.bytes -= bytes;
        pieces.since = (pieces.bytes > 0).then(clock::now);
        let waker = pieces.waker.take();
        drop(pieces);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits until no more than so many bytes are unwritten.
    fn poll_left(&self, max: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut pieces = lock(&self.0);
        if pieces.bytes <= max {
            return Poll::Ready(());
        }
        pieces.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends when there are bytes of which the caller has taken none for so long.
    pub(crate) async fn stalled(&self, limit: Duration) {
        loop {
            let since = lock(&self.0).since;
            let waited = since.map(|since| clock::now().saturating_duration_since(since));
            let left = limit.saturating_sub(waited.unwrap_or_default());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// Bytes of an answer that tell when they are written, or dropped.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    flow: Arc<Flow>,
    /// What the call holds, if these are its last bytes.
    _held: Option<Hold>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.flow.wrote(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.flow.wrote(self.bytes.len());
        }
    }
}

/// Runs each call of a stream in a task of its own, and drops it, which resets the call's stream,
/// when its answer is stuck.
#[derive(Clone)]
pub(crate) struct Guarded {
    pub(crate) shared: Arc<Shared>,
    /// The flow of the call stream's small answers.
    pub(crate) small: Arc<Flow>,
}

impl<F> hyper::rt::Executor<F> for Guarded
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        let Self { shared, small } = self.clone();
        tokio::spawn(async move {
            let flows = Flows { own: Arc::default(), small };
            tokio::select! {
                () = FLOWS.scope(flows.clone(), call) => {}
                () = flows.own.stalled(shared.limits.call_stall) => {
                    count(&shared.counts.calls_stalled);
                }
            }
        });
    }
}

/// What a call holds until its answer is written.
pub(crate) type Hold = (Lease, Place);

/// An answer's body in pieces.
pub(crate) struct Paced {
    body: Body,
    /// What is left of a chunk that was too large.
    rest: Bytes,
    /// Whether nothing but trailers and the end follow, when all before them is written.
    over: bool,
    trailers: Option<HeaderMap>,
    flows: Flows,
    held: Option<Hold>,
    begun: bool,
}

impl Paced {
    /// Made in the task of the call.
    pub(crate) fn new(body: Body, held: Option<Hold>) -> Self {
        let flows = FLOWS.try_with(Flows::clone).unwrap_or_default();
        Self { body, rest: Bytes::new(), over: false, trailers: None, flows, held, begun: false }
    }

    fn give(&mut self, mut bytes: Bytes) -> Frame<Piece> {
        let whole = !self.begun && bytes.len() <= SMALL_MAX && self.body.is_end_stream();
        self.begun = true;
        self.over |= whole;
        self.rest = bytes.split_off(bytes.len().min(UNWRITTEN_MAX));
        let flow = if whole { &self.flows.small } else { &self.flows.own };
        flow.gave(bytes.len());
        let held = if whole { self.held.take() } else { None };
        Frame::data(Piece { bytes, flow: flow.clone(), _held: held })
    }
}

impl http_body::Body for Paced {
    type Data = Piece;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, BoxError>>> {
        loop {
            if self.over {
                ready!(self.flows.own.poll_left(0, cx));
                return Poll::Ready(self.trailers.take().map(|it| Ok(Frame::trailers(it))));
            }
            ready!(self.flows.own.poll_left(UNWRITTEN_MAX - 1, cx));
            if !self.rest.is_empty() {
                let rest = std::mem::take(&mut self.rest);
                return Poll::Ready(Some(Ok(self.give(rest))));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)?) {
                None => self.over = true,
                Some(frame) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => {}
                    Ok(bytes) => return Poll::Ready(Some(Ok(self.give(bytes)))),
                    Err(frame) => {
                        (self.over, self.trailers) = (true, frame.into_trailers().ok());
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
            && self.rest.is_empty()
            && self.trailers.is_none()
            && lock(&self.flows.own.0).bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn a_body_is_given_out_as_it_is_written_and_ends_when_all_of_it_is() {
        let size = UNWRITTEN_MAX + 10;
        let mut paced = Paced::new(crate::full(vec![7; size]), None);
        assert_eq!(http_body::Body::size_hint(&paced).exact(), Some(size as u64));
        let piece = |frame: Frame<Piece>| frame.into_data().ok().unwrap();
        let mut first = piece(block_on(paced.frame()).unwrap().unwrap());
        assert_eq!(first.remaining(), UNWRITTEN_MAX);
        let waits = |paced: &mut Paced| {
            let mut cx = Context::from_waker(Waker::noop());
            Pin::new(&mut paced.frame()).poll(&mut cx).is_pending()
        };
        assert!(waits(&mut paced));
        first.advance(1);
        let second = piece(block_on(paced.frame()).unwrap().unwrap());
        assert_eq!(second.remaining(), 10);
        drop(second);
        assert!(waits(&mut paced) && !http_body::Body::is_end_stream(&paced));
        first.advance(UNWRITTEN_MAX - 1);
        assert!(block_on(paced.frame()).is_none());
    }

    #[test]
    fn a_small_body_ends_with_its_piece_and_is_counted_with_its_like() {
        let mut paced = Paced::new(crate::full("small"), None);
        let piece = block_on(paced.frame()).unwrap().unwrap().into_data().ok().unwrap();
        assert!(http_body::Body::is_end_stream(&paced));
        assert_eq!(lock(&paced.flows.small.0).bytes, 5);
        drop(piece);
        assert!(lock(&paced.flows.small.0).since.is_none());
    }
}
