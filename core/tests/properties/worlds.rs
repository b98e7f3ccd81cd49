//! Random worlds of hosts that crash, letters that are lost or overtake each other, and queues that
//! are full. The laws judge every step; in the end all is answered and every core is at rest.

use std::sync::Arc;

use peerless_core::{Config, Record, Request, Span};
use proptest::prelude::*;

use crate::world::{World, function, host, name, record, small, tombstone};

const GATEWAY: u8 = 9;
const PEERS: [u8; 8] = [0, 1, 4, 5, 6, 7, 8, GATEWAY];

/// What is asked of the gateway at the beginning.
#[derive(Clone, Debug)]
struct Asked {
    items: u32,
    retries: u8,
    calls: u8,
    replicas: u16,
    idempotent: Option<bool>,
    slots: u16,
    queue: u16,
}

fn asked() -> impl Strategy<Value = Asked> {
    let idempotent = prop_oneof![Just(None), Just(Some(true)), Just(Some(false))];
    let parts = (0..40u32, 0..4u8, 0..4u8, 1..5u16, idempotent, 1..3u16, 0..3u16);
    parts.prop_map(|(items, retries, calls, replicas, idempotent, slots, queue)| Asked {
        items,
        retries,
        calls,
        replicas,
        idempotent,
        slots,
        queue,
    })
}

fn begin(asked: &Asked) -> (World, Arc<Record>, u64) {
    let config =
        Config { k: 4, probe_period: Span::secs(10), known_life: Span::secs(3), ..small() };
    let mut world = World::new(config);
    world.converged(&PEERS, &host(asked.slots, asked.queue, 4));
    let mut record = function(name('f', 5), 1, (asked.replicas, asked.replicas));
    let spec = record.spec.as_mut().expect("it can run");
    spec.idempotent = asked.idempotent;
    let record = Arc::new(record);
    world.given(0, &record);
    for _ in 0..asked.calls {
        world.call(GATEWAY, record.function, Span::secs(20));
    }
    let many = world.many(GATEWAY, record.function, asked.items, asked.retries);
    (world, record, many)
}

/// One thing that happens, drawn by two numbers.
fn step(world: &mut World, what: u8, which: u8, dead: &mut Vec<u8>, many: u64) {
    let letters = world.letters();
    match what {
        0..150 if letters > 0 => world.deliver_at(usize::from(which) % letters),
        150..170 if letters > 0 => {
            world.lose_at(usize::from(which) % letters, what.is_multiple_of(2));
        }
        170..235 if world.next_due().is_some() => world.happen_next(),
        235..242 if dead.len() < 3 => {
            let victim = PEERS[usize::from(which) % (PEERS.len() - 1)];
            if !dead.contains(&victim) {
                world.crash(victim);
                dead.push(victim);
            }
        }
        242..250 => {
            if let Some(peer) = dead.pop() {
                world.restart(peer);
                world.meet(peer, GATEWAY);
            }
        }
        250 if which < 64 => {
            world.ask(GATEWAY, Request::Remove(tombstone(name('f', 5), 2).into()));
        }
        251 if which < 64 => {
            world.ask(GATEWAY, Request::Cancel(many));
        }
        // An update through any peer that is up, at times an old one that comes late.
        252..254 => {
            let placer = PEERS[usize::from(which) % PEERS.len()];
            if !dead.contains(&placer) {
                let version = 1 + u64::from(which / 64);
                world.deploy(placer, &record(name('f', 5), version, 2));
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_all_is_answered_once(
        asked in asked(),
        steps in proptest::collection::vec(any::<(u8, u8)>(), 0..800),
    ) {
        let (mut world, _record, many) = begin(&asked);
        let mut dead = Vec::new();
        for (what, which) in steps {
            step(&mut world, what, which, &mut dead, many);
        }
        for peer in dead {
            world.restart(peer);
            world.meet(peer, GATEWAY);
        }
        // Time enough for every deadline, pause and repair.
        world.pass(Span::minutes(8));
        world.judge_hosting();
        world.rest();
    }
}
