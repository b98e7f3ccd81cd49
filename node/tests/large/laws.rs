//! The laws of the core's boundary, checked over what one node recorded.

use std::collections::{BTreeMap, BTreeSet};

use peerless_core::{Effect, Event, Input, Setup, Tag, Ticket, Time};
use peerless_node::id::NodeId;

/// What is open at a node.
pub(crate) struct Laws {
    me: NodeId,
    slots: usize,
    asks: BTreeSet<Ticket>,
    dispatched: BTreeSet<Tag>,
    /// Attempts that may still have ended before they were aborted.
    aborted: BTreeSet<Tag>,
    /// Calls that are neither run nor refused; true: the caller hung up.
    waiting: BTreeMap<u64, bool>,
    running: BTreeMap<Tag, u64>,
    cancelled: BTreeSet<Tag>,
    keeping: BTreeSet<Tag>,
    /// Items of a manycall: given, wanted and answered.
    items: BTreeMap<Ticket, (u64, u64, BTreeSet<u64>)>,
    now: Time,
    /// What was broken.
    pub(crate) broken: Vec<String>,
    /// Laws that were looked at, so that an empty journal proves nothing.
    pub(crate) checked: u64,
}

impl Laws {
    pub(crate) fn new(me: NodeId, setup: &Setup) -> Self {
        Self {
            me,
            slots: setup.slots.into(),
            asks: BTreeSet::new(),
            dispatched: BTreeSet::new(),
            aborted: BTreeSet::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            keeping: BTreeSet::new(),
            items: BTreeMap::new(),
            now: Time(0),
            broken: Vec::new(),
            checked: 0,
        }
    }

    /// One input, and what the core wants done upon it.
    pub(crate) fn step(&mut self, now: Time, input: &Input<NodeId>, effects: &[Effect<NodeId>]) {
        self.must(now >= self.now, || format!("the clock went back to {now:?}"));
        self.now = now;
        self.input(input);
        for effect in effects {
            self.effect(effect);
        }
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken.push(format!("at {} ns: {}", self.now.0, what()));
        }
    }

    fn input(&mut self, input: &Input<NodeId>) {
        match input {
            Input::Ask(ticket, _) => {
                let fresh = self.asks.insert(*ticket);
                self.must(fresh, || format!("ticket {ticket} was used twice"));
            }
            Input::Items { ticket, n, .. } => {
                let (given, wanted, _) = self.items.entry(*ticket).or_default();
                *given += u64::from(*n);
                let within = given <= wanted;
                self.must(within, || format!("ticket {ticket} was given items unasked"));
            }
            Input::Arrived { call, .. } => {
                let fresh = self.waiting.insert(*call, false).is_none();
                self.must(fresh, || format!("call {call} arrived twice"));
            }
            Input::Gone { call } => {
                if let Some(left) = self.waiting.get_mut(call) {
                    *left = true;
                }
            }
            Input::Ended { attempt, .. } => {
                let open = self.dispatched.remove(attempt) || self.aborted.remove(attempt);
                self.must(open, || format!("{attempt:?} ended, but was not under way"));
            }
            Input::RanEnd { job } => {
                let ran = self.running.remove(job).is_some();
                self.must(ran, || format!("run {job:?} ended, but did not run"));
            }
            Input::Kept { tag } | Input::NotKept { tag } => {
                let kept = self.keeping.remove(tag);
                self.must(kept, || format!("{tag:?} was not being kept"));
            }
            _ => {}
        }
    }

    fn effect(&mut self, effect: &Effect<NodeId>) {
        match effect {
            Effect::Tell(ticket, event) => self.told(*ticket, event),
            Effect::Want { ticket, n } => {
                self.items.entry(*ticket).or_default().1 += u64::from(*n);
                let open = self.asks.contains(ticket);
                self.must(open, || format!("ticket {ticket} wants items after its end"));
            }
            Effect::Send { to, .. } => {
                let other = *to != self.me;
                self.must(other, || "a message to itself".into());
            }
            Effect::Dispatch { attempt, ticket, .. } => {
                let (fresh, open) = (self.dispatched.insert(*attempt), self.asks.contains(ticket));
                self.must(fresh && open, || format!("{attempt:?} dispatched for nobody, or twice"));
            }
            Effect::Abort { attempt } => {
                let open = self.dispatched.remove(attempt) && self.aborted.insert(*attempt);
                self.must(open, || format!("{attempt:?} aborted after its end"));
            }
            Effect::Refuse { call, .. } => {
                let waits = self.waiting.remove(call) == Some(false);
                self.must(waits, || format!("call {call} refused, but did not wait"));
            }
            Effect::Run { job, call, .. } => {
                let waits = self.waiting.remove(call) == Some(false);
                self.must(waits, || format!("call {call} run, but did not wait"));
                let fresh = self.running.insert(*job, *call).is_none();
                let within = self.running.len() <= self.slots;
                self.must(fresh && within, || format!("run {job:?} twice, or over the slots"));
            }
            Effect::Respond { call, .. } => {
                let runs = self.running.values().any(|running| running == call);
                self.must(runs, || format!("call {call} answered, but does not run"));
            }
            Effect::Cancel { job } => {
                let (runs, once) = (self.running.contains_key(job), self.cancelled.insert(*job));
                self.must(runs && once, || format!("run {job:?} cancelled, but does not run"));
            }
            Effect::Keep { tag, .. } => {
                let fresh = self.keeping.insert(*tag);
                self.must(fresh, || format!("{tag:?} kept twice at once"));
            }
            _ => {}
        }
    }

    fn told(&mut self, ticket: Ticket, event: &Event<NodeId>) {
        let open = self.asks.contains(&ticket);
        self.must(open, || format!("ticket {ticket} told {event:?} after its end"));
        match event {
            Event::Item { index, .. } => {
                let (given, _, answered) = self.items.entry(ticket).or_default();
                let fresh = *index < *given && answered.insert(*index);
                self.must(fresh, || format!("item {index} of {ticket} answered twice, or unasked"));
            }
            Event::Finished(_) => {
                let (given, _, answered) = self.items.entry(ticket).or_default();
                let all = answered.len() as u64 == *given;
                self.must(all, || format!("ticket {ticket} finished with items lost"));
            }
            _ => {}
        }
        if event.is_final() {
            self.asks.remove(&ticket);
        }
    }

    /// At the end of a node that was at rest: nothing is open but what its end cut off.
    pub(crate) fn at_rest(&mut self) {
        let calls = self.waiting.values().filter(|left| !**left).count();
        let open = [self.dispatched.len(), calls, self.running.len(), self.keeping.len()];
        self.must(open == [0; 4], || format!("attempts, calls, runs, keeps left open: {open:?}"));
        let asks = self.asks.len();
        self.must(asks == 0, || format!("{asks} tickets without an end"));
    }
}

#[test]
fn what_breaks_a_law_is_said() {
    let tag = Tag { slot: 0, epoch: 0, incarnation: 0 };
    let ask = Input::Ask(1, peerless_core::Request::List);
    let listed = Effect::Tell(1, Event::Listed(Vec::new()));
    let broken = |steps: &[(&Input<NodeId>, &[Effect<NodeId>])]| {
        let mut laws = Laws::new(NodeId::new([1; 32]), &Setup::default());
        for (input, effects) in steps {
            laws.step(Time(1), input, effects);
        }
        laws.at_rest();
        laws.broken.len()
    };
    assert_eq!(broken(&[(&ask, std::slice::from_ref(&listed))]), 0);
    assert_eq!(broken(&[(&ask, &[listed.clone(), listed])]), 1);
    assert_eq!(broken(&[(&ask, &[])]), 1);
    assert_eq!(broken(&[(&Input::RanEnd { job: tag }, &[])]), 1);
    assert_eq!(broken(&[(&Input::Gone { call: 1 }, &[Effect::Abort { attempt: tag }])]), 1);
}
