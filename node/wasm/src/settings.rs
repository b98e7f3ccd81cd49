//! Every limit of the sandbox, named.

use std::path::PathBuf;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What the operator allows the sandbox as a whole. One call's limits are [`crate::Limits`].
///
/// Build it from [`Settings::standard`] and change what differs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where compiled code is kept, one file a module. Created with mode 0700; must be written by
    /// nobody else, because what is in it is run as native code. `None`: nothing is kept.
    pub cache_dir: Option<PathBuf>,
    /// Size of the cache on disk in bytes; the files used least recently go first.
    pub cache_bytes_max: u64,
    /// Calls that may run at one time. Further ones wait, within their own deadline.
    pub instances_max: u32,
    /// The most linear memory that any call may ask for, in bytes (at most 4 GiB).
    pub memory_bytes_max: u64,
    /// Entries in a guest's table (indirect calls); a module that declares more is refused.
    pub table_elements_max: u32,
    /// Threads that run guests. They are the sandbox's own: guests never run on the caller's.
    pub guest_threads: u32,
    /// Modules being compiled at one time, one thread each.
    pub compile_workers: u32,
    /// How long [`crate::Sandbox::compile`] waits, for its turn and for the compilation together.
    pub compile_timeout: Duration,
    /// Size of a module in bytes.
    pub module_bytes_max: u64,
    /// Functions in a module.
    pub functions_max: u32,
    /// Size of one function's code in bytes: what bounds the compiler's superlinear parts.
    pub function_bytes_max: u32,
}

impl Settings {
    /// What a node uses unless told otherwise: a thread a core, 256 calls at once, 1 GiB a call at
    /// most, modules up to 32 MiB, one compilation at a time for every two cores.
    pub fn standard() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get() as u32);
        Self {
            cache_dir: None,
            cache_bytes_max: 1024 * MIB,
            instances_max: 256,
            memory_bytes_max: 1024 * MIB,
            table_elements_max: 65_536,
            guest_threads: cores,
            compile_workers: (cores / 2).max(1),
            compile_timeout: Duration::from_mins(2),
            module_bytes_max: 32 * MIB,
            functions_max: 100_000,
            function_bytes_max: MIB as u32,
        }
    }
}
