//! The workload: what users do and when machines come and go. Each kind of work is in a file of its
//! own, with its settings; here is what is planned and what is under way.

mod calls;
mod drain;
mod feed;
mod functions;
mod goodput;
mod jobs;
mod lookups;
mod popularity;
mod quorum;
mod service;

use std::collections::{BTreeMap, BTreeSet};

use peerless_core::{Contact, Event, Input, Request, Span, Target, Ticket, Time};

pub use self::calls::{Anycalls, Flow, Pace};
pub use self::drain::Drain;
pub(crate) use self::feed::Feed;
pub(crate) use self::functions::LIFE;
pub use self::functions::{Functions, Idempotent};
pub use self::goodput::Goodput;
use self::jobs::Job;
pub use self::jobs::Manycalls;
pub use self::lookups::Lookups;
pub use self::popularity::Popularity;
pub use self::service::Spread;
use crate::chance::Concern;
use crate::outcomes;
use crate::peer::Index;
use crate::tickets::{DEPLOY, KIND_SHIFT, LOOKUP, MEET, Operation, USER};
use crate::world::{START, World};

/// A part of the workload, by its number.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Plan {
    /// Someone looks something up.
    Lookup(u32),
    /// An owner deploys a function.
    Deploy(u32),
    /// Someone calls a function.
    Call(u32),
    /// An owner begins a manycall.
    Many(u32),
    /// Someone calls a function: of the flow of this number the how manieth.
    Flow(u32, u64),
    /// All functions are deployed again; for the how manieth time.
    Redeploy(u32),
    /// Hosts leave for good.
    Drain,
    /// A host that has given up all is switched off.
    Close(u32),
    /// One peer goes and another comes.
    Replace(u32),
    /// A new peer dials one that is there; the how manieth trial.
    Meet(u32, u32),
    /// Many crash at once.
    Crash,
    /// The peer of this number joins.
    Join(u32),
    /// The connections between parts of the network break, that fell apart the how manieth time.
    Break(u32),
    /// A peer's session ends, if it is still of that incarnation.
    Depart(u32, u32),
    /// A peer comes back.
    Return(u32),
    /// A sybil makes itself known.
    Sybil(u32),
    /// The network falls into two parts.
    Part,
    /// It is whole again.
    Unite,
    /// New peers come together.
    Arrive,
}

impl Plan {
    /// The stream that it is of, and its number there: two plans never share both.
    pub(crate) fn place(self) -> (u32, u64) {
        match self {
            Self::Lookup(n) => (0, n.into()),
            Self::Deploy(n) => (1, n.into()),
            Self::Call(n) => (2, n.into()),
            Self::Many(n) => (3, n.into()),
            Self::Replace(n) => (4, n.into()),
            Self::Meet(peer, _) => (5, peer.into()),
            Self::Crash => (6, 0),
            Self::Join(n) => (7, n.into()),
            Self::Break(round) => (8, round.into()),
            Self::Depart(peer, incarnation) => (9, u64::from(peer) << 32 | u64::from(incarnation)),
            Self::Return(peer) => (10, peer.into()),
            Self::Sybil(n) => (11, n.into()),
            Self::Flow(flow, n) => (20, u64::from(flow) << 40 | n),
            Self::Redeploy(n) => (21, n.into()),
            Self::Drain => (22, 0),
            Self::Close(peer) => (23, peer.into()),
            Self::Part => (8, 1),
            Self::Unite => (8, 2),
            Self::Arrive => (12, 0),
        }
    }
}

/// A peer is asked only when it has been there for this long: before, its user would still wait for
/// it to be ready.
const SETTLED: u64 = 10_000_000_000;

/// A request that has not ended.
#[derive(Clone, Debug)]
struct Open {
    start: Time,
    attempts: u64,
    doing: Doing,
}

#[derive(Clone, Debug)]
enum Doing {
    Lookup { target: u64 },
    Deploy { again: bool },
    Call { hosted: bool, status: u16, wrong: bool },
    Many(Box<Job>),
    Fed(Feed),
    Meet { trial: u32 },
    Drain,
    Other,
}

/// The workload of a world: what is to come, what is under way, and what came of the rest.
#[derive(Clone, Debug, Default)]
pub struct Work {
    planned: u64,
    pub(crate) last_planned: Time,
    open: BTreeMap<(u32, Ticket), Open>,
    users: u64,
    /// How often each function is called, where that differs.
    popularity: Option<Popularity>,
    /// How what [`World::feed`] asked for ended, by who was asked; lost where that peer went.
    pub(crate) answers: BTreeMap<(u32, Ticket), (Time, Event<Index>)>,
    /// Of `[lookups]`.
    pub lookups: outcomes::Lookups,
    /// Of `[functions]`.
    pub deployments: outcomes::Deployments,
    /// Of `[anycalls]`.
    pub anycalls: outcomes::Anycalls,
    /// Of `[manycalls]`.
    pub manycalls: outcomes::Manycalls,
    /// Peers that are to leave for good: users ask others.
    draining: BTreeSet<u32>,
    /// Of these, those that are gone.
    pub drained: u64,
    /// Peers that were replaced.
    pub replaced: u64,
    /// Peers whose session ended.
    pub departed: u64,
    /// Peers that came back.
    pub returned: u64,
    /// Peers that crashed together.
    pub crashed: u64,
}

impl Work {
    /// Whether nothing is planned and nothing under way.
    pub(crate) fn is_done(&self) -> bool {
        self.planned == 0 && self.open.is_empty()
    }
}

impl World {
    /// What an operation is about.
    pub(crate) fn target_of(&self, operation: &Operation) -> Target<Index> {
        let number = operation.ticket & ((1 << KIND_SHIFT) - 1);
        let function = |n| Target::Name(self.function_name(n));
        match operation.ticket >> KIND_SHIFT {
            LOOKUP => Target::Name(self.looked_up(number)),
            DEPLOY => function(number % (self.census.functions.len() as u64).max(1)),
            _ => function(self.called(operation.ticket)),
        }
    }

    /// Whether a request is under way.
    pub fn is_open(&self, ticket: Ticket) -> bool {
        self.work.open.keys().any(|(_, open)| *open == ticket)
    }

    /// The requests that have not ended, by peer and ticket, and since when.
    pub(crate) fn open_asks(&self) -> impl Iterator<Item = ((u32, Ticket), Time)> {
        self.work.open.iter().map(|(key, open)| (*key, open.start))
    }

    pub(crate) fn begin_work(&mut self) {
        let scenario = self.scenario.clone();
        let mut firsts = Vec::new();
        if let Some(work) = &scenario.lookups {
            firsts.push((work.start, work.interval.times(work.count.into()), Plan::Lookup(0)));
        }
        if let Some(work) = &scenario.functions {
            self.expect_functions(work);
            firsts.push((work.start, work.interval.times(work.count.into()), Plan::Deploy(0)));
            for (n, at) in (0..).zip(&work.redeployed) {
                firsts.push((*at, Span::ZERO, Plan::Redeploy(n)));
            }
            self.work.popularity =
                (work.popularity > 0.0).then(|| Popularity::new(work.count, work.popularity));
        }
        if let Some(work) = &scenario.anycalls {
            let (start, end) = work.lasts();
            if work.flows.is_empty() {
                firsts.push((start, end.less(start), Plan::Call(0)));
            }
            for (n, flow) in (0..).zip(&work.flows) {
                firsts.push((flow.from, end.less(flow.from), Plan::Flow(n, 0)));
            }
        }
        if let Some(work) = &scenario.manycalls {
            firsts.push((work.start, work.interval.times(work.jobs.into()), Plan::Many(0)));
        }
        if let Some(churn) = &scenario.churn {
            firsts.push((churn.start, churn.end, Plan::Replace(0)));
        }
        if let Some(crash) = &scenario.crash {
            firsts.push((crash.at, Span::ZERO, Plan::Crash));
        }
        if let Some(drain) = &scenario.drain {
            firsts.push((drain.at, drain.linger, Plan::Drain));
        }
        if let Some(arrivals) = &scenario.arrivals {
            firsts.push((arrivals.at, Span::ZERO, Plan::Arrive));
        }
        if let Some(joining) = &scenario.joining {
            firsts.push((Span::ZERO, joining.over, Plan::Join(1)));
        }
        self.begin_partition();
        self.begin_sessions();
        self.begin_sybils();
        for (start, lasts, plan) in firsts {
            self.work.last_planned = self.work.last_planned.max(START + start + lasts);
            self.plan_work(START + start, plan);
        }
    }

    pub(crate) fn plan_work(&mut self, time: Time, plan: Plan) {
        self.work.planned += 1;
        self.plan(time, plan);
    }

    /// Does what was planned for now, and plans what comes after it.
    pub(crate) fn carry_out(&mut self, plan: Plan) {
        self.work.planned -= 1;
        match plan {
            Plan::Lookup(n) => self.begin_lookup(n),
            Plan::Deploy(n) => self.begin_deploy(n),
            Plan::Call(n) => self.begin_call(n),
            Plan::Flow(flow, n) => self.begin_flow(flow, n),
            Plan::Redeploy(round) => self.redeploy(round),
            Plan::Drain => self.begin_drain(),
            Plan::Close(peer) => self.close(peer),
            Plan::Many(n) => self.begin_many(n),
            Plan::Replace(n) => self.replace(n),
            Plan::Meet(peer, trial) => self.meet(peer, trial),
            Plan::Crash => self.crash_together(),
            Plan::Join(n) => self.join(n),
            Plan::Break(round) => self.break_connections(round),
            Plan::Depart(peer, incarnation) => self.depart(peer, incarnation),
            Plan::Return(peer) => self.come_back(peer),
            Plan::Sybil(n) => self.introduce(n),
            Plan::Part => self.part(),
            Plan::Unite => self.unite(),
            Plan::Arrive => self.arrive_together(),
        }
    }

    /// A random honest peer that is there and has been for long enough.
    pub(crate) fn draw_peer(&self, concern: Concern, n: u64) -> Option<u32> {
        let ever = u64::from(self.oracle.ever());
        let long_ago = Time(self.now.0.saturating_sub(SETTLED)).max(START).0;
        (0..10_000)
            .map(|trial| self.chance.below(ever, concern, n, trial, 0) as u32)
            .filter(|peer| !self.is_liar(*peer) && !self.work.draining.contains(peer))
            .find(|peer| self.is_up(*peer) && self.oracle.was_live(*peer, long_ago))
    }

    /// A random honest owner that is there.
    fn draw_owner(&self, n: u64) -> Option<u32> {
        let owners = u64::from(self.scenario.owners);
        (0..1000)
            .map(|trial| self.chance.below(owners, Concern::Asker, n, trial, 0) as u32)
            .find(|peer| self.is_up(*peer) && !self.is_liar(*peer))
    }

    /// A user outside of the workload asks a peer for something; its ticket.
    pub fn user(&mut self, peer: u32, request: Request<Index>) -> Ticket {
        let ticket = self.next_ticket();
        self.work.users += 1;
        self.ask(peer, ticket, Doing::Other, request);
        ticket
    }

    /// The same, once the turn that it is in has ended.
    fn user_soon(&mut self, peer: u32, request: Request<Index>) {
        let ticket = self.next_ticket();
        self.work.users += 1;
        self.open(peer, ticket, Doing::Other);
        self.tell(peer, self.now, Input::Ask(ticket, request));
    }

    /// A peer dials this contact, which is the peer of that number.
    pub(crate) fn dial(&mut self, peer: u32, contact: Contact, trial: u32) {
        let ticket = MEET << KIND_SHIFT | u64::from(trial);
        self.ask(peer, ticket, Doing::Meet { trial }, Request::Meet(contact));
    }

    /// The ticket that the next user's request will have.
    pub fn next_ticket(&self) -> Ticket {
        USER << KIND_SHIFT | self.work.users
    }

    /// What was broken so far.
    pub fn violations(&self) -> &crate::laws::Violations {
        &self.laws.violations
    }

    /// What came of the work so far.
    pub fn work(&self) -> &Work {
        &self.work
    }

    fn open(&mut self, peer: u32, ticket: Ticket, doing: Doing) {
        let open = Open { start: self.now, attempts: 0, doing };
        self.work.open.insert((peer, ticket), open);
    }

    fn ask(&mut self, peer: u32, ticket: Ticket, doing: Doing, request: Request<Index>) {
        self.open(peer, ticket, doing);
        if let Some(recorder) = &mut self.recorder {
            recorder.asked(peer, ticket, &request);
        }
        self.turn(peer, Input::Ask(ticket, request), 0);
    }

    /// One attempt more for a request.
    pub(crate) fn attempted(&mut self, peer: u32, ticket: Ticket) {
        if let Some(open) = self.work.open.get_mut(&(peer, ticket)) {
            open.attempts += 1;
        }
    }

    /// A user is told something.
    pub(crate) fn told(&mut self, peer: u32, ticket: Ticket, event: &Event<Index>) {
        let key = (peer, ticket);
        let lied = matches!(event, Event::Head { host, .. } if self.answers_wrongly(host.0));
        let Some(open) = self.work.open.get_mut(&key) else { return };
        if !event.is_final() {
            let mut answerer = None;
            let taken = match (&mut open.doing, event) {
                (Doing::Call { status, wrong, .. }, Event::Head { attempt, .. }) => {
                    *wrong = lied;
                    let desk = self.desks[peer as usize].as_ref();
                    let answered = desk.and_then(|desk| desk.attempts.get(attempt)?.status);
                    *status = answered.unwrap_or(0);
                    None
                }
                (Doing::Many(job), Event::Item { result, .. }) => {
                    job.count(result);
                    answerer = result.as_ref().ok().map(|answered| answered.host.0);
                    self.work.manycalls.results += 1;
                    Some(Span::ZERO)
                }
                (Doing::Fed(feed), Event::Item { .. }) => Some(feed.takes),
                _ => None,
            };
            let is_wrong = answerer.is_some_and(|host| self.answers_wrongly(host));
            self.work.manycalls.wrong += u64::from(is_wrong);
            if let Some(after) = taken {
                self.tell(peer, self.now + after, Input::Taken { ticket, n: 1 });
            }
            return;
        }
        let Some(Open { start, attempts, doing }) = self.work.open.remove(&key) else { return };
        let took = self.now.since(start).0;
        match doing {
            Doing::Lookup { target } => self.end_lookup(peer, ticket, target, start, event),
            Doing::Meet { trial } if matches!(event, Event::Failed(_)) => {
                self.plan_work(self.now + Span::ms(1), Plan::Meet(peer, trial + 1));
            }
            Doing::Meet { .. } | Doing::Other => {}
            Doing::Drain => self.end_drain(peer, event),
            Doing::Fed(_) => {
                self.end_chain(peer, ticket, event);
                self.work.answers.insert(key, (self.now, event.clone()));
            }
            Doing::Deploy { again } => self.end_deploy(took, again, event),
            Doing::Call { hosted, status, wrong } => {
                if !self.end_call_of(key, took, attempts, (hosted, status, wrong), event) {
                    self.went_wrong(start);
                }
            }
            Doing::Many(job) => self.end_many(peer, ticket, start, attempts, &job, event),
        }
    }

    /// A peer is gone: what was asked of it will not be answered.
    pub(crate) fn work_lost(&mut self, peer: u32) {
        while let Some((key, _)) = self.work.open.range((peer, 0)..).next() {
            let key = *key;
            if key.0 != peer {
                break;
            }
            let open = self.work.open.remove(&key);
            if let Some(Open { doing: Doing::Call { .. }, .. }) = open {
                self.work.anycalls.orphaned += 1;
            }
        }
    }
}
