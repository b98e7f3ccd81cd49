//! The smallest case that is still broken in the same way: delta debugging (Zeller and Hildebrandt
//! 2002) over the schedule, then over features and peers.

use std::collections::BTreeSet;

use super::case::{Case, Feature, Named};
use super::draw::draw;
use super::play::{Outcome, play};
use crate::laws::Violation;
use crate::meter::Meter;
use crate::world::START;

/// A broken case.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What it is.
    pub case: Case,
    /// What is broken in it.
    pub violation: Violation,
    /// Cases that were tried.
    pub tried: u64,
}

/// What kind of violation it is: the law that it names.
pub fn kind(violation: &Violation) -> &str {
    let what = &violation.what;
    what.split(':').next().unwrap_or(what)
}

struct Shrinker {
    best: Broken,
    meter: Meter,
    /// Seconds of wall time.
    within: f64,
}

/// Makes a broken case smaller for so many seconds of wall time, or until it can't be any more.
pub fn shrink(case: Case, violation: Violation, within: f64) -> Broken {
    let best = Broken { case, violation, tried: 0 };
    let mut shrinker = Shrinker { best, meter: Meter::start(), within };
    shrinker.cut_off();
    loop {
        let before = shrinker.size();
        shrinker.fewer_steps();
        shrinker.fewer_features();
        shrinker.fewer_peers();
        if shrinker.size() == before || shrinker.is_over() {
            return shrinker.best;
        }
    }
}

impl Shrinker {
    fn size(&self) -> (usize, u32, usize) {
        let Case { schedule, scenario, named, .. } = &self.best.case;
        (schedule.len(), scenario.peers, named.off.len())
    }

    fn is_over(&self) -> bool {
        self.meter.wall_seconds() > self.within
    }

    /// Takes a smaller case if it is broken in the same way.
    fn try_case(&mut self, named: &Named) -> bool {
        if self.is_over() {
            return false;
        }
        let Ok(case) = draw(named) else { return false };
        self.best.tried += 1;
        let Outcome { violation: Some(violation), .. } = play(&case) else { return false };
        if kind(&violation) != kind(&self.best.violation) {
            return false;
        }
        self.best.case = case;
        self.best.violation = violation;
        true
    }

    fn ids(&self) -> Vec<u32> {
        self.best.case.schedule.iter().map(|step| step.id).collect()
    }

    fn only(&self, ids: impl IntoIterator<Item = u32>) -> Named {
        let only: BTreeSet<u32> = ids.into_iter().collect();
        Named { only: Some(only), ..self.best.case.named.clone() }
    }

    /// Nothing after the breach can have caused it.
    fn cut_off(&mut self) {
        let until = self.best.violation.time.since(START);
        let steps = self.best.case.schedule.iter();
        let before: Vec<u32> = steps.filter(|step| step.at <= until).map(|step| step.id).collect();
        if before.len() < self.best.case.schedule.len() {
            let named = self.only(before);
            self.try_case(&named);
        }
    }

    /// Leaves out a half of the operations, a quarter, … and each by itself.
    fn fewer_steps(&mut self) {
        let mut chunk = self.ids().len();
        while chunk > 0 {
            let mut at = 0;
            loop {
                let ids = self.ids();
                if at >= ids.len() {
                    break;
                }
                let end = (at + chunk).min(ids.len());
                let rest = ids[..at].iter().chain(&ids[end..]).copied();
                let named = self.only(rest);
                if !self.try_case(&named) {
                    at = end;
                }
            }
            chunk /= 2;
        }
    }

    fn fewer_features(&mut self) {
        let load = self.best.case.is_load();
        for feature in Feature::ALL.iter().filter(|feature| load || feature.is_setting()) {
            let mut named = self.best.case.named.clone();
            // One that the seed is without already needs no word.
            if self.best.case.has(*feature) && named.off.insert(*feature) {
                self.try_case(&named);
            }
        }
    }

    /// From the smallest on.
    fn fewer_peers(&mut self) {
        // Fewer could not bear the load.
        if self.best.case.is_load() {
            return;
        }
        let peers = self.best.case.scenario.peers;
        let fewer = [2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256];
        for fewer in fewer.into_iter().filter(|fewer| *fewer < peers) {
            let named = Named { peers: Some(fewer), ..self.best.case.named.clone() };
            if self.try_case(&named) {
                return;
            }
        }
    }
}
