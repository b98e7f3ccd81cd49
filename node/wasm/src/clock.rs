//! The only file that reads a clock.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// For a time that no clock can show.
pub(crate) const FOREVER: Duration = Duration::from_hours(24 * 365);

/// Time that only runs forwards.
#[expect(clippy::disallowed_methods, reason = "the file that the ban points to")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock's time; zero if it stands before 1970.
pub(crate) fn unix() -> Duration {
    wall().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "the file that the ban points to")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Processor time of the calling thread; elsewhere than on Unix, time.
fn thread_cpu() -> Duration {
    #[cfg(unix)]
    {
        let spec = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(spec.tv_sec.cast_unsigned(), spec.tv_nsec as u32)
    }
    #[cfg(not(unix))]
    {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        now().duration_since(*START.get_or_init(now))
    }
}

/// A future that keeps count of the processor time of its polls, on whatever threads they are, and
/// does something each time it has to wait.
pub(crate) struct Timed<F, W> {
    future: F,
    on_wait: W,
    pub(crate) cpu: Duration,
}

impl<F, W: Fn()> Timed<F, W> {
    pub(crate) fn new(future: F, on_wait: W) -> Self {
        Self { future, on_wait, cpu: Duration::ZERO }
    }
}

impl<F: Future + Unpin, W: Fn() + Unpin> Future for Timed<F, W> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let before = thread_cpu();
        let poll = Pin::new(&mut self.future).poll(cx);
        if poll.is_pending() {
            (self.on_wait)();
        }
        self.cpu += thread_cpu().saturating_sub(before);
        poll
    }
}

/// Runs `work` and says how much of this thread's processor time it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = thread_cpu();
    let done = work();
    (done, thread_cpu().saturating_sub(before))
}
