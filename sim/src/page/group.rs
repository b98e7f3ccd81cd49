//! Runs that belong in one picture: those of a scenario, size by size.

use super::Run;
use super::figures::count;
use crate::report::{Histogram, Report};

/// A run writes no more bins than these; more would not be told apart.
const BINS_MAX: usize = 512;

/// All runs of one scenario.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    pub(super) scenario: &'a str,
    /// By peers, ascending.
    pub(super) sizes: Vec<Size<'a>>,
}

/// All runs of one scenario with as many peers.
#[derive(Clone, Debug)]
pub(super) struct Size<'a> {
    pub(super) peers: u32,
    /// Its place among the sizes, which is its colour too.
    pub(super) colour: usize,
    /// By seed, ascending.
    pub(super) runs: &'a [Run],
}

/// Groups runs, which are sorted.
pub(super) fn groups(runs: &[Run]) -> Vec<Group<'_>> {
    let by_scenario = runs.chunk_by(|a, b| a.report.scenario == b.report.scenario);
    by_scenario
        .map(|runs| {
            let by_peers = runs.chunk_by(|a, b| a.report.peers == b.report.peers);
            let sizes = by_peers.enumerate().map(|(colour, runs)| Size {
                peers: runs[0].report.peers,
                colour,
                runs,
            });
            Group { scenario: &runs[0].report.scenario, sizes: sizes.collect() }
        })
        .collect()
}

impl<'a> Group<'a> {
    /// Every run's report.
    pub(super) fn reports(&self) -> impl Iterator<Item = &'a Report> + Clone + use<'a, '_> {
        self.sizes.iter().flat_map(Size::reports)
    }
}

impl<'a> Size<'a> {
    /// Every run's report.
    pub(super) fn reports(&self) -> impl Iterator<Item = &'a Report> + Clone + use<'a> {
        self.runs.iter().map(|run| &run.report)
    }

    /// What a legend calls it.
    pub(super) fn name(&self) -> String {
        format!("{} peers", count(self.peers.into()))
    }

    /// The mean over those runs that have this figure.
    pub(super) fn mean(&self, of: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        let figures: Vec<f64> = self.reports().filter_map(of).collect();
        let mean = figures.iter().sum::<f64>() / figures.len() as f64;
        (!figures.is_empty()).then_some(mean)
    }

    /// The samples of all runs together.
    pub(super) fn histogram(&self, of: impl Fn(&Report) -> Option<Histogram>) -> Histogram {
        let fine = |one: &Histogram| one.width > 0.0 && one.width.is_finite();
        let parts = self.reports().filter_map(of).filter(fine);
        parts.fold(Histogram::default(), |sum, one| sum.plus(&one.coarser(BINS_MAX)))
    }
}
