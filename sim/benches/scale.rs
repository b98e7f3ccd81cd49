//! What a simulated peer weighs and a lookup costs, at sizes from a thousand peers to a million:
//! `cargo bench -p peerless-sim --bench scale`, or with other sizes and limits
//! `-- 1000000 core.alpha_near=1`.
//!
//! The yardstick is a bare loop in the same process over the same tables: the same lookups with the
//! same requests, one lookup after the other, with no protocol, no messages, no time and nobody who
//! judges. Whom each request is answered with is found by the same code. What the simulator takes
//! beyond the loop is what messages cost.
#![expect(clippy::print_stdout, reason = "a benchmark's table is for people")]

use std::process::{Command, ExitCode};

use peerless_core::{Key, Peer};
use peerless_sim::chance::{Chance, Concern};
use peerless_sim::meter::{Meter, rss_bytes};
use peerless_sim::oracle::Oracle;
use peerless_sim::peer::{Index, limb};
use peerless_sim::report;
use peerless_sim::scenario::Scenario;
use peerless_sim::tickets::operation;
use peerless_sim::world::World;

const SEED: u64 = 1;
const LOOKUPS: u32 = 20_000;
const SIZES: [u32; 3] = [1_000, 10_000, 100_000];
/// How a process is told to measure one size alone: memory that another size gave back would count.
const ALONE: &str = "PEERLESS_BENCH_PEERS";

fn main() -> ExitCode {
    if let Some(peers) = std::env::var(ALONE).ok().and_then(|peers| peers.parse().ok()) {
        measure(peers, std::env::args().skip(1).collect());
        return ExitCode::SUCCESS;
    }
    let sizes: Vec<u32> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let sets: Vec<String> = std::env::args().filter(|word| word.contains('=')).collect();
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    println!("   peers  set-up CPU s  bytes a peer  events/CPU s  lookups/CPU s  bare loop  ratio");
    println!(
        "          requests and rounds until one of the k closest answered, and until all had"
    );
    let this = std::env::current_exe().expect("a process knows its own program");
    for peers in sizes {
        let status = Command::new(&this).env(ALONE, peers.to_string()).args(&sets).status();
        if !status.expect("the same program can be run again").success() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(peers: u32, mut sets: Vec<String>) {
    sets.extend([format!("peers={peers}"), format!("lookups.count={LOOKUPS}")]);
    let scenario = Scenario::load("lookup", &sets).expect("the scenario is built in");
    let k = usize::from(scenario.core.k);
    let before = rss_bytes();
    let set_up = Meter::start();
    let mut world = World::new(scenario, SEED);
    let set_up = set_up.cpu_seconds();
    let weight = (rss_bytes() - before) / u64::from(peers);
    let lookups: Vec<(u32, Key)> = (0..LOOKUPS).map(|number| lookup(&world, number)).collect();
    let bare_cpu = Meter::start();
    let found = bare_loop(&world, &lookups);
    let bare_cpu = bare_cpu.cpu_seconds();
    check(&found.answers, &lookups, peers, k);
    let run = Meter::start();
    world.run();
    let report = report::report(&mut world, SEED, set_up, run);
    let done = report.lookup.as_ref().expect("the scenario looks up");
    assert_eq!(done.exact, u64::from(LOOKUPS), "all is exact");
    let requests: u64 = world.work().lookups.rpcs.iter().sum();
    assert_eq!(requests, found.all.requests, "both send the same requests");
    let each = |cpu: f64| f64::from(LOOKUPS) / cpu;
    let (events, lookups) = (report.events_per_cpu_second, each(report.cpu_seconds));
    let (bare, ratio) = (each(bare_cpu), bare_cpu / report.cpu_seconds);
    println!(
        "{peers:>8}  {set_up:>12.2}  {weight:>12}  {events:>12.0}  {lookups:>13.0}  {bare:>9.0}  \
         {ratio:>5.2}"
    );
    let mean = |sum: u64| sum as f64 / f64::from(LOOKUPS);
    let [first, all] = [found.first, found.all].map(|it| (mean(it.requests), mean(it.rounds)));
    println!("{:>16.2} in {:.2}, {:.2} in {:.2}", first.0, first.1, all.0, all.1);
}

/// Who asks for what, in the lookup of this number.
fn lookup(world: &World, number: u32) -> (u32, Key) {
    let chance = Chance::new(SEED);
    let operation = operation(world.scenario(), number.into()).expect("the scenario looks up");
    let peers = world.scenario().peers.into();
    let asker = chance.below(peers, Concern::Asker, operation.ticket, 0, 0);
    (asker as u32, Index::position(&chance.name(Concern::Target, number.into(), 0)))
}

/// One of whom a lookup has heard.
struct Heard {
    distance: u64,
    peer: u32,
    asked: bool,
    answered: bool,
}

/// What lookups took: requests sent, and the times that was waited for answers.
#[derive(Copy, Clone, Default)]
struct Took {
    requests: u64,
    rounds: u64,
}

/// What the bare loop found, and what it took until one of the k closest had answered, and all.
#[derive(Default)]
struct Bare {
    answers: Vec<Vec<u32>>,
    first: Took,
    all: Took,
}

/// α at a time, the closest of those known are asked, more at a time near the target, until the k
/// closest have answered. The answers to what was asked at one instant come at one instant, in the
/// order of the peers' numbers, as they do where all ways are equally long.
fn bare_loop(world: &World, lookups: &[(u32, Key)]) -> Bare {
    let k = usize::from(world.scenario().core.k);
    let (mut known, mut asked, mut answering) = (Vec::new(), Vec::new(), Vec::new());
    let mut bare = Bare::default();
    let mut steps = Vec::new();
    for (asker, target) in lookups {
        known.clear();
        asked.clear();
        steps.clear();
        hear(&mut known, &world.closest(*asker, *target, 2 * k, None), target, *asker);
        let mut took = Took { requests: ask(world, &mut known, 0, &mut asked), rounds: 0 };
        while known.iter().take(k).any(|heard| !heard.answered) {
            if answering.is_empty() {
                std::mem::swap(&mut asked, &mut answering);
                answering.sort_unstable_by(|a, b| b.cmp(a));
                took.rounds += 1;
            }
            let peer: u32 = answering.pop().expect("who has not answered was asked");
            let distance = limb(peer) ^ target.0[0];
            steps.push((distance, took));
            let at = known.partition_point(|heard| heard.distance < distance);
            known[at].answered = true;
            hear(&mut known, &world.closest(peer, *target, k, Some(*asker)), target, *asker);
            took.requests += ask(world, &mut known, answering.len(), &mut asked);
        }
        answering.clear();
        let farthest = known.iter().take(k).next_back().map_or(0, |heard| heard.distance);
        let first = steps.iter().find(|(distance, _)| *distance <= farthest);
        bare.first.add(first.map_or(took, |(_, took)| *took));
        bare.all.add(took);
        bare.answers.push(known.iter().take(k).map(|heard| heard.peer).collect());
    }
    bare
}

impl Took {
    fn add(&mut self, more: Self) {
        self.requests += more.requests;
        self.rounds += more.rounds;
    }
}

fn hear(known: &mut Vec<Heard>, peers: &[Index], target: &Key, asker: u32) {
    for peer in peers.iter().filter(|peer| peer.0 != asker) {
        let distance = limb(peer.0) ^ target.0[0];
        let at = known.partition_point(|heard| heard.distance < distance);
        if known.get(at).is_none_or(|heard| heard.peer != peer.0) {
            known.insert(at, Heard { distance, peer: peer.0, asked: false, answered: false });
        }
    }
}

/// Asks whom it can, while `answering` of those asked before have not answered; how many.
fn ask(world: &World, known: &mut [Heard], answering: usize, asked: &mut Vec<u32>) -> u64 {
    let core = &world.scenario().core;
    let count = known.len().min(core.k.into());
    let closest = &mut known[..count];
    let is_near = closest.iter().any(|heard| heard.answered);
    let most = usize::from(if is_near { core.alpha_near.max(core.alpha) } else { core.alpha });
    let before = asked.len();
    let free = most.saturating_sub(answering + before);
    for heard in closest.iter_mut().filter(|heard| !heard.asked).take(free) {
        heard.asked = true;
        asked.push(heard.peer);
    }
    (asked.len() - before) as u64
}

fn check(answers: &[Vec<u32>], lookups: &[(u32, Key)], peers: u32, k: usize) {
    let oracle = Oracle::new(limb, peers, 0);
    for (number, (answer, (asker, target))) in answers.iter().zip(lookups).enumerate() {
        let truth = oracle.closest(target.0[0], k, 0, Some(*asker));
        assert_eq!(*answer, truth, "lookup {number} is exact");
    }
}
