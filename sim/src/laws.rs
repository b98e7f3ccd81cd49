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
    judges: Vec<Option<Judge<Index>>>,
    items: BTreeMap<(u32, Ticket), Many>,
    /// Items that may be run once: the caller, its ticket and which.
    once: BTreeSet<(u32, Ticket, u64)>,
    /// What was broken.
    pub violations: Violations,
}

/// The items of one manycall.
#[derive(Clone, Debug, Default)]
struct Many {
    given: u64,
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
    /// The judges of a world that begins with so many peers.
    pub fn of(peers: u32) -> Self {
        Self { judges: (0..peers).map(|_| None).collect(), ..Self::default() }
    }

    /// Reads what judging the peer's next turn will read first.
    pub(crate) fn warm(&self, peer: u32) -> u64 {
        let judge = self.judges.get(peer as usize).and_then(Option::as_ref);
        judge.map_or(0, Judge::warm)
    }

    /// A peer starts that may run `slots` calls at once.
    pub fn started(&mut self, peer: u32, slots: u16) {
        let at = peer as usize;
        if self.judges.len() <= at {
            self.judges.resize_with(at + 1, || None);
        }
        self.judges[at] = Some(Judge::new(Index(peer), slots));
    }

    /// A core is told something.
    pub fn input(&mut self, now: Time, peer: u32, input: &Input<Index>) {
        if let Input::Items { ticket, n, .. } = input {
            self.items.entry((peer, *ticket)).or_default().given += u64::from(*n);
        }
        self.judge(peer, |judge| judge.input(now, input));
    }

    /// A core wants something done.
    pub fn effect(&mut self, peer: u32, effect: &Effect<Index>) {
        if let Effect::Tell(ticket, Event::Item { index, .. }) = effect {
            self.items.entry((peer, *ticket)).or_default().answered(*index);
        }
        self.judge(peer, |judge| judge.effect(effect));
    }

    fn judge(&mut self, peer: u32, step: impl FnOnce(&mut Judge<Index>)) {
        let Some(Some(judge)) = self.judges.get_mut(peer as usize) else { return };
        step(judge);
        if judge.breaches().is_empty() {
            return;
        }
        for breach in judge.take_breaches() {
            let what = format_args!("{}: {}", breach.law, breach.what);
            self.violations.add(breach.time, Some(peer), what);
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
            *judge = None;
        }
    }

    /// At the end, when all has come to rest: nothing is open.
    pub fn settled(&mut self) {
        for peer in 0..self.judges.len() as u32 {
            self.judge(peer, Judge::at_rest);
        }
    }
}
