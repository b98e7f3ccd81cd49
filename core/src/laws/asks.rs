//! Users' requests: what each is told, and the attempts that are made for it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::job::{Attempt, Job};
use super::{Law, Short, Tags, Verdict, must};
use crate::few::{Map, Set};
use crate::idle::Idle;
use crate::key::{Digest, Name};
use crate::message::Tag;
use crate::record::Record;
use crate::time::Time;
use crate::turn::{Ending, Event, Failure, Group, ItemKey, Request, Ticket};

#[derive(Clone, Debug)]
pub(super) struct Asks<P> {
    open: Map<Ticket, Ask<P>>,
    ever: Set<Ticket>,
    tags: Idle<Tags>,
    attempts: Map<Tag, Attempt<P>>,
    /// Aborted ones whose Ended may have been under way.
    aborted: Set<Tag>,
    allowed: Map<Name, Allowed>,
    /// The address groups of those that were met.
    groups: Map<P, Group>,
}

/// What was asked for.
#[derive(Clone, Debug)]
enum Ask<P> {
    Meet,
    Lookup,
    Hosts,
    Deploy(Name, u64),
    Remove(Name, u64),
    List,
    Drain,
    /// A call or a manycall.
    Job(Box<Job<P>>),
    /// Which request, and whether it was open.
    Cancel(Ticket, bool),
}

/// What the records of a function that this core has seen say of running it twice. Which of them
/// the core goes by is its own decision: one of any version that allows it is enough.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Allowed {
    pub(super) said_yes: bool,
    pub(super) unsaid: bool,
}

impl<P: Copy + Ord + Debug> Asks<P> {
    pub(super) const fn new() -> Self {
        Self {
            open: Map::new(),
            ever: Set::new(),
            tags: Idle::new(),
            attempts: Map::new(),
            aborted: Set::new(),
            allowed: Map::new(),
            groups: Map::new(),
        }
    }

    /// A record was seen.
    pub(super) fn learn(&mut self, record: &Record) {
        if let Some(spec) = &record.spec {
            let allowed = self.allowed.get_or_default(record.function);
            allowed.said_yes |= spec.idempotent == Some(true);
            allowed.unsaid |= spec.idempotent.is_none();
        }
    }

    pub(super) fn ask(&mut self, ticket: Ticket, request: &Request<P>) -> Verdict {
        let ask = match request {
            Request::Meet(_) => Ask::Meet,
            Request::Lookup(_) => Ask::Lookup,
            Request::Hosts(_) => Ask::Hosts,
            Request::Deploy(record) => {
                self.learn(record);
                Ask::Deploy(record.function, record.version)
            }
            Request::Remove(record) => Ask::Remove(record.function, record.version),
            Request::List => Ask::List,
            Request::Drain => Ask::Drain,
            Request::Call { function, deadline, kept, idempotent } => {
                Ask::Job(Box::new(Job::call(*function, *deadline, *kept, *idempotent)))
            }
            Request::Many { function, deadline, quorum, .. } => {
                let deadline = deadline.unwrap_or(Time::NEVER);
                Ask::Job(Box::new(Job::many(*function, deadline, *quorum)))
            }
            Request::Cancel(other) => Ask::Cancel(*other, self.open.contains_key(other)),
        };
        self.open.insert(ticket, ask);
        let fresh = self.ever.insert(ticket);
        must(fresh, Law::Ticket, || format!("ticket {ticket} is used again"))
    }

    fn job(&mut self, ticket: Ticket) -> Option<&mut Job<P>> {
        match self.open.get_mut(&ticket) {
            Some(Ask::Job(job)) => Some(job),
            _ => None,
        }
    }

    /// Attempts that run for a request.
    pub(super) fn running(&self, ticket: Ticket) -> u32 {
        match self.open.get(&ticket) {
            Some(Ask::Job(job)) => job.running,
            _ => 0,
        }
    }

    pub(super) fn want(&mut self, ticket: Ticket, n: u32) -> Verdict {
        let many = self.job(ticket).filter(|job| job.many && !job.ended);
        let Some(job) = many else {
            let what = format!("ticket {ticket} wants {n} items, and no more can come");
            return Err((Law::Credit, what));
        };
        job.wanted += u64::from(n);
        Ok(())
    }

    /// Those of a request that has ended have crossed its end.
    pub(super) fn items(&mut self, ticket: Ticket, n: u32, ended: bool) -> Verdict {
        let Some(job) = self.job(ticket) else { return Ok(()) };
        let was_ended = core::mem::replace(&mut job.ended, ended);
        job.came += u64::from(n);
        let (came, wanted) = (job.came, job.wanted);
        job.came = came.min(wanted);
        must(came <= wanted && !was_ended, Law::Credit, || {
            format!("{came} items of ticket {ticket} came where {wanted} were wanted")
        })
    }

    pub(super) fn taken(&mut self, ticket: Ticket, n: u32) -> Verdict {
        let Some(job) = self.job(ticket) else { return Ok(()) };
        job.taken += u64::from(n);
        let (taken, told) = (job.taken, job.results);
        must(taken <= told, Law::Credit, || {
            format!("{taken} results of ticket {ticket} are taken where {told} were told")
        })
    }

    pub(super) fn dispatch(
        &mut self,
        now: Time,
        attempt: Tag,
        (ticket, item, host): (Ticket, u64, P),
        function: Name,
        deadline: Time,
    ) -> Verdict {
        let beside = self.job(ticket).is_some_and(|job| !job.many && job.running > 0);
        let same = |other: &Attempt<P>| other.ticket == ticket && other.host == host;
        let twice = beside && self.attempts.values().any(same);
        let new = Attempt { ticket, item, host, since: now, status: None };
        self.attempts.insert(attempt, new);
        self.tags.take(attempt)?;
        let allowed = self.allowed.get(&function).copied().unwrap_or_default();
        let Some(job) = self.job(ticket) else {
            let what = format!("{} is for ticket {ticket}, which runs nothing", Short(attempt));
            return Err((Law::Dispatch, what));
        };
        job.dispatched(ticket, item, function, deadline, allowed)?;
        must(!twice, Law::Dispatch, || format!("ticket {ticket} is sent twice to {host:?}"))
    }

    pub(super) fn head(&mut self, tag: Tag, status: u16) -> Verdict {
        let Some(attempt) = self.attempts.get_mut(&tag) else {
            let crossed = self.aborted.contains(&tag);
            return must(crossed, Law::Attempt, || {
                format!("{} has a head after its end", Short(tag))
            });
        };
        let before = attempt.status.replace(status);
        must(before.is_none(), Law::Attempt, || format!("{} has a second head", Short(tag)))
    }

    pub(super) fn ended(
        &mut self,
        now: Time,
        tag: Tag,
        how: Ending,
        body: Option<Digest>,
    ) -> Verdict {
        let Some(attempt) = self.attempts.remove(&tag) else {
            let crossed = self.aborted.remove(&tag);
            return must(crossed, Law::Attempt, || format!("{} ends after its end", Short(tag)));
        };
        if let Some(Ask::Job(job)) = self.open.get_mut(&attempt.ticket) {
            job.ended(now, tag, attempt, how, body, &self.groups);
        }
        Ok(())
    }

    /// A peer was met: where its group was known, that it can't be told now changes nothing.
    pub(super) fn met(&mut self, peer: P, group: Option<Group>) {
        if let Some(group) = group {
            self.groups.insert(peer, group);
        }
    }

    /// Returns the request that it was for, where that has ended.
    pub(super) fn abort(
        &mut self,
        tag: Tag,
        crosses: bool,
    ) -> Result<Option<Ticket>, (Law, String)> {
        let Some(attempt) = self.attempts.remove(&tag) else {
            return Err((Law::Attempt, format!("{} is aborted after its end", Short(tag))));
        };
        if crosses {
            self.aborted.insert(tag);
        }
        let Some(job) = self.job(attempt.ticket) else {
            return Ok(Some(attempt.ticket));
        };
        job.aborted(attempt.item);
        Ok(None)
    }

    /// Judges what a user is told. Returns what has to be kept before that.
    pub(super) fn told(
        &mut self,
        ticket: Ticket,
        event: &Event<P>,
    ) -> Result<Option<(ItemKey, u64)>, (Law, String)> {
        let of_it = if event.is_final() {
            self.open.remove(&ticket)
        } else {
            return self.hears(ticket, event).map(|()| None);
        };
        let Some(ask) = of_it else {
            return Err((Law::FinalTell, format!("ticket {ticket} hears {event:?} after its end")));
        };
        match (ask, event) {
            (Ask::Deploy(function, version), Event::Deployed { .. })
            | (Ask::Remove(function, version), Event::Removed) => {
                Ok(Some((ItemKey::Record(function), version)))
            }
            (Ask::Job(job), Event::Done) if !job.many => job.done(ticket).map(|()| None),
            (Ask::Job(job), Event::Finished(sum)) if job.many => {
                job.finished(ticket, sum).map(|()| None)
            }
            (Ask::Job(job), Event::Failed(why)) => job.failed(ticket, why).map(|()| None),
            (Ask::Cancel(other, was_open), Event::Cancelled(did)) => {
                let open = self.open.contains_key(&other);
                must(*did == was_open && !open, Law::Asked, || {
                    format!("ticket {other} was open: {was_open}; is: {open}; cancelled: {did}")
                })
                .map(|()| None)
            }
            (Ask::Meet, Event::Met(_))
            | (Ask::Lookup, Event::Found { .. })
            | (Ask::Hosts, Event::Hosts { .. })
            | (Ask::Deploy(..), Event::NotPlaced(_))
            | (Ask::List, Event::Listed(_))
            | (Ask::Drain, Event::Drained)
            | (_, Event::Failed(_)) => Ok(None),
            (_, event) => {
                Err((Law::Asked, format!("ticket {ticket} hears {event:?}, which it did not ask")))
            }
        }
    }

    /// What is not final.
    fn hears(&mut self, ticket: Ticket, event: &Event<P>) -> Verdict {
        let Self { open, attempts, .. } = self;
        let job = match open.get_mut(&ticket) {
            Some(Ask::Job(job)) => job,
            Some(_) => {
                let what = format!("ticket {ticket} hears {event:?}, which it did not ask");
                return Err((Law::Asked, what));
            }
            None => {
                let what = format!("ticket {ticket} hears {event:?} after its end");
                return Err((Law::FinalTell, what));
            }
        };
        match event {
            Event::Head { attempt, host, attempts: n } => {
                let open = attempts.get(attempt).filter(|open| open.ticket == ticket);
                job.head(ticket, *attempt, open.copied(), *host, *n)
            }
            Event::Item { index, result, attempts: n } => job.item(ticket, *index, result, *n),
            Event::Met(_)
            | Event::Found { .. }
            | Event::Hosts { .. }
            | Event::Deployed { .. }
            | Event::Removed
            | Event::Listed(_)
            | Event::Drained
            | Event::Done
            | Event::Finished(_)
            | Event::Cancelled(_)
            | Event::Failed(_)
            | Event::NotPlaced(_) => Ok(()),
        }
    }

    pub(super) fn left(&self, left: &mut Vec<(Law, String)>) {
        let asks = self.open.keys();
        left.extend(asks.map(|ticket| (Law::FinalTell, format!("ticket {ticket} never ended"))));
        let attempts = self.attempts.iter();
        left.extend(attempts.map(|(tag, attempt)| {
            let Attempt { ticket, item, .. } = attempt;
            let what = format!("{}, for item {item} of ticket {ticket}, never ended", Short(*tag));
            (Law::Attempt, what)
        }));
    }
}

/// Whether a failure says that the function may have been run.
pub(super) const fn may_have_run(why: &Failure) -> bool {
    matches!(why, Failure::MayHaveStarted | Failure::Cut)
}
