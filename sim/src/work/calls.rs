//! `[anycalls]`: random peers call random functions, or flows of calls come through given ones.

use peerless_core::{Event, Failure, Request, Span, Ticket, Time};

use super::{Doing, Idempotent, Plan};
use crate::chance::Concern;
use crate::network::exponential;
use crate::peer::Index;
use crate::scenario::{Bad, Keys, Readable, Value, listed, section, worded};
use crate::tickets::{CALL, FUZZ, KIND_SHIFT, MANY, ONCE};
use crate::world::{START, World};

section! {
    /// Anycalls of random functions through random peers, or in flows.
    "anycalls" => pub struct Anycalls {
        /// How many anycalls, where there are no flows.
        count: u32 = 1000,
        /// From one anycall to the next, on average; where there are no flows.
        interval: Span = Span::ms(10),
        /// When the first anycall is made, where there are no flows.
        start: Span = Span::secs(30),
        /// How they come: "even", or "poisson" as from many users who know nothing of each other.
        arrivals: Pace = Pace::Even,
        /// So many come together each time, and as much more seldom.
        burst: u32 = 1,
        /// Flows of calls side by side, each of so many a second: { rate = 250, from = "30s", until = "90s", through = 0, function = 0 }; a random peer and a function by its popularity where the last two are missing.
        flows: Vec<Flow> = Vec::new(),
        /// After how long an answer is too late.
        deadline: Span = Span::secs(60),
        /// Whether the callers say that running twice does no harm.
        idempotent: bool = true,
    }
}

/// How calls come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Pace {
    /// At equal distances.
    Even,
    /// At exponentially spread ones.
    Poisson,
}

worded!(Pace: "even" => Even, "poisson" => Poisson);

/// Calls that come at one rate, for a while. Several of them make a rate that changes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Calls a second.
    pub rate: u32,
    /// When they begin.
    pub from: Span,
    /// When they end.
    pub until: Span,
    /// The peer that is asked; a random one each time where it is missing.
    pub through: Option<u32>,
    /// The function's number; one by its popularity each time where it is missing.
    pub function: Option<u32>,
}

impl Readable for Flow {
    const EXPECTED: &'static str = "a flow";
    fn read(value: &Value) -> Option<Self> {
        let Value::Table(entries) = value else { return None };
        let mut flow =
            Self { rate: 0, from: Span::ZERO, until: Span::ZERO, through: None, function: None };
        for (key, value) in entries {
            match key.as_str() {
                "rate" => flow.rate = u32::read(value)?,
                "from" => flow.from = Span::read(value)?,
                "until" => flow.until = Span::read(value)?,
                "through" => flow.through = Option::read(value)?,
                "function" => flow.function = Option::read(value)?,
                _ => return None,
            }
        }
        (flow.rate > 0 && flow.from < flow.until).then_some(flow)
    }
    fn show(&self) -> String {
        let Self { rate, from, until, .. } = self;
        let number =
            |key: &str, n: Option<u32>| n.map_or(String::new(), |n| format!(", {key} = {n}"));
        let (through, function) =
            (number("through", self.through), number("function", self.function));
        let (from, until) = (from.show(), until.show());
        format!("{{ rate = {rate}, from = {from}, until = {until}{through}{function} }}")
    }
}

listed! {
    Flow, "a list of flows, such as [{ rate = 250, from = \"30s\", until = \"90s\", through = 0, function = 0 }], \
           each with a rate above 0 and an end after its beginning; the last two may be missing";
}

impl Anycalls {
    /// Values that are impossible beside others.
    pub(crate) fn check(&self, peers: u32, functions: u32, keys: &Keys) -> Result<(), Bad> {
        for flow in &self.flows {
            let bad = |what: &str| Err(keys.bad("anycalls.flows", what));
            if flow.through.is_some_and(|peer| peer >= peers) {
                return bad(&format!("expected flows through the first of {peers} peers"));
            }
            if flow.function.is_some_and(|function| function >= functions) {
                return bad(&format!("expected flows to the first of {functions} functions"));
            }
        }
        for key in ["anycalls.count", "anycalls.interval", "anycalls.start"] {
            if !self.flows.is_empty() && keys.is_given(key) {
                return Err(keys.bad(key, "expected no anycalls.flows beside it"));
            }
        }
        Ok(())
    }

    /// When calls come: from when to when, since the start.
    pub(crate) fn lasts(&self) -> (Span, Span) {
        if self.flows.is_empty() {
            return (self.start, self.start + self.interval.times(self.count.into()));
        }
        let from = self.flows.iter().map(|flow| flow.from).min().unwrap_or(Span::ZERO);
        let until = self.flows.iter().map(|flow| flow.until).max().unwrap_or(Span::ZERO);
        (from, until)
    }

    /// How many calls there are; in flows about how many, since it is left to chance.
    pub(crate) fn about(&self) -> u64 {
        let of = |flow: &Flow| {
            let lasts = u128::from(flow.until.less(flow.from).0);
            (u128::from(flow.rate) * lasts / 1_000_000_000) as u64
        };
        let longest = self.flows.iter().map(of).max();
        longest.map_or(self.count.into(), |longest| longest * self.flows.len() as u64)
    }

    /// The number of the nth call of a flow, among those of all.
    fn number(&self, flow: u32, n: u64) -> u64 {
        n * self.flows.len() as u64 + u64::from(flow)
    }

    /// The flow that a call is of.
    fn flow_of(&self, number: u64) -> Option<&Flow> {
        let flows = self.flows.len() as u64;
        (flows > 0).then(|| &self.flows[(number % flows) as usize])
    }
}

impl World {
    /// The number of the function that a request calls.
    pub(super) fn called(&self, ticket: Ticket) -> u64 {
        let number = ticket & ((1 << KIND_SHIFT) - 1);
        let calls = self.scenario.anycalls.as_ref().filter(|_| ticket >> KIND_SHIFT == CALL);
        if let Some(function) = calls.and_then(|calls| calls.flow_of(number)?.function) {
            return function.into();
        }
        if let Some(popularity) = &self.work.popularity {
            return popularity.draw(self.chance.bits(Concern::Called, ticket, 0, 0)) as u64;
        }
        let functions = self.census.functions.len() as u64;
        self.chance.below(functions, Concern::Called, ticket, 0, 0)
    }

    /// When the call after this one comes, of those that come each `gap` on average.
    fn next_call(&self, work: &Anycalls, flow: u32, n: u64, gap: u64) -> Time {
        let burst = u64::from(work.burst);
        if !(n + 1).is_multiple_of(burst) {
            return self.now;
        }
        let gap = gap.saturating_mul(burst);
        match work.arrivals {
            Pace::Even => self.now + Span(gap),
            Pace::Poisson => {
                let bits = self.chance.bits(Concern::Arrival, flow.into(), n, 0);
                self.now + Span(exponential(gap, bits))
            }
        }
    }

    pub(super) fn begin_call(&mut self, n: u32) {
        let Some(work) = self.scenario.anycalls.clone() else { return };
        if n + 1 < work.count {
            let next = self.next_call(&work, 0, n.into(), work.interval.0);
            self.plan_work(next, Plan::Call(n + 1));
        }
        self.call(&work, n.into(), None);
    }

    pub(super) fn begin_flow(&mut self, flow: u32, n: u64) {
        let Some(work) = self.scenario.anycalls.clone() else { return };
        let Some(it) = work.flows.get(flow as usize) else { return };
        let next = match work.arrivals {
            // To the nanosecond, however odd the rate.
            Pace::Even if (n + 1).is_multiple_of(work.burst.into()) => {
                let since = u128::from(n + 1) * 1_000_000_000 / u128::from(it.rate);
                START + it.from + Span(since as u64)
            }
            _ => self.next_call(&work, flow, n, 1_000_000_000 / u64::from(it.rate)),
        };
        if next < START + it.until {
            self.plan_work(next, Plan::Flow(flow, n + 1));
        }
        self.call(&work, work.number(flow, n), it.through);
    }

    fn call(&mut self, work: &Anycalls, number: u64, through: Option<u32>) {
        let ticket = CALL << KIND_SHIFT | number;
        // The users of a peer that leaves go elsewhere.
        let through = through.filter(|peer| !self.work.draining.contains(peer));
        let peer = match through {
            Some(peer) => Some(peer).filter(|peer| self.is_up(*peer)),
            None => self.draw_peer(Concern::Asker, ticket),
        };
        let Some(peer) = peer else { return };
        let function = self.called(ticket);
        let hosts = &self.census.functions[function as usize].hosts;
        let hosted = hosts.iter().any(|host| !self.network.parts(self.now, peer, *host));
        let request = Request::Call {
            function: self.function_name(function),
            deadline: self.shown(peer) + work.deadline,
            kept: true,
            idempotent: work.idempotent,
        };
        self.ask(peer, ticket, Doing::Call { hosted, status: 0, wrong: false }, request);
    }

    /// Whether the workload allows it that an item of a request is run twice: by the function's
    /// record, or its caller's word. What other users allow is not known here.
    pub(crate) fn may_repeat(&self, ticket: Ticket) -> bool {
        let functions = self.scenario.functions.as_ref();
        let said = functions.map_or(Idempotent::Unsaid, |functions| functions.idempotent);
        let word = self.scenario.anycalls.as_ref().is_some_and(|calls| calls.idempotent);
        match ticket >> KIND_SHIFT {
            CALL => said == Idempotent::Yes || word,
            MANY => said != Idempotent::No,
            FUZZ => ticket & ONCE == 0,
            _ => true,
        }
    }

    /// One run more for a request.
    pub(crate) fn executed(&mut self, ticket: Ticket) {
        self.work.anycalls.executions += u64::from(ticket >> KIND_SHIFT == CALL);
        self.work.manycalls.executions += u64::from(ticket >> KIND_SHIFT == MANY);
    }

    /// Whether it was answered.
    pub(super) fn end_call_of(
        &mut self,
        (peer, ticket): (u32, Ticket),
        took: u64,
        attempts: u64,
        (hosted, status, wrong): (bool, u16, bool),
        event: &Event<Index>,
    ) -> bool {
        let answered = *event == Event::Done && (100..400).contains(&status);
        let succeeded = answered && !wrong;
        if succeeded {
            let service = self.service(self.called(ticket) as usize, peer, ticket, 0);
            self.work.anycalls.goodput.add(self.now.since(START), service);
        }
        let calls = &mut self.work.anycalls;
        calls.count += 1;
        calls.hosted += u64::from(hosted);
        calls.hosted_succeeded += u64::from(hosted && succeeded);
        calls.attempts.push(attempts);
        calls.latency.push(took);
        match event {
            _ if succeeded => calls.succeeded += 1,
            _ if answered => calls.wrong += 1,
            Event::Failed(Failure::Overloaded) => {
                calls.refused += 1;
                calls.refusal_latency.push(took);
            }
            event => {
                calls.failed += 1;
                *calls.failures.entry(format!("{event:?}")).or_default() += 1;
            }
        }
        succeeded
    }

    /// Least service that was done for anycalls in any ten seconds while they came, over what the
    /// hosts that live now could have done; `None` where they came for less.
    pub(crate) fn goodput_min(&self) -> Option<f64> {
        let (from, until) = self.scenario.anycalls.as_ref()?.lasts();
        let capacity: u64 = self.census.hosts().iter().map(|host| self.capacity(*host)).sum();
        let slots = capacity as f64 / crate::census::CAPACITY as f64;
        Some(self.work.anycalls.goodput.least(from, until)? / slots)
    }
}
