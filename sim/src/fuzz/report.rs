//! What is said of many cases: to people, and as an object.

use std::fmt::Write as _;

use serde::Serialize;

use super::figures::{self, Range as FigureRange};
use super::{Broken, Tally};
use crate::laws::Violation;
use crate::world::START;

/// Broken seeds that are told one by one to people; the object has all.
const TOLD_MAX: usize = 20;

/// The object that `fuzz --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// 1.
    pub schema: u32,
    /// Cases that were played.
    pub worlds: u64,
    /// Of wall time.
    pub worlds_per_second: f64,
    /// Inputs that cores handled.
    pub events: u64,
    /// It took.
    pub wall_seconds: f64,
    /// The broken ones.
    pub broken: Vec<BrokenSeed>,
    /// The first of them.
    pub smallest: Option<Smallest>,
    /// Of the preset performance, what was measured in its worlds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureRange>,
}

/// A seed whose case is broken.
#[derive(Clone, Debug, Serialize)]
pub struct BrokenSeed {
    /// Its number.
    pub seed: u64,
    /// When it broke, in virtual seconds.
    pub seconds: f64,
    /// Where, if at one peer.
    pub peer: Option<u32>,
    /// What is broken.
    pub what: String,
}

/// The first broken case, made small.
#[derive(Clone, Debug, Serialize)]
pub struct Smallest {
    /// Plays it again.
    pub command: String,
    /// Its settings in words.
    pub setup: Vec<String>,
    /// Its operations in words.
    pub schedule: Vec<String>,
    /// What is broken.
    pub what: String,
    /// Cases that were tried on the way.
    pub tried: u64,
}

impl Report {
    /// Of all cases.
    pub fn of(tally: &Tally) -> Self {
        let seed = |(seed, violation): &(u64, Violation)| BrokenSeed {
            seed: *seed,
            seconds: violation.time.since(START).0 as f64 / 1e9,
            peer: violation.peer,
            what: violation.what.clone(),
        };
        let lines = |text: String| text.lines().map(str::to_owned).collect();
        let smallest = |broken: &Broken| Smallest {
            command: broken.case.named.command(),
            setup: lines(broken.case.setup()),
            schedule: lines(broken.case.lines()),
            what: broken.violation.what.clone(),
            tried: broken.tried,
        };
        Self {
            schema: 1,
            worlds: tally.played,
            worlds_per_second: tally.played as f64 / tally.seconds.max(1e-9),
            events: tally.events,
            wall_seconds: tally.seconds,
            broken: tally.broken.iter().map(seed).collect(),
            smallest: tally.smallest.as_ref().map(smallest),
            figures: figures::ranges(&tally.figures),
        }
    }

    /// For people; the last line counts.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for BrokenSeed { seed, seconds, what, .. } in self.broken.iter().take(TOLD_MAX) {
            let _ = writeln!(text, "seed {seed} is broken after {seconds:.3} s: {what}");
        }
        if self.broken.len() > TOLD_MAX {
            let _ = writeln!(text, "and {} more", self.broken.len() - TOLD_MAX);
        }
        text.push_str(&figures::table(&self.figures));
        let Self { worlds, worlds_per_second, events, .. } = self;
        let _ = writeln!(text, "{worlds} worlds, {worlds_per_second:.1} a second, {events} events");
        text
    }
}

impl Broken {
    /// The whole case for people: settings, schedule, what is broken, and how to repeat it.
    pub fn text(&self) -> String {
        let Self { case, violation, .. } = self;
        let time = violation.time.since(START).0 as f64 / 1e9;
        let at = violation.peer.map_or(String::new(), |peer| format!(" at {peer}"));
        let Violation { what, .. } = violation;
        let (setup, lines) = (case.setup(), case.lines());
        let command = case.named.command();
        format!("{setup}{lines}broken after {time:.3} s{at}: {what}\nto repeat it:\n{command}\n")
    }
}
