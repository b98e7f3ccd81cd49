//! `sweep`: many worlds side by side, each stepped by one thread. What comes of a world depends on
//! its seed and scenario alone, and worlds are told in the order of (peers, seed), so that the number
//! of threads changes nothing but the time it takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::progress;
use crate::report::{self, Report};
use crate::scenario::Scenario;

/// Worlds in one sweep at most.
const WORLDS_MAX: u64 = 1_000_000;

/// Seeds as they are typed: `A..B`, from A up to and without B, or `A..=B`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seeds(pub Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "expected A..B, from seed A up to and without B, such as 0..100".to_owned();
        let (first, last) = text.split_once("..").ok_or_else(expected)?;
        let (last, inclusive) = match last.strip_prefix('=') {
            Some(last) => (last, 1),
            None => (last, 0),
        };
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| expected());
        let (start, last) = (number(first)?, number(last)?);
        let end = last.checked_add(inclusive).ok_or("expected a last seed below 2^64 - 1")?;
        if start >= end {
            return Err(format!("there is no seed from {start} up to {last}: {}", expected()));
        }
        Ok(Self(start..end))
    }
}

/// What to sweep over.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The scenario at every size, smallest first.
    pub sizes: Vec<Scenario>,
    /// Every world of a size has another of these.
    pub seeds: Range<u64>,
    /// How many worlds are stepped at once.
    pub threads: usize,
    /// Where each world's report is written.
    pub dir: PathBuf,
}

/// What came of one world.
#[derive(Debug)]
pub struct World {
    /// Peers at its start.
    pub peers: u32,
    /// Its seed.
    pub seed: u64,
    /// Its report, or with which words its thread panicked.
    pub outcome: Result<Report, String>,
}

impl World {
    /// Whether anything was wrong with it.
    pub fn is_bad(&self) -> bool {
        !matches!(&self.outcome, Ok(report) if report.violations_count == 0)
    }
}

impl Sweep {
    /// How many worlds it has; an error if these are too many.
    pub fn count(&self) -> Result<u64, String> {
        let seeds = self.seeds.end - self.seeds.start;
        match seeds.checked_mul(self.sizes.len() as u64) {
            Some(count) if count <= WORLDS_MAX => Ok(count),
            _ => Err(format!("--seeds: expected at most {WORLDS_MAX} worlds in one sweep")),
        }
    }

    /// The size and seed of the world of this number.
    fn world(&self, number: u64) -> (&Scenario, u64) {
        let seeds = self.seeds.end - self.seeds.start;
        (&self.sizes[(number / seeds) as usize], self.seeds.start + number % seeds)
    }

    fn run_one(&self, number: u64) -> io::Result<World> {
        let (scenario, seed) = self.world(number);
        let outcome = catch_unwind(AssertUnwindSafe(|| report::run(scenario, seed)));
        let outcome = outcome.map_err(|panic| {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            words.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no words").to_owned()
        });
        if let Ok(report) = &outcome {
            save(report, &self.dir)?;
        }
        Ok(World { peers: scenario.peers, seed, outcome })
    }

    /// Runs all worlds and hands them to `tell` in the order of (peers, seed), each as soon as those
    /// before it are done. Ends at the first world that can't be written or told.
    pub fn run(&self, mut tell: impl FnMut(World) -> io::Result<()>) -> Result<(), String> {
        let count = self.count()?;
        let bar = progress::worlds(count);
        let next = AtomicU64::new(0);
        let (sender, receiver) = mpsc::channel();
        let mut result = Ok(());
        thread::scope(|scope| {
            for _ in 0..self.threads.min(count as usize) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        // The receiver is gone once something went wrong.
                        if number >= count || sender.send((number, self.run_one(number))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            result = in_order(receiver, |world| bar.suspend(|| tell(world)), || bar.inc(1));
            next.store(count, Ordering::Relaxed);
        });
        bar.finish_and_clear();
        result.map_err(|error| error.to_string())
    }
}

/// Hands on what comes in any order in the order of its numbers.
fn in_order(
    receiver: mpsc::Receiver<(u64, io::Result<World>)>,
    mut tell: impl FnMut(World) -> io::Result<()>,
    came: impl Fn(),
) -> io::Result<()> {
    let (mut waiting, mut next) = (BTreeMap::new(), 0);
    for (number, world) in receiver {
        came();
        waiting.insert(number, world?);
        while let Some(world) = waiting.remove(&next) {
            tell(world)?;
            next += 1;
        }
    }
    Ok(())
}

/// Writes a report into a directory, which is made if need be, under the contract's name for it.
pub fn save(report: &Report, dir: &Path) -> io::Result<()> {
    let object = serde_json::to_string(report).expect("a report is plain data");
    let path = dir.join(format!("{}-{}-{}.json", report.scenario, report.seed, report.peers));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, format!("{object}\n")))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The worlds in a table for people.
pub fn table(worlds: &[Row]) -> String {
    let mut text = String::new();
    let header = ["seed", "peers", "digest", "violations"];
    let cells = |row: &Row| {
        [row.seed.to_string(), row.peers.to_string(), row.digest.clone(), row.violations.clone()]
    };
    let widths: Vec<usize> = (0..4)
        .map(|at| {
            let widest = worlds.iter().map(|row| cells(row)[at].len()).max().unwrap_or(0);
            widest.max(header[at].len())
        })
        .collect();
    let mut line = |cells: &[String; 4], figures: &str| {
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "{cell:>width$}  ");
        }
        let _ = writeln!(text, "{figures}");
    };
    line(&header.map(str::to_owned), "figures");
    for row in worlds {
        line(&cells(row), &row.figures);
    }
    text
}

/// What the table tells of a world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Peers at its start.
    pub peers: u32,
    /// Its seed.
    pub seed: u64,
    digest: String,
    violations: String,
    figures: String,
    /// Whether anything was wrong with it.
    pub is_bad: bool,
}

impl Row {
    /// What the table tells of `world`.
    pub fn of(world: &World) -> Self {
        let (digest, violations, figures) = match &world.outcome {
            Ok(report) => {
                (report.digest.clone(), report.violations_count.to_string(), report.figures())
            }
            Err(words) => {
                let first = words.lines().next().unwrap_or_default();
                ("-".to_owned(), "panicked".to_owned(), first.to_owned())
            }
        };
        let is_bad = world.is_bad();
        Self { peers: world.peers, seed: world.seed, digest, violations, figures, is_bad }
    }
}
