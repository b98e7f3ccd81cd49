//! The sandbox: an engine, a pool of instances, threads for guests, and a cache.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    WasmBacktraceDetails,
};

use crate::cache::Cache;
use crate::compile::Compiler;
use crate::guest::Guest;
use crate::head::HeadRule;
use crate::pipe::Pipe;
use crate::ticker::Ticker;
use crate::wasi::linker;
use crate::{Canceller, CompileError, Invocation, Module, Running, Settings, clock};

/// Address space kept for one memory. With so much, an access needs no check of its own: whatever a
/// 32-bit address can reach is there, and faults.
const RESERVATION_BYTES: u64 = 4 << 30;

/// Bytes of an instance that are kept in memory from one call to the next: cheaper to clear than to
/// give back and fault in again.
const KEEP_RESIDENT_BYTES: usize = 128 * 1024;

/// By how much guests and the compiler give way to the node's own threads, where threads compete.
const NICENESS: i32 = 5;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine could not be set up, most often for want of address space.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
    /// The cache's directory cannot be used.
    #[error("cannot use {path} for compiled code: {reason}")]
    Cache {
        /// The directory.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The sandbox; cheap to clone. Needs no tokio runtime to be made, one with time to be used.
/// Dropping the last clone ends all calls.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    engine: Engine,
    compiler: Compiler,
    instances: Arc<Semaphore>,
    ticker: Arc<Ticker>,
    memory_bytes_max: u64,
    /// Taken only when the sandbox is dropped.
    guests: Option<Runtime>,
}

impl Sandbox {
    /// Sets up the engine, the guests' threads and the cache's directory.
    pub fn new(mut settings: Settings) -> Result<Self, Error> {
        settings.memory_bytes_max = settings.memory_bytes_max.min(RESERVATION_BYTES);
        // Where address space is short, memories are reserved at their limit, and code checks.
        let engine = engine(&settings, RESERVATION_BYTES)
            .or_else(|_| engine(&settings, settings.memory_bytes_max))
            .map_err(|error| Error::Engine(format!("{error:#}")))?;
        let (linker, offered) =
            linker(&engine).map_err(|error| Error::Engine(format!("{error:#}")))?;
        let cache = match &settings.cache_dir {
            None => None,
            Some(dir) => Some(
                Cache::open(dir, settings.cache_bytes_max, &engine)
                    .map_err(|reason| Error::Cache { path: dir.clone(), reason })?,
            ),
        };
        let guests = Builder::new_multi_thread()
            .worker_threads(settings.guest_threads.max(1) as usize)
            .thread_name("peerless-guest")
            .on_thread_start(be_nice)
            .enable_time()
            // A guest that computes is polled for a tick at a time, so the usual intervals, counted
            // in polls, would keep new calls and timers waiting for dozens of ticks.
            .global_queue_interval(2)
            .event_interval(4)
            .build()?;
        Ok(Self(Arc::new(Inner {
            instances: Arc::new(Semaphore::new(settings.instances_max as usize)),
            ticker: Ticker::start(engine.clone())?,
            memory_bytes_max: settings.memory_bytes_max,
            compiler: Compiler::new(engine.clone(), linker, offered, cache, settings),
            engine,
            guests: Some(guests),
        })))
    }

    /// Checks and compiles `module`, or takes its code from the cache. Does its work on threads of
    /// its own, [`Settings::compile_workers`] at a time. A compilation cannot be killed: one that is
    /// over time keeps its worker until it ends, and what it made is then in the cache.
    pub async fn compile(&self, digest: [u8; 32], module: Bytes) -> Result<Module, CompileError> {
        self.0.compiler.compile(digest, module).await
    }

    /// The code of the module with this digest, if the cache has it: what a node asks for after a
    /// restart, so that it need not read the module.
    pub async fn cached(&self, digest: [u8; 32]) -> Option<Module> {
        self.0.compiler.cached(digest).await
    }

    /// Drops a module's code from the cache. Calls that run it go on.
    pub async fn forget(&self, digest: [u8; 32]) {
        self.0.compiler.forget(digest).await;
    }

    /// Starts a call. Returns at once; the guest runs on the sandbox's threads, after waiting for a
    /// free instance if [`Settings::instances_max`] are in use. `module` must be this sandbox's own.
    pub fn run(&self, module: &Module, invocation: Invocation) -> Running {
        let rule = HeadRule::of(&invocation);
        let pipe = Pipe::new();
        let canceller = Canceller::default();
        let (report, reported) = oneshot::channel();
        let running = Running::new(rule, Arc::clone(&pipe), canceller.clone(), reported);
        let guest = Guest {
            engine: self.0.engine.clone(),
            code: module.code.clone(),
            invocation,
            pipe,
            canceller,
            report,
            instances: Arc::clone(&self.0.instances),
            ticker: Arc::clone(&self.0.ticker),
            memory_bytes_max: self.0.memory_bytes_max,
            asked: clock::now(),
        };
        if let Some(guests) = &self.0.guests {
            guests.spawn(guest.run());
        }
        running
    }

    /// Instances alive now.
    pub fn live(&self) -> u32 {
        let metrics = self.0.engine.pooling_allocator_metrics();
        metrics.map_or(0, |metrics| metrics.core_instances() as u32)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // May be dropped inside a runtime, where waiting is not allowed; guests end at their next
        // tick.
        if let Some(guests) = self.guests.take() {
            guests.shutdown_background();
        }
    }
}

fn engine(settings: &Settings, reservation_bytes: u64) -> wasmtime::Result<Engine> {
    let count = settings.instances_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(count)
        .total_memories(count)
        .total_tables(count)
        .total_stacks(count)
        .max_memories_per_module(1)
        .max_tables_per_module(1)
        .max_memory_size(settings.memory_bytes_max as usize)
        .table_elements(settings.table_elements_max as usize)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(reservation_bytes)
        .epoch_interruption(true)
        // One module, one worker: others' compilations and the node keep their cores.
        .parallel_compilation(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(true)
        // The same answer on every machine, so that hosts can be compared by their answers.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true);
    Engine::new(&config)
}

/// Makes the calling thread give way to those of normal priority. Linux alone has this for one
/// thread; where it is refused, nothing is lost but precedence.
pub(crate) fn be_nice() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
    #[cfg(not(target_os = "linux"))]
    let _ = NICENESS;
}
