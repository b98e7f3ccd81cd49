//! Every limit of the sandbox, named.

use std::path::PathBuf;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// [`Settings::function_work_max`]. At this bound, with Cranelift 0.135 hardly optimized itself, the
/// worst that was found are 20,000 loops in a row over 100 locals (9.8 s of processor time) and
/// 40,000 `if`s over 100 locals (360 KB: 8.2 s, and 136 MiB at most). Without it, 4,000 nested loops
/// over 4,000 locals (104 KB) take 17.5 s and 1.65 GiB where Cranelift is optimized, and 10,000
/// `if … else` over 4,000 locals 1.4 GiB.
const FUNCTION_WORK_MAX: u64 = 4 << 20;

/// [`Settings::module_work_max`]: eight functions at their bound, less than what
/// [`Settings::compile_timeout`] allows, and one function's memory at a time.
const MODULE_WORK_MAX: u64 = 8 * FUNCTION_WORK_MAX;

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
    /// Size of one function's code in bytes.
    pub function_bytes_max: u32,
    /// A function's parameters and locals, times the places where its control flow splits or joins:
    /// what the compiler's time and memory grow with beyond a function's size.
    pub function_work_max: u64,
    /// The same for all functions of a module together.
    pub module_work_max: u64,
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
            function_work_max: FUNCTION_WORK_MAX,
            module_work_max: MODULE_WORK_MAX,
        }
    }
}
