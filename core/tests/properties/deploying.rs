//! A deployment that is overtaken by a newer version.

use std::collections::BTreeSet;
use std::sync::Arc;

use peerless_core::laws::Laws;
use peerless_core::{
    Answer, Config, Core, Effect, Event, Failure, Input, Load, Message, Query, Record, Request,
    Span, Tag, Time, Turn,
};

use crate::world::{P, host, name, record, small};

const ME: P = P(0);

/// A core among peers that accept whatever it asks of them.
struct Deployer {
    core: Core<P>,
    laws: Laws<P>,
    config: Config,
    now: Time,
    told: Vec<Event<P>>,
    confirmed: BTreeSet<P>,
}

impl Deployer {
    fn new() -> Self {
        let mut core = Core::new(ME, host(0, 0, 0), 1, 0);
        core.seed_table([P(4), P(5)]);
        let (config, now) = (small(), Time(0) + Span::secs(1));
        let (laws, told, confirmed) = (Laws::new(ME, 0), Vec::new(), BTreeSet::new());
        Self { core, laws, config, now, told, confirmed }
    }

    fn input(&mut self, input: Input<P>) {
        self.laws.input(self.now, &input);
        let mut effects = Vec::new();
        self.core.handle(input, &mut Turn::new(self.now, &self.config, &mut effects));
        for effect in &effects {
            self.laws.effect(effect);
        }
        assert_eq!(self.laws.breaches(), []);
        for effect in effects {
            match effect {
                Effect::Tell(1, event) => self.told.push(event),
                Effect::Keep { tag, .. } => self.input(Input::Kept { tag }),
                Effect::Send { to, message: Message::Query(tag, query) } => {
                    self.answer(to, tag, &query);
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, from: P, tag: Tag, query: &Query<P>) {
        let load = Load { slots: 1, queue: 1, room: 1, ..Load::default() };
        let answer = match query {
            Query::Find(_) | Query::Hosts(_) => {
                Answer::Found { closer: Vec::new(), hosts: Vec::new(), record: None, load }
            }
            Query::Offer { .. } => Answer::Offered { decline: None, load },
            Query::Confirm { .. } => {
                self.confirmed.insert(from);
                Answer::Noted(true)
            }
            _ => return,
        };
        self.input(Input::Heard { from, message: Message::Answer(tag, answer) });
    }

    fn hears(&mut self, from: P, query: Query<P>) {
        let tag = Tag { slot: 9, epoch: self.told.len() as u32, incarnation: 0 };
        self.input(Input::Heard { from, message: Message::Query(tag, query) });
    }
}

#[test]
fn a_newer_version_that_came_meanwhile_is_not_replaced() {
    for overtaken in [false, true] {
        let mut deployer = Deployer::new();
        let function = name('f', 5);
        let of = |version| -> Arc<Record> { record(function, version, 2) };
        deployer.input(Input::Ask(1, Request::Deploy(of(1))));
        assert_eq!(deployer.confirmed.len(), 2);
        let placed = Query::Placed { function, version: 1, failure: None };
        deployer.hears(P(5), placed);
        if overtaken {
            deployer.hears(P(6), Query::Store(of(2)));
        }
        // It does not wait for the second host for ever.
        deployer.now = deployer.now + Span::secs(2);
        deployer.input(Input::Wake);
        let told = &deployer.told[..];
        if overtaken {
            assert_eq!(told, [Event::Failed(Failure::Superseded { version: 2 })]);
        } else {
            assert!(matches!(told, [Event::Deployed { .. }]), "{told:?}");
        }
    }
}
