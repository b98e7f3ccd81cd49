//! The machine room: cores in virtual time. One happening after the other is taken from the agenda,
//! handed to its core, and the effects are performed, in order.

mod peers;
mod perform;
mod wires;

use std::collections::BTreeMap;
use std::sync::Arc;

use peerless_core::few::Map;
use peerless_core::{
    Config, Core, Effect, Event, Input, Item, ItemKey, Key, Message, Peer, Query, Setup, Tag, Time,
    Turn,
};

pub use self::peers::owner;
use self::wires::Wires;
pub(crate) use self::wires::{Entry, Stay};

use crate::adversary::Crowd;
use crate::agenda::{Agenda, When};
use crate::calls::Packet;
use crate::census::Census;
use crate::chains::Chains;
use crate::chance::Chance;
use crate::desk::Desk;
use crate::digest::{Fold, combine};
use crate::laws::Laws;
use crate::network::{Network, Passage};
use crate::oracle::Oracle;
use crate::parted::Parted;
use crate::peer::{Index, limb};
use crate::record::Recorder;
use crate::scenario::{Scenario, Silence};
use crate::series::Sampler;
use crate::tickets::ticket_name;
use crate::work::{Plan, Work};

/// When the world begins: 2027-01-01, 00:00 UTC.
pub const START: Time = Time(1_798_761_600_000_000_000);

/// Happenings whose memory is read ahead together.
const WARMED: usize = 16;

/// The destination of what no peer does; its source is a stream of the workload.
pub const NOBODY: u32 = u32::MAX;

/// What the agenda holds; an entry that holds nothing is the instant that a core asked for.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A message comes, with its sum.
    Message(Message<Index>, u64),
    /// A peer's own machine has something to say to its core of that incarnation.
    Own(u32, Input<Index>),
    /// A machine's disk is done with something.
    Disk(u32, Disk),
    /// A run ends by itself, or because it was cancelled.
    Ran {
        incarnation: u32,
        job: Tag,
        status: Option<u16>,
    },
    /// Something of a call comes.
    Call(Packet),
    /// Another machine has accepted a connection, closed it, or made one.
    Opened,
    Closed,
    Met,
    /// What came from another machine has passed this one's link.
    Passed(Box<Self>),
    /// The workload goes on.
    Plan(Plan),
}

/// What a disk does.
#[derive(Debug)]
pub(crate) enum Disk {
    Keep(Tag, Item),
    Forget(ItemKey),
}

/// What was counted.
#[derive(Copy, Clone, Debug, Default)]
pub struct Count {
    /// Inputs that cores handled, without wakes.
    pub events: u64,
    /// Messages sent between peers.
    pub messages: u64,
    /// About how many bytes they took.
    pub bytes: u64,
    /// Offers of functions among them.
    pub offers: u64,
}

/// How often a peer has been the source of something. What it sends has another count than what its
/// own machine does, so that a wake more moves the fate of no message; its calls' packets are counted
/// at its desk.
#[derive(Copy, Clone, Debug, Default)]
struct Counters {
    messages: u64,
    own: u64,
}

/// The kind of a counter stands in its highest bits, so that no two things that come from one source
/// to one destination at one instant are alike.
pub(crate) const PACKET: u64 = 1 << 62;
const OWN: u64 = 2 << 62;

/// A peer's core and what every turn of it reads and writes: a turn at one of a million peers costs
/// hardly more than the memory that it has to wait for, so this lies together, in this order, and
/// begins with a cache line or in the middle of one.
#[repr(C, align(32))]
struct Seat {
    digest: Fold,
    wake: Time,
    counters: Counters,
    core: Option<Core<Index>>,
}

impl Seat {
    const EMPTY: Self = Self {
        core: None,
        digest: Fold::EMPTY,
        wake: Time::NEVER,
        counters: Counters { messages: 0, own: 0 },
    };
}

/// A whole network in virtual time.
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) config: Config,
    pub(crate) now: Time,
    seats: Vec<Seat>,
    pub(crate) incarnations: Vec<u32>,
    /// Of the core that was made last: most are alike, and share it.
    setup: Arc<Setup>,
    /// Happenings until the next are warmed.
    warm: usize,
    pub(crate) desks: Vec<Option<Box<Desk>>>,
    /// What of each peer survives a crash: most have nothing else beside their core.
    pub(crate) disks: Vec<Map<ItemKey, Item>>,
    /// What others see of the peers that are gone.
    gone: BTreeMap<u32, Silence>,
    agenda: Agenda<Happening>,
    effects: Vec<Effect<Index>>,
    pub(crate) network: Network,
    pub(crate) wires: Wires,
    pub(crate) chance: Chance,
    pub(crate) oracle: Oracle,
    pub(crate) laws: Laws,
    pub(crate) chains: Chains,
    pub(crate) census: Census,
    pub(crate) parted: Parted,
    pub(crate) work: Work,
    pub(crate) crowd: Crowd,
    pub(crate) count: Count,
    pub(crate) sampler: Sampler,
    /// Writes down what concerns one operation.
    pub recorder: Option<Recorder>,
    /// One happening, by destination, source and counter, that comes a nanosecond later than it
    /// would: the proof that the digest sees everything.
    pub nudged: Option<(u32, u32, u64)>,
}

impl World {
    /// A world at its start: the peers know each other as if the network had run for long.
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let mut world = Self::idle(scenario, seed);
        world.begin_work();
        world
    }

    /// The same without the scenario's work: nothing is planned.
    pub(crate) fn idle(scenario: Scenario, seed: u64) -> Self {
        let chance = Chance::new(seed);
        let peers = scenario.first_peers();
        let n = peers as usize;
        let mut world = Self {
            config: scenario.core.clone(),
            now: START,
            seats: (0..n).map(|_| Seat::EMPTY).collect(),
            incarnations: vec![0; n],
            setup: Arc::new(Setup::default()),
            warm: 0,
            desks: (0..n).map(|_| None).collect(),
            disks: (0..n).map(|_| Map::new()).collect(),
            gone: BTreeMap::new(),
            agenda: Agenda::new(),
            effects: Vec::new(),
            network: Network::new(&scenario, chance.clone()),
            wires: Wires::default(),
            oracle: Oracle::new(limb, peers, START.0),
            laws: Laws::of(peers, scenario.core.items_ahead_max),
            chains: Chains::default(),
            census: Census::default(),
            parted: Parted::default(),
            work: Work::default(),
            crowd: Crowd::default(),
            count: Count::default(),
            sampler: Sampler::default(),
            recorder: None,
            nudged: None,
            chance,
            scenario,
        };
        world.populate();
        world
    }

    /// Whether a peer runs.
    pub fn is_up(&self, peer: u32) -> bool {
        self.seats.get(peer as usize).is_some_and(|seat| seat.core.is_some())
    }

    /// The peers in a peer's table, nearest buckets last.
    pub fn table(&self, peer: u32) -> Vec<Index> {
        let core = self.seats[peer as usize].core.as_ref();
        core.map_or(Vec::new(), |core| core.table().collect())
    }

    /// Whom a peer that is there would name to `except` as the `n` closest to a position.
    pub fn closest(&self, peer: u32, position: Key, n: usize, except: Option<u32>) -> Vec<Index> {
        let core = self.seats[peer as usize].core.as_ref();
        core.map_or(Vec::new(), |core| core.closest(position, n, except.map(Index)))
    }

    /// The live hosts of the function of this number, each with a version that it serves.
    pub(crate) fn serving(&self, function: usize) -> impl Iterator<Item = (u32, u64)> {
        self.census.serving(function)
    }

    /// The instant of the last happening.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What the world was made from.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Tells a core something at once, beside what the agenda has.
    pub fn tell_now(&mut self, peer: u32, input: Input<Index>) {
        self.turn(peer, input, 0);
    }

    /// When and where what is next happens.
    pub fn upcoming(&mut self) -> Option<When> {
        self.agenda.upcoming()
    }

    /// The digest of all that happened so far.
    pub fn digest(&self) -> u64 {
        combine(self.seats.iter().map(|seat| seat.digest))
    }

    /// When the work is over that is planned so far, if all that is asked for by then has ended.
    pub fn work_ends(&self) -> Time {
        (START + self.scenario.duration).max(self.work.last_planned) + self.scenario.settle
    }

    /// When what is still open is given up.
    pub fn give_up(&self) -> Time {
        (START + self.scenario.duration).max(self.work.last_planned) + self.scenario.patience
    }

    /// Runs until the work is done and has come to rest, or patience ends.
    pub fn run(&mut self) {
        self.run_showing(|_| {});
    }

    /// The same; `show` is told of each instant at which something is about to happen.
    pub fn run_showing(&mut self, mut show: impl FnMut(Time)) {
        let end = START + self.scenario.duration;
        let give_up = self.give_up();
        let mut rest = None;
        while let Some(time) = self.agenda.next_time() {
            let time = Time(time);
            if self.work.is_done() && rest.is_none() {
                rest = Some(end.max(self.now) + self.scenario.settle);
            }
            if rest.is_some_and(|rest| time > rest) || (rest.is_none() && time > give_up) {
                break;
            }
            show(time);
            self.step();
        }
        if let Some(rest) = rest {
            self.now = self.now.max(rest);
        }
        self.laws.settled();
    }

    /// Lets everything happen that is due before `time`.
    pub fn run_until(&mut self, time: Time) {
        while self.agenda.next_time().is_some_and(|next| next < time.0) {
            self.step();
        }
        self.now = self.now.max(time);
    }

    /// Takes the next happening; false if there is none.
    pub fn step(&mut self) -> bool {
        self.warm_up();
        let Some((when, happening)) = self.agenda.pop() else { return false };
        self.sample(Time(when.time));
        self.now = Time(when.time);
        match happening {
            Some(happening) if let Some(time) = self.passes(when, &happening) => {
                let when = When { time: time.0, ..when };
                self.push(when, Happening::Passed(Box::new(happening)));
            }
            other => self.happen(when, other),
        }
        true
    }

    fn happen(&mut self, when: When, happening: Option<Happening>) {
        match happening {
            None => {
                let seat = self.seats.get_mut(when.to as usize);
                if let Some(seat) = seat.filter(|seat| seat.wake == self.now) {
                    seat.wake = Time::NEVER;
                    self.turn(when.to, Input::Wake, 0);
                }
            }
            Some(Happening::Message(message, sum)) => {
                self.deliver(when.from, when.to, message, sum);
            }
            Some(Happening::Own(incarnation, input)) => {
                if self.lives(when.to, incarnation) {
                    self.note_own(when.to, &input);
                    self.turn(when.to, input, 0);
                }
            }
            Some(Happening::Disk(incarnation, disk)) => {
                if self.lives(when.to, incarnation) {
                    self.disk(when.to, disk);
                }
            }
            Some(Happening::Ran { incarnation, job, status }) => {
                if self.lives(when.to, incarnation) {
                    self.ran(when.to, job, status);
                }
            }
            Some(Happening::Call(packet)) => self.call_packet(when.from, when.to, packet),
            Some(Happening::Opened) => self.opened(when.to, when.from),
            Some(Happening::Closed) => self.closed(when.to, when.from),
            Some(Happening::Met) => self.accept(when.to, when.from),
            Some(Happening::Passed(happening)) => self.happen(when, Some(*happening)),
            Some(Happening::Plan(plan)) => self.carry_out(plan),
        }
    }

    /// Brings what the next few happenings will read into the cache, all at once: one after the
    /// other, each would wait for memory alone. It changes nothing.
    fn warm_up(&mut self) {
        if self.warm > 0 {
            self.warm -= 1;
            return;
        }
        let mut read = 0;
        let mut ahead = 0_usize;
        for (when, _) in self.agenda.ahead(WARMED) {
            ahead += 1;
            let Some(seat) = self.seats.get(when.to as usize) else { continue };
            let core = seat.core.as_ref().map_or(0, Core::warm);
            read ^= seat.digest.sum() ^ core ^ self.laws.warm(when.to);
        }
        // What lies beyond the seats: first where, then all of it at once.
        let mut buckets: [&[Index]; WARMED] = [&[]; WARMED];
        let mut answers = [None; WARMED];
        for (at, (when, happening)) in self.agenda.ahead(WARMED).enumerate() {
            let Some(Happening::Message(message, _)) = happening else { continue };
            let core = self.seats.get(when.to as usize).and_then(|seat| seat.core.as_ref());
            let Some(core) = core else { continue };
            match message {
                Message::Query(_, Query::Find(target)) => buckets[at] = core.bucket(target.key()),
                Message::Query(..) => {}
                Message::Answer(tag, _) => {
                    buckets[at] = core.bucket(Index(when.from).key());
                    answers[at] = Some((core, *tag));
                }
            }
        }
        for peers in buckets {
            // These lie on all its cache lines, where it holds no more than usual.
            let at = |at: usize| peers.get(at).map_or(0, |peer| u64::from(peer.0));
            read ^= at(0) ^ at(peers.len() / 2) ^ at(peers.len().saturating_sub(1));
        }
        for depth in 1..=Core::<Index>::ANSWER_DEPTH {
            for (core, tag) in answers.iter().flatten() {
                read ^= core.warm_answer(*tag, depth);
            }
        }
        self.warm = ahead.saturating_sub(1);
        std::hint::black_box(read);
    }

    fn lives(&self, peer: u32, incarnation: u32) -> bool {
        self.is_up(peer) && self.incarnations[peer as usize] == incarnation
    }

    /// Hands one input to a core and performs what it wants done.
    pub(crate) fn turn(&mut self, peer: u32, input: Input<Index>, sum: u64) {
        let at = peer as usize;
        let shown = self.shown(peer);
        let seat = &mut self.seats[at];
        let Some(core) = seat.core.as_mut() else { return };
        self.count.events += u64::from(input != Input::Wake);
        let mut fold = seat.digest;
        fold.input(self.now.0, &input, sum);
        self.laws.input(self.now, shown, peer, &input);
        self.chains.input(shown, peer, &input, self.config.reply_timeout);
        let mut effects = std::mem::take(&mut self.effects);
        if let Some(recorder) = &mut self.recorder {
            recorder.input(self.now, peer, &input);
        }
        core.handle(input, &mut Turn::new(shown, &self.config, &mut effects));
        for effect in effects.drain(..) {
            let sum = fold.effect(&effect);
            self.laws.effect(self.now, peer, &effect);
            self.chains.effect(shown, peer, &effect);
            if let Some(recorder) = &mut self.recorder {
                recorder.effect(self.now, peer, &effect);
            }
            self.perform(peer, effect, sum);
        }
        self.effects = effects;
        self.seats[at].digest = fold;
        if let Some(ticket) = self.chains.idle(peer) {
            let what = format_args!("idle: {} waits for nobody", ticket_name(ticket));
            self.laws.violations.add(self.now, Some(peer), what);
        }
    }

    pub(crate) fn desk(&mut self, peer: u32) -> &mut Desk {
        self.desks[peer as usize].get_or_insert_default()
    }

    /// A message of so many bytes leaves now.
    fn message(&mut self, from: u32, to: u32, bytes: u64) -> Passage {
        let counter = if Scenario::is_sybil(from) {
            self.sybil_sends(from)
        } else {
            let counter = &mut self.seats[from as usize].counters.messages;
            *counter += 1;
            *counter
        };
        Passage { from, to, counter, time: self.now, bytes }
    }

    /// Puts something on the agenda.
    pub(crate) fn push(&mut self, mut when: When, happening: impl Into<Option<Happening>>) {
        when.time += u64::from(self.nudged == Some((when.to, when.from, when.counter)));
        self.agenda.push(when, happening);
    }

    /// Puts something on the agenda that a peer does to itself.
    pub(crate) fn push_own(
        &mut self,
        peer: u32,
        time: Time,
        happening: impl Into<Option<Happening>>,
    ) {
        let counter = &mut self.seats[peer as usize].counters.own;
        *counter += 1;
        let when = When { time: time.0, to: peer, from: peer, counter: OWN | *counter };
        self.push(when, happening);
    }

    /// Tells a core something at `time`, if it still runs then.
    pub(crate) fn tell(&mut self, peer: u32, time: Time, input: Input<Index>) {
        let incarnation = self.incarnations[peer as usize];
        self.push_own(peer, time, Happening::Own(incarnation, input));
    }

    /// Puts a part of the workload on the agenda: it comes from its stream, in which it has a number.
    pub(crate) fn plan(&mut self, time: Time, plan: Plan) {
        let (stream, number) = plan.place();
        let when = When { time: time.0, to: NOBODY, from: stream, counter: number };
        self.push(when, Happening::Plan(plan));
    }
}

/// Whether an event ends its ticket with what was asked for.
pub(crate) fn is_success(event: &Event<Index>) -> bool {
    event.is_final() && !matches!(event, Event::Failed(_) | Event::NotPlaced(_))
}
