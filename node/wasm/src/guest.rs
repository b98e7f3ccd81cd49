//! One guest, from its instance to its report. Runs on the sandbox's own threads.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use wasmtime::{Engine, InstancePre, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use crate::books::Books;
use crate::clock::{self, Timed};
use crate::input::Stdin;
use crate::output::{Stderr, Stdout};
use crate::pipe::{Ending, Pipe};
use crate::ticker::Ticker;
use crate::{Canceller, Failure, Invocation, Report, environment};

/// Text of a trap that is kept, its stack of functions included.
const TRAP_TEXT_BYTES_MAX: usize = 4096;

/// Entries that all of a guest's tables may have grown to. What it declares is bounded by
/// [`crate::Settings::table_elements_max`].
pub(crate) const TABLE_ELEMENTS_MAX: usize = 1 << 20;

/// For a deadline that no clock can show.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// What a guest's store holds.
pub(crate) struct Host {
    pub(crate) wasi: WasiP1Ctx,
    memory: Memory,
}

impl Host {
    /// For a store that runs nothing.
    pub(crate) fn nobody() -> Self {
        let memory = Memory { bytes_max: 0, bytes_peak: 0, denied: false };
        Self { wasi: WasiCtxBuilder::new().build_p1(), memory }
    }
}

/// Bounds a guest's memory, and remembers what it had and whether it wanted more.
struct Memory {
    bytes_max: usize,
    bytes_peak: usize,
    denied: bool,
}

impl ResourceLimiter for Memory {
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

/// A call, before it has an instance.
pub(crate) struct Guest {
    pub(crate) engine: Engine,
    pub(crate) code: InstancePre<Host>,
    pub(crate) invocation: Invocation,
    pub(crate) pipe: Arc<Pipe>,
    pub(crate) canceller: Canceller,
    pub(crate) report: oneshot::Sender<Report>,
    pub(crate) instances: Arc<Semaphore>,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) memory_bytes_max: u64,
    pub(crate) asked: Instant,
}

/// Ends the pipe even if the guest's task goes away with the sandbox, so that nobody waits for it.
struct EndsPipe(Arc<Pipe>);

impl Drop for EndsPipe {
    fn drop(&mut self) {
        self.0.end(Ending { outcome: Err(Failure::Cancelled), stderr: Bytes::new() });
    }
}

impl Guest {
    /// Waits for an instance, runs the guest to its end, and tells both the pipe and the report.
    pub(crate) async fn run(self) {
        let ends_pipe = EndsPipe(Arc::clone(&self.pipe));
        let Self { invocation, canceller, pipe, report, instances, asked, .. } = self;
        let deadline = asked.checked_add(invocation.limits.time).unwrap_or(asked + FOREVER);
        let place = until(deadline, &canceller, instances.acquire_owned()).await;
        let queued = clock::now().duration_since(asked);
        let place = match place {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return,
            Err(failure) => {
                pipe.end(Ending { outcome: Err(failure.clone()), stderr: Bytes::new() });
                let told = Report::without_a_guest(failure);
                let _ = report.send(Report { wall: queued, queued, ..told });
                return;
            }
        };
        let books = Arc::new(Books::new(invocation.limits.stderr_bytes_max));
        let bytes_max = invocation.limits.memory_bytes.min(self.memory_bytes_max) as usize;
        let memory = Memory { bytes_max, bytes_peak: 0, denied: false };
        let host = Host { wasi: wasi(invocation, &pipe, &books), memory };
        let ticking = self.ticker.guest();
        let store = store(&self.engine, host, deadline);
        let (outcome, cpu, bytes_peak) =
            call(store, &self.code, &pipe, &books, deadline, &canceller).await;
        drop((ticking, place));
        let (stderr, stderr_bytes) = books.stderr();
        pipe.end(Ending { outcome: outcome.clone(), stderr: stderr.clone() });
        drop(ends_pipe);
        let _ = report.send(Report {
            outcome,
            wall: clock::now().duration_since(asked),
            queued,
            cpu,
            bytes_in: books.bytes_in(),
            bytes_out: books.bytes_out(),
            memory_peak_bytes: bytes_peak as u64,
            stderr,
            stderr_bytes,
        });
    }
}

/// Everything that the guest may do: its streams, its environment, clocks and random numbers.
/// No files, no network.
fn wasi(invocation: Invocation, pipe: &Arc<Pipe>, books: &Arc<Books>) -> WasiP1Ctx {
    let Invocation { request, limits, env, cgi } = invocation;
    let (parts, body) = request.into_parts();
    let mut wasi = WasiCtxBuilder::new();
    wasi.arg("function");
    for (name, value) in environment::of(&parts, cgi, &env) {
        wasi.env(name, value);
    }
    wasi.stdin(Stdin::new(body, Arc::clone(books)));
    wasi.stdout(Stdout {
        pipe: Arc::clone(pipe),
        books: Arc::clone(books),
        bytes_max: limits.output_bytes_max.unwrap_or(u64::MAX),
    });
    wasi.stderr(Stderr { books: Arc::clone(books) });
    wasi.build_p1()
}

fn store(engine: &Engine, host: Host, deadline: Instant) -> Store<Host> {
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.memory);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        // Looked at here too, because timers may be late while all threads compute.
        Ok(if clock::now() < deadline {
            UpdateDeadline::Yield(1)
        } else {
            UpdateDeadline::Interrupt
        })
    });
    store
}

/// Runs the guest to its end; when it returns, the instance is free again.
async fn call(
    mut store: Store<Host>,
    code: &InstancePre<Host>,
    pipe: &Pipe,
    books: &Books,
    deadline: Instant,
    canceller: &Canceller,
) -> (Result<(), Failure>, Duration, usize) {
    let (ended, cpu) = {
        let start = Box::pin(start(&mut store, code));
        // Whatever makes a guest wait or yield, what it wrote by then goes out.
        let mut start = Timed::new(start, || pipe.flush());
        let ended = until(deadline, canceller, &mut start).await;
        (ended, start.cpu)
    };
    let memory = &store.data().memory;
    let (denied, peak) = (memory.denied, memory.bytes_peak);
    let (outcome, dropped) = clock::timed(|| {
        drop(store);
        match ended {
            Ok(result) => outcome(result, books, denied, clock::now() >= deadline),
            Err(failure) => Err(failure),
        }
    });
    (outcome, cpu + dropped, peak)
}

async fn start(store: &mut Store<Host>, code: &InstancePre<Host>) -> wasmtime::Result<()> {
    let instance = code.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call_async(&mut *store, ()).await
}

/// What a guest's end means.
fn outcome(
    result: wasmtime::Result<()>,
    books: &Books,
    denied: bool,
    late: bool,
) -> Result<(), Failure> {
    let error = match result {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if let Some(failure) = books.failure() {
        return Err(failure);
    }
    match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(0)) => return Ok(()),
        // Who cannot get memory seldom says so: it traps, or gives up with a status of its own.
        _ if denied => return Err(Failure::Memory),
        Some(I32Exit(status)) => return Err(Failure::Exited(*status)),
        None => {}
    }
    if late && error.downcast_ref() == Some(&wasmtime::Trap::Interrupt) {
        return Err(Failure::Deadline);
    }
    let mut text = error.root_cause().to_string();
    let context = error.to_string();
    if context != text {
        text = format!("{text}\n{context}");
    }
    if text.len() > TRAP_TEXT_BYTES_MAX {
        let end = (0..=TRAP_TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    Err(Failure::Trapped(text))
}

/// Waits for `work`, until it is cancelled or late.
async fn until<T>(
    deadline: Instant,
    canceller: &Canceller,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = canceller.cancelled() => Err(Failure::Cancelled),
        done = work => Ok(done),
        () = tokio::time::sleep_until(deadline.into()) => Err(Failure::Deadline),
    }
}
