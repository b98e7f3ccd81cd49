//! Running something somewhere: one more attempt on a distinct host, for a reason. The same for an
//! anycall and for each item of a manycall.

use crate::job::{HOSTLESS_PAUSE, Job, Kind, State};
use crate::key::{Name, Peer, Target};
use crate::machine::{Core, Work};
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::record::Load;
use crate::search::{Kind as SearchKind, Outcome, Then};
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Answered, Effect, Ending, Event, Failure, Note, Reason, Refusal, Ticket, Turn};

/// Searches of an anycall for hosts, when those found before are all dead or gone.
const CALL_SEARCHES_MAX: u32 = 3;
/// How long a dispatched call may outlast its deadline before the core gives it up itself.
const OVERTIME: Span = Span::secs(1);
/// Credit is given in steps no smaller than this part of the whole, to save messages.
const CREDIT_STEP: u32 = 16;
/// Times an anycall is refused as too busy before its caller hears it.
const CALL_REFUSALS_MAX: u16 = 8;

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
    pub(crate) fn call(
        &mut self,
        ticket: Ticket,
        function: Name,
        deadline: Time,
        kept: bool,
        idempotent: bool,
        turn: &mut Turn<'_, P>,
    ) {
        let mut job = Job::new(ticket, function, Kind::Any { kept, idempotent }, deadline);
        job.retries = turn.config.call_retries;
        (job.came, job.ended, job.wanted) = (1, true, 1);
        self.begin_job(job, turn);
    }

    pub(crate) fn many(
        &mut self,
        ticket: Ticket,
        function: Name,
        deadline: Option<Time>,
        retries: u8,
        turn: &mut Turn<'_, P>,
    ) {
        let mut job = Job::new(ticket, function, Kind::Many, deadline.unwrap_or(Time::NEVER));
        job.retries = retries;
        self.begin_job(job, turn);
    }

    fn begin_job(&mut self, job: Job<P>, turn: &mut Turn<'_, P>) {
        let (ticket, deadline) = (job.ticket, job.deadline);
        let tag = self.jobs.insert(job);
        self.asks.insert(ticket, Work::Job(tag));
        if deadline != Time::NEVER {
            self.timers.add(deadline, Timer::Job(tag));
        }
        self.find_hosts_known(tag, turn);
        self.pump(tag, turn);
    }

    /// Takes the hosts that this core knows of without asking anybody.
    fn find_hosts_known(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        if let Some(hosting) = self.hosting.get(&job.function) {
            job.record = Some(hosting.record.clone());
            job.add_hosts(&[self.me]);
            for mate in &hosting.mates {
                job.add_hosts(&[mate.peer]);
            }
        } else if let Some(found) = self.known.fresh(job.function, turn) {
            job.record = Some(found.record.clone());
            job.add_hosts(&found.hosts);
        }
        // A manycall wants all the hosts there are, an anycall any.
        if job.is_many() {
            self.seek(tag, turn);
        }
    }

    fn seek(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        if job.searching || planted::is(Bug::NoAttempts) {
            return;
        }
        if !job.is_many() && job.searches >= CALL_SEARCHES_MAX {
            let why = job.last_failure.clone().unwrap_or(Failure::NoHost);
            return self.end_job_by(tag, &why, turn);
        }
        job.searching = true;
        job.searches += 1;
        let target = Target::Name(job.function);
        job.partial = job.is_many() && job.hosts.is_empty();
        let kind =
            if job.partial || !job.is_many() { SearchKind::FirstHosts } else { SearchKind::Hosts };
        // Those that just failed are of no use, until it turns out that there are no others.
        let avoid = job.gone.clone();
        self.search_avoiding(target, kind, Then::Job(tag), avoid, turn);
    }

    pub(crate) fn job_searched(&mut self, tag: Tag, outcome: Outcome<P>, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        job.searching = false;
        job.searched_at = turn.now;
        let absence = outcome.absence();
        match outcome.record {
            Some(record) if record.spec.is_none() => {
                self.end_job_by(tag, &Failure::Unknown, turn);
                return;
            }
            Some(record) => {
                job.add_hosts(&outcome.hosts);
                self.known.put(record.clone(), outcome.hosts, turn);
                job.record = Some(record);
            }
            None if job.record.is_none() => {
                self.end_job_by(tag, &absence, turn);
                return;
            }
            None => {}
        }
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        let hostless = turn.now.since(job.hostless_since) > turn.config.hostless_max;
        if job.hosts.is_empty() || hostless {
            let spent = !job.is_many() && job.searches >= CALL_SEARCHES_MAX;
            if spent || hostless {
                let why = job.last_failure.clone().unwrap_or(Failure::NoHost);
                self.end_job_by(tag, &why, turn);
                return;
            }
            job.hostless_since = job.hostless_since.min(turn.now);
            self.wake_job(tag, turn.now + HOSTLESS_PAUSE, turn);
            return;
        }
        if job.is_many() {
            // The first search ended at a first host: now for the others.
            let wait = if job.partial { Span::ZERO } else { turn.config.rehost_period };
            job.rehost_at = turn.now + wait;
            self.wake_job(tag, turn.now + wait, turn);
        }
        self.pump(tag, turn);
    }

    /// Looks at the job again at `at`, or earlier.
    fn wake_job(&mut self, tag: Tag, at: Time, turn: &Turn<'_, P>) {
        if let Some(job) = self.jobs.get_mut(tag)
            && (at < job.wake_at || job.wake_at <= turn.now)
        {
            job.wake_at = at;
            self.timers.add(at, Timer::Job(tag));
        }
    }

    /// Brings items and hosts together, as far as there are both; then says how many more items
    /// may come, and ends the job when all are done.
    fn pump(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        while let Some(job) = self.jobs.get_mut(tag) {
            let Some(item) = job.ready().next() else {
                break;
            };
            if job.state == State::Late {
                self.fail_item(tag, item, Failure::Late, turn);
                continue;
            }
            if job.record.is_none() || job.hosts.is_empty() {
                let at = job.search_from();
                if !job.searching && turn.now >= at {
                    self.seek(tag, turn);
                } else if !job.searching {
                    self.wake_job(tag, at, turn);
                }
                break;
            }
            let Some((item, host)) = job.pair(turn.now, &mut self.random) else {
                if let Some(at) = job.next_chance(turn.now) {
                    self.wake_job(tag, at, turn);
                }
                break;
            };
            self.dispatch(tag, item, host, turn);
        }
        self.give_credit(tag, turn);
        if self.jobs.get(tag).is_some_and(|job| job.is_many() && job.is_finished()) {
            let job = self.jobs.remove(tag).expect("it was just found");
            self.conclude(job.ticket, Event::Finished(job.summary), turn);
        }
    }

    fn give_credit(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        let most = turn.config.items_ahead_max;
        let n = job.credit(most);
        let starving = job.wanted == job.came;
        if job.is_many() && !job.ended && n > 0 && (n >= most / CREDIT_STEP || starving) {
            job.wanted += u64::from(n);
            turn.push(Effect::Want { ticket: job.ticket, n });
        }
    }

    fn dispatch(&mut self, tag: Tag, item: u64, host: P, turn: &mut Turn<'_, P>) {
        let since = turn.now;
        let attempt = self.attempts.insert(Attempt { job: tag, item, host, since, status: None });
        let job = self.jobs.get_mut(tag).expect("its job dispatches it");
        let reason = job.begin(item, host, attempt);
        let timeout = job.record.as_ref().and_then(|record| record.spec.as_ref());
        let timeout = timeout.map_or(Span::secs(60), |spec| spec.timeout);
        let deadline = job.deadline.min(turn.now + timeout);
        let (ticket, function) = (job.ticket, job.function);
        self.timers.add(deadline + OVERTIME, Timer::Attempt(attempt));
        turn.note(|| Note::Attempt { ticket, item, host, reason });
        turn.push(Effect::Dispatch { attempt, ticket, item, to: host, function, deadline });
    }

    pub(crate) fn items(&mut self, ticket: Ticket, n: u32, ended: bool, turn: &mut Turn<'_, P>) {
        let Some(Work::Job(tag)) = self.asks.get(&ticket).copied() else {
            return;
        };
        let Some(job) = self.jobs.get_mut(tag).filter(|job| job.is_many()) else {
            return;
        };
        let n = u64::from(n).min(job.wanted - job.came);
        job.came += n;
        job.ended |= ended;
        self.pump(tag, turn);
    }

    pub(crate) fn taken(&mut self, ticket: Ticket, n: u32, turn: &mut Turn<'_, P>) {
        let Some(Work::Job(tag)) = self.asks.get(&ticket).copied() else {
            return;
        };
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        job.taken = (job.taken + u64::from(n)).min(job.summary.items);
        self.pump(tag, turn);
    }

    pub(crate) fn head(
        &mut self,
        tag: Tag,
        status: u16,
        load: Option<Load>,
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
            (Ending::NotSent, _) => {
                self.attempt_failed(job_tag, item, host, Failure::NoHost, false, turn);
            }
            (Ending::Cut | Ending::Complete | Ending::MayHaveStarted, _) => {
                self.attempt_failed(job_tag, item, host, broken_off(status), true, turn);
            }
        }
        self.pump(job_tag, turn);
    }

    fn was_refused(
        &mut self,
        tag: Tag,
        item: u64,
        host: P,
        (why, load, spent): (Refusal, Load, bool),
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
        let (is_many, retries) = (job.is_many(), u16::from(job.retries));
        let Some(open) = job.open.get_mut(&item) else {
            return;
        };
        let attempts = open.attempts;
        // An item of a job may still be in time elsewhere.
        open.failures += u16::from(why == Refusal::Late);
        let late = why == Refusal::Late && (!is_many || open.failures > retries);
        let tired = !is_many && why == Refusal::Busy && attempts >= CALL_REFUSALS_MAX;
        let everywhere =
            !is_many && why == Refusal::Busy && usize::from(attempts) >= 2 * job.hosts.len();
        job.last_failure = Some(failure.clone());
        if late || spent || tired || everywhere || planted::is(Bug::RefusedForGood) {
            self.fail_item(tag, item, failure, turn);
        } else {
            job.again(item, Reason::Refused);
        }
    }

    /// The system failed an attempt; `started`: the function may have been run.
    fn attempt_failed(
        &mut self,
        tag: Tag,
        item: u64,
        host: P,
        why: Failure,
        started: bool,
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
        open.failures += 1;
        open.started |= started;
        let spent = open.failures > job.retries.into();
        job.last_failure = Some(why.clone());
        if planted::is(Bug::LosesItem) && job.is_many() {
            job.done(item, None);
        } else if begun || started && !job.may_repeat() || planted::is(Bug::NoSecondHost) {
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

    fn fail_item(&mut self, tag: Tag, item: u64, why: Failure, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        let ticket = job.ticket;
        let attempts = job.done(item, None);
        match why {
            _ if job.is_many() && why.may_have_run() => job.summary.unknown += 1,
            _ => job.summary.failed += 1,
        }
        if job.is_many() {
            turn.tell(ticket, Event::Item { index: item, result: Err(why), attempts });
        } else {
            self.jobs.remove(tag);
            self.conclude(ticket, Event::Failed(why), turn);
        }
    }

    /// The whole job fails: one item of an anycall, or everything before any item was begun.
    fn end_job_by(&mut self, tag: Tag, why: &Failure, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get(tag) else {
            return;
        };
        if job.is_many() && job.summary.attempts > 0 {
            let waiting = |job: &Job<P>| {
                let item = job.ready().next()?;
                Some((item, job.open.get(&item).is_some_and(|open| open.started)))
            };
            while let Some((item, started)) = self.jobs.get(tag).and_then(waiting) {
                // Why another item failed says nothing of one that was never begun.
                let of_another = !started && matches!(why, Failure::MayHaveStarted | Failure::Cut);
                let why = if of_another { Failure::NoHost } else { why.clone() };
                self.fail_item(tag, item, why, turn);
            }
            if let Some(job) = self.jobs.get_mut(tag) {
                job.hostless_since = Time::NEVER;
            }
            self.wake_job(tag, turn.now + HOSTLESS_PAUSE, turn);
            self.pump(tag, turn);
            return;
        }
        let ticket = job.ticket;
        self.drop_job(tag, turn);
        self.conclude(ticket, Event::Failed(why.clone()), turn);
    }

    /// Ends a job without another word: what runs for it is aborted.
    pub(crate) fn drop_job(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.remove(tag) else {
            return;
        };
        for attempt in job.open.values().filter_map(|open| open.running) {
            if self.attempts.remove(attempt).is_some() && !planted::is(Bug::CancelRunsOn) {
                turn.push(Effect::Abort { attempt });
            }
        }
    }

    pub(crate) fn job_due(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        if turn.now >= job.deadline && job.state != State::Late {
            if !job.is_many() {
                let ticket = job.ticket;
                self.drop_job(tag, turn);
                self.conclude(ticket, Event::Failed(Failure::Late), turn);
                return;
            }
            job.state = State::Late;
            let running = job.open.values().filter_map(|open| open.running);
            let running: alloc::vec::Vec<Tag> = running.collect();
            for attempt in running {
                self.abort_as(attempt, &Failure::Late, turn);
            }
        } else if turn.now >= job.rehost_at || job.is_stranded() && turn.now >= job.search_from() {
            job.rehost_at = Time::NEVER;
            // The other half of a search is no new one.
            if !job.partial {
                job.gone.clear();
            }
            self.seek(tag, turn);
        }
        self.pump(tag, turn);
        if let Some(job) = self.jobs.get(tag)
            && job.rehost_at != Time::NEVER
        {
            self.wake_job(tag, job.rehost_at, turn);
        }
    }

    fn abort_as(&mut self, tag: Tag, why: &Failure, turn: &mut Turn<'_, P>) {
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
            self.attempt_failed(job, item, host, broken_off(status), true, turn);
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
