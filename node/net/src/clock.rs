//! The one place where this crate reads a clock: for I/O timeouts and rates, never for decisions.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
