//! The state of one request to run something: items, hosts, and which of them meet. An anycall is
//! a manycall of one item.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::choice::Host;
use crate::groups::Groups;
use crate::key::{Digest, Name, Peer};
use crate::message::Tag;
use crate::note::Reason;
use crate::planted::{self, Bug};
use crate::quorum::{self, Heard, Voices};
use crate::record::Record;
use crate::standing::average;
use crate::time::{Span, Time};
use crate::turn::{Answered, Failure, Quorum, Summary, Ticket};

/// How long a job without a host waits before it searches again.
pub(crate) const HOSTLESS_PAUSE: Span = Span::ms(500);
/// Items that failed which are looked at to find one that a host can take.
const AGAIN_LOOKED_AT: usize = 16;
/// Items that wait for further voices before no more are begun, until so few wait as are looked at.
const GATHERED: usize = 64;
const _: () = assert!(AGAIN_LOOKED_AT < GATHERED);
/// Items that run which are looked at to find one that an idle host can repeat.
const STRAGGLERS_LOOKED_AT: usize = 16;
/// Hosts that had an item before which are remembered: more than it is tried on by any right host.
const TRIED_MAX: usize = 64;

/// A call or a manycall under way.
#[derive(Debug)]
pub(crate) struct Job<P> {
    pub(crate) ticket: Ticket,
    pub(crate) function: Name,
    pub(crate) kind: Kind,
    /// When it was asked for.
    began: Time,
    /// When all of it is too late.
    pub(crate) deadline: Time,
    /// How long an attempt may take.
    pub(crate) timeout: Span,
    /// Further attempts an item after failures of the system.
    pub(crate) retries: u8,
    /// How many hosts have to give an item the same answer, where it is more than one.
    pub(crate) quorum: Option<Quorum>,
    pub(crate) record: Option<Arc<Record>>,
    /// At most [`HOSTS_MAX`](crate::choice::HOSTS_MAX).
    pub(crate) hosts: Vec<Host<P>>,
    /// Hosts that were dropped, which the next search need not name again.
    pub(crate) gone: Vec<P>,
    /// Whether a search for hosts is under way.
    pub(crate) searching: bool,
    /// Whether that search ends at the first host, though all are wanted.
    pub(crate) partial: bool,
    /// Whether everybody who may know a host was asked, or is being asked.
    pub(crate) asked_all: bool,
    /// Searches made.
    pub(crate) searches: u32,
    /// When the last search ended.
    pub(crate) searched_at: Time,
    /// When to look for further hosts.
    pub(crate) rehost_at: Time,
    /// The earliest wake that was asked for.
    pub(crate) wake_at: Time,
    /// Since when no host was found, or none of those that were found has run anything.
    pub(crate) hostless_since: Time,
    /// Why the last attempt failed; what the user hears if there is no other.
    pub(crate) last_failure: Option<Failure>,

    /// Items that came.
    pub(crate) came: u64,
    /// Whether all have come.
    pub(crate) ended: bool,
    /// Items that the host was told it may bring.
    pub(crate) wanted: u64,
    /// Results that the user took.
    pub(crate) taken: u64,
    /// The first item that was never begun.
    next: u64,
    /// Items begun and not done.
    pub(crate) open: BTreeMap<u64, Open<P>>,
    /// Of these, those that wait for another attempt, in the order of their turns.
    again: BTreeMap<u64, u64>,
    /// Whether there are too few of them to draw from.
    gathers: bool,
    /// Of these, those with just as many attempts under way as they need, by when the last began.
    alone: BTreeSet<(Time, u64)>,
    /// The last turn.
    turns: u64,
    /// What an item takes, from dispatch to end, moving average; zero: unknown.
    took: Span,
    /// Hosts that answered.
    answered: BTreeSet<P>,
    pub(crate) summary: Summary,
    pub(crate) state: State,
}

/// Whether there is one item or many.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// One; its body may be kept for another attempt, and its caller may allow one.
    Any { kept: bool, idempotent: bool },
    /// Any number.
    Many,
}

/// How far it is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Running,
    /// Its deadline passed: what is left is late.
    Late,
}

/// An item that was begun.
#[derive(Debug)]
pub(crate) struct Open<P> {
    pub(crate) attempts: u16,
    /// Attempts that may have been begun and failed by the system's fault, or came too late.
    pub(crate) failures: u16,
    /// Whether an attempt that failed may have run it.
    pub(crate) started: bool,
    /// Attempts that were refused by hosts that had enough to do.
    pub(crate) refusals: u16,
    /// Attempts that reached no host.
    pub(crate) unreached: u16,
    reason: Reason,
    /// Answers that wait for others like them.
    pub(crate) voices: Voices<P>,
    /// The attempts under way, and where: one, or as many as a quorum lacks; and one that repeats one.
    pub(crate) running: Vec<(Tag, P)>,
    /// When the last of them began.
    pub(crate) since: Time,
    /// Its turn among those that wait.
    waits: Option<u64>,
    /// Hosts that had their chance.
    pub(crate) tried: Vec<P>,
}

impl<P: Peer> Open<P> {
    /// Whether a host, or one of its group, has answered the item or is at it.
    pub(crate) fn has_voice(&self, host: P, groups: &Groups<P>) -> bool {
        let runs = |(_, at): &(Tag, P)| quorum::are_one(*at, host, groups);
        self.voices.heard_of(host, groups) || self.running.iter().any(runs)
    }
}

impl<P: Peer> Job<P> {
    pub(crate) fn new(
        ticket: Ticket,
        function: Name,
        kind: Kind,
        (began, deadline): (Time, Time),
    ) -> Self {
        Self {
            ticket,
            function,
            kind,
            began,
            deadline,
            timeout: Span::ZERO,
            retries: 0,
            quorum: None,
            record: None,
            hosts: Vec::new(),
            gone: Vec::new(),
            searching: false,
            partial: false,
            asked_all: false,
            searches: 0,
            searched_at: Time(0),
            rehost_at: Time::NEVER,
            wake_at: Time::NEVER,
            hostless_since: Time::NEVER,
            last_failure: None,
            came: 0,
            ended: false,
            wanted: 0,
            taken: 0,
            next: 0,
            open: BTreeMap::new(),
            again: BTreeMap::new(),
            gathers: true,
            alone: BTreeSet::new(),
            turns: 0,
            took: Span::ZERO,
            answered: BTreeSet::new(),
            summary: Summary::default(),
            state: State::Running,
        }
    }

    /// Takes what the function's owner says of it: for an anycall, its time counts from when it was
    /// asked for, however many attempts that takes; each attempt of a manycall has it anew.
    pub(crate) fn learn(&mut self, record: Arc<Record>, timeout_max: Span) {
        self.timeout = record.timeout(timeout_max);
        if !self.is_many() {
            self.deadline = self.deadline.min(self.began + self.timeout);
        }
        self.record = Some(record);
    }

    /// Whether fewer hosts are known than there should be, of which nobody was asked yet who may know
    /// others: an anycall's search ends at the first.
    pub(crate) fn knows_few(&self) -> bool {
        let spec = self.record.as_ref().and_then(|record| record.spec.as_ref());
        let least = spec.map_or(0, |spec| usize::from(spec.replicas.0));
        self.hosts.len() < least && !self.asked_all && !planted::is(Bug::KnowsFew)
    }

    pub(crate) fn is_many(&self) -> bool {
        self.kind == Kind::Many
    }

    /// Whether an item that may have been run may be run again.
    pub(crate) fn may_repeat(&self) -> bool {
        if planted::is(Bug::RunsAgain) {
            return true;
        }
        let said = self.record.as_ref().and_then(|record| record.spec.as_ref()?.idempotent);
        match self.kind {
            Kind::Any { kept, idempotent } => kept && (idempotent || said == Some(true)),
            Kind::Many => said != Some(false),
        }
    }

    /// The items that wait for a host, in the order of their turns: some of those that failed,
    /// then the next.
    pub(crate) fn ready(&self) -> impl Iterator<Item = u64> + '_ {
        let again = self.again.values().copied().take(AGAIN_LOOKED_AT);
        again.chain((self.next < self.came).then_some(self.next))
    }

    /// Whether further items are begun, rather than those that wait for another voice.
    pub(crate) fn gathers(&mut self) -> bool {
        self.gathers = match self.again.len() {
            few if few < AGAIN_LOOKED_AT => true,
            many if many >= GATHERED => false,
            _ => self.gathers,
        };
        self.gathers
    }

    /// Whether an item was never begun.
    pub(crate) fn is_new(&self, item: u64) -> bool {
        item == self.next
    }

    /// Whether items wait and no host is known.
    pub(crate) fn is_stranded(&self) -> bool {
        self.hosts.is_empty() && self.ready().next().is_some()
    }

    /// From when on another search pays: after one that found nobody of use, not at once.
    pub(crate) fn search_from(&self) -> Time {
        if self.hostless_since == Time::NEVER {
            return Time(0);
        }
        self.searched_at + HOSTLESS_PAUSE
    }

    /// The items that nobody repeats yet, the oldest first, and since when they run; none while any
    /// waits for a host, or may still come.
    pub(crate) fn stragglers(&self) -> impl Iterator<Item = (Time, u64)> + '_ {
        let near_end = self.ended && self.next == self.came && self.again.is_empty();
        let may = near_end && self.is_many() && self.may_repeat() && self.state == State::Running;
        self.alone.iter().copied().take(if may { STRAGGLERS_LOOKED_AT } else { 0 })
    }

    /// How long an item runs before another host may repeat it: well beyond what others took.
    pub(crate) fn straggles_after(&self) -> Option<Span> {
        (self.took != Span::ZERO).then(|| self.took.times(2))
    }

    /// An item is dispatched to a host; returns why.
    pub(crate) fn begin(&mut self, item: u64, host: P, attempt: Tag, now: Time) -> Reason {
        if item == self.next {
            self.next += 1;
        }
        let needed = self.needed();
        let open = self.open.entry(item).or_insert_with(|| Open {
            attempts: 0,
            failures: 0,
            started: false,
            refusals: 0,
            unreached: 0,
            reason: Reason::First,
            voices: Voices::new(),
            running: Vec::new(),
            since: now,
            waits: None,
            tried: Vec::new(),
        });
        if let Some(turn) = open.waits.take() {
            self.again.remove(&turn);
        }
        let agreed = open.voices.agreed();
        let reason = match open.running.len() + agreed {
            enough if enough >= needed && self.kind == Kind::Many => Reason::Straggler,
            enough if enough >= needed => Reason::Hedge,
            _ => open.reason,
        };
        open.attempts = open.attempts.saturating_add(1);
        open.running.push((attempt, host));
        self.alone.remove(&(open.since, item));
        open.since = now;
        if !open.tried.contains(&host) {
            if open.tried.len() == TRIED_MAX {
                open.tried.remove(0);
            }
            open.tried.push(host);
        }
        self.summary.attempts += 1;
        self.summary.hedged += u64::from(matches!(reason, Reason::Straggler | Reason::Hedge));
        if let Some(host) = self.host_mut(host) {
            host.in_flight += 1;
        }
        self.file(item);
        reason
    }

    /// An attempt is over; returns whether another one of the item is under way. If not, the item is
    /// neither done nor waiting until that is said.
    pub(crate) fn over(&mut self, item: u64, host: P, attempt: Tag) -> bool {
        if let Some(host) = self.host_mut(host) {
            host.in_flight = host.in_flight.saturating_sub(1);
        }
        let Some(open) = self.open.get_mut(&item) else {
            return false;
        };
        open.running.retain(|(other, _)| *other != attempt);
        let runs = !open.running.is_empty();
        self.file(item);
        runs && self.lacks(item) == 0
    }

    /// Files an item among those that may be repeated, if it is one: what is left of two that ran for
    /// one may be repeated in its turn.
    fn file(&mut self, item: u64) {
        let needed = self.needed();
        if let Some(open) = self.open.get(&item) {
            let runs = open.running.len();
            if runs > 0 && runs + open.voices.agreed() == needed {
                self.alone.insert((open.since, item));
            } else {
                self.alone.remove(&(open.since, item));
            }
        }
    }

    /// How many hosts have to give an item the same answer.
    fn needed(&self) -> usize {
        self.quorum.map_or(1, |quorum| usize::from(quorum.agree()))
    }

    /// How many more attempts of an item there should be.
    pub(crate) fn lacks(&self, item: u64) -> usize {
        let Some(open) = self.open.get(&item) else {
            return 0;
        };
        self.needed().saturating_sub(open.voices.agreed() + open.running.len())
    }

    /// One host has answered an item: what comes of it.
    pub(crate) fn hear(
        &mut self,
        item: u64,
        answer: &Answered<P>,
        body: Option<Digest>,
        groups: &Groups<P>,
    ) -> Heard {
        let open = self.open.get_mut(&item);
        let (Some(quorum), Some(open)) = (self.quorum, open) else {
            return Heard::Agreed;
        };
        let heard = open.voices.hear(quorum, answer, body, groups);
        self.file(item);
        heard
    }

    /// The item waits for another attempt.
    pub(crate) fn again(&mut self, item: u64, reason: Reason) {
        if let Some(open) = self.open.get_mut(&item).filter(|open| open.waits.is_none()) {
            self.turns += 1;
            (open.reason, open.waits) = (reason, Some(self.turns));
            self.again.insert(self.turns, item);
        }
    }

    /// How long an item took from dispatch to end.
    pub(crate) fn took(&mut self, took: Span) {
        self.took = average(self.took, took);
    }

    /// The item has its result; returns how many attempts it took.
    pub(crate) fn done(&mut self, item: u64, host: Option<P>) -> u16 {
        if item == self.next {
            self.next += 1;
        }
        if let Some(host) = host
            && self.answered.insert(host)
        {
            self.summary.hosts += 1;
        }
        self.summary.items += 1;
        let Some(open) = self.open.remove(&item) else {
            return 0;
        };
        self.alone.remove(&(open.since, item));
        if let Some(turn) = open.waits {
            self.again.remove(&turn);
        }
        open.attempts
    }

    /// Whether every item that will ever come has its result.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.summary.items == self.came
    }

    /// How many more items may be brought: bounded by the results that are not taken, and by the
    /// distance from the oldest item that is not done.
    pub(crate) fn credit(&self, ahead_max: u32) -> u32 {
        let oldest = self.open.keys().next().copied().unwrap_or(self.next).min(self.next);
        let taken = if planted::is(Bug::CreditsEarly) { self.summary.items } else { self.taken };
        let limit = oldest.min(taken) + u64::from(ahead_max);
        limit.saturating_sub(self.wanted) as u32
    }
}
