//! One more attempt on a distinct host, for a reason: how it is made, how it ends, and what follows.
//! The same for an anycall and for each item of a manycall.

use alloc::vec::Vec;

use crate::call::CALL_SEARCHES_MAX;
use crate::choice::Repeat;
use crate::key::{Digest, Peer};
use crate::machine::Core;
use crate::message::Tag;
use crate::note::{Note, Reason};
use crate::planted::{self, Bug};
use crate::quorum::Heard;
use crate::record::Load;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Answered, Effect, Ending, Event, Failure, Refusal, Stay, Turn};

/// How long a dispatched call may outlast its deadline before the core gives it up itself.
const OVERTIME: Span = Span::secs(1);
/// Times an anycall is refused as too busy before its caller hears it: within two round trips.
const CALL_REFUSALS_MAX: usize = 2;
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
    pub(crate) host: P,
    since: Time,
    status: Option<u16>,
}

impl<P> Attempt<P> {
    /// Whether its answer has begun.
    pub(crate) const fn has_head(&self) -> bool {
        self.status.is_some()
    }
}

/// An attempt that is over.
#[derive(Copy, Clone, Debug)]
struct Over<P> {
    job: Tag,
    item: u64,
    host: P,
    since: Time,
    /// Whether another one of the same item is under way: then nothing is lost yet.
    other: bool,
}

impl<P: Peer> Core<P> {
    pub(crate) fn dispatch(&mut self, tag: Tag, item: u64, host: P, turn: &mut Turn<'_, P>) {
        let since = turn.now;
        let attempt = self
            .attempts
            .insert(self.incarnation, Attempt { job: tag, item, host, since, status: None });
        let job = self.jobs.get_mut(tag).expect("its job dispatches it");
        let reason = job.begin(item, host, attempt, turn.now);
        self.standings.called(host, turn.now, turn.config.standings_max);
        let mut deadline = job.deadline.min(turn.now + job.timeout);
        if planted::is(Bug::OutlivesDeadline) {
            deadline = turn.now + job.timeout;
        }
        let (ticket, function) = (job.ticket, job.function);
        self.timers.add(deadline + OVERTIME, Timer::Attempt(attempt));
        if job.lacks(item) > 0 {
            job.again(item, Reason::Quorum);
        }
        turn.note(|| Note::Attempt { ticket, item, host, reason });
        turn.push(Effect::Dispatch { attempt, ticket, item, to: host, function, deadline });
    }

    pub(crate) fn head(
        &mut self,
        tag: Tag,
        status: u16,
        load: Option<Load>,
        stay: Option<Stay>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(attempt) = self.attempts.get_mut(tag) else {
            return;
        };
        if attempt.status.replace(status).is_some() {
            return;
        }
        let Attempt { job: of, item, host, .. } = *attempt;
        let took = turn.now.since(attempt.since);
        let way = stay.map(|stay| took.less(stay.waited).less(stay.ran));
        self.standings.heard(host, load, way, turn.now);
        let Some(job) = self.jobs.get_mut(of) else {
            return;
        };
        if let Some(known) = job.host_mut(host) {
            known.heard(stay, &self.standings.get(host));
        }
        if !job.is_many() {
            let attempts = job.open.get(&item).map_or(0, |open| open.attempts);
            turn.tell(job.ticket, Event::Head { attempt: tag, host, attempts });
            self.outrun(of, item, Some(tag), turn);
        }
        if let Some(load) = load {
            self.hear_load(host, load);
        }
    }

    /// Takes an attempt off the books of its job and host.
    fn over(&mut self, tag: Tag, turn: &Turn<'_, P>) -> Option<(Over<P>, Option<u16>)> {
        let Attempt { job, item, host, since, status } = self.attempts.remove(tag)?;
        self.standings.over(host, turn.now, turn.config.standings_max);
        let other = self.jobs.get_mut(job)?.over(item, host, tag);
        Some((Over { job, item, host, since, other }, status))
    }

    pub(crate) fn ended(
        &mut self,
        tag: Tag,
        how: Ending,
        body: Option<Digest>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some((over, status)) = self.over(tag, turn) else {
            return;
        };
        match (how, status) {
            (Ending::Complete, Some(status)) => {
                self.was_answered(over, tag, (status, body), turn);
            }
            (Ending::Refused { why, load, spent }, _) => {
                self.was_refused(over, why, load, spent, turn);
            }
            (Ending::NotSent { spent }, _) => self.not_sent(over, spent, turn),
            (Ending::Cut | Ending::Complete | Ending::MayHaveStarted, _) => {
                self.attempt_failed(over, broken_off(status), turn);
            }
        }
        self.pump(over.job, turn);
    }

    fn was_answered(
        &mut self,
        over: Over<P>,
        tag: Tag,
        (status, body): (u16, Option<Digest>),
        turn: &mut Turn<'_, P>,
    ) {
        let Over { item, host, since, .. } = over;
        let took = turn.now.since(since);
        self.standings.answered(host, took, turn.now);
        let answer = Answered { attempt: tag, host, status, took };
        let Some(job) = self.jobs.get_mut(over.job) else {
            return;
        };
        job.took(took);
        job.hostless_since = Time::NEVER;
        if let Some(known) = job.host_mut(host) {
            known.answered(&self.standings.get(host));
        }
        match job.hear(item, &answer, body, &self.groups) {
            Heard::Agreed => self.finish_item(over.job, item, answer, turn),
            Heard::Lost => self.abort_item(over.job, item, Failure::NoQuorum, turn),
            Heard::Open if job.lacks(item) > 0 => job.again(item, Reason::Quorum),
            Heard::Open => {}
        }
    }

    fn was_refused(
        &mut self,
        over: Over<P>,
        why: Refusal,
        load: Option<Load>,
        spent: bool,
        turn: &mut Turn<'_, P>,
    ) {
        let Over { job: tag, item, host, .. } = over;
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        let failure = match why {
            Refusal::Busy => {
                job.hostless_since = Time::NEVER;
                let pause = self.standings.refused(host, load, over.since, turn.now);
                if let Some(known) = job.host_mut(host) {
                    known.refused(pause, turn.now, &self.standings.get(host));
                }
                Failure::Overloaded
            }
            Refusal::NotHosted => {
                job.drop_host(host);
                self.known.drop_host(job.function, host);
                self.providers.drop_one(job.function, host);
                Failure::NoHost
            }
            Refusal::Late => Failure::Late,
        };
        let (is_many, retries, hosts) = (job.is_many(), u16::from(job.retries), job.hosts.len());
        let Some(open) = job.open.get_mut(&item).filter(|_| !over.other) else {
            return;
        };
        open.refusals = open.refusals.saturating_add(u16::from(why == Refusal::Busy));
        // An item of a job may still be in time elsewhere.
        open.failures = open.failures.saturating_add(u16::from(why == Refusal::Late));
        let late = why == Refusal::Late && (!is_many || open.failures > retries);
        let refusals_max =
            if planted::is(Bug::TriesAll) { 8 } else { CALL_REFUSALS_MAX.min(hosts) };
        let refused = usize::from(open.refusals) >= refusals_max;
        let tired = !is_many && why == Refusal::Busy && refused;
        job.last_failure = Some(failure.clone());
        // There should be others, who may have less to do.
        if tired && !spent && (job.knows_few() || job.searching) {
            job.again(item, Reason::Refused);
            self.seek(tag, turn);
            return;
        }
        if late || spent || tired || planted::is(Bug::RefusedForGood) {
            self.abort_item(tag, item, failure, turn);
        } else {
            job.again(item, Reason::Refused);
        }
    }

    /// A host was not reached. That is no failure of the item, which is tried elsewhere while there is
    /// anywhere: until the searches find nobody, or it is too late.
    fn not_sent(&mut self, over: Over<P>, spent: bool, turn: &mut Turn<'_, P>) {
        let Over { job: tag, item, host, since, .. } = over;
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        self.standings.failed(host, turn.config.host_pause, since, turn.now);
        // Found again by the next search, if it still lives. Whoever names ever new ones that do not
        // is not searched with for ever.
        job.drop_host(host);
        if !planted::is(Bug::SearchesForEver) {
            job.hostless_since = job.hostless_since.min(turn.now);
        }
        self.known.drop_host(job.function, host);
        let may_seek = !job.is_many() && job.searches < CALL_SEARCHES_MAX;
        let is_many = job.is_many();
        let Some(open) = job.open.get_mut(&item).filter(|_| !over.other) else {
            return;
        };
        open.unreached = open.unreached.saturating_add(1);
        let forlorn = !is_many && open.unreached >= UNREACHED_MAX;
        job.last_failure.get_or_insert(Failure::NoHost);
        if spent || forlorn || planted::is(Bug::NoSecondHost) {
            self.abort_item(tag, item, Failure::NoHost, turn);
        } else {
            let misled = open.unreached.is_multiple_of(MISLED_AT);
            job.again(item, Reason::Retry);
            if misled && may_seek {
                self.seek(tag, turn);
            }
        }
    }

    /// The system failed an attempt, and the function may have been run.
    fn attempt_failed(&mut self, over: Over<P>, why: Failure, turn: &mut Turn<'_, P>) {
        let Over { job: tag, item, host, since, .. } = over;
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        let pause = self.standings.failed(host, turn.config.host_pause, since, turn.now);
        if let Some(known) = job.host_mut(host) {
            known.failed(pause, turn.now);
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
        if over.other && !planted::is(Bug::ForgetsTheOther) {
            return;
        }
        let spent = open.failures > job.retries.into();
        job.last_failure = Some(why.clone());
        if planted::is(Bug::LosesItem) && job.is_many() {
            job.done(item, None);
        } else if begun || !job.may_repeat() || planted::is(Bug::NoSecondHost) {
            self.abort_item(tag, item, why, turn);
        } else if spent {
            let why = if job.is_many() { Failure::OutOfAttempts } else { why };
            self.abort_item(tag, item, why, turn);
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
        self.outrun(tag, item, None, turn);
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        if planted::is(Bug::AnswersOfAnother) {
            let other = job.open.values().find_map(|open| open.running.first().copied());
            answer.attempt = other.map_or(answer.attempt, |(attempt, _)| attempt);
        }
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

    /// Another host was faster than those that are still at an item, but for one attempt.
    fn outrun(&mut self, tag: Tag, item: u64, but: Option<Tag>, turn: &mut Turn<'_, P>) {
        for slower in self.abort_running(tag, item, but, turn) {
            self.standings.lagged(slower.host, turn.now.since(slower.since), turn.now);
            if let Some(job) = self.jobs.get_mut(tag)
                && planted::is(Bug::CountsStragglers)
            {
                job.summary.items += 1;
            }
        }
    }

    /// Aborts the attempts of an item that are under way, but for one.
    fn abort_running(
        &mut self,
        tag: Tag,
        item: u64,
        but: Option<Tag>,
        turn: &mut Turn<'_, P>,
    ) -> Vec<Over<P>> {
        let open = self.jobs.get(tag).and_then(|job| job.open.get(&item));
        let running = open.map_or(Vec::new(), |open| open.running.clone());
        let mut aborted = Vec::new();
        for (attempt, _) in running.into_iter().filter(|(attempt, _)| Some(*attempt) != but) {
            if let Some((over, _)) = self.over(attempt, turn) {
                turn.push(Effect::Abort { attempt });
                aborted.push(over);
            }
        }
        aborted
    }

    pub(crate) fn fail_item(&mut self, tag: Tag, item: u64, why: Failure, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        let ticket = job.ticket;
        let attempts = job.done(item, None);
        if job.is_many() && why.may_have_run() {
            job.summary.unknown += 1;
        } else {
            job.summary.failed += 1;
        }
        if job.is_many() {
            turn.tell(ticket, Event::Item { index: item, result: Err(why), attempts });
        } else {
            self.jobs.remove(tag);
            self.conclude(ticket, Event::Failed(why), turn);
        }
    }

    /// An item that runs is given up.
    pub(crate) fn abort_item(&mut self, tag: Tag, item: u64, why: Failure, turn: &mut Turn<'_, P>) {
        self.abort_running(tag, item, None, turn);
        self.fail_item(tag, item, why, turn);
    }

    /// Ends a job without another word: what runs for it is aborted.
    pub(crate) fn drop_job(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.remove(tag) else {
            return;
        };
        let most = if planted::is(Bug::AbortsOnlyFirst) { 1 } else { usize::MAX };
        for (attempt, _) in job.open.values().flat_map(|open| open.running.iter().take(most)) {
            if let Some(Attempt { host, .. }) = self.attempts.remove(*attempt) {
                self.standings.over(host, turn.now, turn.config.standings_max);
                if !planted::is(Bug::CancelRunsOn) {
                    turn.push(Effect::Abort { attempt: *attempt });
                }
            }
        }
    }

    /// The host did not even say that the deadline passed.
    pub(crate) fn attempt_late(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        if let Some((over, status)) = self.over(tag, turn) {
            turn.push(Effect::Abort { attempt: tag });
            self.attempt_failed(over, broken_off(status), turn);
            self.pump(over.job, turn);
        }
    }

    /// Near the end of a job, hosts that would idle repeat what has run for too long elsewhere: the
    /// first answer counts.
    pub(crate) fn repeat_stragglers(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        while let Some(job) = self.jobs.get(tag) {
            match job.repeat(turn.now, &self.standings, &self.groups, &mut self.random) {
                Repeat::Now(item, host) => self.dispatch(tag, item, host, turn),
                Repeat::At(at) => return self.wake_job(tag, at, turn),
                Repeat::None => return,
            }
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
