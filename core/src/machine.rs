//! The core itself: one `handle`, one `match`. What each arm does stands in the file of its rule;
//! here is what all rules share: deadlines, and what is being kept.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::admission::Admission;
use crate::arriving::{Arriving, Works};
use crate::attempt::Attempt;
use crate::census::Census;
use crate::config::Setup;
use crate::contacts::Ways;
use crate::few::Map;
use crate::groups::Groups;
use crate::guarding::Guard;
use crate::hosting::Hosting;
use crate::idle::{Empty, Idle};
use crate::job::Job;
use crate::key::{Key, Name, Owner, Peer, Target};
use crate::known::Known;
use crate::message::{Answer, Message, Tag};
use crate::placement::Placement;
use crate::places::Places;
use crate::planted;
use crate::probing::{Asked as ProbeAsked, Suspicion};
use crate::publish::Publish;
use crate::queries::Asked;
use crate::random::Random;
use crate::record::{Load, Record};
use crate::search::Search;
use crate::slab::Slab;
use crate::standing::Standings;
use crate::table::Table;
use crate::time::Time;
use crate::timers::{Timer, Timers};
use crate::turn::{Effect, Event, Failure, Input, Item, Request, Ticket, Turn};

/// One peer's every decision.
///
/// In this order it lies in memory: what every query reads stands first, then what every answer
/// reads. With a million peers in one process a turn waits for memory more than for anything else.
#[derive(Debug)]
#[repr(C)]
pub struct Core<P: Peer> {
    /// The wake that the host was asked for.
    pub(crate) wake: Time,
    pub(crate) timers: Timers,
    pub(crate) setup: Arc<Setup>,
    pub(crate) table: Table<P>,
    pub(crate) admission: Admission<P>,
    /// Functions that can be called here.
    pub(crate) hosting: Map<Name, Hosting<P>>,
    /// Functions that have been confirmed here and are on their way.
    pub(crate) arriving: Map<Name, Arriving<P>>,
    /// Places that are promised and not confirmed yet.
    pub(crate) places: Idle<Places<P>>,
    /// The address groups of those that were met.
    pub(crate) groups: Idle<Groups<P>>,
    pub(crate) me: P,
    /// Differs from that of any earlier start whose answers could still come.
    pub(crate) incarnation: u32,
    /// How far the joining of the network has come.
    pub(crate) join: crate::membership::Join,
    /// Whether what is done from time to time in a network has begun.
    pub(crate) settled: bool,
    pub(crate) probing: bool,
    /// Whether it leaves for good.
    pub(crate) drains: bool,

    /// Queries that wait for their answers.
    pub(crate) queries: Slab<Asked<P>>,
    pub(crate) searches: Slab<Box<Search<P>>>,
    /// Unknown askers that are being checked, and some that did not answer.
    pub(crate) checks: Idle<Vec<P>>,
    pub(crate) mute: Idle<Vec<P>>,
    /// Peers that just failed, and when.
    pub(crate) missed: Idle<Vec<(P, Time)>>,
    /// How full other peers are, permille, as lately heard.
    pub(crate) loads: Idle<Vec<(P, crate::membership::Used)>>,

    pub(crate) random: Random,
    /// Ways into the network, and back into it.
    pub(crate) ways: Idle<Ways<P>>,
    /// What follows when something is kept.
    keeps: Slab<Keeping<P>>,
    /// What each user's request has become.
    pub(crate) asks: Map<Ticket, Work>,
    pub(crate) publishes: Slab<Publish<P>>,
    pub(crate) censuses: Slab<Census<P>>,
    pub(crate) placements: Slab<Placement<P>>,
    pub(crate) jobs: Slab<Job<P>>,
    pub(crate) attempts: Slab<Attempt<P>>,

    /// Records kept for others and for the owner; and who provides which name.
    pub(crate) records: Idle<crate::records::Records<P>>,
    pub(crate) providers: crate::providers::Providers<P>,
    /// The other nodes that hold this node's owner key.
    pub(crate) siblings: Idle<Vec<crate::owner::Sibling<P>>>,
    /// Fetches and installs that the host is busy with.
    pub(crate) works: Slab<Works>,
    /// What each probe under way asks about.
    pub(crate) probes: Slab<ProbeAsked>,
    pub(crate) suspicion: Suspicion,
    pub(crate) lately: Idle<Lately>,
    /// The watch over functions of which this peer is a holder.
    pub(crate) guard: Idle<Guard<P>>,
    /// Hosts of functions, as lately found.
    pub(crate) known: Idle<Known<P>>,
    /// What was seen of hosts.
    pub(crate) standings: Idle<Standings<P>>,
}

/// When something was last done that is not done again soon.
#[derive(Debug)]
pub(crate) struct Lately {
    /// This node told the holders of its owner's name that it is one of them.
    pub(crate) owner_told_at: Time,
    /// This host gave a function up because there were too many hosts.
    pub(crate) retired_at: Time,
    /// A function whose place is being handed on to another peer.
    pub(crate) handing: Option<Name>,
}

impl Lately {
    const NEVER: Self = Self { owner_told_at: Time(0), retired_at: Time(0), handing: None };
}

impl Empty for Lately {
    const EMPTY: &'static Self = &Self::NEVER;

    fn empty() -> Self {
        Self::NEVER
    }
}

/// What a user's request has become.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Dial(Tag),
    Search(Tag),
    Placement(Tag),
    Publish(Tag),
    Census(Tag),
    Job(Tag),
    Keep,
    Drain,
}

/// What is being kept, and what follows.
#[derive(Debug)]
struct Keeping<P> {
    /// The record, where it is one.
    record: Option<Arc<Record>>,
    after: AfterKeep<P>,
}

/// What follows when something is kept, or could not be.
#[derive(Debug)]
pub(crate) enum AfterKeep<P> {
    Nothing,
    /// Answer a query: kept, or not.
    Answer {
        to: P,
        tag: Tag,
        hosts: Vec<P>,
        /// Whether all else that was asked is done.
        noted: bool,
    },
    /// A function is served from now on.
    Hosted {
        function: Name,
        version: u64,
    },
    /// What is served is kept again.
    Rehosted {
        function: Name,
        version: u64,
    },
    /// A deployment is complete.
    Deployed {
        ticket: Ticket,
        event: Box<Event<P>>,
    },
    /// A tombstone is kept here; now elsewhere.
    Removed {
        ticket: Ticket,
        function: Name,
    },
}

impl<P: Peer> Core<P> {
    /// A core that knows nobody. `seed` starts its chance; `incarnation` differs from that of any
    /// earlier start of the same peer whose answers could still come.
    pub fn new(me: P, setup: impl Into<Arc<Setup>>, seed: u64, incarnation: u32) -> Self {
        Self {
            me,
            incarnation,
            setup: setup.into(),
            random: Random::new(seed),
            table: Table::new(),
            groups: Idle::new(),
            join: crate::membership::Join::default(),
            settled: false,
            checks: Idle::new(),
            mute: Idle::new(),
            missed: Idle::new(),
            ways: Idle::new(),
            timers: Timers::new(),
            wake: Time::NEVER,
            queries: Slab::new(),
            keeps: Slab::new(),
            asks: Map::new(),
            searches: Slab::new(),
            publishes: Slab::new(),
            censuses: Slab::new(),
            placements: Slab::new(),
            jobs: Slab::new(),
            attempts: Slab::new(),
            records: Idle::new(),
            providers: crate::providers::Providers::new(Random::new(!seed).bits()),
            siblings: Idle::new(),
            hosting: Map::new(),
            arriving: Map::new(),
            places: Idle::new(),
            works: Slab::new(),
            probing: false,
            drains: false,
            probes: Slab::new(),
            suspicion: Suspicion::new(),
            lately: Idle::new(),
            guard: Idle::new(),
            admission: Admission::new(),
            known: Idle::new(),
            standings: Idle::new(),
            loads: Idle::new(),
        }
    }

    /// Takes one input and appends what is to be done. Never fails, never blocks, bounded work.
    pub fn handle(&mut self, input: Input<P>, turn: &mut Turn<'_, P>) {
        self.suspect_late_wake(turn.now.since(self.wake), turn);
        match input {
            Input::Ask(ticket, request) => self.ask(ticket, request, turn),
            Input::Items { ticket, n, ended } => self.items(ticket, n, ended, turn),
            Input::Taken { ticket, n } => self.taken(ticket, n, turn),
            Input::Heard { from, message: Message::Query(tag, query) } => {
                self.asked(from, tag, query, turn);
            }
            Input::Heard { from, message: Message::Answer(tag, answer) } => {
                self.answered(from, tag, answer, turn);
            }
            Input::Failed { tag } => self.unanswered(tag, turn),
            Input::Unreached { peer } => self.unreached(peer, turn),
            Input::Met { peer, serves, group, relayed } => {
                self.met(peer, serves && !relayed, group, turn);
            }
            Input::Dialled { tag, outcome } => self.dialled(tag, outcome, turn),
            Input::Head { attempt, status, load, stay } => {
                self.head(attempt, status, load, stay, turn);
            }
            Input::Ended { attempt, how, body } => self.ended(attempt, how, body, turn),
            Input::Arrived { call, from, function, left } => {
                self.arrived(call, from, function, left, turn);
            }
            Input::Gone { call } => self.gone(call, turn),
            Input::RanHead { job } => self.ran_head(job, turn),
            Input::RanEnd { job } => self.ran_end(job, turn),
            Input::Installed { tag, ok, .. } => self.installed(tag, ok, turn),
            Input::Fetched { tag, got, .. } => self.fetched(tag, got, turn),
            Input::Kept { tag } => self.kept(tag, true, turn),
            Input::NotKept { tag } => self.kept(tag, false, turn),
            Input::Restored(item) => self.restored(item, turn),
            Input::Wake => self.wake(turn),
        }
        if self.drains {
            self.end_drain(turn);
        }
        self.rearm(turn);
        debug_assert!(planted::any() || self.check(), "an invariant of the core is broken");
    }

    fn ask(&mut self, ticket: Ticket, request: Request<P>, turn: &mut Turn<'_, P>) {
        assert!(!self.asks.contains_key(&ticket), "a ticket names one request in a core's life");
        let full = self.asks.len() >= turn.config.asks_max as usize;
        // Cancelling makes room.
        if full && !matches!(request, Request::Cancel(_)) {
            turn.tell(ticket, Event::Failed(Failure::TooMany));
            return;
        }
        match request {
            Request::Meet(contact) => self.meet(ticket, contact, turn),
            Request::Lookup(target) => self.look_up(ticket, target, turn),
            Request::Hosts(function) => self.find_hosts(ticket, function, turn),
            Request::Deploy(record) => self.deploy(ticket, record, turn),
            Request::Remove(record) => self.remove(ticket, record, turn),
            Request::List => self.list(ticket, turn),
            Request::Drain => self.drain(ticket, turn),
            Request::Call { function, deadline, kept, idempotent } => {
                self.call(ticket, function, deadline, kept, idempotent, turn);
            }
            Request::Many { function, deadline, retries, quorum } => {
                self.many(ticket, function, deadline, (retries, quorum), turn);
            }
            Request::Cancel(other) => self.cancel(ticket, other, turn),
        }
    }

    fn cancel(&mut self, ticket: Ticket, other: Ticket, turn: &mut Turn<'_, P>) {
        let work = self.asks.remove(&other);
        match work {
            Some(Work::Dial(tag)) => drop(self.ways.dials.remove(tag)),
            Some(Work::Search(tag)) => drop(self.searches.remove(tag)),
            Some(Work::Publish(tag)) => drop(self.publishes.remove(tag)),
            Some(Work::Census(tag)) => drop(self.censuses.remove(tag)),
            Some(Work::Placement(tag)) => self.drop_placement(tag, turn),
            Some(Work::Job(tag)) => self.drop_job(tag, turn),
            Some(Work::Drain) => self.drain_cancelled(turn),
            Some(Work::Keep) | None => {}
        }
        if work.is_some() {
            turn.tell(other, Event::Failed(Failure::Cancelled));
        }
        turn.tell(ticket, Event::Cancelled(work.is_some()));
    }

    /// Tells a user the end, unless that was told already.
    pub(crate) fn conclude(&mut self, ticket: Ticket, event: Event<P>, turn: &mut Turn<'_, P>) {
        debug_assert!(event.is_final(), "only a final event concludes a request");
        if !self.asks.contains_key(&ticket) {
            return;
        }
        self.asks.remove(&ticket);
        turn.tell(ticket, event);
    }

    /// Keeps an item through a crash; `after` follows when it is kept.
    pub(crate) fn keep(&mut self, item: Item, after: AfterKeep<P>, turn: &mut Turn<'_, P>) {
        let record = match &item {
            Item::Record(record) => Some(record.clone()),
            Item::Hosting(_) => None,
        };
        let tag = self.keeps.insert(self.incarnation, Keeping { record, after });
        turn.push(Effect::Keep { tag, item });
    }

    fn kept(&mut self, tag: Tag, ok: bool, turn: &mut Turn<'_, P>) {
        let Some(Keeping { record, after }) = self.keeps.remove(tag) else {
            return;
        };
        if let (true, Some(record)) = (ok, &record) {
            self.records.kept(record);
        }
        match after {
            AfterKeep::Nothing => {}
            AfterKeep::Answer { to, tag, hosts, noted } => {
                // Meanwhile it may have given way to others, or to a newer one.
                let known = record.and_then(|it| self.records.get(it.function).map(|k| (it, k)));
                let here = known.as_ref().is_some_and(|(it, known)| !it.supersedes(known));
                let newer = known.filter(|(it, known)| known.supersedes(it));
                let newer = newer.map(|(_, known)| known.clone());
                let kept = ok && noted && here && newer.is_none();
                let answer = Answer::Stored { kept, newer, hosts };
                turn.send(to, Message::Answer(tag, answer));
            }
            AfterKeep::Hosted { function, version } => {
                self.hosting_kept(function, version, ok, turn);
            }
            AfterKeep::Rehosted { function, version } => {
                if let Some(hosting) = self.hosting.get_mut(&function)
                    && hosting.record.version == version
                {
                    hosting.kept |= ok;
                }
            }
            AfterKeep::Deployed { ticket, event } => {
                let event = if ok { *event } else { Event::Failed(Failure::NotKept) };
                self.conclude(ticket, event, turn);
            }
            AfterKeep::Removed { ticket, function } => {
                if ok {
                    self.spread_tombstone(ticket, function, turn);
                } else {
                    self.conclude(ticket, Event::Failed(Failure::NotKept), turn);
                }
            }
        }
    }

    fn wake(&mut self, turn: &mut Turn<'_, P>) {
        self.wake = Time::NEVER;
        self.begin_seeded(turn);
        while let Some((at, timer)) = self.timers.earliest() {
            if at > turn.now {
                break;
            }
            self.timers.pop();
            self.due(timer, turn);
        }
    }

    fn due(&mut self, timer: Timer, turn: &mut Turn<'_, P>) {
        match timer {
            Timer::Query(tag) => self.unanswered(tag, turn),
            Timer::Search(tag) => self.search_late(tag, turn),
            Timer::Placement(tag) => self.placement_due(tag, turn),
            Timer::Job(tag) => self.job_due(tag, turn),
            Timer::Attempt(tag) => self.attempt_late(tag, turn),
            Timer::Queued(call) => self.queued_late(call, turn),
            Timer::Places => self.places_due(turn),
            Timer::Arrival(function) => self.arrival_due(function, turn),
            Timer::Heal(function) => self.heal(function, turn),
            Timer::Watch(function) => self.watch_due(function, turn),
            Timer::Renew(function) => self.renew(function, turn),
            Timer::Labels => self.labels_due(turn),
            Timer::Update(function) => self.update_due(function, turn),
            Timer::Leave(function) => self.leave_if_idle(function, turn),
            Timer::Dial(tag) => self.dial_due(tag, turn),
            Timer::Regain => self.regain(turn),
            Timer::Refresh => self.refresh(turn),
            Timer::Probe => self.probe(turn),
            Timer::Guard => self.guard_round(turn),
            Timer::Sync => self.sync(turn),
            Timer::Sweep => self.sweep(turn),
        }
    }

    /// Whether what a deadline was for has ended before it.
    fn is_stale(&self, timer: Timer) -> bool {
        match timer {
            Timer::Query(tag) => self.queries.get(tag).is_none(),
            Timer::Search(tag) => self.searches.get(tag).is_none(),
            Timer::Placement(tag) => self.placements.get(tag).is_none(),
            Timer::Job(tag) => self.jobs.get(tag).is_none(),
            Timer::Attempt(tag) => self.attempts.get(tag).is_none(),
            Timer::Dial(tag) => self.ways.dials.get(tag).is_none(),
            Timer::Queued(call) => !self.admission.is_queued(call),
            Timer::Arrival(function) => !self.arriving.contains_key(&function),
            Timer::Heal(name) | Timer::Renew(name) | Timer::Update(name) | Timer::Leave(name) => {
                !self.hosting.contains_key(&name)
            }
            Timer::Watch(function) => !self.guard.watches.contains_key(&function),
            Timer::Regain
            | Timer::Labels
            | Timer::Places
            | Timer::Refresh
            | Timer::Probe
            | Timer::Guard
            | Timer::Sync
            | Timer::Sweep => false,
        }
    }

    /// Asks for a wake at the earliest deadline, unless one as early is outstanding.
    fn rearm(&mut self, turn: &mut Turn<'_, P>) {
        if self.timers.is_crowded() {
            let mut timers = core::mem::replace(&mut self.timers, Timers::new());
            timers.clear(|timer| self.is_stale(timer));
            self.timers = timers;
        }
        while let Some((at, timer)) = self.timers.earliest() {
            if self.is_stale(timer) {
                self.timers.pop();
                continue;
            }
            // What was due before it was known is due now.
            let at = at.max(turn.now);
            if at < self.wake {
                self.wake = at;
                turn.push(Effect::WakeAt(at));
            }
            return;
        }
    }

    /// How busy this peer is, as every answer says.
    pub fn load(&self) -> Load {
        let new = |name: &&Name| !self.hosting.contains_key(name);
        let arriving = self.arriving.keys().filter(new).count();
        let new = |name: &&Name| new(name) && !self.arriving.contains_key(name);
        let promised = self.places.functions().filter(new).count();
        Load {
            slots: self.setup.slots,
            running: self.admission.running(),
            queued: self.admission.queued(),
            queue: self.setup.queue,
            hosted: (self.hosting.len() + arriving + promised) as u16,
            room: self.setup.room,
        }
    }

    /// Puts peers into the routing table as if they had answered: a converged start. They must be
    /// distinct, not this peer, and at most k a bucket. What a peer does from time to time it begins
    /// at its first [`Input::Wake`].
    pub fn seed_table(&mut self, peers: impl IntoIterator<Item = P>) {
        self.table.seed(self.me.key(), peers);
        self.join = crate::membership::Join::Seeded;
    }

    /// The peers in the routing table, those that share least with this peer's position first.
    pub fn table(&self) -> impl Iterator<Item = P> + '_ {
        self.table.iter()
    }

    /// The `n` peers of the routing table that are closest to a position, closest first, as an answer
    /// names them to `except`.
    pub fn closest(&self, position: Key, n: usize, except: Option<P>) -> Vec<P> {
        self.table.closest(self.me.key(), position, n, except)
    }

    /// The functions that can be called here, with their versions.
    pub fn hosts(&self) -> impl Iterator<Item = (Name, u64)> + '_ {
        self.hosting.iter().map(|(name, hosting)| (*name, hosting.record.version))
    }

    /// Requests of users, calls and queries that are under way: all zero in a core at rest.
    pub fn pending(&self) -> [usize; 4] {
        let calls = usize::from(self.admission.running() + self.admission.queued());
        [self.asks.len(), self.attempts.len(), calls, self.queries.len()]
    }

    /// Whether `owner` is the one whose key this node holds.
    pub(crate) fn owns(&self, owner: Owner) -> bool {
        self.setup.owner == Some(owner)
    }

    /// The peers nearest to a target: k that are worth asking first, and as many to fall back on.
    pub(crate) fn nearest(&self, target: Target<P>, turn: &Turn<'_, P>) -> Vec<P> {
        let n = 2 * usize::from(turn.config.k);
        let mut nearest = self.table.closest(self.me.key(), target.key(), n, None);
        // Where too few are certain, those that did not answer last time get another chance: to be
        // known again, or to leave the table.
        let lacking = n - nearest.len();
        nearest.extend(self.table.doubtful().take(lacking));
        nearest
    }

    /// Invariants that hold after every input.
    pub fn check(&self) -> bool {
        self.admission.check(self.setup.slots, self.setup.queue)
            && self.standings.check(self.attempts.iter().map(|(_, attempt)| attempt.host))
            && self.asks.values().all(|work| match *work {
                Work::Dial(tag) => self.ways.dials.get(tag).is_some(),
                Work::Search(tag) => self.searches.get(tag).is_some(),
                Work::Placement(tag) => self.placements.get(tag).is_some(),
                Work::Publish(tag) => self.publishes.get(tag).is_some(),
                Work::Census(tag) => self.censuses.get(tag).is_some(),
                Work::Job(tag) => self.jobs.get(tag).is_some(),
                Work::Keep | Work::Drain => true,
            })
    }
}
