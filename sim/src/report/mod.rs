//! What came of a run, in the form of the contract, and in a table for people.

mod histogram;
mod sections;
mod spread;
mod table;
mod wires;

use serde::{Deserialize, Serialize};

pub use self::histogram::Histogram;
pub use self::sections::{
    Anycall, Job, Joined, Lookup, LookupDistributions, Manycall, Parting, PartingSide, Placement,
};
pub use self::spread::{Spread, rank};
pub use self::wires::{Connections, Links};
use crate::expect;
use crate::meter::{Meter, peak_rss_bytes};
use crate::progress::Run;
use crate::scenario::Scenario;
use crate::series::Series;
use crate::world::{START, World};

/// Nanoseconds in a millisecond.
const MS: f64 = 1e6;
/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// The object that `run --json` prints.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Report {
    pub schema: u32,
    pub scenario: String,
    pub seed: u64,
    pub peers: u32,
    pub digest: String,
    pub virtual_seconds: f64,
    pub setup_seconds: f64,
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
    pub events: u64,
    pub events_per_cpu_second: f64,
    pub peak_rss_bytes: u64,
    pub messages: u64,
    pub bytes: u64,
    /// Peers that went and for which another came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
    /// Peers whose session ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub departed: Option<u64>,
    /// Of those, the ones that came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returned: Option<u64>,
    /// Hosts that crashed together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crashed: Option<u64>,
    /// Hosts that left for good, with nothing open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drained: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<Links>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<Connections>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joining: Option<Joined>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anycall: Option<Anycall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manycall: Option<Manycall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<Parting>,
    pub violations: Vec<Broken>,
    /// How many there were: the first of them are told.
    #[serde(default)]
    pub violations_count: u64,
    /// How it went over virtual time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}

/// A violation as it is reported.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Broken {
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    pub what: String,
}

/// Runs a scenario from a seed and reports.
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    run_with(scenario, seed, World::run)
}

/// The same; a person at a terminal sees how far it has come.
pub fn run_shown(scenario: &Scenario, seed: u64) -> Report {
    run_with(scenario, seed, |world| {
        let mut progress = Run::new(world.work_ends());
        world.run_showing(|time| {
            if progress.is_due(time) {
                progress.show(time);
            }
        });
    })
}

fn run_with(scenario: &Scenario, seed: u64, run: impl FnOnce(&mut World)) -> Report {
    let setup = Meter::start();
    let mut world = World::new(scenario.clone(), seed);
    let setup_seconds = setup.wall_seconds();
    let meter = Meter::start();
    run(&mut world);
    report(&mut world, seed, setup_seconds, meter)
}

/// What came of a world that has run.
pub fn report(world: &mut World, seed: u64, setup_seconds: f64, meter: Meter) -> Report {
    let cpu_seconds = meter.cpu_seconds();
    let mut report = Report {
        schema: 1,
        scenario: world.scenario.name.clone(),
        seed,
        peers: world.scenario.peers,
        digest: format!("{:016x}", world.digest()),
        virtual_seconds: world.now().since(START).0 as f64 / SECOND,
        setup_seconds,
        wall_seconds: meter.wall_seconds(),
        cpu_seconds,
        events: world.count.events,
        events_per_cpu_second: world.count.events as f64 / cpu_seconds.max(1e-9),
        peak_rss_bytes: peak_rss_bytes(),
        messages: world.count.messages,
        bytes: world.count.bytes,
        replaced: world.scenario.churn.is_some().then_some(world.work.replaced),
        departed: world.scenario.sessions.is_some().then_some(world.work.departed),
        returned: world.scenario.sessions.is_some().then_some(world.work.returned),
        crashed: world.scenario.crash.is_some().then_some(world.work.crashed),
        drained: world.scenario.drain.is_some().then_some(world.work.drained),
        links: world.scenario.links.is_some().then(|| Links::of(world)),
        connections: world.scenario.connections.is_some().then(|| Connections::of(world)),
        joining: world.scenario.joining.is_some().then(|| Joined::of(world)),
        lookup: world.scenario.lookups.is_some().then(|| Lookup::of(world)),
        anycall: world.scenario.anycalls.is_some().then(|| Anycall::of(world)),
        manycall: world.scenario.manycalls.is_some().then(|| Manycall::of(world)),
        placement: world.scenario.functions.is_some().then(|| Placement::of(world)),
        partition: world.scenario.partition.is_some().then(|| Parting::of(world)),
        violations: Vec::new(),
        violations_count: 0,
        series: Some(world.series()),
    };
    let now = world.now();
    for breach in expect::breaches(world, &report) {
        world.laws.violations.add(now, None, breach);
    }
    let violations = &world.laws.violations;
    let kept = violations.kept.iter().map(|violation| Broken {
        seconds: violation.time.since(START).0 as f64 / SECOND,
        peer: violation.peer,
        what: violation.what.clone(),
    });
    report.violations = kept.collect();
    report.violations_count = violations.count;
    let more = violations.count - violations.kept.len() as u64;
    if more > 0 {
        let what = format!("and {more} more");
        report.violations.push(Broken { seconds: 0.0, peer: None, what });
    }
    report
}
