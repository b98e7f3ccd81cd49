//! Samples in a few numbers.

use serde::{Deserialize, Serialize};

/// A distribution in five numbers; percentiles are those of the nearest rank.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Nine tenths lie no higher.
    pub p90: f64,
    /// Ninety-nine hundredths lie no higher.
    pub p99: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// The distribution of `samples`, each divided by `unit`.
    pub fn of(samples: &[u64], unit: f64) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let Some(max) = sorted.last() else { return Self::default() };
        let sum: u128 = sorted.iter().map(|sample| u128::from(*sample)).sum();
        Self {
            mean: sum as f64 / sorted.len() as f64 / unit,
            p50: rank(&sorted, 50) as f64 / unit,
            p90: rank(&sorted, 90) as f64 / unit,
            p99: rank(&sorted, 99) as f64 / unit,
            max: *max as f64 / unit,
        }
    }
}

/// The sample of the nearest rank: the least one that `percent` of all do not exceed.
pub fn rank(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

impl Spread {
    /// In words, in this unit.
    pub(super) fn words(&self, unit: &str) -> String {
        let Self { mean, p50, p90, p99, max } = self;
        format!("mean {mean:.2}, p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, most {max:.1}{unit}")
    }
}
