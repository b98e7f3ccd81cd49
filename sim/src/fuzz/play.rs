//! Playing a case: the schedule is carried out in a world, then faults stop and all must heal.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use peerless_core::{Digest, Event, Record, Request, Runtime, Span, Spec, Target, Ticket, Time};

use super::case::{Case, Op, Step};
use super::figures::Figures;
use super::{liveness, load};
use crate::chance::Concern;
use crate::laws::Violation;
use crate::peer::Index;
use crate::record::{Interest, Recorder};
use crate::scenario::Silence;
use crate::tickets::{FUZZ, KIND_SHIFT, ONCE};
use crate::words::Words;
use crate::work::{Feed, LIFE};
use crate::world::{START, World, owner};

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was broken first; nothing, if all is well.
    pub violation: Option<Violation>,
    /// Inputs that cores handled.
    pub events: u64,
    /// Of all that happened.
    pub digest: u64,
    /// Of a case of the preset performance.
    pub figures: Figures,
}

/// What an owner last wanted of a function.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Who was asked.
    pub peer: u32,
    pub ticket: Ticket,
    pub version: u64,
    pub removed: bool,
}

/// A case that is being played.
pub(super) struct Play<'a> {
    pub case: &'a Case,
    pub world: World,
    /// By function.
    pub wishes: Vec<Option<Wish>>,
    /// Peers whose disk was lost once.
    pub wiped: BTreeSet<u32>,
    /// The operation that is watched.
    watched: Option<u32>,
}

/// After the last operation until faults stop.
const AFTERMATH: Span = Span::secs(1);

/// Plays a case until something is broken, or all has healed. A panic is a violation.
pub fn play(case: &Case) -> Outcome {
    let played = catch_unwind(AssertUnwindSafe(|| {
        if case.is_load() {
            return load::run(&case.scenario, case.named.seed);
        }
        let mut play = Play::new(case);
        play.carry_out();
        liveness::heal(&mut play);
        let world = &play.world;
        let violation = world.violations().kept.first().cloned();
        let figures = Figures::default();
        Outcome { violation, events: world.count.events, digest: world.digest(), figures }
    }));
    played.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        let what = format!("panic: {}", said.lines().next().unwrap_or_default());
        let violation = Some(Violation { time: START, peer: None, what });
        Outcome { violation, events: 0, digest: 0, figures: Figures::default() }
    })
}

/// Plays a case and writes down, hop by hop, what comes of one operation; of a deployment or a removal
/// all that concerns its function from then on.
pub fn trace(case: &Case, operation: u32) -> String {
    let mut play = Play::new(case);
    play.watched = Some(operation);
    play.carry_out();
    liveness::heal(&mut play);
    play.world.recorder.take().map_or(String::new(), |recorder| recorder.text().to_owned())
}

impl<'a> Play<'a> {
    fn new(case: &'a Case) -> Self {
        let (scenario, seed) = (case.scenario.clone(), case.named.seed);
        let world = if case.named.scenario.is_some() {
            World::new(scenario, seed)
        } else {
            let mut world = World::idle(scenario, seed);
            world.begin_partition();
            for (n, function) in (0..).zip(&case.functions) {
                let name = world.function_name(n);
                world.census.expect(name, function.replicas.0.into());
            }
            world
        };
        let wishes = vec![None; case.functions.len()];
        Self { case, world, wishes, wiped: BTreeSet::new(), watched: None }
    }

    /// Whether something is broken already.
    pub(super) fn is_broken(&self) -> bool {
        self.world.violations().count > 0
    }

    fn carry_out(&mut self) {
        for step in &self.case.schedule {
            self.world.run_until(START + step.at);
            if self.is_broken() {
                return;
            }
            if self.watched == Some(step.id) {
                self.watch(step);
            }
            self.step(step);
        }
        let end = self.case.schedule.last().map_or(Span::ZERO, |step| step.at) + AFTERMATH;
        self.world.run_until(START + end.max(self.case.scenario.duration));
    }

    fn watch(&mut self, step: &Step) {
        let mut words = Words::default();
        for n in 0..self.case.functions.len() {
            words.names.insert(self.world.function_name(n as u64), format!("f{n}"));
        }
        let of_function = matches!(step.op, Op::Deploy { .. } | Op::Remove { .. });
        let function = step.op.function().filter(|_| of_function);
        let interest = Interest {
            request: Some((step.peer, self.ticket_of(step.id))),
            function: function.map(|function| self.world.function_name(function.into())),
            from: self.world.now,
            ..Interest::default()
        };
        self.world.recorder = Some(Recorder::new(interest, words));
    }

    fn step(&mut self, step: &Step) {
        let peer = step.peer;
        match &step.op {
            Op::Go { silence } => self.world.remove(peer, *silence),
            Op::Back { disk, via } => {
                self.come_back(peer, *disk);
                self.meet(peer, *via);
            }
            Op::Join { via } => {
                self.world.add_as(peer);
                self.meet(peer, *via);
            }
            Op::Bounce { disk, via } if self.world.is_up(peer) => {
                self.world.remove(peer, Silence::Process);
                self.come_back(peer, *disk);
                self.meet(peer, *via);
            }
            Op::Bounce { .. } => {}
            op if self.world.is_up(peer) => self.ask(step.id.into(), peer, op),
            _ => {}
        }
    }

    /// A peer that went comes back.
    pub(super) fn come_back(&mut self, peer: u32, disk: bool) {
        if self.world.is_up(peer) || !self.world.was_there(peer) {
            return;
        }
        if !disk {
            self.world.disks[peer as usize].clear();
            self.world.desk(peer).code.clear();
            self.wiped.insert(peer);
        }
        self.world.restart(peer);
    }

    /// Two peers that are there connect.
    pub(super) fn meet(&mut self, one: u32, other: u32) {
        if one == other || !self.world.is_up(one) || !self.world.is_up(other) {
            return;
        }
        self.world.connect_now(one, other);
    }

    /// A user asks.
    fn ask(&mut self, id: u64, peer: u32, op: &Op) {
        let now = self.world.shown(peer);
        let name = |function: &u32| self.world.function_name(u64::from(*function));
        let mut feed = Feed::new(0, 1, Span::ZERO, false);
        let mut once = false;
        let request = match op {
            Op::Deploy { function, .. } | Op::Remove { function } => {
                let removed = matches!(op, Op::Remove { .. });
                return self.wish(id, peer, *function, removed);
            }
            Op::Call { function, deadline, kept, idempotent } => {
                once =
                    self.case.functions[*function as usize].idempotent != Some(true) && !idempotent;
                Request::Call {
                    function: name(function),
                    deadline: now + *deadline,
                    kept: *kept,
                    idempotent: *idempotent,
                }
            }
            Op::Many { function, items, burst, pause, late, retries, deadline, takes } => {
                once = self.case.functions[*function as usize].idempotent == Some(false);
                feed = Feed::new(*items, *burst, *pause, *late);
                feed.takes = *takes;
                let deadline = deadline.map(|deadline| now + deadline);
                Request::Many {
                    function: name(function),
                    deadline,
                    retries: *retries,
                    quorum: None,
                }
            }
            Op::Cancel { of } => Request::Cancel(self.ticket_of(*of)),
            Op::Lookup => Request::Lookup(self.target(id)),
            Op::Hosts { function } => Request::Hosts(name(function)),
            Op::List => Request::List,
            Op::Go { .. } | Op::Back { .. } | Op::Join { .. } | Op::Bounce { .. } => return,
        };
        self.world.feed(peer, ticket(id, once), request, feed);
    }

    /// The ticket of an operation of the schedule; one that nobody has, if it is left out.
    fn ticket_of(&self, id: u32) -> Ticket {
        let once = self.case.schedule.iter().find(|step| step.id == id).is_some_and(|step| {
            let of = |function: &u32| self.case.functions[*function as usize].idempotent;
            match &step.op {
                Op::Call { function, idempotent, .. } => of(function) != Some(true) && !idempotent,
                Op::Many { function, .. } => of(function) == Some(false),
                _ => false,
            }
        });
        ticket(id.into(), once)
    }

    /// What is looked up by this number.
    pub(super) fn target(&self, id: u64) -> Target<Index> {
        Target::Name(self.world.chance.name(Concern::Target, id, 1))
    }

    /// An owner deploys or removes a function.
    pub(super) fn wish(&mut self, id: u64, peer: u32, function: u32, removed: bool) {
        let record = self.record(id, peer, function, removed);
        if let Some(spec) = &record.spec {
            let digest = spec.digest;
            self.world.desk(peer).code.insert(digest);
        }
        let ticket = ticket(id, false);
        let version = record.version;
        self.wishes[function as usize] = Some(Wish { peer, ticket, version, removed });
        let record = Arc::new(record);
        let request = if removed { Request::Remove(record) } else { Request::Deploy(record) };
        self.world.feed(peer, ticket, request, Feed::new(0, 1, Span::ZERO, false));
    }

    fn record(&self, id: u64, peer: u32, function: u32, removed: bool) -> Record {
        let world = &self.world;
        let Self { case, .. } = self;
        let settings = &case.functions[function as usize];
        let digest = Digest(world.chance.bytes32(Concern::Function, u64::from(function), 2 + id));
        let key = case.scenario.owner_of(peer).expect("only owners sign records");
        // Its owner has seen the version before it.
        let before = self.wishes[function as usize].as_ref().map_or(0, |wish| wish.version);
        let shown = world.shown(peer);
        let version = shown.unix_ms().max(before + 1);
        let spec = Spec {
            digest,
            size: settings.size,
            runtime: Runtime::Wasm,
            timeout: settings.timeout,
            replicas: settings.replicas,
            idempotent: settings.idempotent,
            constraints: world.constraints(settings.labelled),
        };
        Record {
            function: world.function_name(function.into()),
            owner: owner(key),
            version,
            expires: shown + LIFE,
            spec: (!removed).then_some(spec),
            bytes: vec![0; 200].into_boxed_slice(),
        }
    }

    /// How a request ended.
    pub(super) fn answer(&self, peer: u32, ticket: Ticket) -> Option<&(Time, Event<Index>)> {
        self.world.work.answers.get(&(peer, ticket))
    }

    /// Asks for something that no schedule names.
    pub(super) fn probe(&mut self, id: u64, peer: u32, request: Request<Index>) -> Ticket {
        let ticket = ticket(id, false);
        self.world.feed(peer, ticket, request, Feed::new(0, 1, Span::ZERO, false));
        ticket
    }
}

fn ticket(id: u64, once: bool) -> Ticket {
    FUZZ << KIND_SHIFT | if once { ONCE } else { 0 } | id
}
