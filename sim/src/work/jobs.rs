//! `[manycalls]`: owners give many items to random functions.

use std::collections::BTreeMap;

use peerless_core::{
    Answered, Digest, Ending, Event, Failure, Input, Quorum, Request, Span, Ticket, Time,
};

use super::quorum::{Used, wrong_rate};
use super::{Doing, Open, Plan};
use crate::outcomes::JobSpan;
use crate::peer::Index;
use crate::scenario::section;
use crate::tickets::{KIND_SHIFT, MANY};
use crate::world::{START, World};

section! {
    /// Manycalls of random functions through owners.
    "manycalls" => pub struct Manycalls {
        /// How many manycalls.
        jobs: u32 = 1,
        /// From one manycall to the next.
        interval: Span = Span::secs(1),
        /// When the first manycall begins.
        start: Span = Span::secs(30),
        /// Items in each.
        items: u64 = 10_000,
        /// Further attempts an item after failures of the system.
        retries: u8 = 3,
        /// Hosts that have to give each item the same answer, and hosts that are heard at most, such as [2, 3].
        quorum: Option<(u16, u16)> = None,
    }
}

impl Manycalls {
    pub(crate) fn quorum(&self) -> Option<Quorum> {
        let (agree, of) = self.quorum?;
        Quorum::new(agree.try_into().ok()?, of.try_into().ok()?)
    }
}

/// The times of so many manycalls are kept.
const SPANS_MAX: usize = 200;

/// A manycall under way.
#[derive(Clone, Debug)]
pub(super) struct Job {
    function: usize,
    items: u64,
    given: u64,
    succeeded: u64,
    failed: u64,
    unknown: u64,
    /// Where some answer wrongly: how often each host was asked as one of the first voices of an item.
    asked: BTreeMap<u32, u64>,
    /// How many hosts each item was sent to, as long as they are its first voices.
    voices: Vec<u8>,
}

impl Job {
    /// One more item has a result.
    pub(super) fn count(&mut self, result: &Result<Answered<Index>, Failure>) {
        match result {
            Ok(answered) if answered.status < 400 => self.succeeded += 1,
            Err(why) if why.may_have_run() => self.unknown += 1,
            Ok(_) | Err(_) => self.failed += 1,
        }
    }
}

impl World {
    pub(super) fn begin_many(&mut self, n: u32) {
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
            quorum: work.quorum(),
        };
        let job = Job {
            function: function as usize,
            items: work.items,
            given: 0,
            succeeded: 0,
            failed: 0,
            unknown: 0,
            asked: BTreeMap::new(),
            voices: Vec::new(),
        };
        self.ask(peer, ticket, Doing::Many(Box::new(job)), request);
    }

    /// What a host's whole answer is, as far as that differs: wrong answers are all the same.
    pub(crate) fn body_of(&self, host: u32, how: Ending) -> Option<Digest> {
        self.scenario.manycalls.as_ref()?.quorum?;
        (how == Ending::Complete).then(|| Digest([u8::from(self.answers_wrongly(host)); 32]))
    }

    /// A core has room for more items of a manycall.
    pub(crate) fn wanted(&mut self, peer: u32, ticket: Ticket, n: u32) {
        if self.feed_more(peer, ticket, n) {
            return;
        }
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

    pub(super) fn end_many(
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
        let services = (0..job.items).map(|item| self.service(job.function, peer, ticket, item).0);
        let (mut whole, mut longest) = (0, 0);
        for service in services {
            whole += u128::from(service);
            longest = longest.max(service);
        }
        let function = &self.census.functions[job.function];
        let ideal = function.could_be_done(start.0, whole, |host| self.capacity(host));
        let rate = self.wrong_rate(&job.asked);
        let work = &mut self.work.manycalls;
        work.wrong_expected += rate * job.items as f64;
        work.wrong_variance += rate * (1.0 - rate) * job.items as f64;
        if let Some(ideal) = ideal {
            work.ideal.push((ideal - start.0).max(longest));
            work.makespan.push(self.now.since(start).0);
        }
        if work.spans.len() < SPANS_MAX {
            work.spans.push(JobSpan {
                start: start.since(START).0,
                took: self.now.since(start).0,
                items: job.items,
                succeeded: job.succeeded,
            });
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

    /// An item of a manycall is sent to a host.
    pub(crate) fn is_asked(&mut self, peer: u32, ticket: Ticket, item: u64, host: u32) {
        let firsts = self.quorum().0;
        if self.scenario.adversaries.as_ref().is_some_and(|all| !all.wrong.is_zero())
            && let Some(open) = self.work.open.get_mut(&(peer, ticket))
            && let Doing::Many(job) = &mut open.doing
        {
            job.voices.resize(job.items as usize, 0);
            if let Some(voices) = job.voices.get_mut(item as usize).filter(|it| **it < firsts) {
                *voices += 1;
                *job.asked.entry(host).or_default() += 1;
            }
        }
    }

    /// How many hosts have to agree on an item, and of how many.
    fn quorum(&self) -> (u8, u8) {
        let quorum = self.scenario.manycalls.as_ref().and_then(Manycalls::quorum);
        quorum.map_or((1, 1), |quorum| (quorum.agree(), quorum.of()))
    }

    /// How likely an item gets a wrong answer, by how much the hosts are used.
    fn wrong_rate(&self, asked: &BTreeMap<u32, u64>) -> f64 {
        let (mut right, mut wrong) = (Used::default(), Used::default());
        for (host, times) in asked {
            if self.answers_wrongly(*host) { &mut wrong } else { &mut right }.add(*times);
        }
        let (agree, of) = self.quorum();
        wrong_rate(right, wrong, agree, of)
    }
}
