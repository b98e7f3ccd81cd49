//! What a guest's store holds: its streams, its environment, and what it has used.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use wasmtime::{Memory, ResourceLimiter};

use crate::pipe::Pipe;
use crate::{Failure, Input, Invocation, clock, environment};

/// Entries that a guest's table may have grown to. What it declares is bounded by
/// [`crate::Settings::table_elements_max`], and the pool's slots by the same.
const TABLE_ELEMENTS_MAX: usize = 1 << 20;

pub(crate) struct Host {
    /// The guest's memory, looked up at its first call of the host.
    pub(crate) memory: Option<Memory>,
    pub(crate) limit: MemoryLimit,
    pub(crate) environment: Strings,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Stdout,
    pub(crate) stderr: Tail,
    /// Which of the three standard streams the guest has not closed.
    pub(crate) open: [bool; 3],
    /// Zero of the guest's monotonic clock, so that it does not learn the host's.
    pub(crate) begun: Instant,
    /// Whether there was an instance: if not, it is for want of something on the host.
    pub(crate) instantiated: bool,
    /// Why the host ended the guest, if it did.
    pub(crate) failure: Option<Failure>,
}

impl Host {
    pub(crate) fn new(invocation: Invocation, pipe: Arc<Pipe>, memory_bytes_max: u64) -> Self {
        let Invocation { request, limits, env, cgi } = invocation;
        let (parts, body) = request.into_parts();
        let environment = environment::of(&parts, cgi, &env);
        let bytes_max = limits.memory_bytes.min(memory_bytes_max) as usize;
        Self {
            memory: None,
            limit: MemoryLimit { bytes_max, bytes_peak: 0, denied: false },
            environment: environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            stdin: Stdin { body: Some(body), chunk: Bytes::new(), bytes: 0 },
            stdout: Stdout {
                pipe,
                bytes: 0,
                bytes_max: limits.output_bytes_max.unwrap_or(u64::MAX),
            },
            stderr: Tail { bytes: Vec::new(), bytes_max: limits.stderr_bytes_max, total: 0 },
            open: [true; 3],
            begun: clock::now(),
            instantiated: false,
            failure: None,
        }
    }

    /// Notes why the guest is being ended; what it returns ends it.
    pub(crate) fn fail(&mut self, failure: Failure) -> wasmtime::Error {
        let error = wasmtime::format_err!("{failure}");
        self.failure.get_or_insert(failure);
        error
    }
}

/// Strings as WASI hands them out: one after the other, each ended by a NUL.
#[derive(Default)]
pub(crate) struct Strings {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
}

impl FromIterator<String> for Strings {
    fn from_iter<I: IntoIterator<Item = String>>(strings: I) -> Self {
        let mut all = Self::default();
        for string in strings {
            all.bytes.extend_from_slice(string.as_bytes());
            all.bytes.push(0);
            all.count += 1;
        }
        all
    }
}

/// Bounds a guest's memory, and remembers what it had and whether it wanted more.
pub(crate) struct MemoryLimit {
    pub(crate) bytes_max: usize,
    pub(crate) bytes_peak: usize,
    pub(crate) denied: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.bytes_max {
            self.denied = true;
            return Ok(false);
        }
        let allowed = maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.bytes_peak = self.bytes_peak.max(desired);
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX && maximum.is_none_or(|maximum| desired <= maximum))
    }
}

/// Standard input: the request's body, polled only when the guest wants it.
pub(crate) struct Stdin {
    /// `None` when it has ended.
    body: Option<Input>,
    pub(crate) chunk: Bytes,
    pub(crate) bytes: u64,
}

impl Stdin {
    /// Ready when `chunk` has something, or never will again.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while self.chunk.is_empty() {
            let Some(body) = &mut self.body else { break };
            match ready!(body.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => self.chunk = chunk,
                // A guest that took a part for the whole would answer wrongly, so it is ended.
                Some(Err(error)) => return Poll::Ready(Err(Failure::Input(error.to_string()))),
                None => self.body = None,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Standard output: into the pipe, up to the limit.
pub(crate) struct Stdout {
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
}

/// The end of standard error; it never makes the guest wait.
pub(crate) struct Tail {
    /// At most twice as many as are kept, so that moving them is rare.
    bytes: Vec<u8>,
    bytes_max: usize,
    pub(crate) total: u64,
}

impl Tail {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * self.bytes_max {
            self.bytes.drain(..self.bytes.len() - self.bytes_max);
        }
    }

    pub(crate) fn kept(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bytes[self.bytes.len().saturating_sub(self.bytes_max)..])
    }
}
