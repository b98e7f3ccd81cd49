//! A core that is fed anything at all: stale tags, wrong peers, answers of another kind, absurd
//! numbers. It must not panic, and each input's effects are bounded.

use std::sync::Arc;

use peerless_core::random::Random;
use peerless_core::{
    Answer, Config, Content, Core, Decline, Dialled, Digest, Effect, Ending, Got, Group, Input,
    Item, Load, Message, Name, Owner, Query, Quorum, Rank, Record, Refusal, Request, Runtime, Span,
    Spec, Stay, Tag, Target, Ticket, Time, Turn,
};

use crate::world::{OWNER, P, host, name};

/// Effects of one input: more than any honest peer or user causes, far fewer than could hurt.
const EFFECTS_MAX: usize = 2_000;

/// Reads choices from bytes; zeros when they are used up.
pub(super) struct Choices<'a> {
    pub(super) left: &'a [u8],
    /// Tags that the core has used, which make the choices hit.
    tags: Vec<Tag>,
    calls: u64,
    tickets: Vec<Ticket>,
    pub(super) now: Time,
}

impl<'a> Choices<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let (tags, tickets) = (Vec::new(), Vec::new());
        Self { left: bytes, tags, calls: 0, tickets, now: Time(0) }
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.left.split_first() else {
            return 0;
        };
        self.left = rest;
        *first
    }

    pub(super) fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    pub(super) fn coin(&mut self) -> bool {
        self.byte().is_multiple_of(2)
    }

    /// Mostly small, sometimes anything up to the largest.
    pub(super) fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => u64::MAX,
            1 => u64::MAX / 2 + 7,
            2 => u64::from(self.byte()) << (self.byte() % 64),
            _ => u64::from(self.below(8)),
        }
    }

    fn short(&mut self) -> u16 {
        self.number() as u16
    }

    pub(super) fn some<T>(&mut self, most: u8, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most.saturating_add(1))).map(|_| one(self)).collect()
    }

    pub(super) fn peer(&mut self) -> P {
        P(self.below(15) + 1)
    }

    pub(super) fn function(&mut self) -> Name {
        match self.below(5) {
            0 => Name([self.byte(); 32]),
            n => name('f', n),
        }
    }

    fn owner(&mut self) -> Owner {
        if self.coin() { OWNER } else { Owner([self.byte(); 32]) }
    }

    fn tag(&mut self) -> Tag {
        if self.tags.is_empty() || self.below(8) == 0 {
            let (slot, epoch) = (self.number() as u32, self.number() as u32);
            return Tag { slot, epoch, incarnation: u32::from(self.below(2)) };
        }
        let back = usize::from(self.byte()) % self.tags.len().min(16);
        self.tags[self.tags.len() - 1 - back]
    }

    fn ticket(&mut self) -> Ticket {
        if self.tickets.is_empty() {
            return self.number();
        }
        let back = usize::from(self.byte()) % self.tickets.len().min(8);
        self.tickets[self.tickets.len() - 1 - back]
    }

    pub(super) fn load(&mut self) -> Load {
        Load {
            slots: self.short(),
            running: self.short(),
            queued: self.short(),
            queue: self.short(),
            hosted: self.short(),
            room: self.short(),
        }
    }

    pub(super) fn record(&mut self) -> Arc<Record> {
        let idempotent = [None, Some(true), Some(false)][usize::from(self.below(3))];
        let constraints = self.some(2, Self::function).into();
        let spec = (self.below(4) > 0).then(|| Spec {
            digest: Digest([self.below(3); 32]),
            size: self.number(),
            runtime: Runtime::Wasm,
            timeout: Span(self.number()),
            replicas: (self.short(), self.short()),
            idempotent,
            constraints,
        });
        let function = self.function();
        let version = self.number();
        let life = Span::minutes(u64::from(self.byte()) * 12 * 60);
        let expires = if self.coin() { self.now + life } else { Time(self.number()) };
        let bytes = vec![0; usize::from(self.byte()) * 20].into();
        Arc::new(Record { function, owner: self.owner(), version, expires, spec, bytes })
    }

    pub(super) fn rank(&mut self) -> Rank {
        let digest = Digest([self.below(3); 32]);
        let what = if self.coin() { Content::Removed } else { Content::Runs(digest) };
        Rank { version: self.number(), what }
    }

    pub(super) fn decline(&mut self) -> Option<Decline> {
        [None, Some(Decline::Full), Some(Decline::Busier), Some(Decline::Silent)]
            [usize::from(self.below(4))]
    }

    pub(super) fn query(&mut self) -> Query<P> {
        let function = self.function();
        let version = self.number();
        match self.below(10) {
            0 => Query::Find(Target::Peer(self.peer())),
            1 => Query::Find(Target::Name(function)),
            2 => Query::Hosts(function),
            3 => Query::Provide(function, self.coin().then(|| self.record())),
            4 if self.coin() => Query::Withdraw(function),
            4 => Query::Store(self.record()),
            5 => Query::Offer { record: self.record(), waive: self.coin() },
            6 => {
                let (sources, mates) = (self.some(40, Self::peer), self.some(40, Self::peer));
                Query::Confirm { function, version, sources, mates }
            }
            7 if self.coin() => Query::Release { function, version },
            7 => Query::Placed { function, version, failure: self.decline() },
            8 => Query::Probe(self.some(200, |b| (b.function(), b.number()))),
            _ => {
                let owner = self.owner();
                let records = self.some(20, Self::record);
                let have = self.some(200, |b| (b.function(), b.rank()));
                let range = self.coin().then(|| Box::new((self.function(), self.function())));
                Query::Sync { owner, records, have, range }
            }
        }
    }

    pub(super) fn answer(&mut self) -> Answer<P> {
        match self.below(6) {
            0 | 1 => Answer::Found {
                closer: self.some(60, |b| P(b.below(16))),
                hosts: self.some(60, |b| P(b.below(16))),
                record: self.coin().then(|| self.record()),
                load: self.load(),
            },
            2 => Answer::Stored {
                kept: self.coin(),
                newer: self.coin().then(|| self.record()),
                hosts: self.some(60, |b| P(b.below(16))),
            },
            3 => Answer::Offered { decline: self.decline(), load: self.load() },
            4 if self.coin() => Answer::Noted(self.coin()),
            4 => Answer::Probed {
                serving: self.some(200, |b| (b.function(), b.number())),
                load: self.load(),
            },
            _ => Answer::Synced {
                records: self.some(20, Self::record),
                want: self.some(255, Self::function),
                more: self.coin(),
            },
        }
    }

    pub(super) fn request(&mut self) -> Request<P> {
        let function = self.function();
        match self.below(10) {
            0 if self.coin() => Request::Meet(u32::from(self.below(80))),
            0 => Request::Lookup(Target::Peer(self.peer())),
            1 => Request::Lookup(Target::Name(function)),
            2 => Request::Hosts(function),
            3 => Request::Deploy(self.record()),
            4 => Request::Remove(self.record()),
            5 => Request::List,
            6 => {
                let (kept, idempotent) = (self.coin(), self.coin());
                Request::Call { function, deadline: Time(self.number()), kept, idempotent }
            }
            7 => {
                let deadline = self.coin().then(|| Time(self.number()));
                let quorum = Quorum::new(self.byte() % 8, self.byte() % 32);
                Request::Many { function, deadline, retries: self.byte(), quorum }
            }
            8 => Request::Drain,
            _ => Request::Cancel(self.ticket()),
        }
    }

    pub(super) fn ending(&mut self) -> Ending {
        match self.below(6) {
            0 => Ending::Complete,
            1 => Ending::Cut,
            2 => Ending::NotSent { spent: self.coin() },
            3 => Ending::MayHaveStarted,
            n => {
                let why = [Refusal::Busy, Refusal::NotHosted, Refusal::Late][usize::from(n) % 3];
                let load = self.coin().then(|| self.load());
                Ending::Refused { why, load, spent: self.coin() }
            }
        }
    }

    fn input(&mut self) -> Input<P> {
        match self.below(24) {
            0..3 => {
                let ticket = self.tickets.len() as u64;
                self.tickets.push(ticket);
                Input::Ask(ticket, self.request())
            }
            3 => {
                Input::Items { ticket: self.ticket(), n: self.number() as u32, ended: self.coin() }
            }
            4 => Input::Taken { ticket: self.ticket(), n: self.number() as u32 },
            5..8 => {
                let message = Message::Query(self.tag(), self.query());
                Input::Heard { from: self.peer(), message }
            }
            8..12 => {
                let message = Message::Answer(self.tag(), self.answer());
                Input::Heard { from: self.peer(), message }
            }
            12 if self.below(4) == 0 => {
                let outcome = match self.below(3) {
                    0 => Dialled::Met(P(self.below(16))),
                    1 => Dialled::Busy,
                    _ => Dialled::Nobody,
                };
                Input::Dialled { tag: self.tag(), outcome }
            }
            12 => Input::Failed { tag: self.tag() },
            13 if self.coin() => Input::Unreached { peer: self.peer() },
            13 => Input::Met {
                peer: P(self.below(16)),
                serves: self.coin(),
                group: self.coin().then(|| Group(u64::from(self.below(3)))),
                relayed: self.coin(),
            },
            14 => {
                let (attempt, load) = (self.tag(), self.coin().then(|| self.load()));
                let (waited, ran) = (Span(self.number()), Span(self.number()));
                let stay = self.coin().then_some(Stay { waited, ran });
                Input::Head { attempt, status: self.short(), load, stay }
            }
            15 => {
                let body = self.coin().then(|| Digest([self.below(2); 32]));
                Input::Ended { attempt: self.tag(), how: self.ending(), body }
            }
            16 => {
                self.calls += 1;
                let (call, from, function) = (self.calls, P(self.below(16)), self.function());
                Input::Arrived { call, from, function, left: Span(self.number()) }
            }
            17 => Input::Gone { call: self.number() },
            18 if self.coin() => Input::RanHead { job: self.tag() },
            18 => Input::RanEnd { job: self.tag() },
            19 => {
                let (function, version) = (self.function(), self.number());
                Input::Installed { tag: self.tag(), function, version, ok: self.below(4) > 0 }
            }
            20 => {
                let (tag, digest) = (self.tag(), Digest([self.below(3); 32]));
                let got = [Got::Code, Got::Code, Got::Busy, Got::Nothing];
                Input::Fetched { tag, digest, got: got[self.below(4) as usize] }
            }
            21 if self.below(4) > 0 => Input::Kept { tag: self.tag() },
            21 => Input::NotKept { tag: self.tag() },
            22 if self.coin() => Input::Restored(Item::Record(self.record())),
            22 => Input::Restored(Item::Hosting(self.record())),
            _ => Input::Wake,
        }
    }
}

pub(super) fn small() -> Config {
    Config {
        k: 4,
        loads_min: 2,
        busier_max: 3,
        records_max: 12,
        known_max: 3,
        sync_have_max: 6,
        siblings_max: 4,
        asks_max: 12,
        items_ahead_max: 64,
        ..Config::standard()
    }
}

/// Feeds a core what the bytes say.
pub fn handle_bytes(bytes: &[u8]) {
    let config = small();
    let setup = peerless_core::Setup { owner: Some(OWNER), ..host(2, 2, 3) };
    let mut core = Core::new(P(0), setup, 1, 0);
    let (mut now, mut effects) = (Time(0), Vec::new());
    let mut bytes = Choices::of(bytes);
    while !bytes.left.is_empty() {
        now = match bytes.below(16) {
            0 => now + Span::secs(u64::from(bytes.byte())),
            // A clock that jumps by a century; the host's clock may be wrong, but not endless.
            1 if bytes.below(64) == 0 => now + Span::minutes(100 * 365 * 24 * 60),
            n => now + Span::ms(u64::from(n) * 100),
        };
        bytes.now = now;
        core.handle(bytes.input(), &mut Turn::new(now, &config, &mut effects));
        assert!(core.check(), "the invariants hold");
        assert!(effects.len() <= EFFECTS_MAX, "{} effects of one input", effects.len());
        let tags = effects.iter().filter_map(|effect| match effect {
            Effect::Send { message: Message::Query(tag, _), .. }
            | Effect::Keep { tag, .. }
            | Effect::Fetch { tag, .. }
            | Effect::Install { tag, .. } => Some(*tag),
            Effect::Dispatch { attempt, .. } => Some(*attempt),
            Effect::Run { job, .. } => Some(*job),
            _ => None,
        });
        bytes.tags.extend(tags);
        effects.clear();
    }
}

#[test]
fn anything_can_be_said_to_a_core() {
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..256).flat_map(|_| random.bits().to_le_bytes()).collect();
        handle_bytes(&bytes);
    }
}
