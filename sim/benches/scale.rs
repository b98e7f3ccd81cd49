//! What a simulated peer weighs and a lookup costs, at sizes from a thousand peers to a million:
//! `cargo bench -p peerless-sim --bench scale`, or with other sizes `-- 1000000`.
//!
//! The yardstick is a bare loop in the same process over the same tables: the same lookups, one
//! after the other, with no protocol, no messages, no time and nobody who judges. What the simulator
//! takes beyond it is what a message costs.
#![expect(clippy::print_stdout, reason = "a benchmark's table is for people")]

use std::process::{Command, ExitCode};

use peerless_sim::chance::{Chance, Concern};
use peerless_sim::meter::{Meter, rss_bytes};
use peerless_sim::oracle::Oracle;
use peerless_sim::peer::limb;
use peerless_sim::report;
use peerless_sim::scenario::Scenario;
use peerless_sim::world::World;

const LOOKUPS: u32 = 20_000;
const SIZES: [u32; 3] = [1_000, 10_000, 100_000];
/// How a process is told to measure one size alone: memory that another size gave back would count.
const ALONE: &str = "PEERLESS_BENCH_PEERS";

fn main() -> ExitCode {
    if let Some(peers) = std::env::var(ALONE).ok().and_then(|peers| peers.parse().ok()) {
        measure(peers);
        return ExitCode::SUCCESS;
    }
    let sizes: Vec<u32> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    println!("   peers  set-up CPU s  bytes a peer  events/CPU s  lookups/CPU s  bare loop  ratio");
    let this = std::env::current_exe().expect("a process knows its own program");
    for peers in sizes {
        let status = Command::new(&this).env(ALONE, peers.to_string()).status();
        if !status.expect("the same program can be run again").success() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(peers: u32) {
    let sets = [format!("peers={peers}"), format!("lookups.count={LOOKUPS}")];
    let scenario = Scenario::load("lookup", &sets).expect("the scenario is built in");
    let k = usize::from(scenario.core.k);
    let before = rss_bytes();
    let set_up = Meter::start();
    let mut world = World::new(scenario, 1);
    let set_up = set_up.cpu_seconds();
    let weight = (rss_bytes() - before) / u64::from(peers);
    let tables = Tables::of(&world, peers);
    let run = Meter::start();
    world.run();
    let report = report::report(&mut world, 1, set_up, run);
    let done = report.lookup.as_ref().expect("the scenario looks up");
    assert_eq!((done.exact, report.violations_count), (u64::from(LOOKUPS), 0), "all is exact");
    let bare = Meter::start();
    let answers = bare_loop(&tables, peers, k);
    let bare = bare.cpu_seconds();
    check(&answers, peers, k);
    let events = report.events_per_cpu_second;
    let (lookups, bare) = (f64::from(LOOKUPS) / report.cpu_seconds, f64::from(LOOKUPS) / bare);
    let ratio = lookups / bare;
    println!(
        "{peers:>8}  {set_up:>12.2}  {weight:>12}  {events:>12.0}  {lookups:>13.0}  {bare:>9.0}  \
         {ratio:>5.2}"
    );
}

/// Every peer's table: the peers by bucket, and where each bucket ends.
struct Tables {
    peers: Vec<u32>,
    ends: Vec<[u32; BUCKETS]>,
}

const BUCKETS: usize = 28;

fn bucket(a: u64, b: u64) -> usize {
    ((a ^ b).leading_zeros() as usize).min(BUCKETS - 1)
}

impl Tables {
    fn of(world: &World, peers: u32) -> Self {
        let mut tables = Self { peers: Vec::new(), ends: Vec::with_capacity(peers as usize) };
        for peer in 0..peers {
            let table = world.table(peer);
            let (start, me) = (tables.peers.len() as u32, limb(peer));
            let mut ends = [0; BUCKETS];
            for (at, end) in ends.iter_mut().enumerate() {
                let within = table.partition_point(|other| bucket(me, limb(other.0)) <= at);
                *end = start + within as u32;
            }
            tables.ends.push(ends);
            tables.peers.extend(table.iter().map(|other| other.0));
        }
        tables
    }

    /// The `k` that `peer` knows closest to a target, closest first.
    fn closest(&self, peer: u32, target: u64, k: usize, near: &mut Vec<(u64, u32)>) {
        near.clear();
        let ends = &self.ends[peer as usize];
        let first = match peer {
            0 => 0,
            _ => self.ends[peer as usize - 1][BUCKETS - 1],
        };
        let own = bucket(limb(peer), target);
        let start = |at: usize| if at == 0 { first } else { ends[at - 1] };
        let deeper = (ends[own], ends[BUCKETS - 1]);
        let shallower = (0..own).rev().map(|at| (start(at), ends[at]));
        for (from, to) in [(start(own), ends[own]), deeper].into_iter().chain(shallower) {
            let sorted = near.len();
            if sorted >= k {
                break;
            }
            let group = &self.peers[from as usize..to as usize];
            near.extend(group.iter().map(|other| (limb(*other) ^ target, *other)));
            near[sorted..].sort_unstable();
        }
        near.truncate(k);
    }
}

/// Who asks for what, in the lookup of this number.
fn lookup(chance: &Chance, number: u32, peers: u32) -> (u32, u64) {
    let asker = chance.below(peers.into(), Concern::Asker, number.into(), 0, 0);
    (asker as u32, chance.bits(Concern::Target, number.into(), 0, 0))
}

/// The closest of those known that were not asked yet is asked, until the k closest all were.
fn bare_loop(tables: &Tables, peers: u32, k: usize) -> Vec<Vec<u32>> {
    let chance = Chance::new(1);
    let (mut near, mut known) = (Vec::new(), Vec::<(u64, u32, bool)>::new());
    let lookups = (0..LOOKUPS).map(|number| {
        let (asker, target) = lookup(&chance, number, peers);
        tables.closest(asker, target, k, &mut near);
        known.clear();
        known.extend(near.iter().map(|(distance, peer)| (*distance, *peer, false)));
        while let Some(next) = known.iter_mut().take(k).find(|(_, _, asked)| !asked) {
            next.2 = true;
            let peer = next.1;
            tables.closest(peer, target, k, &mut near);
            for (distance, peer) in near.iter().filter(|(_, peer)| *peer != asker) {
                let at = known.partition_point(|(other, _, _)| other < distance);
                if known.get(at).is_none_or(|(_, other, _)| other != peer) {
                    known.insert(at, (*distance, *peer, false));
                }
            }
        }
        known.iter().take(k).map(|(_, peer, _)| *peer).collect()
    });
    lookups.collect()
}

fn check(answers: &[Vec<u32>], peers: u32, k: usize) {
    let (chance, oracle) = (Chance::new(1), Oracle::new(limb, peers, 0));
    for (number, answer) in (0..).zip(answers) {
        let (asker, target) = lookup(&chance, number, peers);
        assert_eq!(*answer, oracle.closest(target, k, 0, Some(asker)), "lookup {number} is exact");
    }
}
