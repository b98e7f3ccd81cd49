//! One operation of a scenario, hop by hop, as text.

use std::fmt::Write as _;

use peerless_core::Target;

use crate::peer::{Index, limb};
use crate::record::{Interest, Recorder};
use crate::scenario::Scenario;
use crate::tickets::{self, Operation};
use crate::words::Words;
use crate::world::{START, World};

/// Peers near a target that get a rank in a trace.
const RANKED: usize = 40;

/// Follows an operation of a scenario, counted from 0 over lookups, deployments, anycalls and
/// manycalls in this order of kinds.
pub fn trace(mut scenario: Scenario, seed: u64, operation: u64) -> Result<String, String> {
    scenario.core.notes = true;
    let Some(operation) = tickets::operation(&scenario, operation) else {
        let all = tickets::operations(&scenario);
        return Err(format!("--operation {operation}: the scenario has {all}, counted from 0"));
    };
    let mut world = World::new(scenario, seed);
    let mut words = Words::default();
    let target = world.target_of(&operation);
    if let Target::Name(name) = target {
        words.names.insert(name, format!("{name:?}"));
    }
    let near = rank(&world, target, &mut words);
    let interest = Interest {
        request: Some((0, operation.ticket)),
        target: Some(target),
        ..Interest::default()
    };
    world.recorder = Some(Recorder::new(interest, words));
    // An operation may never begin, where everyone who could is gone, or never end.
    let give_up = world.give_up();
    let mut begun = false;
    while !begun || world.is_open(operation.ticket) {
        if world.upcoming().is_none_or(|next| next.time > give_up.0) {
            let what = if begun { "did not end" } else { "did not begin" };
            let seconds = give_up.since(START).0 / 1_000_000_000;
            let why = format!("{} {what} within the scenario's {seconds} s", operation.name);
            return Err(why);
        }
        world.step();
        begun |= world.is_open(operation.ticket);
    }
    let mut text = head(&world, seed, &operation, &near);
    let recorder = world.recorder.take().expect("it was just put there");
    text.push_str(recorder.text());
    Ok(text)
}

fn rank(world: &World, target: Target<Index>, words: &mut Words) -> Vec<u32> {
    let near = world.oracle.closest(target.key().0[0], RANKED, world.now().0, None);
    words.ranks = near.iter().zip(1..).map(|(peer, rank)| (*peer, rank)).collect();
    near
}

fn head(world: &World, seed: u64, operation: &Operation, near: &[u32]) -> String {
    let scenario = &world.scenario;
    let mut text = format!(
        "{} of {}, seed {seed}: {} peers, k {}, α {}\n",
        operation.name, scenario.name, scenario.peers, world.config.k, world.config.alpha
    );
    let k = usize::from(world.config.k);
    let near: Vec<String> = near.iter().take(k).map(u32::to_string).collect();
    let _ = writeln!(text, "closest at the start: {}; peer#n is the nth", near.join(" "));
    text
}

/// A peer's table as text: a line for each bucket that is not empty.
pub fn table(world: &World, peer: u32) -> String {
    let mut text = format!("peer {peer} at {:016x}\n", limb(peer));
    let table = world.table(peer);
    for bits in 0..64 {
        let bucket =
            table.iter().filter(|other| (limb(other.0) ^ limb(peer)).leading_zeros() == bits);
        let peers: Vec<String> = bucket.map(|other| format!("{other}")).collect();
        if !peers.is_empty() {
            let _ = writeln!(text, "  {bits:>2} bits shared: {}", peers.join(" "));
        }
    }
    text
}
