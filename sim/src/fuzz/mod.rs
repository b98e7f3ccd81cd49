//! `fuzz`: worlds drawn by seed, each with a schedule of what users do and machines suffer. In the end
//! faults stop and all must heal; what is broken is made as small as it can be. Read [`case`] first.

pub mod case;
pub(crate) mod cli;
mod draw;
mod figures;
mod liveness;
mod load;
mod play;
mod report;
pub mod shrink;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::case::{Case, Feature, Named, Preset};
pub use self::draw::draw;
pub use self::figures::{Figures, Range as FigureRange};
pub use self::play::{Outcome, play, trace};
pub use self::report::Report;
pub use self::shrink::{Broken, shrink};
use crate::laws::Violation;
use crate::meter::Meter;
use crate::progress;
use crate::scenario::Bad;

/// What is to be fuzzed.
#[derive(Clone, Debug)]
pub struct Options {
    /// What each case is like, but for its seed.
    pub named: Named,
    /// The seeds.
    pub seeds: Range<u64>,
    /// Seconds of wall time after which no more cases begin.
    pub time: Option<f64>,
    /// Worlds that are played at once.
    pub threads: usize,
    /// Seconds of wall time for making a broken case smaller.
    pub shrink: f64,
}

/// What came of many cases.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Cases that were played.
    pub played: u64,
    /// Inputs that cores handled in them.
    pub events: u64,
    /// Seconds of wall time.
    pub seconds: f64,
    /// The seeds of the broken ones, ascending, with what is broken first.
    pub broken: Vec<(u64, Violation)>,
    /// The first of them made small.
    pub smallest: Option<Broken>,
    /// Of the preset performance, the figures of each world by its seed.
    pub figures: Vec<(u64, Figures)>,
}

/// What the threads share.
struct Shared<'a> {
    options: &'a Options,
    next: AtomicU64,
    played: AtomicU64,
    events: AtomicU64,
    working: AtomicU64,
    broken: Mutex<Vec<(u64, Violation)>>,
    figures: Mutex<Vec<(u64, Figures)>>,
    meter: Meter,
}

/// Plays the cases of all seeds.
pub fn fuzz(options: &Options) -> Result<Tally, Bad> {
    // A scenario that can't be read is complained of once.
    draw(&Named { seed: options.seeds.start, ..options.named.clone() })?;
    let shared = Shared {
        options,
        next: AtomicU64::new(options.seeds.start),
        played: AtomicU64::new(0),
        events: AtomicU64::new(0),
        working: AtomicU64::new(options.threads as u64),
        broken: Mutex::new(Vec::new()),
        figures: Mutex::new(Vec::new()),
        meter: Meter::start(),
    };
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                shared.work();
                shared.working.fetch_sub(1, Ordering::Relaxed);
            });
        }
        shared.show_progress();
    });
    let Shared { played, events, broken, figures, meter, .. } = shared;
    let seconds = meter.wall_seconds();
    let mut broken = broken.into_inner().expect("no thread panics while it holds the list");
    broken.sort_unstable_by_key(|(seed, _)| *seed);
    let mut figures = figures.into_inner().expect("no thread panics while it holds the list");
    figures.sort_unstable_by_key(|(seed, _)| *seed);
    let smallest = broken.first().map(|(seed, violation)| {
        let named = Named { seed: *seed, ..options.named.clone() };
        let case = draw(&named).expect("it was drawn before");
        shrink(case, violation.clone(), options.shrink)
    });
    let (played, events) = (played.into_inner(), events.into_inner());
    Ok(Tally { played, events, seconds, broken, smallest, figures })
}

impl Shared<'_> {
    /// Plays one case after the other; each world is stepped by one thread.
    fn work(&self) {
        loop {
            let over = self.options.time.is_some_and(|time| self.meter.wall_seconds() >= time);
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if over || seed >= self.options.seeds.end {
                return;
            }
            let named = Named { seed, ..self.options.named.clone() };
            let case = draw(&named).expect("the first one was drawn");
            let outcome = play(&case);
            self.played.fetch_add(1, Ordering::Relaxed);
            self.events.fetch_add(outcome.events, Ordering::Relaxed);
            if named.preset == Preset::Performance && named.scenario.is_none() {
                let mut figures = self.figures.lock().expect("no thread panics with the list");
                figures.push((seed, outcome.figures));
            }
            if let Some(violation) = outcome.violation {
                let mut broken = self.broken.lock().expect("no thread panics with the list");
                broken.push((seed, violation));
            }
        }
    }

    fn show_progress(&self) {
        let bar = progress::worlds(self.options.seeds.end - self.options.seeds.start);
        while !bar.is_hidden() && self.working.load(Ordering::Relaxed) > 0 {
            std::thread::sleep(Duration::from_millis(200));
            let broken = self.broken.lock().map_or(0, |broken| broken.len());
            bar.set_message(format!(", {broken} broken"));
            bar.set_position(self.played.load(Ordering::Relaxed));
        }
        bar.finish_and_clear();
    }
}
