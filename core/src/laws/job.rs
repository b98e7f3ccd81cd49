//! One request to run something: its items, their attempts, and the results that are told.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::asks::{Allowed, may_have_run};
use super::{Law, Short, Verdict, must};
use crate::few::Map;
use crate::key::{Digest, Name};
use crate::message::Tag;
use crate::time::{Span, Time};
use crate::turn::{Answered, Ending, Failure, Group, Quorum, Summary, Ticket};

/// Before every other tag.
const LEAST: Tag = Tag { slot: 0, epoch: 0, incarnation: 0 };

#[derive(Clone, Debug)]
pub(super) struct Job<P> {
    pub(super) many: bool,
    function: Name,
    deadline: Time,
    /// Of a call: whether the host keeps its body, and its caller's word.
    kept: bool,
    idempotent: bool,
    /// Of a manycall: how many hosts have to give an item the same answer, of how many.
    quorum: Option<Quorum>,

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
    /// Attempts that ended with a whole answer, by their items, which have no result yet.
    complete: BTreeMap<(u64, Tag), Complete<P>>,
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
    host: P,
    status: u16,
    took: Span,
    body: Option<Digest>,
    /// Whether it is the first of its host and of its address group.
    is_voice: bool,
}

impl<P> Complete<P> {
    fn is_like(&self, other: &Self) -> bool {
        let known = self.is_voice && other.is_voice && self.body.is_some();
        known && (other.status, other.body) == (self.status, self.body)
    }
}

impl<P: Copy + Ord + Debug> Job<P> {
    pub(super) fn call(function: Name, deadline: Time, kept: bool, idempotent: bool) -> Self {
        let one = Self { came: 1, wanted: 1, ended: true, ..Self::many(function, deadline, None) };
        Self { many: false, kept, idempotent, ..one }
    }

    pub(super) fn many(function: Name, deadline: Time, quorum: Option<Quorum>) -> Self {
        Self {
            many: true,
            function,
            deadline,
            kept: true,
            idempotent: false,
            quorum: quorum.filter(|quorum| quorum.agree() > 1),
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
        let runs = self.items.get(&item).map_or(0, |tried| usize::from(tried.running));
        let needed = self.quorum.map_or(1, |quorum| usize::from(quorum.agree()));
        let hedges = runs + self.alike(item) >= needed;
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

    pub(super) fn ended(
        &mut self,
        now: Time,
        tag: Tag,
        attempt: Attempt<P>,
        how: Ending,
        body: Option<Digest>,
        groups: &Map<P, Group>,
    ) {
        let Attempt { item, host, since, status, .. } = attempt;
        let started = match (how, status) {
            (Ending::Complete, Some(status)) => {
                let took = now.since(since);
                let group = groups.get(&host);
                let is_one = |other: &Complete<P>| {
                    other.host == host || group.is_some() && groups.get(&other.host) == group
                };
                let is_voice = !self.complete_of(item).any(is_one);
                let complete = Complete { host, status, took, body, is_voice };
                self.complete.insert((item, tag), complete);
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
        let complete = self.head.and_then(|head| self.complete.get(&(0, head)));
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
        let alike = self.alike(item);
        let voices = self.complete_of(item).filter(|complete| complete.is_voice).count();
        let complete = self.complete_of_attempt(item, result);
        self.forget(item);
        if let Some(quorum) = self.quorum {
            let enough = alike >= usize::from(quorum.agree());
            let lawful = enough == result.is_ok() && voices <= usize::from(quorum.of());
            must(lawful, Law::Quorum, || {
                format!(
                    "item {item} of ticket {ticket} ends in {result:?}, with {alike} hosts alike \
                     of {voices}, where {quorum:?} is wanted"
                )
            })?;
        }
        match result {
            Ok(answered) => self.answered(ticket, item, answered, complete),
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

    fn complete_of(&self, item: u64) -> impl Iterator<Item = &Complete<P>> {
        let from = self.complete.range((item, LEAST)..);
        from.take_while(move |((of, _), _)| *of == item).map(|(_, complete)| complete)
    }

    /// How many hosts gave an item the same answer, at most.
    fn alike(&self, item: u64) -> usize {
        if self.quorum.is_none() {
            return 0;
        }
        let like = |one: &Complete<P>| self.complete_of(item).filter(|it| it.is_like(one)).count();
        self.complete_of(item).map(like).max().unwrap_or(0)
    }

    /// The answer that an item's result is said to be, if there is one that counts.
    fn complete_of_attempt(
        &self,
        item: u64,
        result: &Result<Answered<P>, Failure>,
    ) -> Option<Complete<P>> {
        let attempt = result.as_ref().ok()?.attempt;
        let complete = self.complete.get(&(item, attempt)).copied()?;
        let alike = self.complete_of(item).filter(|it| it.is_like(&complete)).count();
        let enough = self.quorum.is_none_or(|quorum| alike >= usize::from(quorum.agree()));
        enough.then_some(complete)
    }

    fn forget(&mut self, item: u64) {
        while let Some((at, _)) = self.complete.range((item, LEAST)..).next()
            && at.0 == item
        {
            let at = *at;
            self.complete.remove(&at);
        }
    }

    fn answered(
        &mut self,
        ticket: Ticket,
        item: u64,
        answered: &Answered<P>,
        is: Option<Complete<P>>,
    ) -> Verdict {
        let Answered { attempt, host, status, took } = *answered;
        self.hosts.insert(host);
        self.sum.succeeded += u64::from(status < 400);
        self.sum.failed += u64::from(status >= 400);
        let says = is.map(|is| (is.host, is.status, is.took));
        must(says == Some((host, status, took)), Law::Execution, || {
            let says = format!("item {item} of ticket {ticket} is answered by {}", Short(attempt));
            match is {
                Some(Complete { host: by, status: is, took: after, .. }) => format!(
                    "{says}: {status} by {host:?} after {took:?}, which answered {is} by {by:?} \
                     after {after:?}"
                ),
                None => {
                    format!("{says}, which has no whole answer that counts, or was told before")
                }
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
