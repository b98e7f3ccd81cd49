//! Drawing cases. Each draw is a function of the seed, what it is for and its own number, so that a
//! feature that is switched off moves no other.

use std::collections::BTreeSet;

use peerless_core::{Config, Span};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::case::{Case, Feature, Function, Named, Op, Preset, Step};
use super::load;
use crate::chance::Share;
use crate::network::{Connections, JitterLaw, Links, Model, Nat};
use crate::peer::mix;
use crate::scenario::{Bad, Clocks, Partition, Scenario, Silence, Size, Spread};

/// What a draw is for.
#[derive(Copy, Clone)]
pub(super) enum For {
    Size,
    Limits,
    Network,
    Host,
    Functions,
    Swarm,
    Return,
    Count,
    /// And what each kind of operation is drawn from, from here on.
    Kind,
    /// Beyond all kinds.
    Labels = 1 << 8,
}

/// The chance of one case.
pub(super) struct Dice {
    seed: u64,
}

/// Milliseconds for which the network is in two parts, at most.
const PARTITION_MS_MAX: u64 = 45_000;
/// Streams below these are those of worlds.
const STREAMS: u64 = 1 << 16;

impl Dice {
    /// Draws for one concern: each draw takes the concern's next number.
    pub(super) fn of(&self, what: For, n: u64) -> Draws {
        let mut stream = ChaCha8Rng::seed_from_u64(self.seed);
        stream.set_stream(STREAMS + what as u64);
        Draws { key: mix(stream.next_u64() ^ mix(n)), n: 0 }
    }
}

/// The draws of one thing.
pub(super) struct Draws {
    key: u64,
    n: u64,
}

impl Draws {
    /// From `least` to `most`.
    pub(super) fn number(&mut self, least: u64, most: u64) -> u64 {
        self.n += 1;
        let bits = mix(self.key ^ self.n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        least + ((u128::from(bits) * u128::from(most - least + 1)) >> 64) as u64
    }

    /// The less of two: small ones are likelier.
    fn small(&mut self, least: u64, most: u64) -> u64 {
        self.number(least, most).min(self.number(least, most))
    }

    /// Whether one of so many hundred.
    pub(super) fn percent(&mut self, n: u64) -> bool {
        self.number(0, 99) < n
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.number(0, all.len() as u64 - 1) as usize]
    }

    pub(super) fn ms(&mut self, least: u64, most: u64) -> Span {
        Span::ms(self.number(least, most))
    }
}

/// How large the cases of a preset are.
struct Bounds {
    peers: (u64, u64),
    /// Seconds in which things happen.
    lasts: (u64, u64),
    /// Most operations of a kind.
    ops: u64,
}

impl Preset {
    fn bounds(self) -> Bounds {
        match self {
            Self::Lite => Bounds { peers: (3, 48), lasts: (20, 180), ops: 24 },
            // Performance draws no schedule; it perturbs a named scenario as a swarm does.
            Self::Swarm | Self::Performance => {
                Bounds { peers: (8, 200), lasts: (60, 600), ops: 60 }
            }
        }
    }
}

/// The case of this name.
pub fn draw(named: &Named) -> Result<Case, Bad> {
    let dice = Dice { seed: named.seed };
    let bounds = named.preset.bounds();
    let off = off(&dice, named);
    if named.preset == Preset::Performance && named.scenario.is_none() {
        return load(&dice, named, &off);
    }
    let mut scenario = world(&dice, named, &bounds)?;
    let drawn = named.scenario.is_none();
    network(&dice, &mut scenario, &off, drawn);
    if drawn {
        wires(&dice, &mut scenario, &off);
    }
    host(&dice, &mut scenario, &off, drawn);
    if scenario.partition.is_none() {
        let ms_max = lasts_ms(&dice, named, &scenario, &bounds);
        scenario.partition = partition(&dice, ms_max, &off);
    }
    if scenario.clocks.is_none() {
        scenario.clocks = clocks(&dice, &off);
    }
    let functions = functions(&dice, named, &scenario, &off);
    let mut schedule = schedule(&dice, named, &scenario, functions.len() as u64, &bounds);
    // New peers have the numbers after those, however many of them are left out.
    let first_new = scenario.peers;
    if let Some(peers) = named.peers {
        scenario.peers = scenario.peers.min(peers.max(2));
        scenario.owners = scenario.owners.min(scenario.peers);
        scenario.host.hosts = scenario.host.hosts.map(|hosts| hosts.min(scenario.peers));
    }
    let (peers, owners) = (scenario.peers, scenario.owners);
    schedule.retain(|step| {
        step.feature.is_none_or(|feature| !off.contains(&feature))
            && (step.peer < peers || step.peer >= first_new)
            && named.only.as_ref().is_none_or(|only| only.contains(&step.id))
            && (step.peer < owners || !matches!(step.op, Op::Deploy { .. } | Op::Remove { .. }))
    });
    for step in &mut schedule {
        match &mut step.op {
            Op::Back { disk, .. } | Op::Bounce { disk, .. } => {
                *disk |= off.contains(&Feature::Wipes);
            }
            Op::Many { takes, .. } if off.contains(&Feature::Late) => *takes = Span::ZERO,
            _ => {}
        }
    }
    let stays = |peer: &u32| dice.of(For::Return, u64::from(*peer)).percent(40);
    // One of those at the start is always there in the end.
    let stay_away = (1..first_new).filter(stays).collect();
    Ok(Case { named: named.clone(), scenario, functions, schedule, stay_away })
}

/// A case of the preset performance, which has no schedule.
fn load(dice: &Dice, named: &Named, off: &BTreeSet<Feature>) -> Result<Case, Bad> {
    let mut scenario = load::world(dice, off)?;
    if let Some(peers) = named.peers {
        scenario.peers = scenario.peers.min(peers.max(2));
        scenario.owners = scenario.owners.min(scenario.peers);
    }
    let (functions, schedule, stay_away) = (Vec::new(), Vec::new(), BTreeSet::new());
    Ok(Case { named: named.clone(), scenario, functions, schedule, stay_away })
}

/// The features that a case is without: about every third, by its seed, and what its name says.
fn off(dice: &Dice, named: &Named) -> BTreeSet<Feature> {
    let mut off = named.off.clone();
    for (n, feature) in (0..).zip(Feature::ALL) {
        if dice.of(For::Swarm, n).percent(35) {
            off.insert(*feature);
        }
    }
    off
}

/// The world without its network and machines: a drawn one, or what the scenario says.
fn world(dice: &Dice, named: &Named, bounds: &Bounds) -> Result<Scenario, Bad> {
    let mut limits = dice.of(For::Limits, 0);
    if let Some(name) = &named.scenario {
        let mut scenario = Scenario::load(name, &[])?;
        // What faults do to it is not held against what it expects without them.
        scenario.expect = Scenario::parse("", "", "", &[])?.expect;
        scenario.churn = None;
        scenario.crash = None;
        // Whoever comes and goes is in the schedule, so that each peer has its number.
        scenario.sessions = None;
        scenario.joining = None;
        scenario.arrivals = None;
        scenario.owners = scenario.owners.max(1);
        scenario.core.refresh_period = scenario.core.refresh_period.max(Span::secs(20));
        return Ok(scenario);
    }
    let mut scenario = Scenario::parse("fuzz", "fuzz", "owners = 1\n[functions]", &[])?;
    if let Some(functions) = &mut scenario.functions {
        functions.service = limits.ms(1, 2000);
        functions.spread = limits.one_of(&[Spread::Constant, Spread::Uniform, Spread::Exponential]);
    }
    let mut size = dice.of(For::Size, 0);
    scenario.peers = size.small(bounds.peers.0, bounds.peers.1) as u32;
    scenario.owners = size.number(1, u64::from(scenario.peers).min(8)) as u32;
    scenario.owner_keys = size.number(1, 4) as u32;
    let core = &mut scenario.core;
    let renew = limits.number(20, 60);
    *core = Config {
        k: limits.one_of(&[4, 8, 8, 20, 20]),
        alpha: limits.number(1, 4) as u16,
        reply_timeout: limits.ms(600, 1500),
        search_timeout: limits.ms(8000, 20_000),
        refresh_period: limits.ms(15_000, 60_000),
        renew_period: Span::secs(renew),
        host_life: Span::secs(renew * 5 / 2),
        probe_period: limits.ms(1000, 6000),
        rank_delay: limits.ms(1000, 8000),
        repair_backoff: limits.ms(3000, 15_000),
        retire_after: limits.ms(8000, 30_000),
        guard_period: limits.ms(3000, 20_000),
        sync_period: limits.ms(5000, 20_000),
        install_timeout: limits.ms(15_000, 40_000),
        known_life: limits.ms(0, 30_000),
        call_retries: limits.number(0, 3) as u8,
        host_pause: limits.ms(0, 10_000),
        hostless_max: limits.ms(2000, 20_000),
        rehost_period: limits.ms(2000, 15_000),
        items_ahead_max: limits.one_of(&[16, 256, 65_536]),
        ..Config::standard()
    };
    Ok(scenario)
}

fn network(dice: &Dice, scenario: &mut Scenario, off: &BTreeSet<Feature>, drawn: bool) {
    let mut draws = dice.of(For::Network, 0);
    let settings = &mut scenario.network;
    settings.latency = draws.ms(1, 120);
    settings.keep_alive = draws.ms(1000, 8000);
    let loss = Share::percent(draws.small(1, 15));
    settings.loss = if off.contains(&Feature::Loss) { Share::NONE } else { loss };
    let model = draws.one_of(&[Model::Constant, Model::Constant, Model::Coordinates]);
    // A named scenario's peers stay where they are, and its hosts hosts.
    if drawn && model == Model::Coordinates {
        settings.model = model;
        settings.access_max = draws.ms(0, 20);
        // From one corner to the other it is 2.7 times as far as on average, and each way counts.
        let round_trip = settings.latency.times(6) + settings.access_max.times(4);
        let timeout = &mut scenario.core.reply_timeout;
        *timeout = (*timeout).max(round_trip + Span::ms(100));
    }
    let jitter = Share::percent(draws.small(5, 100));
    settings.jitter_law = draws.one_of(&[JitterLaw::Uniform, JitterLaw::Exponential]);
    settings.jitter = if off.contains(&Feature::Jitter) { Share::NONE } else { jitter };
    let lossy = Share::percent(draws.small(1, 30));
    settings.lossy_loss = Share::percent(draws.number(30, 100));
    settings.lossy = if off.contains(&Feature::Uneven) { Share::NONE } else { lossy };
}

/// One or several times in which parts of the peers are apart.
fn partition(dice: &Dice, ms_max: u64, off: &BTreeSet<Feature>) -> Option<Partition> {
    let mut draws = dice.of(For::Network, 1);
    let at = draws.ms(1000, ms_max);
    let lasts = draws.ms(1000, PARTITION_MS_MAX);
    let share = Share::percent(draws.number(5, 50));
    let parts = draws.one_of(&[1, 1, 2, 3]);
    let shares = (0..parts).map(|_| Share::percent(draws.number(5, 33)));
    let shares = if parts == 1 { Vec::new() } else { shares.collect() };
    let times = draws.one_of(&[1, 1, 2, 8]);
    // A storm's are short, and the pauses too.
    let (lasts, pause) = (Span(lasts.0 / u64::from(times)), draws.ms(500, 10_000));
    let (until, every) = (at + lasts, lasts + pause);
    let one_way = draws.percent(25);
    let partition = Partition { at, until, share, shares, times, every, one_way };
    (!off.contains(&Feature::Partitions)).then_some(partition)
}

/// What lies between machines and the network.
fn wires(dice: &Dice, scenario: &mut Scenario, off: &BTreeSet<Feature>) {
    let mut draws = dice.of(For::Network, 3);
    let kinds = draws.number(1, 3);
    let kib = |n: u64| Size(n << 10);
    let up: Vec<Size> = (0..kinds).map(|_| kib(draws.one_of(&[128, 512, 4096]))).collect();
    let down = up.iter().map(|up| Size(up.0 * draws.number(1, 10))).collect();
    let (request, response) = (kib(draws.small(0, 32)), kib(draws.small(0, 32)));
    let links = Links { up, down, request, response };
    scenario.links = (!off.contains(&Feature::Links)).then_some(links);
    if off.contains(&Feature::Handshakes) {
        return;
    }
    let quic = Share::percent(draws.one_of(&[0, 50, 100]));
    let most = draws.one_of(&[4, 16, 64]);
    scenario.connections = Some(Connections { quic, most });
    // Relays are for all: what nobody can reach nobody can heal.
    let (share, relayed) = (Share::percent(draws.number(5, 60)), Share::percent(100));
    scenario.nat = (!off.contains(&Feature::Nat)).then_some(Nat { share, relayed });
    // Who is asked first has to be dialled, which takes four round trips, through a relay of twice
    // the length, and from one corner to the other almost three times as far as on average.
    let network = &mut scenario.network;
    network.latency = network.latency.min(Span::ms(40));
    let far = if network.model == Model::Constant { 1 } else { 3 };
    let way = network.latency.times(far) + network.access_max.times(2);
    let relays = if scenario.nat.is_some() { 2 } else { 1 };
    let timeout = &mut scenario.core.reply_timeout;
    *timeout = (*timeout).max(way.times(10 * relays) + Span::ms(100));
}

/// Wrong clocks, none by so much that what its machine signs would be refused.
fn clocks(dice: &Dice, off: &BTreeSet<Feature>) -> Option<Clocks> {
    let mut draws = dice.of(For::Network, 2);
    let wrong = Share::percent(draws.number(5, 100));
    let offset_max = Span::ms(draws.one_of(&[5, 1000, 60_000, 600_000, 36_000_000]));
    let drift_ppm_max = draws.one_of(&[0, 50, 1000]);
    let clocks = Clocks { wrong, offset_max, drift_ppm_max };
    (!off.contains(&Feature::Clocks)).then_some(clocks)
}

fn host(dice: &Dice, scenario: &mut Scenario, off: &BTreeSet<Feature>, drawn: bool) {
    let mut draws = dice.of(For::Host, 0);
    let host = &mut scenario.host;
    host.store_delay = draws.ms(0, 50);
    host.compile_delay = draws.ms(1, 3000);
    host.cancel_delay = draws.ms(0, 2000);
    let mut share = |feature: &Feature, percent| {
        let share = Share::percent(draws.small(1, percent));
        if off.contains(feature) { Share::NONE } else { share }
    };
    host.store_fails = share(&Feature::Stores, 20);
    host.fetch_fails = share(&Feature::Fetches, 40);
    host.install_fails = share(&Feature::Installs, 40);
    host.slow = share(&Feature::Slow, 40);
    host.slow_factor = draws.number(2, 20) as u32;
    // Where few peers carry it, most functions that ask for it find fewer hosts than they want.
    host.carriers = Share::percent(dice.of(For::Labels, 0).number(5, 60));
    let idlers = draws.number(0, u64::from(scenario.peers) / 2) as u32;
    if drawn && !off.contains(&Feature::Idlers) && idlers > 0 {
        host.hosts = Some(scenario.peers - idlers);
    }
    let (slots, queue, room) = (draws.number(1, 2), draws.number(0, 3), draws.number(1, 4));
    if !off.contains(&Feature::Tight) {
        (host.slots, host.queue, host.room) = (slots as u16, queue as u16, room as u16);
    }
}

fn functions(
    dice: &Dice,
    named: &Named,
    scenario: &Scenario,
    off: &BTreeSet<Feature>,
) -> Vec<Function> {
    if named.scenario.is_some() {
        return Vec::new();
    }
    let labels = !off.contains(&Feature::Labels);
    let count = dice.of(For::Count, 0).small(1, 5);
    // What always takes as long can be in time, on a machine that is not slow; else luck can help.
    let settings = scenario.functions.as_ref().expect("a drawn world has functions");
    let least_time = match settings.spread {
        Spread::Exponential | Spread::LogNormal => Span::ZERO,
        Spread::Constant | Spread::Uniform => settings.service.times(2) + Span::secs(1),
    };
    let function = |n| {
        let mut draws = dice.of(For::Functions, n);
        let least = draws.number(1, 4) as u16;
        Function {
            replicas: (least, least + draws.number(0, 3) as u16),
            idempotent: draws.one_of(&[Some(true), Some(false), None]),
            timeout: draws.ms(1000, 30_000).max(least_time),
            size: draws.number(1, 1 << 20),
            labelled: labels && dice.of(For::Labels, 1 + n).percent(40),
        }
    };
    (0..count).map(function).collect()
}

/// The kinds of operations: how many of a hundred of the most there may be, and which feature each is
/// a part of.
const KINDS: [(u64, Option<Feature>); 13] = [
    (0, None),
    (40, Some(Feature::Updates)),
    (15, Some(Feature::Removals)),
    (100, Some(Feature::Calls)),
    (35, Some(Feature::Jobs)),
    (50, Some(Feature::Cancels)),
    (60, Some(Feature::Lookups)),
    (40, Some(Feature::Lookups)),
    (40, Some(Feature::Crashes)),
    (30, Some(Feature::Leaves)),
    (60, Some(Feature::Restarts)),
    (40, Some(Feature::Joins)),
    (30, Some(Feature::Bounces)),
];

/// Milliseconds in which things happen.
fn lasts_ms(dice: &Dice, named: &Named, scenario: &Scenario, bounds: &Bounds) -> u64 {
    let drawn = dice.of(For::Count, 1).number(bounds.lasts.0, bounds.lasts.1) * 1000;
    if named.scenario.is_some() { drawn.max(scenario.duration.as_ms()).max(60_000) } else { drawn }
}

/// The whole schedule, whatever is left out afterwards, in the order of time.
fn schedule(
    dice: &Dice,
    named: &Named,
    scenario: &Scenario,
    functions: u64,
    bounds: &Bounds,
) -> Vec<Step> {
    let ms_max = lasts_ms(dice, named, scenario, bounds);
    let mut steps = Vec::new();
    for (kind, (share, feature)) in (0..).zip(KINDS) {
        let count = if kind == 0 {
            functions
        } else {
            dice.of(For::Count, 2 + kind).number(0, (bounds.ops * share / 100).max(1))
        };
        for n in 0..count {
            let mut draws = dice.of(For::Kind, kind << 32 | n);
            let at = if kind == 0 { draws.number(0, 5000) } else { draws.number(1000, ms_max) };
            let Some((peer, op)) = op(kind, n, &mut draws, scenario, functions) else { continue };
            steps.push(Step { id: 0, at: Span::ms(at), peer, op, feature });
        }
    }
    steps.sort_by_key(|step| step.at);
    let mut last = Span::ZERO;
    for (id, step) in (0..).zip(&mut steps) {
        // No two at one instant, so that versions differ.
        step.at = step.at.max(last + Span::ms(1));
        last = step.at;
        step.id = id;
    }
    aim_cancels(dice, &mut steps);
    steps
}

/// An operation of a kind; `None` if there is nothing that it could be about.
fn op(
    kind: u64,
    n: u64,
    draws: &mut Draws,
    scenario: &Scenario,
    functions: u64,
) -> Option<(u32, Op)> {
    let peers = u64::from(scenario.peers);
    let peer = draws.number(0, peers - 1) as u32;
    let via = draws.number(0, peers - 1) as u32;
    let function = match kind {
        0..=4 | 7 if functions == 0 => return None,
        0 => n as u32,
        _ => draws.number(0, functions.max(1) - 1) as u32,
    };
    // Owners are those of the function's key.
    let keys = u64::from(scenario.owner_keys).min(u64::from(scenario.owners));
    let key = u64::from(function) % keys;
    let holders = (u64::from(scenario.owners) - key).div_ceil(keys);
    let owner = (draws.number(0, holders - 1) * keys + key) as u32;
    Some(match kind {
        0 | 1 => (owner, Op::Deploy { function, again: kind == 1 }),
        2 => (owner, Op::Remove { function }),
        3 => {
            let deadline = draws.ms(500, 60_000);
            let (kept, idempotent) = (draws.percent(70), draws.percent(50));
            (peer, Op::Call { function, deadline, kept, idempotent })
        }
        4 => {
            let items = if draws.percent(10) { 0 } else { draws.small(1, 200) };
            let burst = draws.one_of(&[1, 7, 1000]);
            let pause = Span::ms(draws.one_of(&[0, 0, 50, 2000]) * u64::from(burst > 1));
            let (late, retries) = (draws.percent(30), draws.number(0, 3) as u8);
            let deadline = draws.percent(30).then(|| draws.ms(1000, 60_000));
            let takes = Span::ms(draws.one_of(&[0, 0, 100, 3000]));
            (peer, Op::Many { function, items, burst, pause, late, retries, deadline, takes })
        }
        5 => (peer, Op::Cancel { of: n as u32 }),
        6 if draws.percent(30) => (owner, Op::List),
        6 => (peer, Op::Lookup),
        7 => (peer, Op::Hosts { function }),
        8 => (peer, Op::Go { silence: Silence::Machine }),
        9 => (peer, Op::Go { silence: Silence::Process }),
        10 => (peer, Op::Back { disk: draws.percent(75), via }),
        11 => (scenario.peers + n as u32, Op::Join { via }),
        _ => (peer, Op::Bounce { disk: draws.percent(80), via }),
    })
}

/// Each cancel is of a request that some peer makes shortly before; and who comes back is one that
/// went.
fn aim_cancels(dice: &Dice, steps: &mut [Step]) {
    let asks: Vec<(u32, u32, Span)> = steps
        .iter()
        .filter(|step| step.op.function().is_some() || matches!(step.op, Op::Lookup))
        .map(|step| (step.id, step.peer, step.at))
        .collect();
    let gone: Vec<u32> = steps
        .iter()
        .filter(|step| matches!(step.op, Op::Go { .. }))
        .map(|step| step.peer)
        .collect();
    for step in steps.iter_mut() {
        let mut draws = dice.of(For::Return, 1 << 40 | u64::from(step.id));
        match &mut step.op {
            Op::Cancel { of } => {
                let before = asks.partition_point(|(.., at)| *at < step.at) as u64;
                if before > 0 {
                    let back = draws.small(1, before.min(8));
                    (*of, step.peer, _) = asks[(before - back) as usize];
                }
            }
            Op::Back { .. } if !gone.is_empty() => step.peer = draws.one_of(&gone),
            _ => {}
        }
    }
}
