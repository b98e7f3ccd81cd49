//! Samples in equal bins.

use serde::{Deserialize, Serialize};

/// Bins at most.
const BINS_MAX: u64 = 256;

/// How often samples fell into each bin; the first one begins at zero. All widths in one unit are the
/// narrowest times a power of two, so that two histograms of it can be added without loss.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// How wide a bin is, in the unit of what is told.
    pub width: f64,
    /// How many samples each bin has, up to the highest sample.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Of `samples`, told in `unit`s, with bins no narrower than `narrowest`.
    pub fn of(samples: &[u64], narrowest: u64, unit: f64) -> Self {
        let Some(max) = samples.iter().max() else { return Self::default() };
        let mut width = narrowest;
        while max / width >= BINS_MAX {
            width *= 2;
        }
        let mut counts = vec![0; (max / width) as usize + 1];
        for sample in samples {
            counts[(sample / width) as usize] += 1;
        }
        Self { width: width as f64 / unit, counts }
    }

    /// How many samples there are.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// With at most `bins` bins, each as wide as the same whole number of bins of before.
    #[must_use]
    pub fn coarser(&self, bins: usize) -> Self {
        let each = self.counts.len().div_ceil(bins).max(1);
        let sum = |part: &[u64]| part.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        Self {
            width: self.width * each as f64,
            counts: self.counts.chunks(each).map(sum).collect(),
        }
    }

    /// Adds the samples of another one; the bins become as wide as the wider ones.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        if other.counts.is_empty() {
            return self.clone();
        }
        let width = self.width.max(other.width);
        let mut counts = Vec::new();
        for one in [self, other] {
            for (at, count) in one.counts.iter().enumerate() {
                // Where both widths are positive this is no more than `at`.
                let bin = (at as f64 * (one.width / width)) as usize;
                if counts.len() <= bin {
                    counts.resize(bin + 1, 0u64);
                }
                counts[bin] = counts[bin].saturating_add(*count);
            }
        }
        Self { width, counts }
    }
}
