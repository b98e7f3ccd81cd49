//! Time as a number that the host owns: the core never reads a clock.

use core::fmt;
use core::ops::{Add, Sub};

/// An instant in nanoseconds since the Unix epoch by the host's clock. The host passes it in and
/// never lets it go back; the simulator starts it where it likes.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Time(pub u64);

/// A length of time in nanoseconds.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Span(pub u64);

impl Time {
    /// Later than any deadline.
    pub const NEVER: Self = Self(u64::MAX);

    /// The length from `earlier` to here, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// Whole milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `n` milliseconds.
    pub const fn ms(n: u64) -> Self {
        Self(n * 1_000_000)
    }

    /// `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self::ms(n * 1_000)
    }

    /// `n` minutes.
    pub const fn minutes(n: u64) -> Self {
        Self::secs(n * 60)
    }

    /// Whole milliseconds in this span.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This span without `part`, zero if that is longer.
    #[must_use]
    pub const fn less(self, part: Self) -> Self {
        Self(self.0.saturating_sub(part.0))
    }

    /// This span `n` times.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(self.0).fmt(f)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == u64::MAX {
            return f.write_str("never");
        }
        let (seconds, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if rest.is_multiple_of(1_000_000) {
            write!(f, "{seconds}.{:03}s", rest / 1_000_000)
        } else {
            write!(f, "{seconds}.{rest:09}s")
        }
    }
}
