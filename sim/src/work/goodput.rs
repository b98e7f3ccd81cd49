//! How much of what was served counted, over time.

use peerless_core::Span;

/// One bin.
const BIN: Span = Span::ms(100);
/// Bins in a window of ten seconds.
const WINDOW: usize = 100;

/// Service that answered anyone, by when the answer came.
#[derive(Clone, Debug, Default)]
pub struct Goodput {
    /// Nanoseconds of service in each bin, since the start.
    bins: Vec<u64>,
}

impl Goodput {
    /// A call was answered that took so much service.
    pub fn add(&mut self, at: Span, service: Span) {
        let bin = (at.0 / BIN.0) as usize;
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, 0);
        }
        self.bins[bin] += service.0;
    }

    /// Least service in any ten seconds within these bounds, over ten seconds: how many slots were
    /// busy for someone. `None` where there are no ten seconds.
    pub fn least(&self, from: Span, until: Span) -> Option<f64> {
        let (first, end) = (from.0.div_ceil(BIN.0) as usize, (until.0 / BIN.0) as usize);
        let bin = |at: usize| self.bins.get(at).copied().unwrap_or(0);
        let mut sum: u64 = (first..first + WINDOW).map(bin).sum();
        let mut least = sum;
        for next in first + WINDOW..end {
            sum = sum + bin(next) - bin(next - WINDOW);
            least = least.min(sum);
        }
        let window = (BIN.0 * WINDOW as u64) as f64;
        (first + WINDOW <= end).then(|| least as f64 / window)
    }
}
