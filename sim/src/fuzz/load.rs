//! The worlds of the preset performance: hundreds of peers without a fault, with as much to do as they
//! can bear. What comes of each is held against what must come of a sound network, and its figures are
//! kept.

use std::collections::BTreeSet;

use peerless_core::{Config, Span};

use super::case::Feature;
use super::draw::{Dice, For};
use super::figures::Figures;
use super::play::Outcome;
use crate::chance::Share;
use crate::meter::Meter;
use crate::network::Model;
use crate::report;
use crate::scenario::{Bad, Idempotent, Scenario, Spread};
use crate::world::World;

/// Peers of a world.
const PEERS: (u64, u64) = (200, 600);
/// Most calls, and most items of a manycall.
const COUNT_MAX: u64 = 20_000;
/// Calls do not come faster.
const INTERVAL_MIN: Span = Span(500_000);
/// Of a manycall that takes ten seconds at least, as a share of what slots, queues and round trips
/// allow.
const EFFICIENCY_MIN: f64 = 0.7;
/// Of the calls. Hosts of two functions may have twice as many as others, and short queues.
const SERVED_MIN: f64 = 0.999;
const GIVEN: &str = "the text that was read has the section";

/// Draws a world; what its features are off for has no work.
pub(super) fn world(dice: &Dice, off: &BTreeSet<Feature>) -> Result<Scenario, Bad> {
    let sections = "owners = 1\n[functions]\n[lookups]\n[anycalls]\n[manycalls]";
    let mut scenario = Scenario::parse("fuzz", "fuzz", sections, &[])?;
    let mut size = dice.of(For::Size, 0);
    scenario.peers = size.number(PEERS.0, PEERS.1) as u32;
    scenario.owners = size.number(1, 20) as u32;
    scenario.owner_keys = size.number(1, scenario.owners.into()) as u32;
    let mut limits = dice.of(For::Limits, 0);
    scenario.core = Config {
        k: limits.one_of(&[8, 20, 20]),
        alpha: limits.number(1, 5) as u16,
        refresh_period: limits.one_of(&[Span::ZERO, Span::minutes(1), Span::minutes(10)]),
        ..Config::standard()
    };
    scenario.patience = Span::minutes(10);
    scenario.settle = Span::secs(75);
    let mut network = dice.of(For::Network, 0);
    let models = [Model::Constant, Model::Coordinates, Model::TransitStub, Model::ScaleFree];
    scenario.network.model = network.one_of(&models);
    scenario.network.latency = network.ms(2, 80);
    scenario.network.jitter = network.one_of(&[Share::NONE, Share::percent(20)]);
    let mut host = dice.of(For::Host, 0);
    scenario.host.slots = host.number(1, 8) as u16;
    scenario.host.queue = host.number(4, 32) as u16;
    work(dice, &mut scenario, off);
    expect(&mut scenario);
    Ok(scenario)
}

/// Calls for a share of what the hosts of all functions can do; then manycalls, one after the other.
fn work(dice: &Dice, scenario: &mut Scenario, off: &BTreeSet<Feature>) {
    let mut draws = dice.of(For::Functions, 0);
    let replicas = draws.number(2, 10) as u16;
    let functions = scenario.functions.as_mut().expect(GIVEN);
    functions.count = draws.number(1, 12) as u32;
    functions.replicas = (replicas, replicas + draws.number(0, 2) as u16);
    functions.service = draws.ms(5, 200);
    functions.spread = draws.one_of(&[Spread::Constant, Spread::Uniform, Spread::Exponential]);
    functions.idempotent = draws.one_of(&[Idempotent::Yes, Idempotent::No, Idempotent::Unsaid]);
    // Calls of one function are done at this rate; all of them as often, so that no function's hosts
    // are called for more than the share.
    let slots = u64::from(replicas) * u64::from(scenario.host.slots);
    let each = Span(functions.service.0 / slots);
    let mut calls = dice.of(For::Kind, 0);
    let share = calls.number(5, 40);
    let interval = Span(each.0 / u64::from(functions.count) * 100 / share).max(INTERVAL_MIN);
    let anycalls = scenario.anycalls.as_mut().expect(GIVEN);
    anycalls.count = (calls.ms(10_000, 30_000).0 / interval.0).clamp(100, COUNT_MAX) as u32;
    anycalls.interval = interval;
    anycalls.idempotent = calls.percent(50);
    let called = anycalls.start + interval.times(anycalls.count.into());
    let mut jobs = dice.of(For::Kind, 1);
    let ideal = jobs.ms(10_000, 30_000);
    let manycalls = scenario.manycalls.as_mut().expect(GIVEN);
    manycalls.jobs = jobs.number(1, 3) as u32;
    manycalls.items = (ideal.0 / each.0).clamp(100, COUNT_MAX);
    // The one before has ended then, even at half of what is ideal.
    manycalls.interval = ideal.times(3);
    manycalls.start = called + Span::secs(30);
    let mut searches = dice.of(For::Kind, 2);
    let lookups = scenario.lookups.as_mut().expect(GIVEN);
    lookups.count = searches.number(200, 2000) as u32;
    lookups.interval = searches.ms(1, 20);
    if off.contains(&Feature::Lookups) {
        scenario.lookups = None;
    }
    if off.contains(&Feature::Calls) {
        scenario.anycalls = None;
    }
    if off.contains(&Feature::Jobs) {
        scenario.manycalls = None;
    }
    if scenario.anycalls.is_none() && scenario.manycalls.is_none() {
        scenario.functions = None;
    }
}

/// What must come of such a world, since nothing fails and everything fits.
fn expect(scenario: &mut Scenario) {
    let (lookups, functions) = (scenario.lookups.is_some(), scenario.functions.is_some());
    let (calls, jobs) = (scenario.anycalls.is_some(), scenario.manycalls.is_some());
    // A host is given no more at once than it can run and queue, and gets more after a round trip.
    let service = scenario.functions.as_ref().map_or(1.0, |it| it.service.0 as f64);
    let round_trip = 2.0 * scenario.network.latency.0 as f64;
    let (slots, queue) = (f64::from(scenario.host.slots), f64::from(scenario.host.queue));
    let bound = ((slots + queue) / slots * service / (service + round_trip)).min(1.0);
    let expect = &mut scenario.expect;
    expect.lookup_succeeded_min = lookups.then_some(1.0);
    expect.lookup_exact_min = lookups.then_some(1.0);
    expect.lookup_timeouts_mean_max = lookups.then_some(0.0);
    expect.placement_placed_min = functions.then_some(1.0);
    expect.placement_short_max = functions.then_some(0.0);
    expect.anycall_succeeded_min = calls.then_some(SERVED_MIN);
    expect.manycall_failed_max = jobs.then_some(0.0);
    expect.manycall_efficiency_min = jobs.then_some(EFFICIENCY_MIN * bound);
}

/// Runs such a world to its end.
pub(super) fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let meter = Meter::start();
    let mut world = World::new(scenario.clone(), seed);
    world.run();
    let report = report::report(&mut world, seed, 0.0, meter);
    Outcome {
        violation: world.violations().kept.first().cloned(),
        events: world.count.events,
        digest: world.digest(),
        figures: Figures::of(&report),
    }
}

/// What such a world has to do, a line for each kind of work.
pub(super) fn describe(scenario: &Scenario) -> String {
    let mut lines = Vec::new();
    if let Some(it) = &scenario.functions {
        let (least, most) = it.replicas;
        let service = it.service.as_ms();
        lines.push(format!(
            "{} functions of {least} to {most} hosts, {service} ms a run, {:?}",
            it.count, it.spread
        ));
    }
    if let Some(it) = &scenario.lookups {
        lines.push(format!("{} lookups, one each {} ms", it.count, it.interval.as_ms()));
    }
    if let Some(it) = &scenario.anycalls {
        let micros = it.interval.0 / 1000;
        lines.push(format!("{} calls, one each {micros} µs", it.count));
    }
    if let Some(it) = &scenario.manycalls {
        lines.push(format!("{} manycalls of {} items", it.jobs, it.items));
    }
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
