//! A small world of cores: it plays the host of each, delivers their letters as a test says, and
//! writes down what was done and what that caused.
//!
//! Time stands still while letters are delivered and moves only by [`World::pass`]. Calls take
//! `service` to run, on slow hosts longer; everything else at a host is done at once.

mod bench;
mod host;
mod peer;
mod text;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use peerless_core::laws::Laws;
use peerless_core::{
    Accept, Answer, Config, Contact, Core, Dialled, Digest, Effect, Ending, Event, Got, Group,
    Input, Item, ItemKey, Message, Name, Note, Query, Quorum, Reason, Record, Request, Setup, Span,
    Tag, Target, Ticket, Time, Turn,
};

pub use bench::Bench;
pub use peer::{OWNER, P, function, name, record, shown, tombstone};

pub struct World {
    pub config: Config,
    pub now: Time,
    pub service: Span,
    /// Hosts that take longer.
    pub slow: BTreeMap<u8, Span>,
    /// Hosts that give wrong answers, all the same.
    pub wrong: BTreeSet<u8>,
    /// Peers that are up.
    nodes: BTreeMap<P, Node>,
    /// What each peer has on its disk, and which start this is.
    disks: BTreeMap<P, Disk>,
    /// Peers that are no cores: what they answer is made up.
    liars: BTreeMap<P, Lie>,
    /// Peers that only each other can reach.
    pub apart: BTreeSet<u8>,
    /// How often each of these will turn away who dials it.
    pub full: BTreeMap<u8, u32>,
    queue: VecDeque<Letter>,
    calls: BTreeMap<u64, Call>,
    next: u64,
    /// Told of the time when something happens.
    clock_shown: Time,
    sending: Option<(P, String)>,
    reason: Reason,
    text: String,
}

/// What a peer that is no core answers.
pub type Lie = fn(&Query<P>) -> Option<Answer<P>>;

struct Node {
    core: Core<P>,
    laws: Laws<P>,
    wake: Option<Time>,
    /// When runs end, in the order of their beginning.
    runs: Vec<(Time, Tag, u64)>,
    /// Items of manycalls that are still to come.
    feeds: BTreeMap<Ticket, u32>,
}

#[derive(Default)]
struct Disk {
    setup: Setup,
    starts: u32,
    items: BTreeMap<ItemKey, Item>,
    code: BTreeSet<Digest>,
}

/// Something on its way to a peer; local things come from the peer itself.
struct Letter {
    from: P,
    to: P,
    input: Input<P>,
}

struct Call {
    caller: P,
    attempt: Tag,
    host: P,
    headed: bool,
}

/// Limits of a small world: k and α of 2, one path a search, everything noted, nothing done on its own.
pub fn small() -> Config {
    let quiet = Span::minutes(60 * 24);
    Config {
        k: 2,
        alpha: 2,
        store_paths: 1,
        refresh_period: Span::ZERO,
        sync_period: quiet,
        renew_period: quiet,
        host_life: quiet,
        probe_period: quiet,
        guard_period: quiet,
        rehost_period: quiet,
        notes: true,
        ..Config::standard()
    }
}

/// A host of anybody's functions with this many slots and places.
pub fn host(slots: u16, queue: u16, room: u16) -> Setup {
    Setup { slots, queue, room, accept: Accept::Anyone, ..Setup::default() }
}

impl World {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Time(0),
            service: Span::ms(100),
            slow: BTreeMap::new(),
            wrong: BTreeSet::new(),
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            liars: BTreeMap::new(),
            apart: BTreeSet::new(),
            full: BTreeMap::new(),
            queue: VecDeque::new(),
            calls: BTreeMap::new(),
            next: 0,
            clock_shown: Time(0),
            sending: None,
            reason: Reason::First,
            text: String::new(),
        }
    }

    /// Starts peers that know each other already, up to k a bucket, the first ones first.
    pub fn converged(&mut self, peers: &[u8], setup: &Setup) {
        self.converged_as(peers, |_| setup.clone());
    }

    /// The same, each with its own setup.
    pub fn converged_as(&mut self, peers: &[u8], setup: impl Fn(u8) -> Setup) {
        for me in peers {
            self.start(*me, setup(*me));
            self.knows(*me, peers);
        }
    }

    /// A peer knows these and no others, up to k a bucket, the first ones first.
    pub fn knows(&mut self, me: u8, peers: &[u8]) {
        let mut buckets: BTreeMap<u32, Vec<P>> = BTreeMap::new();
        for peer in peers.iter().filter(|peer| **peer != me) {
            buckets.entry((me ^ peer).leading_zeros() - 4).or_default().push(P(*peer));
        }
        let k = usize::from(self.config.k);
        let known = buckets.into_values().flat_map(|all| all.into_iter().take(k));
        self.node(P(me)).core.seed_table(known);
    }

    /// A peer that is still to start has this record on its disk.
    pub fn keeps(&mut self, peer: u8, record: Record) {
        let item = Item::Record(record.into());
        self.disks.entry(P(peer)).or_default().items.insert(item.key(), item);
    }

    /// Starts a peer that knows nobody.
    pub fn start(&mut self, peer: u8, setup: Setup) {
        let peer = P(peer);
        let disk = self.disks.entry(peer).or_default();
        disk.setup = setup.clone();
        let laws = Laws::new(peer, setup.slots);
        let core = Core::new(peer, setup, u64::from(peer.0), disk.starts);
        disk.starts += 1;
        let items: Vec<Item> = disk.items.values().cloned().collect();
        let (wake, runs, feeds) = (None, Vec::new(), BTreeMap::new());
        self.nodes.insert(peer, Node { core, laws, wake, runs, feeds });
        for item in items {
            self.feed(peer, Input::Restored(item));
        }
    }

    fn node(&mut self, peer: P) -> &mut Node {
        self.nodes.get_mut(&peer).expect("world: the peer is up")
    }

    pub fn core(&self, peer: u8) -> &Core<P> {
        &self.nodes[&P(peer)].core
    }

    // What a test does. Each writes a line that begins with `>`.

    pub fn say(&mut self, command: &str) {
        self.flush();
        writeln!(self.text, "> {command}").expect("text takes lines");
    }

    pub fn ask(&mut self, peer: u8, request: Request<P>) -> Ticket {
        let ticket = self.next + 1;
        self.next = ticket;
        self.say(&format!("{:?} {} (#{ticket})", P(peer), text::request(&request)));
        if let Request::Deploy(record) = &request {
            let digest = record.spec.as_ref().expect("deploys what can run").digest;
            self.disks.get_mut(&P(peer)).expect("world: the peer is up").code.insert(digest);
        }
        self.feed(P(peer), Input::Ask(ticket, request));
        ticket
    }

    pub fn call(&mut self, peer: u8, function: Name, deadline: Span) -> Ticket {
        let deadline = self.now + deadline;
        self.ask(peer, Request::Call { function, deadline, kept: true, idempotent: false })
    }

    /// A manycall of `items` items, which lie ready.
    pub fn many(&mut self, peer: u8, function: Name, items: u32, retries: u8) -> Ticket {
        let ticket = self.next + 1;
        self.node(P(peer)).feeds.insert(ticket, items);
        self.ask(peer, Request::Many { function, deadline: None, retries, quorum: None })
    }

    /// The same, each to be answered alike by so many hosts of so many.
    pub fn many_of(&mut self, peer: u8, function: Name, items: u32, quorum: Quorum) -> Ticket {
        let ticket = self.next + 1;
        self.node(P(peer)).feeds.insert(ticket, items);
        let quorum = Some(quorum);
        self.ask(peer, Request::Many { function, deadline: None, retries: 3, quorum })
    }

    /// The same, all of it too late after `deadline`.
    pub fn many_until(&mut self, peer: u8, function: Name, items: u32, deadline: Span) -> Ticket {
        let ticket = self.next + 1;
        self.node(P(peer)).feeds.insert(ticket, items);
        let deadline = Some(self.now + deadline);
        self.ask(peer, Request::Many { function, deadline, retries: 3, quorum: None })
    }

    pub fn deploy(&mut self, peer: u8, record: &Arc<Record>) -> Ticket {
        self.ask(peer, Request::Deploy(record.clone()))
    }

    /// Deploys as a preparation: what it causes is not written down.
    pub fn given(&mut self, peer: u8, record: &Arc<Record>) {
        self.quietly(|world| {
            world.deploy(peer, record);
            world.deliver();
        });
        let hosts: Vec<P> = self.hosts(record.function);
        self.say(&format!("given: {} on {}", text::record(record), text::list(&hosts)));
    }

    /// What this causes is not written down.
    pub fn quietly(&mut self, work: impl FnOnce(&mut Self)) {
        self.flush();
        let text = self.text.len();
        work(self);
        self.flush();
        self.text.truncate(text);
        self.clock_shown = self.now;
    }

    /// The records that a peer has on its disk, by name.
    pub fn records(&self, peer: u8) -> Vec<Record> {
        let items = self.disks[&P(peer)].items.values();
        let records = items.filter_map(|item| match item {
            Item::Record(record) => Some(Record::clone(record)),
            Item::Hosting(_) => None,
        });
        records.collect()
    }

    /// Of what this causes only the notes are written down.
    pub fn only_notes(&mut self, work: impl FnOnce(&mut Self)) {
        self.flush();
        let begin = self.text.len();
        work(self);
        self.flush();
        let caused = self.text.split_off(begin);
        let note =
            |line: &&str| line.starts_with('>') || line.contains(" (") || line.starts_with("  at");
        let mut lines = caused.lines().filter(note).peekable();
        while let Some(line) = lines.next() {
            let empty = line.starts_with("  at")
                && lines
                    .peek()
                    .is_none_or(|next| next.starts_with('>') || next.starts_with("  at"));
            if !empty {
                writeln!(self.text, "{line}").expect("text takes lines");
            }
        }
    }

    /// Who can run a function.
    pub fn hosts(&self, function: Name) -> Vec<P> {
        let serves = |node: &Node| node.core.hosts().any(|(name, _)| name == function);
        self.nodes.iter().filter(|(_, node)| serves(node)).map(|(peer, _)| *peer).collect()
    }

    /// This peer is no core: it answers like this, which is not written down before it is said.
    pub fn lies(&mut self, peer: u8, lie: Lie) {
        self.say(&format!("{:?} makes up what it answers", P(peer)));
        self.liars.insert(P(peer), lie);
    }

    /// A peer that is no core asks something.
    pub fn query(&mut self, from: u8, to: u8, query: Query<P>) {
        self.next += 1;
        let tag = Tag { slot: self.next as u32, epoch: 0, incarnation: 0 };
        self.send(P(from), P(to), Message::Query(tag, query));
    }

    /// A connection between two peers is made.
    pub fn meet(&mut self, a: u8, b: u8) {
        self.say(&format!("{:?} meets {:?}", P(a), P(b)));
        self.feed(P(a), Input::Met { peer: P(b), serves: true, group: None, relayed: false });
        self.feed(P(b), Input::Met { peer: P(a), serves: true, group: None, relayed: false });
    }

    /// A peer that is no core connects to a peer, from an address of this group.
    pub fn meets_from(&mut self, peer: u8, from: u8, group: Option<u64>) {
        let place = group.map_or("no group".to_owned(), |group| format!("group {group}"));
        self.say(&format!("{:?} meets {:?} of {place}", P(peer), P(from)));
        let group = group.map(Group);
        self.feed(P(peer), Input::Met { peer: P(from), serves: true, group, relayed: false });
    }

    /// A peer dies. Calls to and from it break; nobody else notices.
    pub fn crash(&mut self, peer: u8) {
        let dead = P(peer);
        self.say(&format!("{dead:?} crashes"));
        self.nodes.remove(&dead);
        self.queue.retain(|letter| letter.from != dead && letter.to != dead);
        let broken = |call: &Call| call.host == dead || call.caller == dead;
        let ids: Vec<u64> =
            self.calls.iter().filter(|(_, c)| broken(c)).map(|(id, _)| *id).collect();
        for id in ids {
            let call = self.calls.remove(&id).expect("it was just found");
            if call.caller != dead {
                let how = if call.headed { Ending::Cut } else { Ending::MayHaveStarted };
                self.end_attempt(call.host, call.caller, call.attempt, how);
            } else if call.host != dead {
                self.post(dead, call.host, Input::Gone { call: id });
            }
        }
    }

    /// A crashed peer starts again with what it had kept.
    pub fn restart(&mut self, peer: u8) {
        self.say(&format!("{:?} restarts", P(peer)));
        let setup = self.disks[&P(peer)].setup.clone();
        self.start(peer, setup);
    }

    /// Delivers the letters that are on their way now, and none that these cause.
    pub fn round(&mut self) {
        self.say("deliver once");
        for _ in 0..self.queue.len() {
            self.deliver_at(0);
        }
    }

    /// Whether a message that is written so is on its way.
    pub fn is_on_its_way(&self, begins: &str) -> bool {
        self.queue.iter().any(|letter| match &letter.input {
            Input::Heard { message, .. } => text::message(message).starts_with(begins),
            _ => false,
        })
    }

    /// Delivers the letter that has been longest on its way.
    pub fn step(&mut self) {
        self.deliver_at(0);
    }

    /// Delivers until no letter is on its way.
    pub fn deliver(&mut self) {
        self.say("deliver");
        self.deliver_all();
    }

    /// Loses the queries that are on their way to a peer, as one that serves nobody would.
    pub fn lose_queries(&mut self, peer: u8) {
        self.say(&format!("lose queries to {:?}", P(peer)));
        let query =
            |input: &Input<P>| matches!(input, Input::Heard { message: Message::Query(..), .. });
        self.queue.retain(|letter| letter.to != P(peer) || !query(&letter.input));
    }

    /// A dial to a peer fails: who waited for it is told of that, and of each query that did.
    pub fn refuse_dial(&mut self, peer: u8) {
        self.say(&format!("{:?} cannot be reached", P(peer)));
        let said = |letter: &Letter| matches!(letter.input, Input::Heard { .. });
        let waits = |letter: &Letter| letter.to == P(peer) && said(letter);
        while let Some(at) = self.queue.iter().position(waits) {
            self.lose_at(at, true);
        }
    }

    /// Lets time pass; letters take none.
    pub fn pass(&mut self, span: Span) {
        self.say(&format!("pass {span:?}"));
        let end = self.now + span;
        self.deliver_all();
        let mut at_once = 0;
        while self.next_due().is_some_and(|at| at <= end) {
            let before = self.now;
            self.happen_next();
            at_once = if self.now == before { at_once + 1 } else { 0 };
            assert!(at_once < 1_000, "law: an instant ends");
            self.deliver_all();
        }
        self.flush();
        self.now = end;
    }

    /// Asserts that nothing is under way any more, and returns what was written.
    pub fn rest(mut self) -> String {
        self.flush();
        for (peer, node) in &mut self.nodes {
            node.laws.at_rest();
            if let Some(breach) = node.laws.breaches().first() {
                panic!("{breach}\n{}", self.text);
            }
            assert_eq!(node.core.pending(), [0; 4], "law: {peer:?} is at rest\n{}", self.text);
        }
        self.text
    }

    // How it is written down.

    fn reason_or_line(&mut self, me: P, effect: &Effect<P>, line: &str) {
        match effect {
            // Shown with the call that follows it.
            Effect::Note(Note::Attempt { reason, .. }) => self.reason = *reason,
            Effect::Want { .. } => {}
            _ => self.line(&format!("{me:?} {line}")),
        }
    }

    pub fn line(&mut self, line: &str) {
        self.flush();
        if self.now != self.clock_shown {
            self.clock_shown = self.now;
            writeln!(self.text, "  at {:?}", self.now).expect("text takes lines");
        }
        writeln!(self.text, "  {line}").expect("text takes lines");
    }

    fn flush(&mut self) {
        if let Some((_, line)) = self.sending.take() {
            self.line(&line);
        }
    }

    /// Writes down what a peer's table looks like.
    pub fn show_table(&mut self, peer: u8) {
        self.say(&format!("table of {:?}", P(peer)));
        let mut buckets: BTreeMap<u32, Vec<P>> = BTreeMap::new();
        for other in self.core(peer).table() {
            buckets.entry((peer ^ other.0).leading_zeros() - 4).or_default().push(other);
        }
        for (shared, peers) in buckets {
            self.line(&format!("shares {shared} bits: {}", text::list(&peers)));
        }
    }

    /// Asserts that each peer has kept that it hosts what it serves; and nothing else, unless that
    /// is still on its way, as where nobody has the code.
    pub fn judge_hosting(&self) {
        for (peer, node) in &self.nodes {
            let served: BTreeMap<Name, u64> = node.core.hosts().collect();
            let arriving = usize::from(node.core.load().hosted) > served.len();
            for item in self.disks[peer].items.values() {
                if let Item::Hosting(record) = item {
                    let version = served.get(&record.function);
                    let same = version == Some(&record.version);
                    let settles = version.is_none() && arriving;
                    assert!(
                        same || settles,
                        "law: {peer:?} has kept what it serves\n{}",
                        self.text
                    );
                }
            }
            for name in served.keys() {
                let kept = self.disks[peer].items.contains_key(&ItemKey::Hosting(*name));
                assert!(kept, "law: {peer:?} has kept what it serves\n{}", self.text);
            }
        }
    }

    /// Writes down who can run a function.
    pub fn show_hosts(&mut self, function: Name) {
        self.say(&format!("hosts of {}", shown(&function)));
        let hosts = self.hosts(function);
        self.line(&text::list(&hosts));
    }
}

/// What is looked for at the place of a name.
pub fn at(name: Name) -> Target<P> {
    Target::Name(name)
}
