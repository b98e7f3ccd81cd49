//! One guest, from its instance to its report. Runs on the sandbox's own threads.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};
use wasmtime::{Engine, InstancePre, Store, Trap, UpdateDeadline};

use crate::clock::{self, FOREVER, Timed};
use crate::host::Host;
use crate::pipe::{Ending, Pipe};
use crate::ticker::Ticker;
use crate::wasi::Exit;
use crate::{Canceller, Failure, Invocation, Report};

/// Text of a trap that is kept, its stack of functions included.
const TRAP_TEXT_BYTES_MAX: usize = 4096;

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
        let host = Host::new(invocation, Arc::clone(&pipe), self.memory_bytes_max);
        let ticking = self.ticker.guest();
        let store = store(&self.engine, host, deadline);
        let (outcome, used) = call(store, &self.code, &pipe, deadline, &canceller).await;
        drop((ticking, place));
        pipe.end(Ending { outcome: outcome.clone(), stderr: used.stderr.clone() });
        drop(ends_pipe);
        let wall = clock::now().duration_since(asked);
        let _ = report.send(Report { outcome, wall, queued, ..used });
    }
}

fn store(engine: &Engine, host: Host, deadline: Instant) -> Store<Host> {
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.limit);
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

/// Runs the guest to its end; when it returns, the instance is free again. The second value is all
/// of the report that is known here.
async fn call(
    mut store: Store<Host>,
    code: &InstancePre<Host>,
    pipe: &Pipe,
    deadline: Instant,
    canceller: &Canceller,
) -> (Result<(), Failure>, Report) {
    let (ended, cpu) = {
        let start = Box::pin(start(&mut store, code));
        // Whatever makes a guest wait or yield, what it wrote by then goes out.
        let mut start = Timed::new(start, || pipe.flush());
        let ended = until(deadline, canceller, &mut start).await;
        (ended, start.cpu)
    };
    let (host, dropping) = clock::timed(|| store.into_data());
    let outcome = ended.and_then(|result| outcome(result, &host));
    let used = Report {
        cpu: cpu + dropping,
        bytes_in: host.stdin.bytes,
        bytes_out: host.stdout.bytes,
        memory_peak_bytes: host.limit.bytes_peak as u64,
        stderr: host.stderr.kept(),
        stderr_bytes: host.stderr.total,
        ..Report::without_a_guest(Failure::Cancelled)
    };
    (outcome, used)
}

async fn start(store: &mut Store<Host>, code: &InstancePre<Host>) -> wasmtime::Result<()> {
    let instance = code.instantiate_async(&mut *store).await?;
    store.data_mut().instantiated = true;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call_async(&mut *store, ()).await
}

/// What a guest's end means.
fn outcome(result: wasmtime::Result<()>, host: &Host) -> Result<(), Failure> {
    let error = match result {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if let Some(failure) = &host.failure {
        return Err(failure.clone());
    }
    match error.downcast_ref::<Exit>() {
        Some(Exit(0)) => return Ok(()),
        // Who cannot get memory seldom says so: it traps, or gives up with a status of its own.
        _ if host.limit.denied => return Err(Failure::Memory),
        Some(Exit(status)) => return Err(Failure::Exited(*status)),
        None => {}
    }
    if !host.instantiated && !error.is::<Trap>() {
        return Err(Failure::NotStarted(error.root_cause().to_string()));
    }
    // Nothing else than the deadline interrupts.
    if error.downcast_ref() == Some(&Trap::Interrupt) {
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
