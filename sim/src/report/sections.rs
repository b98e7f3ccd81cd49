//! What came of each kind of work, from what was counted.

use std::collections::BTreeMap;

use peerless_core::Peer;
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use super::spread::{Spread, rank};
use super::{MS, SECOND};
use crate::outcomes::JobSpan;
use crate::peer::Index;
use crate::world::{START, World};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// Lookups that found none of the k honest peers that are closest; where there are liars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eclipsed: Option<u64>,
    /// Of the honest among the truly closest, how many an answer lacked; where there are liars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Spread>,
    /// All samples of the above.
    pub distributions: LookupDistributions,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of the lookup's spreads")]
pub struct LookupDistributions {
    pub hops: Histogram,
    pub rounds: Histogram,
    pub rpcs: Histogram,
    pub latency_ms: Histogram,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Anycall {
    pub count: u64,
    pub succeeded: u64,
    pub refused: u64,
    pub failed: u64,
    pub executions: u64,
    pub latency_ms: Spread,
    pub attempts: Spread,
    /// Of those that were refused.
    pub refusal_latency_ms: Spread,
    /// Least service done in any ten seconds while calls came, over what the hosts could do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goodput_min: Option<f64>,
    /// Calls made while a host of their function lived.
    pub while_hosted: u64,
    /// Of those, the ones that succeeded.
    pub while_hosted_succeeded: u64,
    /// Calls whose gateway went before they ended; in no other number.
    pub orphaned: u64,
    /// Answered wrongly by an adversary; no failure, and no success.
    pub wrong: u64,
    /// Why calls failed.
    pub failures: BTreeMap<String, u64>,
    /// All latencies.
    pub latency_distribution_ms: Histogram,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// Runs.
    pub executions: u64,
    /// Items whose answer is wrong, where hosts collude on wrong ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<u64>,
    /// How many there should be, by the share of the hosts that answer wrongly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_expected: Option<f64>,
    /// How far it is from that, in standard errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_deviation: Option<f64>,
    pub makespan_ms: Spread,
    pub ideal_makespan_ms: Spread,
    pub efficiency: f64,
    /// The times of the first manycalls, in the order of their ends.
    pub timeline: Vec<Job>,
}

/// One manycall's time.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Job {
    pub start_seconds: f64,
    pub seconds: f64,
    pub items: u64,
    pub succeeded: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub struct Placement {
    pub functions: u64,
    pub wanted: u32,
    pub live: Spread,
    pub repairs: u64,
    pub repair_seconds: Spread,
    pub repair_seconds_p95: f64,
    pub hostless_fraction: f64,
    /// How often functions were without any host.
    pub hostless: u64,
    pub hostless_seconds_max: f64,
    pub load_max_over_mean: f64,
    /// The same of the share of its room that each peer uses.
    pub use_max_over_mean: f64,
    /// The least of the newcomers' uses over the mean, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newcomer_use_min: Option<f64>,
    /// Offers made for each host that a function got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offers_a_host: Option<f64>,
    /// Offers made from the first loss of a host on for each that was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offers_a_loss: Option<f64>,
    pub moved_on_join: u64,
    pub moved_on_leave: u64,
    /// Hosts that handed their place on to another peer.
    pub moved: u64,
    /// Hosts that functions got after they had had enough, over those that they lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installs_over_lost: Option<f64>,
    /// First deployments that ended well.
    pub placed: u64,
    /// Further ones that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<u64>,
    pub deploy_ms: Spread,
    /// Functions that have fewer hosts than wanted at the end.
    pub short: u64,
    /// Hosts of the function that has fewest at the end.
    pub live_min: u64,
    /// Most hosts that any function ever had at once.
    pub peak: u32,
    /// Share of the hosts at the end that are among the 4·wanted peers closest to their function.
    pub near: f64,
    /// Why deployments failed, the first ones.
    pub failures: Vec<String>,
    /// How many peers that can host have how many functions at the end.
    pub functions_on_peers: Histogram,
    /// How many calls came to each of the peers that host something at the end.
    pub calls_on_hosts: Histogram,
}

/// The narrowest bin of a distribution of times.
const EIGHTH_MS: u64 = 125_000;

impl Job {
    fn of(span: &JobSpan) -> Self {
        let JobSpan { start, took, items, succeeded } = *span;
        let (start_seconds, seconds) = (start as f64 / SECOND, took as f64 / SECOND);
        Self { start_seconds, seconds, items, succeeded }
    }
}

/// The tables of a network that grew peer by peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// Peers that are there.
    pub peers: u32,
    /// Entries in all their tables.
    pub table_entries: u64,
    /// Entries that these would have in a converged start.
    pub table_entries_converged: u64,
}

impl Joined {
    pub(super) fn of(world: &World) -> Self {
        let tables = world.tables();
        Self {
            peers: world.oracle.live(),
            table_entries: tables.entries,
            table_entries_converged: tables.converged,
        }
    }
}

impl Lookup {
    pub(super) fn of(world: &World) -> Self {
        let lookups = &world.work.lookups;
        Self {
            count: lookups.count,
            succeeded: lookups.succeeded,
            exact: lookups.exact,
            hops: Spread::of(&lookups.hops, 1.0),
            rounds: Spread::of(&lookups.rounds, 1.0),
            rpcs: Spread::of(&lookups.rpcs, 1.0),
            latency_ms: Spread::of(&lookups.latency, MS),
            timeouts: lookups.timeouts,
            eclipsed: world.scenario.has_liars().then_some(lookups.eclipsed),
            missing: world.scenario.has_liars().then(|| Spread::of(&lookups.missing, 1.0)),
            distributions: LookupDistributions {
                hops: Histogram::of(&lookups.hops, 1, 1.0),
                rounds: Histogram::of(&lookups.rounds, 1, 1.0),
                rpcs: Histogram::of(&lookups.rpcs, 1, 1.0),
                latency_ms: Histogram::of(&lookups.latency, EIGHTH_MS, MS),
            },
        }
    }
}

impl Anycall {
    pub(super) fn of(world: &World) -> Self {
        let calls = &world.work.anycalls;
        Self {
            count: calls.count,
            succeeded: calls.succeeded,
            refused: calls.refused,
            failed: calls.failed,
            executions: calls.executions,
            latency_ms: Spread::of(&calls.latency, MS),
            attempts: Spread::of(&calls.attempts, 1.0),
            refusal_latency_ms: Spread::of(&calls.refusal_latency, MS),
            goodput_min: world.goodput_min(),
            while_hosted: calls.hosted,
            while_hosted_succeeded: calls.hosted_succeeded,
            orphaned: calls.orphaned,
            wrong: calls.wrong,
            failures: calls.failures.clone(),
            latency_distribution_ms: Histogram::of(&calls.latency, EIGHTH_MS, MS),
        }
    }
}

impl Manycall {
    pub(super) fn of(world: &World) -> Self {
        let many = &world.work.manycalls;
        let may_be_wrong =
            world.scenario.adversaries.as_ref().is_some_and(|all| !all.wrong.is_zero());
        // Where it must be none it is one error away from one.
        let error = many.wrong_variance.sqrt().max(1.0);
        let deviation = (many.wrong as f64 - many.wrong_expected).abs() / error;
        let (ideal, makespan): (u64, u64) = (many.ideal.iter().sum(), many.makespan.iter().sum());
        Self {
            jobs: many.jobs,
            items: many.items,
            succeeded: many.succeeded,
            failed: many.failed,
            unknown: many.unknown,
            lost: many.lost,
            doubled: many.doubled,
            attempts: many.attempts,
            hedged: many.hedged,
            executions: many.executions,
            wrong: may_be_wrong.then_some(many.wrong),
            wrong_expected: may_be_wrong.then_some(many.wrong_expected),
            wrong_deviation: may_be_wrong.then_some(deviation),
            makespan_ms: Spread::of(&many.makespan, MS),
            ideal_makespan_ms: Spread::of(&many.ideal, MS),
            efficiency: if makespan == 0 { 0.0 } else { ideal as f64 / makespan as f64 },
            timeline: many.spans.iter().map(Job::of).collect(),
        }
    }
}

impl Placement {
    pub(super) fn of(world: &World) -> Self {
        let functions = &world.census.functions;
        let live: Vec<u64> = functions.iter().map(|function| function.hosts.len() as u64).collect();
        let mut repairs: Vec<u64> = functions.iter().flat_map(|one| one.repairs.clone()).collect();
        repairs.sort_unstable();
        let short = functions.iter().filter(|one| (one.hosts.len() as u32) < one.wanted).count();
        let loads: Vec<u64> = (0..world.oracle.ever())
            .filter(|peer| world.is_up(*peer) && world.scenario.slots_of(*peer) > 0)
            .map(|peer| world.census.functions_on(peer))
            .collect();
        let hosts = world.census.hosts();
        let calls: Vec<u64> = hosts.iter().map(|host| world.calls_on(*host)).collect();
        let deployments = &world.work.deployments;
        let hostless = world.census.hostless(world.now().0);
        let uses = uses(world);
        let newcomers = world.census.newcomers().filter_map(|peer| uses.get(&peer).copied());
        let newcomer_use_min = newcomers.reduce(f64::min);
        let installs = world.census.installs;
        Self {
            functions: functions.len() as u64,
            wanted: functions.first().map_or(0, |function| function.wanted),
            live: Spread::of(&live, 1.0),
            repairs: repairs.len() as u64,
            repair_seconds: Spread::of(&repairs, SECOND),
            repair_seconds_p95: rank(&repairs, 95) as f64 / SECOND,
            hostless_fraction: world.census.hostless_fraction(world.now().0),
            hostless: hostless.len() as u64,
            hostless_seconds_max: hostless.iter().max().map_or(0.0, |span| *span as f64 / SECOND),
            use_max_over_mean: uses.values().fold(0.0, |most: f64, part| most.max(*part)),
            newcomer_use_min,
            offers_a_loss: world.census.offers_over_lost(world.count.offers),
            offers_a_host: (installs > 0).then_some(world.count.offers as f64 / installs as f64),
            load_max_over_mean: world.census.load_max_over_mean(loads.len() as u32),
            moved_on_join: world.census.moved_on_join,
            moved_on_leave: world.census.moved_on_leave,
            moved: world.census.moved,
            installs_over_lost: world.census.installs_over_lost(),
            placed: deployments.placed,
            replaced: (deployments.replaced > 0).then_some(deployments.replaced),
            deploy_ms: Spread::of(&deployments.latency, MS),
            short: short as u64,
            live_min: live.iter().copied().min().unwrap_or(0),
            peak: functions
                .iter()
                .flat_map(|one| &one.log)
                .map(|(_, live)| *live)
                .max()
                .unwrap_or(0),
            near: near(world),
            failures: deployments.failures.iter().take(5).cloned().collect(),
            functions_on_peers: Histogram::of(&loads, 1, 1.0),
            calls_on_hosts: Histogram::of(&calls, 1, 1.0),
        }
    }
}

/// The share of its room that each peer that can host uses, over that of all.
fn uses(world: &World) -> BTreeMap<u32, f64> {
    let up = (0..world.oracle.ever()).filter(|peer| world.is_up(*peer));
    let room = |peer: u32| f64::from(world.scenario.room_of(peer, &world.chance));
    let rooms: Vec<(u32, f64, f64)> = up
        .map(|peer| (peer, world.census.functions_on(peer) as f64, room(peer)))
        .filter(|(_, _, room)| *room > 0.0)
        .collect();
    let hosted: f64 = rooms.iter().map(|(_, hosted, _)| hosted).sum();
    let all: f64 = rooms.iter().map(|(_, _, room)| room).sum();
    if hosted == 0.0 {
        return BTreeMap::new();
    }
    rooms.into_iter().map(|(peer, of, room)| (peer, of / room * all / hosted)).collect()
}

/// What came of a partition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Parting {
    /// The smaller side and the larger one.
    pub sides: [PartingSide; 2],
    /// Hosts that functions got over those that they lacked: the higher of the two sides'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installs_over_missing: Option<f64>,
    /// How long after the end the last call or lookup began that failed; 0: none did.
    pub healed_seconds: f64,
}

/// What a partition did on one side.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PartingSide {
    /// Hosts that functions lacked, or lost.
    pub missing: u64,
    /// Hosts that they got.
    pub installs: u64,
    /// Until a function had as many as are wanted.
    pub repair_seconds: Spread,
    /// Functions that had fewer at the end.
    pub short: u64,
    /// Of those, the ones that had none.
    pub hostless: u64,
    /// Of those, the ones whose code nobody there had.
    pub codeless: u64,
}

impl Parting {
    pub(super) fn of(world: &World) -> Self {
        let parted = &world.parted;
        let end = world.scenario.partition.as_ref().map_or(START, |it| START + it.until);
        let healed = parted.failed_last.map_or(0.0, |last| last.since(end).0 as f64 / SECOND);
        let ratios = parted.sides.iter().filter(|side| side.missing > 0);
        let ratios = ratios.map(|side| side.installs as f64 / side.missing as f64);
        let sides = parted.sides.each_ref().map(|side| {
            let mut repairs = side.repairs.clone();
            repairs.sort_unstable();
            PartingSide {
                missing: side.missing,
                installs: side.installs,
                repair_seconds: Spread::of(&repairs, SECOND),
                short: side.short.len() as u64,
                hostless: side.hostless,
                codeless: side.codeless,
            }
        });
        Self { sides, installs_over_missing: ratios.reduce(f64::max), healed_seconds: healed }
    }
}

/// The share of the hosts that are among the 4·wanted peers closest to their function.
fn near(world: &World) -> f64 {
    let (mut near, mut all) = (0, 0);
    for (name, function) in world.functions().iter().zip(&world.census.functions) {
        let closest = world.oracle.closest(
            Index::position(name).0[0],
            4 * function.wanted as usize,
            world.now().0,
            None,
        );
        near += function.hosts.iter().filter(|host| closest.contains(host)).count();
        all += function.hosts.len();
    }
    if all == 0 { 0.0 } else { near as f64 / all as f64 }
}
