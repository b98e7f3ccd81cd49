//! What one call's streams write down about it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::Failure;

/// The counts of one call, and the failure that a stream met, if any.
pub(crate) struct Books {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    failure: Mutex<Option<Failure>>,
    stderr: Mutex<Tail>,
}

/// The last bytes written, at most twice as many as are kept, so that moving them is rare.
struct Tail {
    bytes: Vec<u8>,
    bytes_max: usize,
    total: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    pub(crate) fn new(stderr_bytes_max: usize) -> Self {
        let stderr = Tail { bytes: Vec::new(), bytes_max: stderr_bytes_max, total: 0 };
        Self {
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            failure: Mutex::new(None),
            stderr: Mutex::new(stderr),
        }
    }

    pub(crate) fn read(&self, size: usize) {
        self.bytes_in.fetch_add(size as u64, Relaxed);
    }

    /// Returns what has been written in all.
    pub(crate) fn wrote(&self, size: usize) -> u64 {
        self.bytes_out.fetch_add(size as u64, Relaxed) + size as u64
    }

    pub(crate) fn complained(&self, bytes: &[u8]) {
        locked(&self.stderr).add(bytes);
    }

    /// Notes why the guest is being ended; what it returns ends it.
    pub(crate) fn fail(&self, failure: Failure) -> wasmtime::Error {
        let error = wasmtime::format_err!("{failure}");
        locked(&self.failure).get_or_insert(failure);
        error
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        locked(&self.failure).clone()
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    pub(crate) fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    /// The kept end of standard error, and the size of all of it.
    pub(crate) fn stderr(&self) -> (Bytes, u64) {
        let tail = locked(&self.stderr);
        let from = tail.bytes.len().saturating_sub(tail.bytes_max);
        (Bytes::copy_from_slice(&tail.bytes[from..]), tail.total)
    }
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * self.bytes_max {
            self.bytes.drain(..self.bytes.len() - self.bytes_max);
        }
    }
}
