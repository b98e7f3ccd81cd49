//! What users do, when machines come and go, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use peerless_core::{
    Digest, Event, Failure, Input, Name, Record, Request, Runtime, Span, Spec, Target, Ticket, Time,
};

use crate::chance::Concern;
use crate::outcomes::{Anycalls, Deployments, Lookups, Manycalls};
use crate::peer::Index;
use crate::tickets::{CALL, DEPLOY, KIND_SHIFT, LOOKUP, MANY, Operation, USER};
use crate::world::{START, World, is_success, owner};

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
    /// One peer goes and another comes.
    Replace(u32),
    /// A new peer meets one that is there; the how manieth trial.
    Meet(u32, u32),
    /// Many crash at once.
    Crash,
}

/// About how long a signed record is.
const RECORD_BYTES: usize = 200;

/// A peer is asked only when it has been there for this long: before, its user would still wait for
/// it to be ready.
const SETTLED: u64 = 10_000_000_000;

/// One of so many lookups is counted beside the core, which costs a fifth of the lookup itself.
const WATCHED_EACH: u32 = 8;

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
    Deploy,
    Call { hosted: bool, status: u16 },
    Many(Box<Job>),
    Other,
}

/// A manycall under way.
#[derive(Clone, Debug)]
struct Job {
    function: usize,
    items: u64,
    given: u64,
    succeeded: u64,
    failed: u64,
    unknown: u64,
}

/// The workload of a world: what is to come, what is under way, and what came of the rest.
#[derive(Clone, Debug, Default)]
pub struct Work {
    planned: u64,
    pub(crate) last_planned: Time,
    open: BTreeMap<(u32, Ticket), Open>,
    users: u64,
    /// Of `[lookups]`.
    pub lookups: Lookups,
    /// Of `[functions]`.
    pub deployments: Deployments,
    /// Of `[anycalls]`.
    pub anycalls: Anycalls,
    /// Of `[manycalls]`.
    pub manycalls: Manycalls,
    /// Peers that were replaced.
    pub replaced: u64,
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
            LOOKUP => Target::Name(self.chance.name(Concern::Target, number, 0)),
            DEPLOY => function(number),
            _ => function(self.called(operation.ticket)),
        }
    }

    /// The number of the function that a request calls.
    fn called(&self, ticket: Ticket) -> u64 {
        let functions = self.census.functions.len() as u64;
        self.chance.below(functions, Concern::Called, ticket, 0, 0)
    }

    /// Whether a request is under way.
    pub fn is_open(&self, ticket: Ticket) -> bool {
        self.work.open.keys().any(|(_, open)| *open == ticket)
    }

    pub(crate) fn begin_work(&mut self) {
        let scenario = self.scenario.clone();
        let mut firsts = Vec::new();
        if let Some(work) = &scenario.lookups {
            firsts.push((work.start, work.interval.times(work.count.into()), Plan::Lookup(0)));
        }
        if let Some(work) = &scenario.functions {
            for n in 0..work.count {
                let name = self.chance.name(Concern::Function, u64::from(n), 0);
                let wanted = u32::from(work.replicas.0).min(scenario.peers);
                self.census.expect(name, wanted);
            }
            firsts.push((work.start, work.interval.times(work.count.into()), Plan::Deploy(0)));
        }
        if let Some(work) = &scenario.anycalls {
            firsts.push((work.start, work.interval.times(work.count.into()), Plan::Call(0)));
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
            Plan::Many(n) => self.begin_many(n),
            Plan::Replace(n) => self.replace(n),
            Plan::Meet(peer, trial) => self.meet(peer, trial),
            Plan::Crash => self.crash_together(),
        }
    }

    /// A random peer that is there and has been for long enough.
    pub(crate) fn draw_peer(&self, concern: Concern, n: u64) -> Option<u32> {
        let ever = u64::from(self.oracle.ever());
        let long_ago = Time(self.now.0.saturating_sub(SETTLED)).max(START).0;
        (0..10_000)
            .map(|trial| self.chance.below(ever, concern, n, trial, 0) as u32)
            .find(|peer| self.is_up(*peer) && self.oracle.was_live(*peer, long_ago))
    }

    /// A random owner that is there.
    fn draw_owner(&self, n: u64) -> Option<u32> {
        let owners = u64::from(self.scenario.owners);
        (0..1000)
            .map(|trial| self.chance.below(owners, Concern::Asker, n, trial, 0) as u32)
            .find(|peer| self.is_up(*peer))
    }

    /// A user outside of the workload asks a peer for something; its ticket.
    pub fn user(&mut self, peer: u32, request: Request<Index>) -> Ticket {
        let ticket = self.next_ticket();
        self.work.users += 1;
        self.ask(peer, ticket, Doing::Other, request);
        ticket
    }

    /// The ticket that the next user's request will have.
    pub fn next_ticket(&self) -> Ticket {
        USER << KIND_SHIFT | self.work.users
    }

    /// What the functions of the workload are called, in the order of their deployment.
    pub fn functions(&self) -> Vec<Name> {
        (0..self.census.functions.len() as u64).map(|n| self.function_name(n)).collect()
    }

    /// The peers that host the function of this number, ascending.
    pub fn hosts_of(&self, function: usize) -> Vec<u32> {
        self.census.functions[function].hosts.iter().copied().collect()
    }

    /// What was broken so far.
    pub fn violations(&self) -> &crate::laws::Violations {
        &self.laws.violations
    }

    /// What came of the work so far.
    pub fn work(&self) -> &Work {
        &self.work
    }

    fn ask(&mut self, peer: u32, ticket: Ticket, doing: Doing, request: Request<Index>) {
        let open = Open { start: self.now, attempts: 0, doing };
        self.work.open.insert((peer, ticket), open);
        if let Some(recorder) = &mut self.recorder {
            recorder.asked(peer, ticket, &request);
        }
        self.turn(peer, Input::Ask(ticket, request), 0);
    }

    fn begin_lookup(&mut self, n: u32) {
        let Some(work) = self.scenario.lookups.clone() else { return };
        let ticket = LOOKUP << KIND_SHIFT | u64::from(n);
        if n + 1 < work.count {
            self.plan_work(self.now + work.interval, Plan::Lookup(n + 1));
        }
        let Some(asker) = self.draw_peer(Concern::Asker, ticket) else { return };
        let target = Target::Name(self.chance.name(Concern::Target, u64::from(n), 0));
        let doing = Doing::Lookup { target: target.key().0[0] };
        if n.is_multiple_of(WATCHED_EACH) {
            self.chains.begin(asker, ticket, target, self.table(asker));
        }
        self.ask(asker, ticket, doing, Request::Lookup(target));
    }

    /// The name of the function of this number.
    pub(crate) fn function_name(&self, n: u64) -> Name {
        self.chance.name(Concern::Function, n, 0)
    }

    /// The record of the workload's function of this number as its owner, `peer`, signs it now.
    pub fn record_of(&self, n: u32, peer: u32) -> Record {
        let work = self.scenario.functions.as_ref().expect("the workload has functions");
        let digest = Digest(self.chance.bytes32(Concern::Function, u64::from(n), 1));
        Record {
            function: self.function_name(n.into()),
            owner: owner(self.scenario.owner_of(peer).expect("who deploys holds an owner key")),
            version: self.now.unix_ms(),
            expires: self.now + Span::secs(90 * 86_400),
            spec: Some(Spec {
                digest,
                size: work.size,
                runtime: Runtime::Wasm,
                timeout: work.timeout,
                replicas: work.replicas,
                idempotent: work.idempotent,
                constraints: Box::default(),
            }),
            bytes: vec![0; RECORD_BYTES].into_boxed_slice(),
        }
    }

    fn begin_deploy(&mut self, n: u32) {
        let Some(work) = self.scenario.functions.clone() else { return };
        if n + 1 < work.count {
            self.plan_work(self.now + work.interval, Plan::Deploy(n + 1));
        }
        let ticket = DEPLOY << KIND_SHIFT | u64::from(n);
        let Some(peer) = self.draw_owner(ticket) else { return };
        let record = self.record_of(n, peer);
        let digest = record.spec.as_ref().expect("it is no tombstone").digest;
        self.desk(peer).code.insert(digest);
        self.ask(peer, ticket, Doing::Deploy, Request::Deploy(Arc::new(record)));
    }

    fn begin_call(&mut self, n: u32) {
        let Some(work) = self.scenario.anycalls.clone() else { return };
        if n + 1 < work.count {
            self.plan_work(self.now + work.interval, Plan::Call(n + 1));
        }
        let ticket = CALL << KIND_SHIFT | u64::from(n);
        let Some(peer) = self.draw_peer(Concern::Asker, ticket) else { return };
        let function = self.called(ticket);
        let hosted = !self.census.functions[function as usize].hosts.is_empty();
        let request = Request::Call {
            function: self.function_name(function),
            deadline: self.now + work.deadline,
            kept: true,
            idempotent: work.idempotent,
        };
        self.ask(peer, ticket, Doing::Call { hosted, status: 0 }, request);
    }

    fn begin_many(&mut self, n: u32) {
        let Some(work) = self.scenario.manycalls.clone() else { return };
        if n + 1 < work.jobs {
            self.plan_work(self.now + work.interval, Plan::Many(n + 1));
        }
        let ticket = MANY << KIND_SHIFT | u64::from(n);
        let Some(peer) = self.draw_owner(ticket) else { return };
        let function = self.called(ticket);
        let request = Request::Many {
            function: self.function_name(function),
            deadline: None,
            retries: work.retries,
        };
        let job = Job {
            function: function as usize,
            items: work.items,
            given: 0,
            succeeded: 0,
            failed: 0,
            unknown: 0,
        };
        self.ask(peer, ticket, Doing::Many(Box::new(job)), request);
    }

    /// A core has room for more items of a manycall.
    pub(crate) fn wanted(&mut self, peer: u32, ticket: Ticket, n: u32) {
        let Some(Open { doing: Doing::Many(job), .. }) = self.work.open.get_mut(&(peer, ticket))
        else {
            return;
        };
        let give = u64::from(n).min(job.items - job.given);
        if give == 0 {
            return;
        }
        job.given += give;
        let ended = job.given == job.items;
        let input = Input::Items { ticket, n: give as u32, ended };
        self.tell(peer, self.now, input);
    }

    /// One attempt more for a request.
    pub(crate) fn attempted(&mut self, peer: u32, ticket: Ticket) {
        if let Some(open) = self.work.open.get_mut(&(peer, ticket)) {
            open.attempts += 1;
        }
    }

    /// Whether the workload allows it that an item of a request is run twice: by the function's
    /// record, or its caller's word. What other users allow is not known here.
    pub(crate) fn may_repeat(&self, ticket: Ticket) -> bool {
        let functions = self.scenario.functions.as_ref();
        let said = functions.and_then(|functions| functions.idempotent);
        match ticket >> KIND_SHIFT {
            CALL => {
                said == Some(true) || self.scenario.anycalls.as_ref().is_some_and(|c| c.idempotent)
            }
            MANY => said != Some(false),
            _ => true,
        }
    }

    /// One run more for a request.
    pub(crate) fn executed(&mut self, ticket: Ticket) {
        self.work.anycalls.executions += u64::from(ticket >> KIND_SHIFT == CALL);
    }

    /// A user is told something.
    pub(crate) fn told(&mut self, peer: u32, ticket: Ticket, event: &Event<Index>) {
        let key = (peer, ticket);
        let Some(open) = self.work.open.get_mut(&key) else { return };
        if !event.is_final() {
            let taken = match (&mut open.doing, event) {
                (Doing::Call { status, .. }, Event::Head { attempt, .. }) => {
                    let desk = self.desks[peer as usize].as_ref();
                    let answered = desk.and_then(|desk| desk.attempts.get(attempt)?.status);
                    *status = answered.unwrap_or(0);
                    false
                }
                (Doing::Many(job), Event::Item { result, .. }) => {
                    match result {
                        Ok(answered) if answered.status < 400 => job.succeeded += 1,
                        Err(Failure::MayHaveStarted) => job.unknown += 1,
                        Ok(_) | Err(_) => job.failed += 1,
                    }
                    true
                }
                _ => false,
            };
            if taken {
                self.tell(peer, self.now, Input::Taken { ticket, n: 1 });
            }
            return;
        }
        let Some(Open { start, attempts, doing }) = self.work.open.remove(&key) else { return };
        let took = self.now.since(start).0;
        match doing {
            Doing::Lookup { target } => self.end_lookup(peer, ticket, target, start, event),
            Doing::Other => {}
            Doing::Deploy => {
                let deployments = &mut self.work.deployments;
                if is_success(event) {
                    deployments.placed += 1;
                    deployments.latency.push(took);
                } else {
                    deployments.failures.push(format!("{event:?}"));
                }
            }
            Doing::Call { hosted, status } => {
                self.end_call_of(took, attempts, hosted, status, event);
            }
            Doing::Many(job) => self.end_many(peer, ticket, start, attempts, &job, event),
        }
    }

    fn end_lookup(
        &mut self,
        asker: u32,
        ticket: Ticket,
        target: u64,
        start: Time,
        event: &Event<Index>,
    ) {
        let lookups = &mut self.work.lookups;
        lookups.count += 1;
        let found = match event {
            Event::Found { peers, cost } => Some((&peers[..], *cost)),
            _ => None,
        };
        if let Some(differs) = self.chains.end(asker, ticket, found) {
            let what = format_args!("cost: a lookup says: {differs}");
            self.laws.violations.add(self.now, Some(asker), what);
        }
        let Event::Found { peers, cost } = event else { return };
        let answer: Vec<u32> = peers.iter().map(|(peer, _)| peer.0).collect();
        let k = usize::from(self.config.k);
        let verdict = self.oracle.judge(target, k, asker, (start.0, self.now.0), &answer);
        lookups.succeeded += u64::from(verdict.succeeded);
        lookups.exact += u64::from(verdict.exact);
        lookups.timeouts += u64::from(cost.timeouts);
        let closest = peers.iter().find(|(peer, _)| Some(peer.0) == verdict.closest);
        if let Some((_, hops)) = closest {
            lookups.hops.push(u64::from(*hops));
        }
        lookups.rounds.push(u64::from(cost.rounds));
        lookups.rpcs.push(u64::from(cost.rpcs));
        lookups.latency.push(self.now.since(start).0);
    }

    fn end_call_of(
        &mut self,
        took: u64,
        attempts: u64,
        hosted: bool,
        status: u16,
        event: &Event<Index>,
    ) {
        let calls = &mut self.work.anycalls;
        let succeeded = *event == Event::Done && (100..400).contains(&status);
        calls.count += 1;
        calls.hosted += u64::from(hosted);
        calls.hosted_succeeded += u64::from(hosted && succeeded);
        calls.attempts.push(attempts);
        calls.latency.push(took);
        match event {
            _ if succeeded => calls.succeeded += 1,
            Event::Failed(Failure::Overloaded) => calls.refused += 1,
            event => {
                calls.failed += 1;
                *calls.failures.entry(format!("{event:?}")).or_default() += 1;
            }
        }
    }

    fn end_many(
        &mut self,
        peer: u32,
        ticket: Ticket,
        start: Time,
        attempts: u64,
        job: &Job,
        event: &Event<Index>,
    ) {
        let tally = self.laws.tally(peer, ticket);
        if let Event::Finished(summary) = event {
            self.work.manycalls.hedged += summary.hedged;
            let counted = (job.given, job.succeeded, job.failed, job.unknown, attempts);
            let said = (
                summary.items,
                summary.succeeded,
                summary.failed,
                summary.unknown,
                summary.attempts,
            );
            if counted != said {
                let what = format!("summary: it says {said:?} where {counted:?} were counted");
                self.laws.violations.add(self.now, Some(peer), what);
            }
        } else {
            let what = format!("manycall: it ended in {event:?}");
            self.laws.violations.add(self.now, Some(peer), what);
        }
        let services = (0..job.items).map(|item| self.service(peer, ticket, item).0);
        let (mut whole, mut longest) = (0, 0);
        for service in services {
            whole += u128::from(service);
            longest = longest.max(service);
        }
        let slots = u64::from(self.scenario.host.slots);
        let function = &self.census.functions[job.function];
        let ideal = function.could_be_done(start.0, slots, whole);
        let work = &mut self.work.manycalls;
        if let Some(ideal) = ideal {
            work.ideal.push((ideal - start.0).max(longest));
            work.makespan.push(self.now.since(start).0);
        }
        work.jobs += 1;
        work.items += job.items;
        work.succeeded += job.succeeded;
        work.failed += job.failed;
        work.unknown += job.unknown;
        work.lost += tally.lost + (job.items - job.given);
        work.doubled += tally.doubled;
        work.attempts += attempts;
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
