//! A core whose host does its part, among peers that say anything: what bytes make of its users, peers
//! and machine is judged by the laws, and when the peers fall silent all comes to an end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use peerless_core::laws::Laws;
use peerless_core::random::Random;
use peerless_core::{
    Answer, Config, Core, Dialled, Digest, Effect, Ending, Event, Got, Group, Input, Item, Message,
    Name, Query, Quorum, Record, Request, Setup, Span, Spec, Tag, Ticket, Time, Turn,
};

use super::bytes::{Choices, small};
use crate::world::{OWNER, P, function, host, tombstone};

const SLOTS: u16 = 2;
/// Until all that users asked for has its end, once the peers are silent.
const REST_WITHIN: Span = Span::minutes(24 * 60);

/// What is open of a manycall.
#[derive(Copy, Clone, Default)]
struct Feed {
    wanted: u64,
    given: u64,
    ended: bool,
    told: u64,
    taken: u64,
}

struct Machine<'a> {
    bytes: Choices<'a>,
    core: Core<P>,
    laws: Laws<P>,
    config: Config,
    now: Time,
    wake: Time,
    next: u64,
    queries: Vec<(P, Tag, Query<P>)>,
    /// What peers offered, or were confirmed, and may speak of next.
    offered: Vec<(P, Name, u64)>,
    confirmed: Vec<(P, Name, u64)>,
    feeds: BTreeMap<Ticket, Feed>,
    asked: Vec<Ticket>,
    requests: BTreeMap<Ticket, Request<P>>,
    /// Each with whether it has a head.
    attempts: BTreeMap<Tag, bool>,
    jobs: BTreeMap<Tag, bool>,
    calls: BTreeSet<u64>,
    keeps: Vec<Tag>,
    fetches: Vec<(Tag, Digest)>,
    installs: Vec<(Tag, Name, u64)>,
    dials: Vec<Tag>,
    reached: BTreeSet<&'static str>,
}

/// Takes the one that a byte chooses.
fn take<T>(bytes: &mut Choices<'_>, list: &mut Vec<T>) -> Option<T> {
    let at = usize::from(bytes.byte()) % list.len().max(1);
    (at < list.len()).then(|| list.remove(at))
}

fn pick<K: Copy + Ord, V: Copy>(bytes: &mut Choices<'_>, map: &BTreeMap<K, V>) -> Option<(K, V)> {
    let at = usize::from(bytes.byte()) % map.len().max(1);
    map.iter().nth(at).map(|(key, value)| (*key, *value))
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let setup = Setup { owner: Some(OWNER), ..host(SLOTS, 2, 3) };
        Self {
            bytes: Choices::of(bytes),
            core: Core::new(P(0), setup, 1, 0),
            laws: Laws::new(P(0), SLOTS),
            config: Config { probe_period: Span::secs(3), ..small() },
            now: Time(0),
            wake: Time::NEVER,
            next: 0,
            queries: Vec::new(),
            offered: Vec::new(),
            confirmed: Vec::new(),
            feeds: BTreeMap::new(),
            asked: Vec::new(),
            requests: BTreeMap::new(),
            attempts: BTreeMap::new(),
            jobs: BTreeMap::new(),
            calls: BTreeSet::new(),
            keeps: Vec::new(),
            fetches: Vec::new(),
            installs: Vec::new(),
            dials: Vec::new(),
            reached: BTreeSet::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A record as owners sign it, mostly.
    fn record(&mut self, of: Option<Name>) -> Arc<Record> {
        if self.bytes.below(8) == 0 {
            return self.bytes.record();
        }
        let name = of.unwrap_or_else(|| self.bytes.function());
        let version = 1 + u64::from(self.bytes.below(4));
        if self.bytes.below(8) == 0 {
            return tombstone(name, version).into();
        }
        let least = u16::from(self.bytes.below(3)) + 1;
        let mut record = function(name, version, (least, least + 1));
        let idempotent = [None, Some(true), Some(false)][usize::from(self.bytes.below(3))];
        let spec = record.spec.take().map(|spec| Spec { idempotent, ..spec });
        Arc::new(Record { spec, ..record })
    }

    fn request(&mut self) -> Request<P> {
        let function = self.bytes.function();
        match self.bytes.below(8) {
            0 => Request::Deploy(self.record(None)),
            1 => {
                let version = 1 + u64::from(self.bytes.below(6));
                Request::Remove(tombstone(function, version).into())
            }
            2 | 3 => {
                let deadline = self.now + Span::secs(u64::from(self.bytes.below(30)));
                let (kept, idempotent) = (self.bytes.coin(), self.bytes.coin());
                Request::Call { function, deadline, kept, idempotent }
            }
            4 | 5 => {
                let late = self.now + Span::secs(u64::from(self.bytes.byte()));
                let deadline = self.bytes.coin().then_some(late);
                let retries = self.bytes.below(4);
                let quorum = Quorum::new(self.bytes.below(4), self.bytes.below(6));
                Request::Many { function, deadline, retries, quorum }
            }
            6 if !self.asked.is_empty() => {
                let at = usize::from(self.bytes.byte()) % self.asked.len();
                Request::Cancel(self.asked[at])
            }
            _ => loop {
                let request = self.bytes.request();
                let runs = matches!(request, Request::Call { .. } | Request::Many { .. });
                if !runs && !matches!(request, Request::Cancel(_)) {
                    break request;
                }
            },
        }
    }

    /// An answer of the kind that was asked for, mostly; what it says is another matter.
    fn answer(&mut self, query: &Query<P>) -> Answer<P> {
        if self.bytes.below(8) == 0 {
            return self.bytes.answer();
        }
        let load = self.bytes.load();
        let good = self.bytes.below(4) > 0;
        let hosts = |it: &mut Self| it.bytes.some(4, Choices::peer);
        match query {
            Query::Find(_) | Query::Hosts(_) => {
                let name = if let Query::Hosts(name) = query { Some(*name) } else { None };
                let record = name.filter(|_| good).map(|name| self.record(Some(name)));
                let (closer, hosts) = (self.bytes.some(6, Choices::peer), hosts(self));
                Answer::Found { closer, hosts, record, load }
            }
            Query::Provide(..) | Query::Store(_) => {
                let newer = (!good).then(|| self.record(None));
                Answer::Stored { kept: good, newer, hosts: hosts(self) }
            }
            Query::Offer { .. } => {
                let decline = if good { None } else { self.bytes.decline() };
                Answer::Offered { decline, load }
            }
            Query::Probe(asked) if good => Answer::Probed { serving: asked.clone(), load },
            Query::Probe(_) => Answer::Probed { serving: Vec::new(), load },
            Query::Sync { .. } => {
                let count = self.bytes.below(4);
                let records = (0..count).map(|_| self.record(None)).collect();
                Answer::Synced { records, want: Vec::new(), more: !good }
            }
            Query::Confirm { .. }
            | Query::Release { .. }
            | Query::Placed { .. }
            | Query::Withdraw(_) => Answer::Noted(good),
        }
    }

    /// What a peer asks: often what would follow what it asked, or was asked, before.
    fn query(&mut self) -> (P, Query<P>) {
        let peer = self.bytes.peer();
        match self.bytes.below(6) {
            0 | 1 => {
                let record = self.record(None);
                self.offered.push((peer, record.function, record.version));
                (peer, Query::Offer { record, waive: self.bytes.coin() })
            }
            2 if !self.offered.is_empty() => {
                let (peer, function, version) =
                    take(&mut self.bytes, &mut self.offered).expect("there are some");
                let sources = vec![peer];
                (peer, Query::Confirm { function, version, sources, mates: Vec::new() })
            }
            3 if !self.confirmed.is_empty() => {
                let (peer, function, version) =
                    take(&mut self.bytes, &mut self.confirmed).expect("there are some");
                let failure = if self.bytes.below(4) > 0 { None } else { self.bytes.decline() };
                (peer, Query::Placed { function, version, failure })
            }
            4 => (peer, Query::Store(self.record(None))),
            _ => (peer, self.bytes.query()),
        }
    }

    fn said(&mut self) -> Option<Input<P>> {
        if self.bytes.below(3) == 0 {
            let (from, query) = self.query();
            let tag = Tag { slot: self.number() as u32, epoch: 0, incarnation: 0 };
            return Some(Input::Heard { from, message: Message::Query(tag, query) });
        }
        let (to, tag, query) = take(&mut self.bytes, &mut self.queries)?;
        if self.bytes.below(8) == 0 {
            return Some(Input::Failed { tag });
        }
        let answer = self.answer(&query);
        // A stranger may answer in its place, and it may answer again.
        let from = if self.bytes.below(16) == 0 { self.bytes.peer() } else { to };
        if from != to || self.bytes.below(16) == 0 {
            self.queries.push((to, tag, query));
        }
        Some(Input::Heard { from, message: Message::Answer(tag, answer) })
    }

    fn many(&mut self) -> Option<Input<P>> {
        let (ticket, feed) = pick(&mut self.bytes, &self.feeds)?;
        let feed = Feed { ..feed };
        let place = self.feeds.get_mut(&ticket).expect("it was picked");
        if self.bytes.coin() && feed.taken < feed.told {
            place.taken += 1;
            return Some(Input::Taken { ticket, n: 1 });
        }
        let n = (feed.wanted - feed.given).min(u64::from(self.bytes.below(9)));
        (!feed.ended).then(|| {
            place.given += n;
            place.ended = self.bytes.below(4) == 0;
            Input::Items { ticket, n: n as u32, ended: place.ended }
        })
    }

    fn attempt(&mut self) -> Option<Input<P>> {
        let (attempt, headed) = pick(&mut self.bytes, &self.attempts)?;
        if !headed && self.bytes.coin() {
            self.attempts.insert(attempt, true);
            let status = if self.bytes.below(4) == 0 { 500 } else { 200 };
            let load = self.bytes.coin().then(|| self.bytes.load());
            return Some(Input::Head { attempt, status, load, stay: None });
        }
        self.attempts.remove(&attempt);
        // Whose answer has begun was neither refused nor out of reach.
        let how = match (headed, self.bytes.below(8)) {
            (true, 0) => Ending::Cut,
            (true, _) => Ending::Complete,
            (false, _) => self.bytes.ending(),
        };
        let body = (how == Ending::Complete).then(|| Digest([self.bytes.below(2); 32]));
        Some(Input::Ended { attempt, how, body })
    }

    fn arrives(&mut self) -> Input<P> {
        let hosted: Vec<Name> = self.core.hosts().map(|(name, _)| name).collect();
        let at = usize::from(self.bytes.byte()) % hosted.len().max(1);
        let function = hosted.get(at).copied().unwrap_or_else(|| self.bytes.function());
        let (call, from) = (self.number(), P(self.bytes.below(16)));
        self.calls.insert(call);
        let left = Span::ms(u64::from(self.bytes.byte()) * 50);
        Input::Arrived { call, from, function, left }
    }

    fn run(&mut self) -> Option<Input<P>> {
        let (job, headed) = pick(&mut self.bytes, &self.jobs)?;
        if !headed && self.bytes.coin() {
            self.jobs.insert(job, true);
            return Some(Input::RanHead { job });
        }
        self.jobs.remove(&job);
        Some(Input::RanEnd { job })
    }

    fn hangs_up(&mut self) -> Option<Input<P>> {
        let at = usize::from(self.bytes.byte()) % self.calls.len().max(1);
        let call = self.calls.iter().nth(at).copied()?;
        self.calls.remove(&call);
        Some(Input::Gone { call })
    }

    fn kept(&mut self) -> Option<Input<P>> {
        let tag = take(&mut self.bytes, &mut self.keeps)?;
        let ok = self.bytes.below(8) > 0;
        Some(if ok { Input::Kept { tag } } else { Input::NotKept { tag } })
    }

    fn code(&mut self) -> Option<Input<P>> {
        let bad = self.bytes.below(8) == 0;
        if let Some((tag, digest)) = take(&mut self.bytes, &mut self.fetches) {
            let got =
                if bad { [Got::Busy, Got::Nothing][self.next as usize % 2] } else { Got::Code };
            return Some(Input::Fetched { tag, digest, got });
        }
        let (tag, function, version) = take(&mut self.bytes, &mut self.installs)?;
        Some(Input::Installed { tag, function, version, ok: !bad })
    }

    fn dialled(&mut self) -> Option<Input<P>> {
        let tag = take(&mut self.bytes, &mut self.dials)?;
        let outcome = match self.bytes.below(3) {
            0 => Dialled::Nobody,
            1 => Dialled::Busy,
            _ => Dialled::Met(self.bytes.peer()),
        };
        Some(Input::Dialled { tag, outcome })
    }

    fn input(&mut self) -> Input<P> {
        let input = match self.bytes.below(21) {
            0 | 1 => {
                let (ticket, request) = (self.number(), self.request());
                if matches!(request, Request::Many { .. }) {
                    self.feeds.insert(ticket, Feed::default());
                }
                self.asked.push(ticket);
                self.requests.insert(ticket, request.clone());
                Some(Input::Ask(ticket, request))
            }
            2..8 => self.said(),
            8 if self.bytes.coin() => Some(Input::Unreached { peer: self.bytes.peer() }),
            8 => Some(Input::Met {
                peer: self.bytes.peer(),
                serves: self.bytes.below(4) > 0,
                group: self.bytes.coin().then(|| Group(u64::from(self.bytes.below(3)))),
                relayed: self.bytes.coin(),
            }),
            9 | 10 => self.many(),
            11 | 12 => self.attempt(),
            13 | 14 => Some(self.arrives()),
            15 => self.run(),
            16 => self.hangs_up(),
            17 => self.kept(),
            18 => self.code(),
            19 => self.dialled(),
            _ => None,
        };
        input.unwrap_or(Input::Wake)
    }

    fn turn(&mut self, input: Input<P>) {
        if input == Input::Wake {
            self.wake = Time::NEVER;
        }
        self.laws.input(self.now, &input);
        let mut effects = Vec::new();
        self.core.handle(input, &mut Turn::new(self.now, &self.config, &mut effects));
        for effect in &effects {
            self.laws.effect(effect);
        }
        if let Some(breach) = self.laws.breaches().first() {
            panic!("law: {breach}");
        }
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect<P>) {
        match effect {
            Effect::Tell(ticket, event) => self.told(ticket, &event),
            Effect::Want { ticket, n } => {
                self.feeds.entry(ticket).or_default().wanted += u64::from(n);
            }
            Effect::Send { to, message: Message::Query(tag, query) } => {
                if let Query::Confirm { function, version, .. } = &query {
                    self.confirmed.push((to, *function, *version));
                }
                self.queries.push((to, tag, query));
            }
            Effect::Dispatch { attempt, .. } => drop(self.attempts.insert(attempt, false)),
            Effect::Abort { attempt } => {
                self.reached.insert("aborted");
                self.attempts.remove(&attempt);
            }
            Effect::Refuse { call, .. } => drop(self.calls.remove(&call)),
            Effect::Run { job, .. } => drop(self.jobs.insert(job, false)),
            Effect::Respond { .. } => drop(self.reached.insert("responds")),
            Effect::Cancel { .. } => drop(self.reached.insert("cancels")),
            Effect::Install { tag, record } => {
                self.installs.push((tag, record.function, record.version));
            }
            Effect::Uninstall { .. } => drop(self.reached.insert("uninstalls")),
            Effect::Fetch { tag, digest, .. } => self.fetches.push((tag, digest)),
            Effect::Keep { tag, item } => {
                if matches!(item, Item::Hosting(_)) {
                    self.reached.insert("hosts");
                }
                self.keeps.push(tag);
            }
            Effect::WakeAt(at) => self.wake = at,
            Effect::Dial { tag, .. } => self.dials.push(tag),
            Effect::Send { message: Message::Answer(..), .. }
            | Effect::Renew(_)
            | Effect::Forget(_)
            | Effect::Note(_) => {}
        }
    }

    fn told(&mut self, ticket: Ticket, event: &Event<P>) {
        let what = match event {
            Event::Found { .. } => "found",
            Event::Hosts { .. } => "told hosts",
            Event::Deployed { .. } => "deployed",
            Event::Removed => "removed",
            Event::Head { .. } => "head",
            Event::Done => "done",
            Event::Item { result: Ok(_), .. } => "item",
            Event::Item { result: Err(_), .. } => "item failed",
            Event::Finished(_) => "finished",
            Event::Cancelled(true) => "cancelled",
            Event::NotPlaced(_) => "not placed",
            Event::Met(_) => "met",
            Event::Drained => "drained",
            Event::Listed(_) | Event::Cancelled(false) | Event::Failed(_) => "other",
        };
        self.reached.insert(what);
        if matches!(event, Event::Item { .. }) {
            self.feeds.entry(ticket).or_default().told += 1;
        }
        if event.is_final() {
            self.feeds.remove(&ticket);
            self.requests.remove(&ticket);
        }
    }

    /// What the machine still has to do for the core, in the simplest way; none, if there is nothing.
    fn closing(&mut self) -> Option<Input<P>> {
        if let Some((ticket, feed)) = self.feeds.iter_mut().find(|(_, feed)| !feed.ended) {
            feed.ended = true;
            return Some(Input::Items { ticket: *ticket, n: 0, ended: true });
        }
        if let Some((attempt, _)) = self.attempts.pop_first() {
            let how = Ending::MayHaveStarted;
            return Some(Input::Ended { attempt, how, body: None });
        }
        if let Some((job, _)) = self.jobs.pop_first() {
            return Some(Input::RanEnd { job });
        }
        if let Some(tag) = self.keeps.pop() {
            return Some(Input::Kept { tag });
        }
        if let Some((tag, digest)) = self.fetches.pop() {
            return Some(Input::Fetched { tag, digest, got: Got::Nothing });
        }
        if let Some((tag, function, version)) = self.installs.pop() {
            return Some(Input::Installed { tag, function, version, ok: false });
        }
        let tag = self.dials.pop()?;
        Some(Input::Dialled { tag, outcome: Dialled::Nobody })
    }

    /// Nobody says anything any more: whatever was asked for has its end.
    fn come_to_rest(&mut self) {
        let until = self.now + REST_WITHIN;
        loop {
            while let Some(input) = self.closing() {
                self.turn(input);
            }
            let mut laws = self.laws.clone();
            laws.at_rest();
            let Some(breach) = laws.breaches().first() else { return };
            let asked =
                self.requests.iter().map(|it| format!("{it:?}").chars().take(200).collect());
            let asked: Vec<String> = asked.collect();
            assert!(self.wake <= until, "law: {breach}, after {asked:#?}");
            self.now = self.now.max(self.wake);
            self.turn(Input::Wake);
        }
    }
}

/// Has bytes say what becomes of a core. What it came to.
pub fn hostile_bytes(bytes: &[u8]) -> BTreeSet<&'static str> {
    let mut machine = Machine::new(bytes);
    while !machine.bytes.left.is_empty() {
        let passes = match machine.bytes.below(16) {
            0 => Span::secs(u64::from(machine.bytes.byte())),
            n => Span::ms(u64::from(n) * 20),
        };
        // Wakes come when they were asked for.
        let then = machine.now + passes;
        while machine.wake <= then {
            machine.now = machine.now.max(machine.wake);
            machine.turn(Input::Wake);
        }
        machine.now = then;
        machine.bytes.now = then;
        let input = machine.input();
        machine.turn(input);
    }
    machine.come_to_rest();
    machine.reached
}

/// What must be reached by seeded bytes, or they show little.
const DEEP: [&str; 17] = [
    "aborted",
    "cancelled",
    "cancels",
    "deployed",
    "done",
    "finished",
    "found",
    "head",
    "hosts",
    "item",
    "item failed",
    "met",
    "not placed",
    "removed",
    "responds",
    "told hosts",
    "uninstalls",
];

#[test]
fn whatever_peers_say_the_laws_hold() {
    let mut reached = BTreeSet::new();
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let bytes: Vec<u8> = (0..256).flat_map(|_| random.bits().to_le_bytes()).collect();
        reached.extend(hostile_bytes(&bytes));
    }
    let missed: Vec<&str> = DEEP.into_iter().filter(|what| !reached.contains(what)).collect();
    assert!(missed.is_empty(), "no bytes reach {missed:?}");
}
