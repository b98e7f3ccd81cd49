//! `[anycalls]`: random peers call random functions.

use peerless_core::{Event, Failure, Request, Span, Ticket};

use super::{Doing, Idempotent, Plan};
use crate::chance::Concern;
use crate::peer::Index;
use crate::scenario::section;
use crate::tickets::{CALL, FUZZ, KIND_SHIFT, MANY, ONCE};
use crate::world::World;

section! {
    /// Anycalls of random functions through random peers.
    "anycalls" => pub struct Anycalls {
        /// How many anycalls.
        count: u32 = 1000,
        /// From one anycall to the next.
        interval: Span = Span::ms(10),
        /// When the first anycall is made.
        start: Span = Span::secs(30),
        /// After how long an answer is too late.
        deadline: Span = Span::secs(60),
        /// Whether the callers say that running twice does no harm.
        idempotent: bool = true,
    }
}

impl World {
    /// The number of the function that a request calls.
    pub(super) fn called(&self, ticket: Ticket) -> u64 {
        let functions = self.census.functions.len() as u64;
        self.chance.below(functions, Concern::Called, ticket, 0, 0)
    }

    pub(super) fn begin_call(&mut self, n: u32) {
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
    }

    pub(super) fn end_call_of(
        &mut self,
        took: u64,
        attempts: u64,
        (hosted, status, wrong): (bool, u16, bool),
        event: &Event<Index>,
    ) {
        let calls = &mut self.work.anycalls;
        let answered = *event == Event::Done && (100..400).contains(&status);
        let succeeded = answered && !wrong;
        calls.count += 1;
        calls.hosted += u64::from(hosted);
        calls.hosted_succeeded += u64::from(hosted && succeeded);
        calls.attempts.push(attempts);
        calls.latency.push(took);
        match event {
            _ if succeeded => calls.succeeded += 1,
            _ if answered => calls.wrong += 1,
            Event::Failed(Failure::Overloaded) => calls.refused += 1,
            event => {
                calls.failed += 1;
                *calls.failures.entry(format!("{event:?}")).or_default() += 1;
            }
        }
    }
}
