//! The machine room: cores in virtual time. One happening after the other is taken from the agenda,
//! handed to its core, and the effects are performed, in order.

use peerless_core::{
    Accept, Config, Core, Effect, Event, Input, Item, Message, Owner, Setup, Span, Tag, Time, Turn,
};

use crate::agenda::{Agenda, When};
use crate::calls::Packet;
use crate::census::Census;
use crate::chains::Chains;
use crate::chance::{Chance, Concern};
use crate::desk::Desk;
use crate::digest::{Fold, combine};
use crate::laws::Laws;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::peer::{Index, limb};
use crate::population::Population;
use crate::record::Recorder;
use crate::scenario::{Scenario, Silence};
use crate::wire;
use crate::work::{Plan, Work};

/// When the world begins: 2027-01-01, 00:00 UTC.
pub const START: Time = Time(1_798_761_600_000_000_000);

/// The source and destination of what no peer does.
pub const NOBODY: u32 = u32::MAX;

/// What the agenda holds.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The instant that a core asked for.
    Wake,
    /// A message comes, with its sum.
    Message(Message<Index>, u64),
    /// A peer's own machine has something to say to its core of that incarnation.
    Own(u32, Input<Index>),
    /// A machine's disk is done with something.
    Disk(u32, Disk),
    /// A run ends by itself, or because it was cancelled.
    Ran { incarnation: u32, job: Tag, status: Option<u16> },
    /// Something of a call comes.
    Call(Packet),
    /// The workload goes on.
    Plan(Plan),
}

/// What a disk does.
#[derive(Debug)]
pub(crate) enum Disk {
    Keep(Tag, Item),
    Forget(peerless_core::ItemKey),
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
}

/// A whole network in virtual time.
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) config: Config,
    pub(crate) now: Time,
    cores: Vec<Option<Core<Index>>>,
    pub(crate) incarnations: Vec<u32>,
    counters: Vec<u64>,
    plans: u64,
    wakes: Vec<Time>,
    digests: Vec<Fold>,
    pub(crate) desks: Vec<Option<Box<Desk>>>,
    /// What others see of the peers that are gone.
    gone: std::collections::BTreeMap<u32, Silence>,
    agenda: Agenda<Happening>,
    effects: Vec<Effect<Index>>,
    pub(crate) network: Network,
    pub(crate) chance: Chance,
    pub(crate) oracle: Oracle,
    pub(crate) laws: Laws,
    pub(crate) chains: Chains,
    pub(crate) census: Census,
    pub(crate) work: Work,
    pub(crate) count: Count,
    /// Writes down what concerns one operation.
    pub recorder: Option<Recorder>,
}

impl World {
    /// A world at its start: the peers know each other as if the network had run for long.
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let chance = Chance::new(seed);
        let peers = scenario.peers;
        let n = peers as usize;
        let mut world = Self {
            config: scenario.core.clone(),
            now: START,
            cores: Vec::with_capacity(n),
            incarnations: vec![0; n],
            counters: vec![0; n],
            plans: 0,
            wakes: vec![Time::NEVER; n],
            digests: vec![Fold::EMPTY; n],
            desks: (0..n).map(|_| None).collect(),
            gone: std::collections::BTreeMap::new(),
            agenda: Agenda::new(),
            effects: Vec::new(),
            network: Network::new(scenario.network.clone(), chance.clone()),
            oracle: Oracle::new(limb, peers, START.0),
            laws: Laws::default(),
            chains: Chains::default(),
            census: Census::default(),
            work: Work::default(),
            count: Count::default(),
            recorder: None,
            chance,
            scenario,
        };
        world.populate();
        world.begin_work();
        world
    }

    fn populate(&mut self) {
        self.cores.resize_with(self.scenario.peers as usize, || None);
        let sorted = self.oracle.sorted().to_vec();
        let chance = self.chance.clone();
        let mut population = Population::new(&sorted, &chance, self.config.k);
        let mut table = Vec::new();
        for peer in &sorted {
            table.clear();
            population.table(*peer, &mut table);
            let mut core = self.make_core(*peer);
            core.seed_table(table.iter().copied());
            self.cores[*peer as usize] = Some(core);
        }
        if self.config.refresh_period > Span::ZERO || self.scenario.functions.is_some() {
            for peer in 0..self.scenario.peers {
                self.tell(peer, START, Input::Wake);
            }
        }
    }

    fn make_core(&mut self, peer: u32) -> Core<Index> {
        let incarnation = self.incarnations[peer as usize];
        let (a, b) = (u64::from(peer), u64::from(incarnation));
        let slots = self.scenario.slots_of(peer);
        self.laws.started(peer, slots);
        let setup = Setup {
            owner: self.scenario.owner_of(peer).map(owner),
            slots,
            queue: self.scenario.host.queue,
            room: if slots == 0 { 0 } else { self.scenario.host.room },
            accept: Accept::Anyone,
            labels: Box::default(),
        };
        let seed = self.chance.bits(Concern::Core, a, b, 0);
        Core::new(Index(peer), setup, seed, incarnation)
    }

    /// Whether a peer runs.
    pub fn is_up(&self, peer: u32) -> bool {
        self.cores.get(peer as usize).is_some_and(Option::is_some)
    }

    /// The peers in a peer's table, nearest buckets last.
    pub fn table(&self, peer: u32) -> Vec<Index> {
        let core = self.cores[peer as usize].as_ref();
        core.map_or(Vec::new(), |core| core.table().collect())
    }

    /// The instant of the last happening.
    pub fn now(&self) -> Time {
        self.now
    }

    /// What the world was made from.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Tells a core something at once, for tests.
    pub fn tell_now(&mut self, peer: u32, input: Input<Index>) {
        self.turn(peer, input, 0);
    }

    /// The network, for tests that change one packet.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The digest of all that happened so far.
    pub fn digest(&self) -> u64 {
        combine(self.digests.iter().copied())
    }

    /// Runs until the work is done and has come to rest, or patience ends.
    pub fn run(&mut self) {
        let end = START + self.scenario.duration;
        let give_up = end.max(self.work.last_planned) + self.scenario.patience;
        let mut rest = None;
        while let Some(time) = self.agenda.next_time() {
            let time = Time(time);
            if self.work.is_done() && rest.is_none() {
                rest = Some(end.max(self.now) + self.scenario.settle);
            }
            if rest.is_some_and(|rest| time > rest) || (rest.is_none() && time > give_up) {
                break;
            }
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
        let Some((when, happening)) = self.agenda.pop() else { return false };
        self.now = Time(when.time);
        match happening {
            Happening::Wake => {
                if self.wakes.get(when.to as usize) == Some(&self.now) {
                    self.wakes[when.to as usize] = Time::NEVER;
                    self.turn(when.to, Input::Wake, 0);
                }
            }
            Happening::Message(message, sum) => self.deliver(when.from, when.to, message, sum),
            Happening::Own(incarnation, input) => {
                if self.lives(when.to, incarnation) {
                    self.note_own(when.to, &input);
                    self.turn(when.to, input, 0);
                }
            }
            Happening::Disk(incarnation, disk) => {
                if self.lives(when.to, incarnation) {
                    self.disk(when.to, disk);
                }
            }
            Happening::Ran { incarnation, job, status } => {
                if self.lives(when.to, incarnation) {
                    self.ran(when.to, job, status);
                }
            }
            Happening::Call(packet) => self.call_packet(when.from, when.to, packet),
            Happening::Plan(plan) => self.carry_out(plan),
        }
        true
    }

    fn lives(&self, peer: u32, incarnation: u32) -> bool {
        self.is_up(peer) && self.incarnations[peer as usize] == incarnation
    }

    /// Hands one input to a core and performs what it wants done.
    pub(crate) fn turn(&mut self, peer: u32, input: Input<Index>, sum: u64) {
        let at = peer as usize;
        let Some(core) = self.cores[at].as_mut() else { return };
        self.count.events += u64::from(input != Input::Wake);
        let mut fold = self.digests[at];
        fold.input(self.now.0, &input, sum);
        self.laws.input(self.now, peer, &input);
        self.chains.input(self.now, peer, &input, self.config.reply_timeout);
        let mut effects = std::mem::take(&mut self.effects);
        if let Some(recorder) = &mut self.recorder {
            recorder.input(self.now, peer, &input);
        }
        core.handle(input, &mut Turn::new(self.now, &self.config, &mut effects));
        for effect in effects.drain(..) {
            let sum = fold.effect(&effect);
            self.laws.effect(peer, &effect);
            self.chains.effect(self.now, peer, &effect);
            if let Some(recorder) = &mut self.recorder {
                recorder.effect(self.now, peer, &effect);
            }
            self.perform(peer, effect, sum);
        }
        self.effects = effects;
        self.digests[at] = fold;
    }

    fn perform(&mut self, peer: u32, effect: Effect<Index>, sum: u64) {
        let host = &self.scenario.host;
        match effect {
            Effect::Send { to, message } => self.send(peer, to.0, message, sum),
            Effect::WakeAt(time) => self.wake_at(peer, time),
            Effect::Tell(ticket, event) => self.told(peer, ticket, &event),
            Effect::Want { ticket, n } => self.wanted(peer, ticket, n),
            Effect::Dispatch { attempt, ticket, item, to, function, deadline } => {
                self.dispatch(peer, to.0, attempt, (ticket, item), function, deadline);
            }
            Effect::Abort { attempt } => self.abort(peer, attempt),
            Effect::Refuse { call, why, load } => self.refuse(peer, call, why, load),
            Effect::Run { job, call, deadline, .. } => self.begin_run(peer, job, call, deadline),
            Effect::Respond { call, load, stay } => self.respond(peer, call, load, stay),
            Effect::Cancel { job } => {
                let time = self.now + host.cancel_delay;
                let incarnation = self.incarnations[peer as usize];
                self.push_own(peer, time, Happening::Ran { incarnation, job, status: None });
            }
            Effect::Install(record) => {
                let time = self.now + host.compile_delay;
                let (function, version) = (record.function, record.version);
                self.tell(peer, time, Input::Installed { function, version, ok: true });
            }
            Effect::Uninstall { function, .. } => {
                self.census.uninstalled(self.now.0, peer, &function);
            }
            Effect::Fetch { digest, size, from } => self.fetch(peer, digest, size, &from),
            Effect::Keep { tag, item } => self.write_disk(peer, Disk::Keep(tag, item)),
            Effect::Forget(key) => self.write_disk(peer, Disk::Forget(key)),
            Effect::Note(_) => {}
        }
    }

    fn send(&mut self, from: u32, to: u32, message: Message<Index>, sum: u64) {
        self.count.messages += 1;
        self.count.bytes += wire::size(&message);
        let counter = self.next_counter(from);
        if let Some(delay) = self.network.message(from, to, counter) {
            let time = (self.now + delay).0;
            let when = When { time, to, from, counter };
            self.agenda.push(when, Happening::Message(message, sum));
        }
    }

    fn deliver(&mut self, from: u32, to: u32, message: Message<Index>, sum: u64) {
        if self.is_up(to) {
            return self.turn(to, Input::Heard { from: Index(from), message }, sum);
        }
        if self.gone.get(&to) == Some(&Silence::Machine) || !self.is_up(from) {
            return;
        }
        // The machine is there and resets the connection; its word takes one way back.
        let time = self.now + self.network.settings().latency;
        self.tell(from, time, Input::Unreached { peer: Index(to) });
        if let Message::Query(tag, _) = message {
            self.tell(from, time, Input::Failed { tag });
        }
    }

    fn wake_at(&mut self, peer: u32, time: Time) {
        let time = time.max(self.now);
        self.wakes[peer as usize] = time;
        self.push_own(peer, time, Happening::Wake);
    }

    fn write_disk(&mut self, peer: u32, disk: Disk) {
        let time = self.now + self.scenario.host.store_delay;
        let incarnation = self.incarnations[peer as usize];
        self.push_own(peer, time, Happening::Disk(incarnation, disk));
    }

    fn disk(&mut self, peer: u32, disk: Disk) {
        match disk {
            Disk::Keep(tag, item) => {
                self.desk(peer).disk.insert(item.key(), item);
                self.turn(peer, Input::Kept { tag }, 0);
            }
            Disk::Forget(key) => {
                self.desk(peer).disk.remove(&key);
            }
        }
    }

    /// Code comes from the first of those who have it, if one of them runs.
    fn fetch(&mut self, peer: u32, digest: peerless_core::Digest, size: u64, from: &[Index]) {
        let has = |other: u32| {
            let desk = self.desks[other as usize].as_ref();
            self.is_up(other) && desk.is_some_and(|desk| desk.code.contains(&digest))
        };
        let settings = self.network.settings();
        let (after, ok) = if has(peer) {
            (Span::ZERO, true)
        } else if from.iter().any(|other| has(other.0)) {
            (self.network.transfer(size), true)
        } else {
            (settings.connect_timeout, false)
        };
        self.tell(peer, self.now + after, Input::Fetched { digest, ok });
    }

    /// What the world knows when a machine has done something for its core.
    fn note_own(&mut self, peer: u32, input: &Input<Index>) {
        match input {
            Input::Fetched { digest, ok: true } => {
                self.desk(peer).code.insert(*digest);
            }
            Input::Installed { function, ok: true, .. } => {
                self.census.installed(self.now.0, peer, function);
            }
            _ => {}
        }
    }

    pub(crate) fn desk(&mut self, peer: u32) -> &mut Desk {
        self.desks[peer as usize].get_or_insert_default()
    }

    pub(crate) fn next_counter(&mut self, peer: u32) -> u64 {
        let counter = &mut self.counters[peer as usize];
        *counter += 1;
        *counter
    }

    /// Puts something on the agenda that a peer does to itself.
    pub(crate) fn push_own(&mut self, peer: u32, time: Time, happening: Happening) {
        let counter = self.next_counter(peer);
        let when = When { time: time.0, to: peer, from: peer, counter };
        self.agenda.push(when, happening);
    }

    /// Tells a core something at `time`, if it still runs then.
    pub(crate) fn tell(&mut self, peer: u32, time: Time, input: Input<Index>) {
        let incarnation = self.incarnations[peer as usize];
        self.push_own(peer, time, Happening::Own(incarnation, input));
    }

    /// Puts a packet of a call on the agenda.
    pub(crate) fn push_packet(&mut self, from: u32, to: u32, time: Time, packet: Packet) {
        let counter = self.next_counter(from);
        let when = When { time: time.0, to, from, counter };
        self.agenda.push(when, Happening::Call(packet));
    }

    /// Puts a part of the workload on the agenda.
    pub(crate) fn plan(&mut self, time: Time, plan: Plan) {
        self.plans += 1;
        let when = When { time: time.0, to: NOBODY, from: NOBODY, counter: self.plans };
        self.agenda.push(when, Happening::Plan(plan));
    }

    /// A new peer starts; it knows nobody. Its number.
    pub fn add(&mut self) -> u32 {
        let peer = self.oracle.ever();
        self.incarnations.push(0);
        self.counters.push(0);
        self.wakes.push(Time::NEVER);
        self.digests.push(Fold::EMPTY);
        self.desks.push(None);
        let core = self.make_core(peer);
        self.cores.push(Some(core));
        self.oracle.joined(self.now.0, peer);
        self.census.joined();
        peer
    }

    /// A peer that was gone starts again, with what its disk kept.
    pub fn restart(&mut self, peer: u32) {
        let at = peer as usize;
        assert!(!self.is_up(peer), "only a peer that is gone starts again");
        self.incarnations[at] += 1;
        self.gone.remove(&peer);
        let core = self.make_core(peer);
        self.cores[at] = Some(core);
        self.oracle.joined(self.now.0, peer);
        let items: Vec<Item> = self.desk(peer).disk.values().cloned().collect();
        for item in items {
            self.turn(peer, Input::Restored(item), 0);
        }
    }

    /// A peer is gone, and others see `silence` of it.
    pub fn remove(&mut self, peer: u32, silence: Silence) {
        let at = peer as usize;
        if self.cores[at].take().is_none() {
            return;
        }
        self.gone.insert(peer, silence);
        if let Some(recorder) = &mut self.recorder {
            let name = recorder.words.peer(Index(peer));
            recorder.remark(self.now, &format!("{name}  is gone"));
        }
        self.wakes[at] = Time::NEVER;
        self.oracle.left(self.now.0, peer);
        self.census.left(self.now.0, peer);
        self.laws.crashed(peer);
        self.chains.crashed(peer);
        self.break_calls(peer, silence);
        self.work_lost(peer);
    }

    /// What others see of a peer that is gone.
    pub(crate) fn silence_of(&self, peer: u32) -> Silence {
        self.gone.get(&peer).copied().unwrap_or(Silence::Machine)
    }
}

/// The owner key of this number.
pub fn owner(number: u32) -> Owner {
    let mut bytes = [0; 32];
    for (limb, chunk) in (1..).zip(bytes.as_chunks_mut::<8>().0) {
        let word = crate::peer::mix(u64::from(number) << 8 | limb);
        *chunk = word.to_be_bytes();
    }
    Owner(bytes)
}

/// Whether an event ends its ticket with what was asked for.
pub(crate) fn is_success(event: &Event<Index>) -> bool {
    event.is_final() && !matches!(event, Event::Failed(_) | Event::NotPlaced(_))
}
