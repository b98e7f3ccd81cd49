//! The conservation laws of the boundary, checked over every input and effect of a world.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use peerless_core::{
    Answer, Effect, Event, Input, Item, ItemKey, Load, Message, Name, Query, Request, Tag, Time,
};

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

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// Arrived, neither run nor refused.
    Waiting,
    /// Running.
    Running,
    /// The caller hung up before it was run or refused.
    Left,
}

/// What is open at each peer.
#[derive(Clone, Debug, Default)]
pub struct Laws {
    /// Each with the function that it deploys or removes.
    asks: BTreeMap<(u32, u64), Option<Name>>,
    dispatched: BTreeSet<(u32, Tag)>,
    calls: BTreeMap<(u32, u64), Stage>,
    jobs: BTreeMap<(u32, Tag), u64>,
    /// Each with the key of the item and the version of its record.
    keeps: BTreeMap<(u32, Tag), (ItemKey, u64)>,
    /// The version last kept of each item.
    kept: BTreeMap<(u32, ItemKey), u64>,
    /// Queries to store a record that were not answered yet: peer, who asked, and its tag; the
    /// record's name and version.
    stores: BTreeMap<(u32, (u32, Tag)), (Name, u64)>,
    /// What this turn has acknowledged.
    acknowledged: Option<(ItemKey, u64)>,
    items: BTreeMap<(u32, u64), Many>,
    /// Calls that may run at once, where a peer hosts.
    slots: BTreeMap<u32, u16>,
    running: BTreeMap<u32, u16>,
    /// Runs that began, over all peers.
    pub executions: u64,
    /// What was broken.
    pub violations: Violations,
}

/// The items of one manycall.
#[derive(Clone, Debug, Default)]
struct Many {
    given: u64,
    answered: Vec<u64>,
    results: u64,
    doubled: u64,
}

impl Many {
    /// Notes an item's result; false if it had one.
    fn answer(&mut self, item: u64) -> bool {
        let (word, bit) = ((item / 64) as usize, 1 << (item % 64));
        if self.answered.len() <= word {
            self.answered.resize(word + 1, 0);
        }
        let fresh = self.answered[word] & bit == 0;
        self.answered[word] |= bit;
        if fresh {
            self.results += 1;
        } else {
            self.doubled += 1;
        }
        fresh
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
    /// A peer that may run `slots` calls at once.
    pub fn host(&mut self, peer: u32, slots: u16) {
        self.slots.insert(peer, slots);
    }

    fn broken(&mut self, now: Time, peer: u32, what: impl Display) {
        self.violations.add(now, Some(peer), what);
    }

    fn require(&mut self, holds: bool, now: Time, peer: u32, what: impl Display) {
        if !holds {
            self.broken(now, peer, what);
        }
    }

    /// A core is told something.
    pub fn input(&mut self, now: Time, peer: u32, input: &Input<Index>) {
        self.acknowledged = None;
        match input {
            Input::Heard {
                from,
                message: Message::Query(tag, Query::Store(record) | Query::Provide(_, Some(record))),
            } => {
                let what = (record.function, record.version);
                self.stores.insert((peer, (from.0, *tag)), what);
            }
            Input::Ask(ticket, request) => {
                let function = match request {
                    Request::Deploy(record) | Request::Remove(record) => Some(record.function),
                    _ => None,
                };
                if self.asks.insert((peer, *ticket), function).is_some() {
                    self.broken(now, peer, format_args!("ticket {ticket:x} was used twice"));
                }
            }
            Input::Items { ticket, n, .. } => {
                self.items.entry((peer, *ticket)).or_default().given += u64::from(*n);
            }
            Input::Arrived { call, .. } => {
                self.calls.insert((peer, *call), Stage::Waiting);
            }
            Input::Gone { call } => {
                if let Some(stage @ Stage::Waiting) = self.calls.get_mut(&(peer, *call)) {
                    *stage = Stage::Left;
                }
            }
            Input::Ended { attempt, .. } => {
                let was_open = self.dispatched.remove(&(peer, *attempt));
                self.require(was_open, now, peer, format_args!("{} ended twice", Short(*attempt)));
            }
            Input::RanEnd { job } => self.ran(now, peer, *job),
            Input::Kept { tag } | Input::NotKept { tag } => {
                let kept = self.keeps.remove(&(peer, *tag));
                let was_open = kept.is_some();
                if let (Some((key, version)), Input::Kept { .. }) = (kept, input) {
                    self.kept.insert((peer, key), version);
                }
                let what = format_args!("{} was not being kept", Short(*tag));
                self.require(was_open, now, peer, what);
            }
            _ => {}
        }
    }

    fn ran(&mut self, now: Time, peer: u32, job: Tag) {
        match self.jobs.remove(&(peer, job)) {
            Some(call) => {
                self.calls.remove(&(peer, call));
                *self.running.entry(peer).or_default() -= 1;
            }
            None => self.broken(now, peer, format_args!("run {} ended twice", Short(job))),
        }
    }

    /// A core wants something done.
    pub fn effect(&mut self, now: Time, peer: u32, effect: &Effect<Index>) {
        match effect {
            Effect::Tell(ticket, event) => self.told(now, peer, *ticket, event),
            Effect::Dispatch { attempt, .. } => {
                let is_new = self.dispatched.insert((peer, *attempt));
                let what = format_args!("{} dispatched twice", Short(*attempt));
                self.require(is_new, now, peer, what);
            }
            Effect::Abort { attempt } => {
                let was_open = self.dispatched.remove(&(peer, *attempt));
                let what = format_args!("{} aborted after its end", Short(*attempt));
                self.require(was_open, now, peer, what);
            }
            Effect::Refuse { call, load, .. } => {
                self.load(now, peer, *load);
                match self.calls.remove(&(peer, *call)) {
                    Some(Stage::Waiting) => {}
                    stage => {
                        self.broken(now, peer, format_args!("call {call} refused when {stage:?}"));
                    }
                }
            }
            Effect::Run { job, call, .. } => self.run(now, peer, *job, *call),
            Effect::Respond { call, load } => {
                self.load(now, peer, *load);
                if self.calls.get(&(peer, *call)) != Some(&Stage::Running) {
                    self.broken(now, peer, format_args!("call {call} answered but does not run"));
                }
            }
            Effect::Cancel { job } => {
                let runs = self.jobs.contains_key(&(peer, *job));
                let what = format_args!("run {} cancelled but does not run", Short(*job));
                self.require(runs, now, peer, what);
            }
            Effect::Keep { tag, item } => {
                let (Item::Record(record) | Item::Hosting(record)) = item;
                let what = (item.key(), record.version);
                if self.acknowledged == Some(what) {
                    self.broken(now, peer, "acknowledges what it only then keeps");
                }
                if self.keeps.insert((peer, *tag), what).is_some() {
                    self.broken(now, peer, format_args!("{} kept twice at once", Short(*tag)));
                }
            }
            Effect::Forget(key) => {
                self.kept.remove(&(peer, *key));
            }
            Effect::Send { to, .. } if to.0 == peer => {
                self.broken(now, peer, "sent a message to itself");
            }
            Effect::Send {
                message: Message::Query(_, Query::Placed { function, version, failure: None }),
                ..
            } => self.acknowledges(now, peer, ItemKey::Hosting(*function), Some(*version)),
            Effect::Send { to, message: Message::Answer(tag, Answer::Stored { kept, .. }) } => {
                let stored = self.stores.remove(&(peer, (to.0, *tag)));
                if let Some((function, version)) = stored.filter(|_| *kept) {
                    self.acknowledges(now, peer, ItemKey::Record(function), Some(version));
                }
            }
            Effect::Send {
                message:
                    Message::Answer(
                        _,
                        Answer::Found { load, .. }
                        | Answer::Offered { load, .. }
                        | Answer::Probed { load, .. },
                    ),
                ..
            } => self.load(now, peer, *load),
            _ => {}
        }
    }

    /// Nothing is acknowledged before it is kept.
    fn acknowledges(&mut self, now: Time, peer: u32, key: ItemKey, version: Option<u64>) {
        let least = Tag { slot: 0, epoch: 0, incarnation: 0 };
        let mut open = self.keeps.range((peer, least)..).take_while(|((at, _), _)| *at == peer);
        let on_disk = self.kept.get(&(peer, key)).copied();
        let concerned = |is: u64| version.is_none_or(|version| is == version);
        if open.any(|(_, (of, is))| *of == key && concerned(*is) && Some(*is) != on_disk) {
            self.broken(now, peer, "acknowledges what is not kept yet");
        }
        self.acknowledged = version.map(|version| (key, version));
    }

    /// What a host says of its load is what runs there.
    fn load(&mut self, now: Time, peer: u32, load: Load) {
        let running = self.running.get(&peer).copied().unwrap_or(0);
        if load.running != running {
            let what = format_args!("says that {} run where {running} do", load.running);
            self.broken(now, peer, what);
        }
    }

    fn run(&mut self, now: Time, peer: u32, job: Tag, call: u64) {
        self.executions += 1;
        match self.calls.entry((peer, call)) {
            Entry::Occupied(mut stage) if *stage.get() == Stage::Waiting => {
                stage.insert(Stage::Running);
            }
            stage => {
                let was = match stage {
                    Entry::Occupied(stage) => Some(*stage.get()),
                    Entry::Vacant(_) => None,
                };
                self.broken(now, peer, format_args!("call {call} run when {was:?}"));
            }
        }
        if self.jobs.insert((peer, job), call).is_some() {
            self.broken(now, peer, format_args!("run {} began twice", Short(job)));
        }
        let running = self.running.entry(peer).or_default();
        *running += 1;
        let (running, slots) = (*running, self.slots.get(&peer).copied().unwrap_or(0));
        if running > slots {
            self.broken(now, peer, format_args!("{running} calls run in {slots} slots"));
        }
    }

    fn told(&mut self, now: Time, peer: u32, ticket: u64, event: &Event<Index>) {
        let key = (peer, ticket);
        if !self.asks.contains_key(&key) {
            let what = format_args!("ticket {ticket:x} told {event:?} after its end");
            self.broken(now, peer, what);
        }
        if event.is_final() {
            let function = self.asks.remove(&key).flatten();
            if let (Event::Deployed { .. } | Event::Removed, Some(function)) = (event, function) {
                self.acknowledges(now, peer, ItemKey::Record(function), None);
            }
        }
        match event {
            Event::Item { index, .. } => {
                let many = self.items.entry(key).or_default();
                let given = many.given;
                if !many.answer(*index) {
                    self.broken(now, peer, format_args!("item {index} has two results"));
                }
                if *index >= given {
                    self.broken(now, peer, format_args!("item {index} of {given} has a result"));
                }
            }
            Event::Finished(_) => {
                let tally = self.tally(peer, ticket);
                if tally.lost > 0 {
                    let what = format_args!("finished with {} items lost", tally.lost);
                    self.broken(now, peer, what);
                }
            }
            _ => {}
        }
    }

    /// What became of a manycall's items.
    pub fn tally(&self, peer: u32, ticket: u64) -> Tally {
        let Some(many) = self.items.get(&(peer, ticket)) else {
            return Tally::default();
        };
        Tally {
            items: many.given,
            lost: many.given - many.results.min(many.given),
            doubled: many.doubled,
        }
    }

    /// A peer is gone, and what was open there with it.
    pub fn crashed(&mut self, peer: u32) {
        fn drop_of<K: Ord + Copy, V>(map: &mut BTreeMap<(u32, K), V>, peer: u32, least: K) {
            while let Some((key, _)) = map.range((peer, least)..).next() {
                let key = *key;
                if key.0 != peer {
                    break;
                }
                map.remove(&key);
            }
        }
        let tag = Tag { slot: 0, epoch: 0, incarnation: 0 };
        drop_of(&mut self.asks, peer, 0);
        self.dispatched.retain(|(at, _)| *at != peer);
        drop_of(&mut self.calls, peer, 0);
        drop_of(&mut self.jobs, peer, tag);
        drop_of(&mut self.keeps, peer, tag);
        drop_of(&mut self.stores, peer, (0, tag));
        self.running.remove(&peer);
    }

    /// Whether a ticket waits for its final word.
    pub fn is_open(&self, peer: u32, ticket: u64) -> bool {
        self.asks.contains_key(&(peer, ticket))
    }

    /// At the end, when all has come to rest: nothing is open.
    pub fn settled(&mut self, now: Time) {
        let mut open = Vec::new();
        open.extend(self.asks.keys().map(|(p, n)| (*p, format!("ticket {n:x} was never ended"))));
        let dispatched = self.dispatched.iter();
        open.extend(dispatched.map(|(p, tag)| (*p, format!("{} never ended", Short(*tag)))));
        let calls = self.calls.iter().filter(|(_, stage)| **stage == Stage::Waiting);
        open.extend(calls.map(|((p, n), _)| (*p, format!("call {n} neither run nor refused"))));
        let jobs = self.jobs.keys();
        open.extend(jobs.map(|(p, tag)| (*p, format!("slot of run {} leaked", Short(*tag)))));
        let keeps = self.keeps.keys();
        open.extend(keeps.map(|(p, tag)| (*p, format!("{} neither kept nor not", Short(*tag)))));
        for (peer, what) in open {
            self.broken(now, peer, what);
        }
    }
}

/// A tag in few characters.
#[derive(Copy, Clone)]
pub struct Short(pub Tag);

impl Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.0.slot, self.0.epoch)
    }
}
