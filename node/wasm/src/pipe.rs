//! The bounded pipe between a guest's standard output and the caller.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use crate::Failure;
use crate::running::HEAD_HOLD_BYTES;

/// What may be in a pipe before its guest must wait.
pub(crate) const PIPE_BYTES: usize = 256 * 1024;

/// Small writes are gathered into chunks of this size while nobody takes them.
const CHUNK_BYTES: usize = 64 * 1024;

/// What makes it worth waking a reader at once: waking costs as much as copying this.
const WAKE_BYTES: usize = 32 * 1024;

const _: () = assert!(HEAD_HOLD_BYTES < PIPE_BYTES && CHUNK_BYTES <= PIPE_BYTES);

/// How a guest ended, for the head that may still be to come.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Result<(), Failure>,
    pub(crate) stderr: Bytes,
}

/// What comes out of a pipe.
pub(crate) enum Next {
    Chunk(Bytes),
    /// After the last chunk, as often as one asks.
    End(Ending),
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// The chunk being gathered, younger than `chunks`.
    tail: BytesMut,
    queued: usize,
    end: Option<Ending>,
    /// Set by the reader, which alone sees a malformed header block.
    overruled: Option<Failure>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Default)]
pub(crate) struct Pipe(Mutex<State>);

impl Pipe {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, and the state is whole between statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when there is room; the room may be exceeded by one write.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.queued < PIPE_BYTES {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Wakes the reader only if it is worth its while; [`Pipe::flush`] does so for less.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let waker = {
            let mut state = self.state();
            state.gather(bytes);
            if state.queued < WAKE_BYTES {
                return;
            }
            state.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// To be called whenever the guest stops for a while: when it waits, and every tick.
    pub(crate) fn flush(&self) {
        let waker = {
            let mut state = self.state();
            if state.queued == 0 {
                return;
            }
            state.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        let waker = {
            let mut state = self.state();
            state.end.get_or_insert(ending);
            state.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.state();
        if let Some(chunk) = state.take() {
            let writer = if state.queued < PIPE_BYTES { state.writer.take() } else { None };
            drop(state);
            if let Some(waker) = writer {
                waker.wake();
            }
            return Poll::Ready(Next::Chunk(chunk));
        }
        if let Some(ending) = &state.end {
            return Poll::Ready(Next::End(ending.clone()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the guest has ended, though there may be chunks left to take.
    pub(crate) fn has_ended(&self) -> bool {
        self.state().end.is_some()
    }

    pub(crate) fn overrule(&self, failure: Failure) {
        self.state().overruled = Some(failure);
    }

    pub(crate) fn overruled(&self) -> Option<Failure> {
        self.state().overruled.clone()
    }
}

impl State {
    fn gather(&mut self, bytes: &[u8]) {
        self.queued += bytes.len();
        if self.tail.is_empty() && bytes.len() >= CHUNK_BYTES {
            self.chunks.push_back(Bytes::copy_from_slice(bytes));
            return;
        }
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            // A guest that writes once gets what it needs, one that goes on gets a whole chunk.
            let more = if self.tail.is_empty() { 0 } else { CHUNK_BYTES };
            self.tail.reserve(bytes.len().max(more));
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() >= CHUNK_BYTES {
            let chunk = self.tail.split().freeze();
            self.chunks.push_back(chunk);
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let chunk = match self.chunks.pop_front() {
            Some(chunk) => chunk,
            None if self.tail.is_empty() => return None,
            None => self.tail.split().freeze(),
        };
        self.queued -= chunk.len();
        Some(chunk)
    }
}
