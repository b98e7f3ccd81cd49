//! What must hold in a world: the laws of the boundary at every peer, and what only one who sees
//! all peers can judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use peerless_core::laws::Laws as Judge;
use peerless_core::{Effect, Event, Input, Ticket, Time};

use crate::peer::Index;

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// When.
    pub time: Time,
    /// At which peer; `None`: in the world as a whole.
    pub peer: Option<u32>,
    /// What, in words.
    pub what: String,
}

/// More violations than this are only counted.
const KEPT_MAX: usize = 100;

/// Violations, the first of them in words.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    /// The first ones.
    pub kept: Vec<Violation>,
    /// All of them.
    pub count: u64,
}

impl Violations {
    /// One more.
    pub fn add(&mut self, time: Time, peer: Option<u32>, what: impl Display) {
        self.count += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(Violation { time, peer, what: what.to_string() });
        }
    }
}

/// The judges of a world.
#[derive(Clone, Debug, Default)]
pub struct Laws {
    /// Of each peer's present start; none where it is gone.
    judges: Vec<Bench>,
    items: BTreeMap<(u32, Ticket), Many>,
    /// Items that may be run once: the caller, its ticket and which.
    once: BTreeSet<(u32, Ticket, u64)>,
    /// How far ahead the items of a manycall may be.
    items_ahead_max: u32,
    /// What was broken.
    pub violations: Violations,
}

/// Where a peer's judge sits: on one cache line, since a turn waits for each that it touches.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
struct Bench(Option<Judge<Index>>);

/// The items of one manycall.
#[derive(Clone, Debug, Default)]
struct Many {
    given: u64,
    wanted: u64,
    taken: u64,
    /// All items below it are answered, and these beyond it.
    all_below: u64,
    beyond: BTreeSet<u64>,
    doubled: u64,
}

impl Many {
    fn answered(&mut self, item: u64) {
        if item < self.all_below || !self.beyond.insert(item) {
            self.doubled += 1;
        }
        while self.beyond.remove(&self.all_below) {
            self.all_below += 1;
        }
    }
}

/// What became of a manycall's items, counted without the core.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Items that were given.
    pub items: u64,
    /// Items without a result.
    pub lost: u64,
    /// Results beyond the first of their item.
    pub doubled: u64,
}

impl Laws {
    /// The judges of a world that begins with so many peers, in which the items of a manycall may be
    /// so far ahead.
    pub fn of(peers: u32, items_ahead_max: u32) -> Self {
        Self { judges: vec![Bench(None); peers as usize], items_ahead_max, ..Self::default() }
    }

    /// Reads what judging the peer's next turn will read first.
    pub(crate) fn warm(&self, peer: u32) -> u64 {
        let judge = self.judges.get(peer as usize).and_then(|bench| bench.0.as_ref());
        judge.map_or(0, Judge::warm)
    }

    /// A peer starts that may run `slots` calls at once.
    pub fn started(&mut self, peer: u32, slots: u16) {
        let at = peer as usize;
        if self.judges.len() <= at {
            self.judges.resize(at + 1, Bench(None));
        }
        self.judges[at].0 = Some(Judge::new(Index(peer), slots));
    }

    /// A core is told something when its clock shows `shown`.
    pub fn input(&mut self, now: Time, shown: Time, peer: u32, input: &Input<Index>) {
        match input {
            Input::Items { ticket, n, .. } => self.many(peer, *ticket).given += u64::from(*n),
            Input::Taken { ticket, n } => self.many(peer, *ticket).taken += u64::from(*n),
            _ => {}
        }
        self.judge(Some(now), peer, |judge| judge.input(shown, input));
    }

    /// A core wants something done.
    pub fn effect(&mut self, now: Time, peer: u32, effect: &Effect<Index>) {
        match effect {
            Effect::Tell(ticket, Event::Item { index, .. }) => {
                self.many(peer, *ticket).answered(*index);
            }
            Effect::Want { ticket, n } => self.wants(now, peer, *ticket, *n),
            _ => {}
        }
        self.judge(Some(now), peer, |judge| judge.effect(effect));
    }

    fn many(&mut self, peer: u32, ticket: Ticket) -> &mut Many {
        self.items.entry((peer, ticket)).or_default()
    }

    /// Items may be brought only so far ahead of the oldest one without a result, and of the results
    /// that were taken: neither the items nor the results of a manycall may need room without bound.
    fn wants(&mut self, now: Time, peer: u32, ticket: Ticket, n: u32) {
        let ahead_max = u64::from(self.items_ahead_max);
        let many = self.many(peer, ticket);
        many.wanted += u64::from(n);
        let Many { wanted, taken, all_below: oldest, .. } = *many;
        if wanted > oldest.min(taken) + ahead_max {
            let what = format_args!(
                "credit: {wanted} items of ticket {ticket:x} are wanted where {oldest} have their \
                 results one after the other, {taken} results are taken, and {ahead_max} may be ahead"
            );
            self.violations.add(now, Some(peer), what);
        }
    }

    /// What a judge finds is broken now; at the end, when it last saw something.
    fn judge(&mut self, now: Option<Time>, peer: u32, step: impl FnOnce(&mut Judge<Index>)) {
        let Some(Bench(Some(judge))) = self.judges.get_mut(peer as usize) else { return };
        step(judge);
        if judge.breaches().is_empty() {
            return;
        }
        for breach in judge.take_breaches() {
            let what = format_args!("{}: {}", breach.law, breach.what);
            self.violations.add(now.unwrap_or(breach.time), Some(peer), what);
        }
    }

    /// A host runs an item of `caller` that may not be run twice.
    pub fn runs_once(&mut self, now: Time, host: u32, caller: u32, ticket: Ticket, item: u64) {
        if !self.once.insert((caller, ticket, item)) {
            let what = format_args!("run-once: item {item} of ticket {ticket:x} is run again");
            self.violations.add(now, Some(host), what);
        }
    }

    /// What became of a manycall's items.
    pub fn tally(&self, peer: u32, ticket: Ticket) -> Tally {
        let Some(many) = self.items.get(&(peer, ticket)) else {
            return Tally::default();
        };
        let answered = many.all_below + many.beyond.len() as u64;
        let lost = many.given.saturating_sub(answered);
        Tally { items: many.given, lost, doubled: many.doubled }
    }

    /// A peer is gone, and what was open there with it.
    pub fn crashed(&mut self, peer: u32) {
        if let Some(judge) = self.judges.get_mut(peer as usize) {
            judge.0 = None;
        }
    }

    /// At the end, when all has come to rest: nothing is open.
    pub fn settled(&mut self) {
        for peer in 0..self.judges.len() as u32 {
            self.judge(None, peer, Judge::at_rest);
        }
    }
}
