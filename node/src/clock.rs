//! The only file that reads a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerless_core::{Span, Time};

/// The node's clock: the wall clock at its start plus a clock that counts suspension, and never
/// back.
#[derive(Debug)]
pub(crate) struct Clock {
    wall: u64,
    base: u64,
    last: AtomicU64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { wall: wall_ns(), base: running_ns(), last: AtomicU64::new(0) }
    }

    /// The instant now.
    pub(crate) fn now(&self) -> Time {
        let now = self.wall + running_ns().saturating_sub(self.base);
        Time(self.last.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// How long it is until `time`.
    pub(crate) fn until(&self, time: Time) -> Duration {
        duration(time.since(self.now()))
    }
}

/// Milliseconds since the Unix epoch, for names of files and versions of records.
pub(crate) fn unix_ms() -> u64 {
    wall_ns() / 1_000_000
}

pub(crate) fn duration(span: Span) -> Duration {
    Duration::from_nanos(span.0)
}

pub(crate) fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// Measures how long something took.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Stopwatch(u64);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(running_ns())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(running_ns().saturating_sub(self.0))
    }

    pub(crate) fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

/// The wall clock's time, for files.
#[expect(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

fn wall_ns() -> u64 {
    let since = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A clock that runs while the machine sleeps, from any start.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn running_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[expect(clippy::disallowed_methods, reason = "this is the file that reads clocks")]
fn running_ns() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_wall_and_never_goes_back() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(first.unix_ms().abs_diff(unix_ms()) < 10_000);
        assert!((0..1000).map(|_| clock.now()).is_sorted());
        assert_eq!(clock.until(first), Duration::ZERO);
    }
}
