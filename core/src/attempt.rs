//! One more attempt on a distinct host, for a reason: how it is made, how it ends, and what follows.
//! The same for an anycall and for each item of a manycall.

use crate::call::CALL_SEARCHES_MAX;
use crate::key::Peer;
use crate::machine::Core;
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::record::Load;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Answered, Effect, Ending, Event, Failure, Note, Reason, Refusal, Stay, Turn};

/// How long a dispatched call may outlast its deadline before the core gives it up itself.
const OVERTIME: Span = Span::secs(1);
/// Times an anycall is refused as too busy before its caller hears it.
const CALL_REFUSALS_MAX: u16 = 8;
/// Hosts that an anycall fails to reach before its caller hears that there is none.
const UNREACHED_MAX: u16 = 32;
/// Hosts that an anycall fails to reach before it asks further peers for others: whoever named them
/// may be wrong, or lie.
const MISLED_AT: u16 = 4;

/// One dispatched call.
#[derive(Debug)]
pub(crate) struct Attempt<P> {
    job: Tag,
    item: u64,
    host: P,
    since: Time,
    status: Option<u16>,
}

impl<P: Peer> Core<P> {
    pub(crate) fn dispatch(&mut self, tag: Tag, item: u64, host: P, turn: &mut Turn<'_, P>) {
        let since = turn.now;
        let attempt = self.attempts.insert(Attempt { job: tag, item, host, since, status: None });
        let job = self.jobs.get_mut(tag).expect("its job dispatches it");
        let reason = job.begin(item, host, attempt);
        let deadline = job.deadline.min(turn.now + job.timeout);
        let (ticket, function) = (job.ticket, job.function);
        self.timers.add(deadline + OVERTIME, Timer::Attempt(attempt));
        turn.note(|| Note::Attempt { ticket, item, host, reason });
        turn.push(Effect::Dispatch { attempt, ticket, item, to: host, function, deadline });
    }

    pub(crate) fn head(
        &mut self,
        tag: Tag,
        status: u16,
        load: Option<Load>,
        _stay: Option<Stay>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(attempt) = self.attempts.get_mut(tag) else {
            return;
        };
        if attempt.status.replace(status).is_some() {
            return;
        }
        let (item, host) = (attempt.item, attempt.host);
        let Some(job) = self.jobs.get_mut(attempt.job) else {
            return;
        };
        if let (Some(load), Some(host)) = (load, job.host_mut(host)) {
            host.hear(load);
        }
        if !job.is_many() {
            let attempts = job.open.get(&item).map_or(0, |open| open.attempts);
            turn.tell(job.ticket, Event::Head { attempt: tag, host, attempts });
        }
        if let Some(load) = load {
            self.hear_load(host, load);
        }
    }

    pub(crate) fn ended(&mut self, tag: Tag, how: Ending, turn: &mut Turn<'_, P>) {
        let Some(attempt) = self.attempts.remove(tag) else {
            return;
        };
        let Attempt { job: job_tag, item, host, since, status } = attempt;
        let Some(job) = self.jobs.get_mut(job_tag) else {
            return;
        };
        job.over(item, host);
        match (how, status) {
            (Ending::Complete, Some(status)) => {
                let took = turn.now.since(since);
                if let Some(host) = job.host_mut(host) {
                    host.answered(took);
                }
                self.finish_item(
                    job_tag,
                    item,
                    Answered { attempt: tag, host, status, took },
                    turn,
                );
            }
            (Ending::Refused { why, load, spent }, _) => {
                self.was_refused(job_tag, item, host, (why, load, spent), turn);
            }
            (Ending::NotSent { spent }, _) => self.not_sent(job_tag, item, host, spent, turn),
            (Ending::Cut | Ending::Complete | Ending::MayHaveStarted, _) => {
                self.attempt_failed(job_tag, item, host, broken_off(status), turn);
            }
        }
        self.pump(job_tag, turn);
    }

    fn was_refused(
        &mut self,
        tag: Tag,
        item: u64,
        host: P,
        (why, load, spent): (Refusal, Option<Load>, bool),
        turn: &mut Turn<'_, P>,
    ) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        let failure = match why {
            Refusal::Busy => {
                job.hostless_since = Time::NEVER;
                if let Some(host) = job.host_mut(host) {
                    host.refused(turn.now, load);
                }
                Failure::Overloaded
            }
            Refusal::NotHosted => {
                job.drop_host(host);
                self.known.drop_host(job.function, host);
                self.records.drop_provider(job.function, host);
                Failure::NoHost
            }
            Refusal::Late => Failure::Late,
        };
        let (is_many, retries, hosts) = (job.is_many(), u16::from(job.retries), job.hosts.len());
        let Some(open) = job.open.get_mut(&item) else {
            return;
        };
        open.refusals = open.refusals.saturating_add(1);
        // An item of a job may still be in time elsewhere.
        open.failures = open.failures.saturating_add(u16::from(why == Refusal::Late));
        let late = why == Refusal::Late && (!is_many || open.failures > retries);
        let tired = !is_many && why == Refusal::Busy && open.refusals >= CALL_REFUSALS_MAX;
        let everywhere =
            !is_many && why == Refusal::Busy && usize::from(open.refusals) >= 2 * hosts;
        job.last_failure = Some(failure.clone());
        if late || spent || tired || everywhere || planted::is(Bug::RefusedForGood) {
            self.fail_item(tag, item, failure, turn);
        } else {
            job.again(item, Reason::Refused);
        }
    }

    /// A host was not reached. That is no failure of the item, which is tried elsewhere while there is
    /// anywhere: until the searches find nobody, or it is too late.
    fn not_sent(&mut self, tag: Tag, item: u64, host: P, spent: bool, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        // Found again by the next search, if it still lives.
        job.drop_host(host);
        self.known.drop_host(job.function, host);
        let may_seek = !job.is_many() && job.searches < CALL_SEARCHES_MAX;
        let is_many = job.is_many();
        let Some(open) = job.open.get_mut(&item) else {
            return;
        };
        open.unreached = open.unreached.saturating_add(1);
        let forlorn = !is_many && open.unreached >= UNREACHED_MAX;
        job.last_failure.get_or_insert(Failure::NoHost);
        if spent || forlorn || planted::is(Bug::NoSecondHost) {
            self.fail_item(tag, item, Failure::NoHost, turn);
        } else {
            let misled = open.unreached.is_multiple_of(MISLED_AT);
            job.again(item, Reason::Retry);
            if misled && may_seek {
                self.seek(tag, turn);
            }
        }
    }

    /// The system failed an attempt, and the function may have been run.
    fn attempt_failed(
        &mut self,
        tag: Tag,
        item: u64,
        host: P,
        why: Failure,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        if let Some(host) = job.host_mut(host) {
            host.failed(turn.now, turn.config.host_pause);
        }
        if !job.is_many() {
            // Found again by the next search, if it still lives.
            job.drop_host(host);
        }
        self.known.drop_host(job.function, host);
        // An anycall whose answer has begun to pass on cannot begin another.
        let begun = !job.is_many() && why == Failure::Cut;
        let Some(open) = job.open.get_mut(&item) else {
            return;
        };
        open.failures = open.failures.saturating_add(1);
        open.started = true;
        let spent = open.failures > job.retries.into();
        job.last_failure = Some(why.clone());
        if planted::is(Bug::LosesItem) && job.is_many() {
            job.done(item, None);
        } else if begun || !job.may_repeat() || planted::is(Bug::NoSecondHost) {
            self.fail_item(tag, item, why, turn);
        } else if spent {
            let why = if job.is_many() { Failure::OutOfAttempts } else { why };
            self.fail_item(tag, item, why, turn);
        } else {
            job.again(item, Reason::Retry);
            if job.hosts.is_empty() {
                self.seek(tag, turn);
            }
        }
    }

    fn finish_item(
        &mut self,
        tag: Tag,
        item: u64,
        mut answer: Answered<P>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        if planted::is(Bug::AnswersOfAnother) {
            let other = job.open.values().find_map(|open| open.running);
            answer.attempt = other.unwrap_or(answer.attempt);
        }
        job.hostless_since = Time::NEVER;
        let ticket = job.ticket;
        let attempts = job.done(item, Some(answer.host));
        if answer.status < 400 {
            job.summary.succeeded += 1;
        } else {
            job.summary.failed += 1;
        }
        if job.is_many() {
            let event = Event::Item { index: item, result: Ok(answer), attempts };
            if planted::is(Bug::AnswersTwice) && item == 1 {
                turn.tell(ticket, event.clone());
            }
            turn.tell(ticket, event);
        } else {
            self.jobs.remove(tag);
            self.conclude(ticket, Event::Done, turn);
        }
    }

    pub(crate) fn fail_item(&mut self, tag: Tag, item: u64, why: Failure, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        let ticket = job.ticket;
        let attempts = job.done(item, None);
        match why {
            Failure::MayHaveStarted | Failure::Cut if job.is_many() => job.summary.unknown += 1,
            _ => job.summary.failed += 1,
        }
        if job.is_many() {
            turn.tell(ticket, Event::Item { index: item, result: Err(why), attempts });
        } else {
            self.jobs.remove(tag);
            self.conclude(ticket, Event::Failed(why), turn);
        }
    }

    pub(crate) fn abort_as(&mut self, tag: Tag, why: &Failure, turn: &mut Turn<'_, P>) {
        let Some(attempt) = self.attempts.remove(tag) else {
            return;
        };
        turn.push(Effect::Abort { attempt: tag });
        if let Some(job) = self.jobs.get_mut(attempt.job) {
            job.over(attempt.item, attempt.host);
            self.fail_item(attempt.job, attempt.item, why.clone(), turn);
        }
    }

    /// The host did not even say that the deadline passed.
    pub(crate) fn attempt_late(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(Attempt { job, item, host, status, .. }) = self.attempts.remove(tag) else {
            return;
        };
        turn.push(Effect::Abort { attempt: tag });
        if let Some(running) = self.jobs.get_mut(job) {
            running.over(item, host);
            self.attempt_failed(job, item, host, broken_off(status), turn);
            self.pump(job, turn);
        }
    }
}

/// What became of a call that broke off, by whether its answer had begun.
const fn broken_off(status: Option<u16>) -> Failure {
    match status {
        Some(_) => Failure::Cut,
        None => Failure::MayHaveStarted,
    }
}
