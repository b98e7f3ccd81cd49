//! What came of a run, in the form of the contract, and in a table for people.

use std::fmt::Write as _;

use serde::Serialize;

use crate::expect;
use crate::meter::{Meter, peak_rss_bytes};
use crate::scenario::Scenario;
use crate::world::{START, World};

/// A distribution in five numbers; percentiles are those of the nearest rank.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize)]
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

/// Nanoseconds in a millisecond.
const MS: f64 = 1e6;
/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// The object that `run --json` prints.
#[derive(Clone, Debug, Serialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anycall: Option<Anycall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manycall: Option<Manycall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    pub violations: Vec<Broken>,
}

/// A violation as it is reported.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Broken {
    pub seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    pub what: String,
}

#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Lookup {
    pub count: u64,
    pub succeeded: u64,
    pub exact: u64,
    pub hops: Spread,
    pub rounds: Spread,
    pub rpcs: Spread,
    pub latency_ms: Spread,
    pub timeouts: u64,
}

#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Anycall {
    pub count: u64,
    pub succeeded: u64,
    pub refused: u64,
    pub failed: u64,
    pub executions: u64,
    pub latency_ms: Spread,
    pub attempts: Spread,
    /// Calls made while a host of their function lived.
    pub while_hosted: u64,
    /// Of those, the ones that succeeded.
    pub while_hosted_succeeded: u64,
    /// Calls whose gateway went before they ended; in no other number.
    pub orphaned: u64,
    /// Why calls failed.
    pub failures: std::collections::BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Manycall {
    pub jobs: u64,
    pub items: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub unknown: u64,
    pub lost: u64,
    pub doubled: u64,
    pub attempts: u64,
    pub hedged: u64,
    pub makespan_ms: Spread,
    pub ideal_makespan_ms: Spread,
    pub efficiency: f64,
}

#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Placement {
    pub functions: u64,
    pub wanted: u32,
    pub live: Spread,
    pub repairs: u64,
    pub repair_seconds: Spread,
    pub repair_seconds_p95: f64,
    pub hostless_fraction: f64,
    pub load_max_over_mean: f64,
    pub moved_on_join: u64,
    pub moved_on_leave: u64,
    /// Deployments that ended well.
    pub placed: u64,
    pub deploy_ms: Spread,
    /// Functions that have fewer hosts than wanted at the end.
    pub short: u64,
    /// Hosts of the function that has fewest at the end.
    pub live_min: u64,
    /// Why deployments failed, the first ones.
    pub failures: Vec<String>,
}

/// Runs a scenario from a seed and reports.
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    let setup = Meter::start();
    let mut world = World::new(scenario.clone(), seed);
    let setup_seconds = setup.wall_seconds();
    let meter = Meter::start();
    world.run();
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
        lookup: world.scenario.lookups.is_some().then(|| lookup(world)),
        anycall: world.scenario.anycalls.is_some().then(|| anycall(world)),
        manycall: world.scenario.manycalls.is_some().then(|| manycall(world)),
        placement: world.scenario.functions.is_some().then(|| placement(world)),
        violations: Vec::new(),
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
    let more = violations.count - violations.kept.len() as u64;
    if more > 0 {
        let what = format!("and {more} more");
        report.violations.push(Broken { seconds: 0.0, peer: None, what });
    }
    report
}

fn lookup(world: &World) -> Lookup {
    let lookups = &world.work.lookups;
    Lookup {
        count: lookups.count,
        succeeded: lookups.succeeded,
        exact: lookups.exact,
        hops: Spread::of(&lookups.hops, 1.0),
        rounds: Spread::of(&lookups.rounds, 1.0),
        rpcs: Spread::of(&lookups.rpcs, 1.0),
        latency_ms: Spread::of(&lookups.latency, MS),
        timeouts: lookups.timeouts,
    }
}

fn anycall(world: &World) -> Anycall {
    let calls = &world.work.anycalls;
    Anycall {
        count: calls.count,
        succeeded: calls.succeeded,
        refused: calls.refused,
        failed: calls.failed,
        executions: calls.executions,
        latency_ms: Spread::of(&calls.latency, MS),
        attempts: Spread::of(&calls.attempts, 1.0),
        while_hosted: calls.hosted,
        while_hosted_succeeded: calls.hosted_succeeded,
        orphaned: calls.orphaned,
        failures: calls.failures.clone(),
    }
}

fn manycall(world: &World) -> Manycall {
    let many = &world.work.manycalls;
    let (ideal, makespan): (u64, u64) = (many.ideal.iter().sum(), many.makespan.iter().sum());
    Manycall {
        jobs: many.jobs,
        items: many.items,
        succeeded: many.succeeded,
        failed: many.failed,
        unknown: many.unknown,
        lost: many.lost,
        doubled: many.doubled,
        attempts: many.attempts,
        hedged: many.hedged,
        makespan_ms: Spread::of(&many.makespan, MS),
        ideal_makespan_ms: Spread::of(&many.ideal, MS),
        efficiency: if makespan == 0 { 0.0 } else { ideal as f64 / makespan as f64 },
    }
}

fn placement(world: &World) -> Placement {
    let functions = &world.census.functions;
    let live: Vec<u64> = functions.iter().map(|function| function.hosts.len() as u64).collect();
    let mut repairs: Vec<u64> = functions.iter().flat_map(|one| one.repairs.clone()).collect();
    repairs.sort_unstable();
    let short = functions.iter().filter(|one| (one.hosts.len() as u32) < one.wanted).count();
    let able = (0..world.oracle.ever())
        .filter(|peer| world.is_up(*peer) && world.scenario.slots_of(*peer) > 0)
        .count();
    let deployments = &world.work.deployments;
    Placement {
        functions: functions.len() as u64,
        wanted: functions.first().map_or(0, |function| function.wanted),
        live: Spread::of(&live, 1.0),
        repairs: repairs.len() as u64,
        repair_seconds: Spread::of(&repairs, SECOND),
        repair_seconds_p95: rank(&repairs, 95) as f64 / SECOND,
        hostless_fraction: world.census.hostless_fraction(world.now().0),
        load_max_over_mean: world.census.load_max_over_mean(able as u32),
        moved_on_join: world.census.moved_on_join,
        moved_on_leave: world.census.moved_on_leave,
        placed: deployments.placed,
        deploy_ms: Spread::of(&deployments.latency, MS),
        short: short as u64,
        live_min: live.iter().copied().min().unwrap_or(0),
        failures: deployments.failures.iter().take(5).cloned().collect(),
    }
}

impl Report {
    /// The report for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, figure: String| {
            let _ = writeln!(text, "{what:<34} {figure}");
        };
        line("scenario", format!("{} (seed {}, {} peers)", self.scenario, self.seed, self.peers));
        line("digest", self.digest.clone());
        line("virtual time", format!("{:.1} s", self.virtual_seconds));
        line(
            "real time",
            format!(
                "{:.2} s set-up, then {:.2} s ({:.2} s of processor)",
                self.setup_seconds, self.wall_seconds, self.cpu_seconds
            ),
        );
        line(
            "events",
            format!("{} ({:.0} a processor second)", self.events, self.events_per_cpu_second),
        );
        line("messages", format!("{} ({} bytes)", self.messages, self.bytes));
        line("memory at most", format!("{:.0} MiB", self.peak_rss_bytes as f64 / 1_048_576.0));
        if let Some(it) = &self.lookup {
            line("lookups", format!("{}", it.count));
            line("  right at some instant", share(it.succeeded, it.count));
            line("  right at their end", share(it.exact, it.count));
            line("  hops", it.hops.words(""));
            line("  rounds", it.rounds.words(""));
            line("  requests", it.rpcs.words(""));
            line("  latency", it.latency_ms.words(" ms"));
            line("  requests not answered", format!("{}", it.timeouts));
        }
        if let Some(it) = &self.placement {
            line("functions", format!("{} of {} placed", it.placed, it.functions));
            line("  hosts wanted each", format!("{}", it.wanted));
            line("  hosts living", it.live.words(""));
            line("  short of hosts at the end", format!("{}", it.short));
            line("  deploying", it.deploy_ms.words(" ms"));
            line("  shortages made up", format!("{}", it.repairs));
            let p95 = it.repair_seconds_p95;
            line("  repair", format!("{}, p95 {p95:.1}", it.repair_seconds.words(" s")));
            line("  time without any host", format!("{:.6}", it.hostless_fraction));
            line("  most on one peer over mean", format!("{:.2}", it.load_max_over_mean));
        }
        if let Some(it) = &self.anycall {
            line("anycalls", format!("{}", it.count));
            line("  answered", share(it.succeeded, it.count));
            line("  made while a host lived", share(it.while_hosted_succeeded, it.while_hosted));
            line("  refused, failed, orphaned", {
                format!("{}, {}, {}", it.refused, it.failed, it.orphaned)
            });
            line("  runs", format!("{}", it.executions));
            line("  attempts", it.attempts.words(""));
            line("  latency", it.latency_ms.words(" ms"));
            for (why, count) in &it.failures {
                line("  failed", format!("{count} × {why}"));
            }
        }
        if let Some(it) = &self.manycall {
            line("manycalls", format!("{} of {} items in all", it.jobs, it.items));
            line("  succeeded, failed, unknown", {
                format!("{}, {}, {}", it.succeeded, it.failed, it.unknown)
            });
            line("  lost, doubled", format!("{}, {}", it.lost, it.doubled));
            line("  attempts", format!("{}", it.attempts));
            line("  makespan", it.makespan_ms.words(" ms"));
            line("  ideal makespan", it.ideal_makespan_ms.words(" ms"));
            line("  efficiency", format!("{:.3}", it.efficiency));
        }
        if let Some(it) = &self.placement {
            for failure in &it.failures {
                line("  not placed", failure.clone());
            }
        }
        line("violations", format!("{}", self.violations.len()));
        for broken in self.violations.iter().take(20) {
            let peer = broken.peer.map_or(String::new(), |peer| format!(" peer {peer}:"));
            let _ = writeln!(text, "  {:.3} s:{peer} {}", broken.seconds, broken.what);
        }
        text
    }
}

impl Spread {
    fn words(&self, unit: &str) -> String {
        let Self { mean, p50, p90, p99, max } = self;
        format!("mean {mean:.2}, p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, most {max:.1}{unit}")
    }
}

fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{part} of {whole} ({percent:.2} %)")
}
