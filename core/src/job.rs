//! The state of one request to run something: items, hosts, and which of them meet. An anycall is
//! a manycall of one item.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Name, Peer};
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::random::Random;
use crate::record::{Load, Record};
use crate::time::{Span, Time};
use crate::turn::{Failure, Reason, Summary, Ticket};

/// How long a job without a host waits before it searches again.
pub(crate) const HOSTLESS_PAUSE: Span = Span::ms(500);
/// Items that failed which are looked at to find one that a host can take.
const AGAIN_LOOKED_AT: usize = 16;
/// Hosts that had an item before which are remembered: more than it is tried on by any right host.
const TRIED_MAX: usize = 64;
/// Calls in flight to a host whose slots are not known yet.
const FIRST_WINDOW: u32 = 2;
/// How long a host that refused is left alone, doubled each time in a row up to 64 times.
const REFUSED_PAUSE: Span = Span::ms(20);

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
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) hosts: Vec<Host<P>>,
    /// Hosts that were dropped, which the next search need not name again.
    pub(crate) gone: Vec<P>,
    /// Whether a search for hosts is under way.
    pub(crate) searching: bool,
    /// Whether that search ends at the first host, though all are wanted.
    pub(crate) partial: bool,
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
    /// Of these, those that wait for another attempt.
    again: VecDeque<u64>,
    /// Hosts that answered.
    answered: Vec<P>,
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
    /// Attempts that were refused.
    pub(crate) refusals: u16,
    /// Attempts that reached no host.
    pub(crate) unreached: u16,
    pub(crate) reason: Reason,
    /// The attempt under way.
    pub(crate) running: Option<Tag>,
    /// Hosts that had their chance.
    tried: Vec<P>,
}

/// A host as this job knows it.
#[derive(Debug)]
pub(crate) struct Host<P> {
    pub(crate) peer: P,
    pub(crate) in_flight: u32,
    load: Option<Load>,
    /// From dispatch to end, moving average in ns; 0: unknown.
    took: u64,
    paused_until: Time,
    /// In a row.
    refusals: u32,
    /// In a row.
    failures: u32,
}

impl<P: Peer> Host<P> {
    fn new(peer: P) -> Self {
        Self {
            peer,
            in_flight: 0,
            load: None,
            took: 0,
            paused_until: Time(0),
            refusals: 0,
            failures: 0,
        }
    }

    /// How many calls may be in flight: twice the slots, so that the next lies ready when one
    /// ends, within what its queue takes.
    fn window(&self) -> u32 {
        if planted::is(Bug::NoWindow) {
            return 1;
        }
        self.load.map_or(FIRST_WINDOW, |load| {
            let slots = u32::from(load.slots);
            (2 * slots).min(slots + u32::from(load.queue)).max(1)
        })
    }

    /// What one more call would wait for, in arbitrary units: peak-sensitive latency average times
    /// calls in flight, over slots. An unknown host comes first.
    fn expected_wait(&self) -> u64 {
        let slots = u64::from(self.load.map_or(1, |load| load.slots.max(1)));
        let queued = u64::from(self.load.map_or(0, |load| load.queued));
        self.took.saturating_mul(u64::from(self.in_flight) + 1 + queued) / slots
    }

    pub(crate) fn hear(&mut self, load: Load) {
        self.load = Some(load);
    }

    /// A call ended well after `took`.
    pub(crate) fn answered(&mut self, took: Span) {
        (self.refusals, self.failures) = (0, 0);
        // Up at once, down slowly: a peak is believed.
        self.took = took.0.max(self.took - self.took / 8 + took.0 / 8);
    }

    pub(crate) fn refused(&mut self, now: Time, load: Option<Load>) {
        self.load = load.or(self.load);
        self.paused_until = now + REFUSED_PAUSE.times(1 << self.refusals.min(6));
        self.refusals += 1;
    }

    /// The system failed a call: it is passed over, twice as long each time in a row up to 8 times.
    pub(crate) fn failed(&mut self, now: Time, pause: Span) {
        self.paused_until = now + pause.times(1 << self.failures.min(3));
        self.failures += 1;
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
            record: None,
            hosts: Vec::new(),
            gone: Vec::new(),
            searching: false,
            partial: false,
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
            again: VecDeque::new(),
            answered: Vec::new(),
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
        let again = self.again.iter().copied().take(AGAIN_LOOKED_AT);
        again.chain((self.next < self.came).then_some(self.next))
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

    /// The first item whose turn has come and a host for it.
    pub(crate) fn pair(&self, now: Time, random: &mut Random) -> Option<(u64, P)> {
        self.ready().find_map(|item| Some((item, self.choose(item, now, random)?)))
    }

    /// Adds hosts that were found.
    pub(crate) fn add_hosts(&mut self, hosts: &[P]) {
        for peer in hosts {
            if !self.hosts.iter().any(|host| host.peer == *peer) {
                self.hosts.push(Host::new(*peer));
            }
        }
    }

    /// The better of two hosts drawn at random among those with room; those that had the item
    /// before only where every other host is out of order.
    fn choose(&self, item: u64, now: Time, random: &mut Random) -> Option<P> {
        let tried = self.open.get(&item).map_or(&[][..], |open| &open.tried);
        let fresh = |host: &&Host<P>| !tried.contains(&host.peer);
        let any_fresh = self.hosts.iter().any(|h| h.paused_until <= now && fresh(&h));
        let has_room = |host: &&Host<P>| {
            host.in_flight < host.window()
                && host.paused_until <= now
                && (fresh(host) || !any_fresh)
        };
        let able = || self.hosts.iter().filter(has_room);
        let n = able().count() as u64;
        if n == 0 {
            return None;
        }
        if planted::is(Bug::FirstHost) {
            return able().next().map(|host| host.peer);
        }
        let draw = |random: &mut Random| able().nth(random.below(n) as usize);
        let (a, b) = (draw(random)?, draw(random)?);
        let better = if b.expected_wait() < a.expected_wait() { b } else { a };
        Some(better.peer)
    }

    /// When a host that is paused may be asked again.
    pub(crate) fn next_chance(&self, now: Time) -> Option<Time> {
        let paused = self.hosts.iter().filter(|host| host.paused_until > now);
        paused.map(|host| host.paused_until).min()
    }

    /// An item is dispatched to a host; returns why.
    pub(crate) fn begin(&mut self, item: u64, host: P, attempt: Tag) -> Reason {
        if let Some(at) = self.again.iter().position(|other| *other == item) {
            self.again.remove(at);
        } else {
            debug_assert!(item == self.next, "items are begun in their order");
            self.next += 1;
        }
        let open = self.open.entry(item).or_insert_with(|| Open {
            attempts: 0,
            failures: 0,
            started: false,
            refusals: 0,
            unreached: 0,
            reason: Reason::First,
            running: None,
            tried: Vec::new(),
        });
        let reason = open.reason;
        open.attempts = open.attempts.saturating_add(1);
        open.running = Some(attempt);
        if !open.tried.contains(&host) {
            if open.tried.len() == TRIED_MAX {
                open.tried.remove(0);
            }
            open.tried.push(host);
        }
        self.summary.attempts += 1;
        if let Some(host) = self.host_mut(host) {
            host.in_flight += 1;
        }
        reason
    }

    /// An attempt is over; the item is neither done nor waiting until that is said.
    pub(crate) fn over(&mut self, item: u64, host: P) {
        if let Some(host) = self.host_mut(host) {
            host.in_flight = host.in_flight.saturating_sub(1);
        }
        if let Some(open) = self.open.get_mut(&item) {
            open.running = None;
        }
    }

    /// The item waits for another attempt.
    pub(crate) fn again(&mut self, item: u64, reason: Reason) {
        if let Some(open) = self.open.get_mut(&item) {
            open.reason = reason;
            self.again.push_back(item);
        }
    }

    /// The item has its result; returns how many attempts it took.
    pub(crate) fn done(&mut self, item: u64, host: Option<P>) -> u16 {
        if item == self.next {
            self.next += 1;
        }
        self.again.retain(|other| *other != item);
        if let Some(host) = host
            && !self.answered.contains(&host)
        {
            self.answered.push(host);
            self.summary.hosts += 1;
        }
        self.summary.items += 1;
        self.open.remove(&item).map_or(0, |open| open.attempts)
    }

    pub(crate) fn host_mut(&mut self, peer: P) -> Option<&mut Host<P>> {
        self.hosts.iter_mut().find(|host| host.peer == peer)
    }

    pub(crate) fn drop_host(&mut self, peer: P) {
        self.hosts.retain(|host| host.peer != peer);
        if !self.gone.contains(&peer) {
            self.gone.push(peer);
        }
    }

    /// Whether every item that will ever come has its result.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.summary.items == self.came
    }

    /// How many more items may be brought: bounded by the results that are not taken, and by the
    /// distance from the oldest item that is not done.
    pub(crate) fn credit(&self, ahead_max: u32) -> u32 {
        let oldest = self.open.keys().next().copied().unwrap_or(self.next).min(self.next);
        let limit = oldest.min(self.taken) + u64::from(ahead_max);
        limit.saturating_sub(self.wanted) as u32
    }
}
