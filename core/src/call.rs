//! Running something somewhere: a job's beginning, its hosts, and which item goes when. An anycall is
//! a manycall of one item.

use alloc::vec::Vec;

use crate::choice::Beyond;
use crate::job::{HOSTLESS_PAUSE, Job, Kind, State};
use crate::key::{Name, Peer, Target};
use crate::machine::{Core, Work};
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::search::{Kind as SearchKind, Outcome, Then};
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Effect, Event, Failure, Quorum, Ticket, Turn};

/// Searches of an anycall for hosts, when those found before are all dead or gone.
pub(crate) const CALL_SEARCHES_MAX: u32 = 3;
/// Credit is given in steps no smaller than this part of the whole, to save messages.
const CREDIT_STEP: u32 = 16;

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
        let mut job =
            Job::new(ticket, function, Kind::Any { kept, idempotent }, (turn.now, deadline));
        job.retries = turn.config.call_retries;
        (job.came, job.ended, job.wanted) = (1, true, 1);
        self.standings.hedges.earn();
        self.begin_job(job, turn);
    }

    pub(crate) fn many(
        &mut self,
        ticket: Ticket,
        function: Name,
        deadline: Option<Time>,
        (retries, quorum): (u8, Option<Quorum>),
        turn: &mut Turn<'_, P>,
    ) {
        let mut job =
            Job::new(ticket, function, Kind::Many, (turn.now, deadline.unwrap_or(Time::NEVER)));
        job.retries = retries;
        job.quorum = quorum.filter(|quorum| quorum.agree() > 1);
        self.begin_job(job, turn);
    }

    fn begin_job(&mut self, job: Job<P>, turn: &mut Turn<'_, P>) {
        let ticket = job.ticket;
        if self.is_unknown(job.function, turn) {
            turn.tell(ticket, Event::Failed(Failure::Unknown));
            return;
        }
        let tag = self.jobs.insert(self.incarnation, job);
        self.asks.insert(ticket, Work::Job(tag));
        self.find_hosts_known(tag, turn);
        self.await_deadline(tag);
        self.pump(tag, turn);
    }

    fn await_deadline(&mut self, tag: Tag) {
        if let Some(job) = self.jobs.get(tag).filter(|job| job.deadline != Time::NEVER) {
            self.timers.add(job.deadline, Timer::Job(tag));
        }
    }

    /// Takes the hosts that this core knows of without asking anybody.
    fn find_hosts_known(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        if let Some(hosting) = self.hosting.get(&job.function) {
            job.asked_all = true;
            job.learn(hosting.record.clone(), turn.config.call_timeout_max);
            job.add_hosts(&[self.me], &self.standings);
            for mate in hosting.mates.iter().filter(|mate| mate.is_trusted(turn.now)) {
                job.add_hosts(&[mate.peer], &self.standings);
            }
        } else if let Some(found) = self.known.fresh(job.function, turn) {
            job.asked_all = found.of_all;
            job.learn(found.record.clone(), turn.config.call_timeout_max);
            job.add_hosts(&found.hosts, &self.standings);
        }
        // A manycall wants all the hosts there are, an anycall any.
        if job.is_many() {
            self.seek(tag, turn);
        }
    }

    pub(crate) fn seek(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
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
        // Whoever first named hosts of an anycall may have misled it, or those have enough to do:
        // further searches ask everybody.
        let busy = job.last_failure == Some(Failure::Overloaded);
        let first = job.partial || !job.is_many() && job.searches == 1 && !busy;
        job.asked_all |= !first;
        let kind = if first { SearchKind::FirstHosts } else { SearchKind::Hosts };
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
                job.add_hosts(&outcome.hosts, &self.standings);
                self.known.put(record.clone(), outcome.hosts, job.asked_all, turn);
                self.learn_if_concerned(&record, turn);
                let Some(job) = self.jobs.get_mut(tag) else {
                    return;
                };
                let before = job.deadline;
                job.learn(record, turn.config.call_timeout_max);
                if job.deadline != before {
                    self.await_deadline(tag);
                }
            }
            None if job.record.is_none() => {
                let function = job.function;
                self.note_absence(function, &absence, turn);
                self.end_job_by(tag, &absence, turn);
                return;
            }
            None => {}
        }
        let Some(job) = self.jobs.get_mut(tag) else {
            return;
        };
        // Whoever runs an item may do so for longer than hosts are looked for.
        let hostless = turn.now.since(job.hostless_since) > turn.config.hostless_max
            && job.open.values().all(|open| open.running.is_empty());
        if job.hosts.is_empty() || hostless {
            let spent = !job.is_many() && job.searches >= CALL_SEARCHES_MAX;
            if spent || hostless {
                let why = job.last_failure.clone().unwrap_or(Failure::NoHost);
                self.end_job_by(tag, &why, turn);
                return;
            }
            job.hostless_since = job.hostless_since.min(turn.now);
            // No other half of it follows: the next one is new, and names again who is back.
            job.partial = false;
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
    pub(crate) fn wake_job(&mut self, tag: Tag, at: Time, turn: &Turn<'_, P>) {
        if let Some(job) = self.jobs.get_mut(tag)
            && (at < job.wake_at || job.wake_at <= turn.now)
        {
            job.wake_at = at;
            self.timers.add(at, Timer::Job(tag));
        }
    }

    /// Brings items and hosts together, as far as there are both; then says how many more items
    /// may come, and ends the job when all are done.
    pub(crate) fn pump(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        while let Some(job) = self.jobs.get_mut(tag) {
            if turn.now >= job.deadline && job.state != State::Late {
                return self.job_due(tag, turn);
            }
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
            match job.beyond_quorum(turn.now, &self.groups) {
                Beyond::Item(item) => {
                    self.abort_item(tag, item, Failure::NoQuorum, turn);
                    continue;
                }
                Beyond::Unless(at) if turn.now >= at => self.seek(tag, turn),
                Beyond::Unless(at) => self.wake_job(tag, at, turn),
                Beyond::None => {}
            }
            let Some(job) = self.jobs.get_mut(tag) else {
                return;
            };
            let pair = job.pair(turn.now, &self.standings, &self.groups, &mut self.random);
            let Some((item, host)) = pair else {
                if let Some(at) = job.next_chance(turn.now) {
                    self.wake_job(tag, at, turn);
                }
                break;
            };
            self.dispatch(tag, item, host, turn);
        }
        self.repeat_stragglers(tag, turn);
        self.hedge(tag, turn);
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
                self.abort_item(tag, item, why, turn);
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
            // Of what must not be run twice nobody may conclude that it was not run.
            let why = if job.may_repeat() { Failure::Late } else { Failure::MayHaveStarted };
            let runs = job.open.iter().filter(|(_, open)| !open.running.is_empty());
            let running: Vec<u64> = runs.map(|(item, _)| *item).collect();
            for item in running {
                self.abort_item(tag, item, why.clone(), turn);
            }
        } else if turn.now >= job.rehost_at || job.is_stranded() && turn.now >= job.search_from() {
            job.rehost_at = Time::NEVER;
            // The other half of a search is no new one. Who failed is left alone for a while, or until
            // he is met again.
            if !job.partial {
                job.gone.retain(|peer| self.standings.is_shunned(*peer, turn.now));
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
}
