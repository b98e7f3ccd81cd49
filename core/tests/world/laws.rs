//! The laws of the boundary (at the top of `turn.rs`), judged over everything that passes it. Each
//! panic names the law that is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use peerless_core::{
    Answer, Effect, Event, Input, Item, Message, Name, Query, Record, Request, Tag, Ticket, Time,
};

use super::peer::P;

/// What is open at one start of one peer.
#[derive(Default)]
pub struct Laws {
    asks: BTreeMap<Ticket, Ask>,
    asked_ever: BTreeSet<Ticket>,
    attempts: BTreeSet<Tag>,
    attempts_ever: BTreeSet<Tag>,
    calls: BTreeSet<u64>,
    jobs: BTreeMap<Tag, u64>,
    keeps: BTreeMap<Tag, Item>,
    /// What is kept: the version of each record.
    kept: BTreeMap<Name, u64>,
    queries: BTreeSet<Tag>,
    queries_ever: BTreeSet<Tag>,
    heard: BTreeMap<(P, Tag), Option<Arc<Record>>>,
}

struct Ask {
    request: Request<P>,
    wanted: u64,
    came: u64,
    items: BTreeSet<u64>,
}

impl Laws {
    /// To be called with each input before the core gets it.
    pub fn input(&mut self, input: &Input<P>) {
        match input {
            Input::Ask(ticket, request) => {
                assert!(self.asked_ever.insert(*ticket), "world: a ticket is used once");
                let (request, items) = (request.clone(), BTreeSet::new());
                self.asks.insert(*ticket, Ask { request, wanted: 0, came: 0, items });
            }
            Input::Items { ticket, n, .. } => {
                if let Some(ask) = self.asks.get_mut(ticket) {
                    ask.came += u64::from(*n);
                    assert!(ask.came <= ask.wanted, "world: brings only what is wanted");
                }
            }
            Input::Heard { from, message: Message::Query(tag, query) } => {
                let record = match query {
                    Query::Provide(_, record) => record.clone(),
                    Query::Store(record) => Some(record.clone()),
                    _ => None,
                };
                self.heard.insert((*from, *tag), record);
            }
            Input::Heard { message: Message::Answer(tag, _), .. } | Input::Failed { tag } => {
                self.queries.remove(tag);
            }
            Input::Ended { attempt, .. } => {
                assert!(self.attempts.remove(attempt), "world: an attempt ends once");
            }
            Input::Arrived { call, .. } => assert!(self.calls.insert(*call), "world: new calls"),
            Input::Gone { call } => drop(self.calls.remove(call)),
            Input::RanEnd { job } => {
                assert!(self.jobs.remove(job).is_some(), "world: a run ends once");
            }
            Input::Kept { tag } => {
                let item = self.keeps.remove(tag).expect("world: what is kept was to be kept");
                self.keep(&item);
            }
            Input::NotKept { tag } => {
                self.keeps.remove(tag).expect("world: what is not kept was to be kept");
            }
            Input::Restored(item) => self.keep(item),
            _ => {}
        }
    }

    fn keep(&mut self, item: &Item) {
        if let Item::Record(record) = item {
            self.kept.insert(record.function, record.version);
        }
    }

    /// To be called with each effect of the input before.
    pub fn effect(&mut self, me: P, now: Time, effect: &Effect<P>) {
        match effect {
            Effect::Tell(ticket, event) => self.told(*ticket, event),
            Effect::Want { ticket, n } => {
                let ask = self.asks.get_mut(ticket).expect("law: wants items of an open request");
                assert!(matches!(ask.request, Request::Many { .. }), "law: only manycalls want");
                ask.wanted += u64::from(*n);
            }
            Effect::Send { to, message } => {
                assert!(*to != me, "law: never sends to itself");
                match message {
                    Message::Query(tag, _) => {
                        assert!(self.queries_ever.insert(*tag), "law: a tag never repeats");
                        self.queries.insert(*tag);
                    }
                    Message::Answer(tag, answer) => self.answers(*to, *tag, answer),
                }
            }
            Effect::Dispatch { attempt, ticket, .. } => {
                assert!(self.attempts_ever.insert(*attempt), "law: an attempt's tag never repeats");
                assert!(self.asks.contains_key(ticket), "law: dispatches for an open request");
                self.attempts.insert(*attempt);
            }
            Effect::Abort { attempt } => {
                assert!(self.attempts.remove(attempt), "law: aborts what is dispatched, once");
            }
            Effect::Refuse { call, .. } => {
                assert!(self.calls.remove(call), "law: a call is run or refused once");
            }
            Effect::Run { job, call, .. } => {
                assert!(self.calls.remove(call), "law: a call is run or refused once");
                assert!(self.jobs.insert(*job, *call).is_none(), "law: a run's tag never repeats");
            }
            Effect::Cancel { job } => {
                assert!(self.jobs.contains_key(job), "law: stops only what runs");
            }
            Effect::Keep { tag, item } => {
                let new = self.keeps.insert(*tag, item.clone()).is_none();
                assert!(new, "law: a keep's tag never repeats");
            }
            Effect::WakeAt(at) => assert!(*at >= now, "law: wakes lie ahead"),
            _ => {}
        }
    }

    fn answers(&mut self, to: P, tag: Tag, answer: &Answer<P>) {
        let record = self.heard.remove(&(to, tag)).expect("law: each query is answered once");
        if let (Answer::Stored { kept: true, .. }, Some(record)) = (answer, record) {
            let kept = self.kept.get(&record.function).is_some_and(|v| *v >= record.version);
            assert!(kept, "law: nothing is acknowledged before it is kept");
        }
    }

    fn told(&mut self, ticket: Ticket, event: &Event<P>) {
        let ask = self.asks.get_mut(&ticket).expect("law: nothing follows a final tell");
        match event {
            Event::Item { index, result, .. } => {
                assert!(*index < ask.came, "law: results are of items that came");
                assert!(ask.items.insert(*index), "law: one result an item");
                if let Ok(answered) = result {
                    assert!(
                        !self.attempts.contains(&answered.attempt),
                        "law: a result follows its attempt's end"
                    );
                }
            }
            Event::Head { attempt, .. } => {
                assert!(self.attempts.contains(attempt), "law: nothing follows an attempt's end");
            }
            Event::Finished(sum) => {
                let parts = sum.succeeded + sum.failed + sum.unknown;
                assert!(sum.items == ask.came && parts == ask.came, "law: the sum is right");
                assert!(ask.items.len() as u64 == ask.came, "law: no item is lost");
            }
            Event::Deployed { .. } | Event::Removed => {
                let (Request::Deploy(record) | Request::Remove(record)) = &ask.request else {
                    panic!("law: tells what was asked")
                };
                let kept = self.kept.get(&record.function).is_some_and(|v| *v >= record.version);
                assert!(kept, "law: nothing is acknowledged before it is kept");
            }
            _ => {}
        }
        if event.is_final() {
            self.asks.remove(&ticket);
        }
    }

    /// What is still open; nothing in a core at rest.
    pub fn open(&self) -> Option<&'static str> {
        let open = [
            (!self.asks.is_empty(), "law: each ask ends in a final tell"),
            (!self.attempts.is_empty(), "law: each dispatch ends"),
            (!self.calls.is_empty(), "law: each call is run or refused"),
            (!self.jobs.is_empty(), "law: each run ends"),
            (!self.keeps.is_empty(), "law: each keep ends"),
            (!self.heard.is_empty(), "law: each query is answered"),
        ];
        open.into_iter().find_map(|(is, what)| is.then_some(what))
    }
}
