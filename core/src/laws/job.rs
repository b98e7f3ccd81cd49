//! One request to run something: its items, their attempts, and the results that are told.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::asks::{Allowed, may_have_run};
use super::{Law, Short, Verdict, must};
use crate::key::Name;
use crate::message::Tag;
use crate::time::{Span, Time};
use crate::turn::{Answered, Ending, Failure, Summary, Ticket};

#[derive(Clone, Debug)]
pub(super) struct Job<P> {
    pub(super) many: bool,
    function: Name,
    deadline: Time,
    /// Of a call: whether the host keeps its body, and its caller's word.
    kept: bool,
    idempotent: bool,

    pub(super) wanted: u64,
    pub(super) came: u64,
    pub(super) ended: bool,
    pub(super) results: u64,
    pub(super) taken: u64,
    /// Attempts that have neither ended nor been aborted.
    pub(super) running: u32,

    /// Items that were begun and have no result.
    items: BTreeMap<u64, Tried>,
    /// A bit for each item that has its result.
    answered: Vec<u64>,
    /// Attempts that ended with a whole answer that was not told yet.
    complete: BTreeMap<Tag, Complete<P>>,
    /// The attempt whose answer a caller gets.
    head: Option<Tag>,
    hosts: BTreeSet<P>,
    sum: Summary,
}

#[derive(Copy, Clone, Debug)]
pub(super) struct Attempt<P> {
    pub(super) ticket: Ticket,
    pub(super) item: u64,
    pub(super) host: P,
    pub(super) since: Time,
    pub(super) status: Option<u16>,
}

/// An item's attempts.
#[derive(Copy, Clone, Debug, Default)]
struct Tried {
    attempts: u16,
    running: u16,
    /// One that is over may have started.
    started: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Complete<P> {
    item: u64,
    host: P,
    status: u16,
    took: Span,
}

impl<P: Copy + Ord + Debug> Job<P> {
    pub(super) fn call(function: Name, deadline: Time, kept: bool, idempotent: bool) -> Self {
        let one = Self { came: 1, wanted: 1, ended: true, ..Self::many(function, deadline) };
        Self { many: false, kept, idempotent, ..one }
    }

    pub(super) fn many(function: Name, deadline: Time) -> Self {
        Self {
            many: true,
            function,
            deadline,
            kept: true,
            idempotent: false,
            wanted: 0,
            came: 0,
            ended: false,
            results: 0,
            taken: 0,
            running: 0,
            items: BTreeMap::new(),
            answered: Vec::new(),
            complete: BTreeMap::new(),
            head: None,
            hosts: BTreeSet::new(),
            sum: Summary::default(),
        }
    }

    /// Whether what may have been run may be run again: an anycall takes unsaid as no, a manycall
    /// as yes.
    const fn may_repeat(&self, allowed: Allowed) -> bool {
        if self.many {
            allowed.said_yes || allowed.unsaid
        } else {
            self.kept && (self.idempotent || allowed.said_yes)
        }
    }

    fn is_answered(&self, item: u64) -> bool {
        let word = self.answered.get((item / 64) as usize);
        word.is_some_and(|word| word & (1 << (item % 64)) != 0)
    }

    pub(super) fn dispatched(
        &mut self,
        ticket: Ticket,
        item: u64,
        function: Name,
        deadline: Time,
        allowed: Allowed,
    ) -> Verdict {
        let of_it = function == self.function && item < self.came && !self.is_answered(item);
        let in_time = deadline <= self.deadline;
        let repeats = self.may_repeat(allowed);
        self.running += 1;
        self.sum.attempts += 1;
        let hedges = self.items.get(&item).is_some_and(|tried| tried.running > 0);
        self.sum.hedged += u64::from(hedges);
        let tried = self.items.entry(item).or_default();
        let before = *tried;
        tried.attempts = tried.attempts.saturating_add(1);
        tried.running += 1;
        must(of_it && in_time, Law::Dispatch, || {
            format!(
                "item {item} of ticket {ticket}, where {} came, until {deadline:?} of {:?}: \
                 answered, late, or of another function",
                self.came, self.deadline
            )
        })?;
        let untouched = before.running == 0 && !before.started;
        must(untouched || repeats, Law::AtMostOnce, || {
            format!("item {item} of ticket {ticket} may have started, and is dispatched again")
        })
    }

    pub(super) fn ended(&mut self, now: Time, tag: Tag, attempt: Attempt<P>, how: Ending) {
        let Attempt { item, host, since, status, .. } = attempt;
        let started = match (how, status) {
            (Ending::Complete, Some(status)) => {
                let took = now.since(since);
                self.complete.insert(tag, Complete { item, host, status, took });
                true
            }
            (Ending::Complete | Ending::Cut | Ending::MayHaveStarted, _) => true,
            (Ending::NotSent { .. } | Ending::Refused { .. }, _) => false,
        };
        self.over(item, started);
    }

    pub(super) fn aborted(&mut self, item: u64) {
        self.over(item, true);
    }

    fn over(&mut self, item: u64, started: bool) {
        self.running = self.running.saturating_sub(1);
        if let Some(tried) = self.items.get_mut(&item) {
            tried.running = tried.running.saturating_sub(1);
            tried.started |= started;
        }
    }

    pub(super) fn head(
        &mut self,
        ticket: Ticket,
        tag: Tag,
        attempt: Option<Attempt<P>>,
        host: P,
        attempts: u16,
    ) -> Verdict {
        let before = self.head.replace(tag);
        let lawful = attempt
            .is_some_and(|attempt| attempt.status.is_some() && attempt.host == host && !self.many);
        must(lawful && before.is_none(), Law::Execution, || {
            format!(
                "ticket {ticket} hears the head of {} by {host:?}, where that is no attempt with \
                 a head, by {:?}, or not the first",
                Short(tag),
                attempt.map(|attempt| attempt.host)
            )
        })?;
        let made = self.items.get(&0).map_or(0, |tried| tried.attempts);
        must(made == attempts, Law::Execution, || {
            format!("ticket {ticket} hears of {attempts} attempts where {made} were made")
        })
    }

    pub(super) fn done(&self, ticket: Ticket) -> Verdict {
        let complete = self.head.and_then(|head| self.complete.get(&head));
        must(complete.is_some(), Law::Execution, || {
            let head = self.head.map(|tag| format!("{}", Short(tag)));
            let head = head.as_deref().unwrap_or("none");
            format!("ticket {ticket} is done, where the answer of {head} is not complete")
        })
    }

    pub(super) fn item(
        &mut self,
        ticket: Ticket,
        item: u64,
        result: &Result<Answered<P>, Failure>,
        attempts: u16,
    ) -> Verdict {
        must(self.many && item < self.came && !self.is_answered(item), Law::OneResult, || {
            format!("item {item} of ticket {ticket}, where {} came, has one more", self.came)
        })?;
        let (word, bit) = ((item / 64) as usize, 1 << (item % 64));
        if self.answered.len() <= word {
            self.answered.resize(word + 1, 0);
        }
        self.answered[word] |= bit;
        self.results += 1;
        let tried = self.items.remove(&item).unwrap_or_default();
        must(tried.running == 0, Law::OneResult, || {
            format!("item {item} of ticket {ticket} has its result while an attempt runs")
        })?;
        must(tried.attempts == attempts, Law::Execution, || {
            let made = tried.attempts;
            format!("item {item} of ticket {ticket} took {made} attempts, not {attempts}")
        })?;
        match result {
            Ok(answered) => self.answered(ticket, item, answered),
            Err(why) => {
                let unknown = may_have_run(why);
                self.sum.unknown += u64::from(unknown);
                self.sum.failed += u64::from(!unknown);
                must(tried.started || !unknown, Law::Execution, || {
                    format!("item {item} of ticket {ticket} may have started, without an attempt")
                })
            }
        }
    }

    fn answered(&mut self, ticket: Ticket, item: u64, answered: &Answered<P>) -> Verdict {
        let Answered { attempt, host, status, took } = *answered;
        self.hosts.insert(host);
        self.sum.succeeded += u64::from(status < 400);
        self.sum.failed += u64::from(status >= 400);
        let is = self.complete.remove(&attempt);
        must(is == Some(Complete { item, host, status, took }), Law::Execution, || {
            let says = format!("item {item} of ticket {ticket} is answered by {}", Short(attempt));
            match is {
                Some(Complete { item, host: by, status: is, took: after }) => format!(
                    "{says}: {status} by {host:?} after {took:?}, which answered item {item}: {is} \
                     by {by:?} after {after:?}"
                ),
                None => format!("{says}, which has no whole answer, or was told before"),
            }
        })
    }

    pub(super) fn finished(&self, ticket: Ticket, sum: &Summary) -> Verdict {
        let hosts = self.hosts.len() as u32;
        let counted = Summary { items: self.came, hosts, ..self.sum };
        let all = self.ended && self.results == self.came;
        must(all && *sum == counted, Law::OneResult, || {
            let told = self.results;
            format!("ticket {ticket} ends with {told} results of {counted:?}, and says {sum:?}")
        })
    }

    /// The whole job failed.
    pub(super) fn failed(&self, ticket: Ticket, why: &Failure) -> Verdict {
        let started = self.items.values().any(|tried| tried.started);
        must(started || !may_have_run(why), Law::Execution, || {
            format!("ticket {ticket} may have started, without an attempt")
        })
    }
}
