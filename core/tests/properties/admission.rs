//! A host's slots and queue beside a model of them: callers take turns, each one's calls run in their
//! order, and none too late.

use std::collections::VecDeque;

use peerless_core::{
    Call, Config, Core, Effect, Got, Input, Item, Name, Refusal, Span, Tag, Time, Turn,
};
use proptest::prelude::*;

use crate::world::{P, host, name, record, small};

const FUNCTION: Name = name('f', 5);

/// What [`record`] says of a call's time.
const RECORDS_TIMEOUT: Span = Span::secs(10);

/// A host of one function, and what it did last.
struct Host {
    core: Core<P>,
    config: Config,
    now: Time,
    jobs: Vec<(Call, Tag)>,
}

#[derive(PartialEq, Debug)]
enum Did {
    /// Until then.
    Runs(Call, Time),
    Refuses(Call, Refusal),
    Stops(Call),
}

impl Host {
    /// Restored from what it kept, with nobody there to ask.
    fn new(slots: u16, queue: u16) -> Self {
        let core = Core::new(P(5), host(slots, queue, 1), 1, 0);
        let mut this = Self { core, config: small(), now: Time(0), jobs: Vec::new() };
        this.input(Input::Restored(Item::Hosting(record(FUNCTION, 1, 1))));
        this.now = this.now + Span::secs(5);
        this.input(Input::Wake);
        assert_eq!(this.core.hosts().next(), Some((FUNCTION, 1)), "it serves again");
        this
    }

    fn input(&mut self, input: Input<P>) -> Vec<Did> {
        let mut effects = Vec::new();
        self.core.handle(input, &mut Turn::new(self.now, &self.config, &mut effects));
        let mut did = Vec::new();
        for effect in effects {
            match effect {
                Effect::Run { job, call, deadline, .. } => {
                    self.jobs.push((call, job));
                    did.push(Did::Runs(call, deadline));
                }
                Effect::Refuse { call, why, .. } => did.push(Did::Refuses(call, why)),
                Effect::Cancel { job } => {
                    let call = self.jobs.iter().find(|(_, other)| *other == job);
                    did.push(Did::Stops(call.expect("it runs").0));
                }
                Effect::Fetch { tag, digest, .. } => {
                    did.extend(self.input(Input::Fetched { tag, digest, got: Got::Code }));
                }
                Effect::Install { tag, record } => {
                    let (function, version) = (record.function, record.version);
                    did.extend(self.input(Input::Installed { tag, function, version, ok: true }));
                }
                Effect::Keep { tag, .. } => did.extend(self.input(Input::Kept { tag })),
                _ => {}
            }
        }
        did
    }
}

/// What should be done.
struct Model {
    slots: usize,
    queue: usize,
    running: Vec<Call>,
    waiting: Vec<Waits>,
    /// Callers that have calls waiting, by their turns.
    turns: VecDeque<P>,
}

#[derive(Copy, Clone)]
struct Waits {
    call: Call,
    caller: P,
    deadline: Time,
}

impl Model {
    fn new(slots: u16, queue: u16) -> Self {
        let (running, waiting, turns) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { slots: slots.into(), queue: queue.into(), running, waiting, turns }
    }

    fn of(&self, caller: P) -> usize {
        self.waiting.iter().filter(|waits| waits.caller == caller).count()
    }

    /// Nothing: it waits, and nobody hears anything.
    fn arrived(&mut self, call: Call, caller: P, deadline: Time, now: Time) -> Option<Did> {
        if deadline == now {
            return Some(Did::Refuses(call, Refusal::Late));
        } else if self.running.len() < self.slots {
            self.running.push(call);
            return Some(Did::Runs(call, deadline));
        }
        // The last place is for a caller that has none.
        let places = self.queue - usize::from(self.queue > 0 && self.of(caller) > 0);
        if self.waiting.len() >= places {
            return Some(Did::Refuses(call, Refusal::Busy));
        }
        if !self.turns.contains(&caller) {
            self.turns.push_back(caller);
        }
        self.waiting.push(Waits { call, caller, deadline });
        None
    }

    fn leave(&mut self, call: Call) {
        self.waiting.retain(|waits| waits.call != call);
        let callers: Vec<P> = self.waiting.iter().map(|waits| waits.caller).collect();
        self.turns.retain(|caller| callers.contains(caller));
    }

    fn ended(&mut self, call: Call, now: Time) -> Vec<Did> {
        self.running.retain(|other| *other != call);
        let mut did = Vec::new();
        while self.running.len() < self.slots
            && let Some(caller) = self.turns.pop_front()
        {
            self.turns.push_back(caller);
            let first = self.waiting.iter().find(|waits| waits.caller == caller);
            let Waits { call, deadline, .. } = *first.expect("who has a turn waits");
            self.leave(call);
            if deadline <= now {
                did.push(Did::Refuses(call, Refusal::Late));
            } else {
                self.running.push(call);
                did.push(Did::Runs(call, deadline));
            }
        }
        did
    }

    /// Those whose deadline has passed, in its order.
    fn late(&mut self, now: Time) -> Vec<Did> {
        let passed = self.waiting.iter().filter(|waits| waits.deadline <= now);
        let mut late: Vec<(Time, Call)> = passed.map(|w| (w.deadline, w.call)).collect();
        late.sort_unstable();
        for (_, call) in &late {
            self.leave(*call);
        }
        late.into_iter().map(|(_, call)| Did::Refuses(call, Refusal::Late)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_and_queue_are_what_the_model_says(
        slots in 1..4u16, queue in 0..6u16, cap in 5..15u64,
        steps in proptest::collection::vec((0..6u8, 0..20u64), 0..100),
    ) {
        let mut host = Host::new(slots, queue);
        host.config.call_timeout_max = Span::secs(cap);
        let mut model = Model::new(slots, queue);
        let mut calls = 0;
        for (what, n) in steps {
            match what {
                0..3 => {
                    calls += 1;
                    let left = Span::secs(n);
                    // No longer than the record says, or this host, however long its caller would wait.
                    let deadline = host.now + left.min(RECORDS_TIMEOUT).min(Span::secs(cap));
                    let (call, from, function) = (calls, P(1 + what), FUNCTION);
                    let did = host.input(Input::Arrived { call, from, function, left });
                    let expected = model.arrived(call, from, deadline, host.now);
                    prop_assert_eq!(did, Vec::from_iter(expected));
                }
                3 if !model.running.is_empty() => {
                    let call = model.running[n as usize % model.running.len()];
                    let job = host.jobs.iter().find(|(other, _)| *other == call).expect("it runs").1;
                    let did = host.input(Input::RanEnd { job });
                    prop_assert_eq!(did, model.ended(call, host.now));
                }
                4 if calls > 0 => {
                    let call = n % calls + 1;
                    let did = host.input(Input::Gone { call });
                    model.leave(call);
                    // A run that nobody waits for is stopped once; its slot is free when it ends.
                    let stops = did.first() == Some(&Did::Stops(call));
                    prop_assert!(did.is_empty() || stops && model.running.contains(&call));
                }
                _ => {
                    host.now = host.now + Span::secs(n % 8);
                    let did = host.input(Input::Wake);
                    prop_assert_eq!(did, model.late(host.now));
                }
            }
            let load = host.core.load();
            prop_assert_eq!(usize::from(load.running), model.running.len());
            prop_assert_eq!(usize::from(load.queued), model.waiting.len());
        }
    }

    /// Whoever floods a host waits for itself: another's call is taken in, and runs when at most two
    /// have ended.
    #[test]
    fn a_flood_does_not_keep_another_waiting(
        slots in 1..4u16, queue in 2..9u16, before in 0..30u64, after in 0..30u64,
    ) {
        let mut host = Host::new(slots, queue);
        let (flood, other, left) = (P(1), P(2), Span::secs(9));
        let mut calls = 0;
        let mut arrive = |host: &mut Host, from| {
            calls += 1;
            host.input(Input::Arrived { call: calls, from, function: FUNCTION, left })
        };
        for _ in 0..before {
            arrive(&mut host, flood);
        }
        let did = arrive(&mut host, other);
        let call = before + 1;
        let refused = |did: &Did| matches!(did, Did::Refuses(it, _) if *it == call);
        prop_assert!(!did.iter().any(refused));
        let is_it = |did: &Did| matches!(did, Did::Runs(it, _) if *it == call);
        let mut runs = did.iter().any(is_it);
        for _ in 0..after {
            let did = arrive(&mut host, flood);
            prop_assert!(!did.iter().any(refused));
        }
        for _ in 0..2 {
            if !runs {
                let (_, job) = host.jobs.remove(0);
                runs = host.input(Input::RanEnd { job }).iter().any(is_it);
            }
        }
        prop_assert!(runs);
    }
}
