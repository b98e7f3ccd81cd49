//! A host's slots and queue beside a model of them: first come, first served, and never too late.

use std::collections::VecDeque;

use peerless_core::{
    Call, Config, Core, Effect, Input, Item, Name, Refusal, Span, Tag, Time, Turn,
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
                Effect::Fetch { digest, .. } => {
                    did.extend(self.input(Input::Fetched { digest, ok: true }));
                }
                Effect::Install(record) => {
                    let (function, version) = (record.function, record.version);
                    did.extend(self.input(Input::Installed { function, version, ok: true }));
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
    waiting: VecDeque<(Call, Time)>,
}

impl Model {
    /// `None`: it waits, and hears nothing.
    fn arrived(&mut self, call: Call, deadline: Time, now: Time) -> Option<Did> {
        if deadline == now {
            Some(Did::Refuses(call, Refusal::Late))
        } else if self.running.len() < self.slots {
            self.running.push(call);
            Some(Did::Runs(call, deadline))
        } else if self.waiting.len() < self.queue {
            self.waiting.push_back((call, deadline));
            None
        } else {
            Some(Did::Refuses(call, Refusal::Busy))
        }
    }

    fn ended(&mut self, call: Call, now: Time) -> Vec<Did> {
        self.running.retain(|other| *other != call);
        let mut did = Vec::new();
        while self.running.len() < self.slots
            && let Some((call, deadline)) = self.waiting.pop_front()
        {
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
        let mut late: Vec<(Time, Call)> = Vec::new();
        self.waiting.retain(|(call, deadline)| {
            if *deadline <= now {
                late.push((*deadline, *call));
            }
            *deadline > now
        });
        late.sort_unstable();
        late.into_iter().map(|(_, call)| Did::Refuses(call, Refusal::Late)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_and_queue_are_what_the_model_says(
        slots in 1..4u16, queue in 0..4u16, cap in 5..15u64,
        steps in proptest::collection::vec((0..6u8, 0..20u64), 0..100),
    ) {
        let mut host = Host::new(slots, queue);
        host.config.call_timeout_max = Span::secs(cap);
        let (running, waiting) = (Vec::new(), VecDeque::new());
        let mut model = Model { slots: slots.into(), queue: queue.into(), running, waiting };
        let mut calls = 0;
        for (what, n) in steps {
            match what {
                0..3 => {
                    calls += 1;
                    let left = Span::secs(n);
                    // No longer than the record says, or this host, however long its caller would wait.
                    let deadline = host.now + left.min(RECORDS_TIMEOUT).min(Span::secs(cap));
                    let (call, from, function) = (calls, P(1), FUNCTION);
                    let did = host.input(Input::Arrived { call, from, function, left });
                    let expected = model.arrived(call, deadline, host.now);
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
                    model.waiting.retain(|(other, _)| *other != call);
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
}
