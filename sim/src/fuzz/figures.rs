//! The figures of many worlds beside each other: least, median and most, and in which world.

use std::fmt::Write as _;

use serde::Serialize;

use crate::report::Report;

/// What is measured in a world of the preset performance.
pub(super) const NAMES: [&str; 10] = [
    "lookup requests, mean",
    "lookup hops, mean",
    "lookup ms, p99",
    "deployment ms, p99",
    "calls served, share",
    "call attempts, mean",
    "call ms, p50",
    "call ms, p99",
    "manycall attempts an item",
    "manycall efficiency",
];

/// The figures of one world, in the order of their names; none of work that it has not.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
pub struct Figures([Option<f64>; NAMES.len()]);

impl Figures {
    pub(super) fn of(report: &Report) -> Self {
        let lookup = report.lookup.as_ref().filter(|it| it.count > 0);
        let placement = report.placement.as_ref();
        let calls = report.anycall.as_ref().filter(|it| it.count > 0);
        let jobs = report.manycall.as_ref().filter(|it| it.items > 0);
        Self([
            lookup.map(|it| it.rpcs.mean),
            lookup.map(|it| it.hops.mean),
            lookup.map(|it| it.latency_ms.p99),
            placement.map(|it| it.deploy_ms.p99),
            calls.map(|it| it.succeeded as f64 / it.count as f64),
            calls.map(|it| it.attempts.mean),
            calls.map(|it| it.latency_ms.p50),
            calls.map(|it| it.latency_ms.p99),
            jobs.map(|it| it.attempts as f64 / it.items as f64),
            jobs.map(|it| it.efficiency),
        ])
    }
}

/// One figure over many worlds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Range {
    /// Which.
    pub figure: &'static str,
    /// Worlds that have it.
    pub worlds: usize,
    /// The least.
    pub least: f64,
    /// The seed of a world with the least.
    pub least_seed: u64,
    /// Half of them have no more.
    pub median: f64,
    /// The most.
    pub most: f64,
    /// The seed of a world with the most.
    pub most_seed: u64,
}

/// Each figure over these worlds, by seed; none of those that no world has.
pub(super) fn ranges(worlds: &[(u64, Figures)]) -> Vec<Range> {
    let range = |(at, figure): (usize, &&'static str)| {
        let has = |(seed, figures): &(u64, Figures)| figures.0[at].map(|value| (value, *seed));
        let mut all: Vec<(f64, u64)> = worlds.iter().filter_map(has).collect();
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let ((least, least_seed), (most, most_seed)) = (*all.first()?, *all.last()?);
        let median = all[(all.len() - 1) / 2].0;
        let worlds = all.len();
        Some(Range { figure, worlds, least, least_seed, median, most, most_seed })
    };
    NAMES.iter().enumerate().filter_map(range).collect()
}

/// For people, a line for each.
pub(super) fn table(ranges: &[Range]) -> String {
    let mut text = String::new();
    if !ranges.is_empty() {
        let head = ("figure", "worlds", "least (seed)", "median", "most (seed)");
        let (figure, worlds, least, median, most) = head;
        let _ = writeln!(text, "{figure:26} {worlds:>6} {least:>20} {median:>10} {most:>20}");
    }
    for Range { figure, worlds, least, least_seed, median, most, most_seed } in ranges {
        let (least, most) =
            (format!("{least:.3} ({least_seed})"), format!("{most:.3} ({most_seed})"));
        let _ = writeln!(text, "{figure:26} {worlds:>6} {least:>20} {median:>10.3} {most:>20}");
    }
    text
}
