//! The thread that makes guests yield.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// How long a guest computes before it makes room for the next one, and looks at its deadline.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks while there are guests, and sleeps while there are none.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    guests: AtomicUsize,
    over: AtomicBool,
}

/// While it lives, the ticker ticks.
pub(crate) struct Ticking(Arc<Ticker>);

impl Ticker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Arc<Self>> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("peerless-tick".to_owned())
            .spawn(move || tick(&engine, &theirs))?
            .thread()
            .clone();
        Ok(Arc::new(Self { shared, thread }))
    }

    pub(crate) fn guest(self: &Arc<Self>) -> Ticking {
        if self.shared.guests.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Ticking(Arc::clone(self))
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    while !shared.over.load(Ordering::SeqCst) {
        if shared.guests.load(Ordering::SeqCst) == 0 {
            // An unpark since that load makes this return at once.
            thread::park();
        } else {
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.shared.guests.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}
