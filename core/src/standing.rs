//! What this core holds against the hosts that it calls: what it saw itself, in a bounded table that
//! all its requests share.

use crate::few::{Map, Set};
use crate::hedge::Hedges;
use crate::idle::Empty;
use crate::key::Peer;
use crate::record::Load;
use crate::time::{Span, Time};

/// How long a host's word of its load counts in a choice: a queue does not stay as it is.
const LOAD_LIFE: Span = Span::secs(1);
/// After how long without an answer a host's latency is believed to be half of what it was.
const TOOK_HALVED: Span = Span::secs(10);
/// How long a host that refused is passed over, doubled each time in a row up to 64 times.
const REFUSED_PAUSE: Span = Span::ms(20);

/// What was seen of one host.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Standing {
    /// What it last said of itself.
    load: Option<Load>,
    heard: Time,
    /// From dispatch to end, peak-sensitive moving average; zero: unknown.
    took: Span,
    answered: Time,
    /// What of that was spent on the way, moving average; zero: unknown.
    rtt: Span,
    /// Calls of this core that it has and has not answered.
    in_flight: u32,
    /// In a row.
    refusals: u32,
    /// In a row.
    failures: u32,
    failed: Time,
    /// Until when others are preferred.
    shunned_until: Time,
    /// When it was last called or heard.
    used: Time,
}

impl Standing {
    pub(crate) fn load(&self) -> Option<Load> {
        self.load
    }

    pub(crate) fn rtt(&self) -> Span {
        self.rtt
    }

    fn hear(&mut self, load: Load, now: Time) {
        (self.load, self.heard) = (Some(load), now);
    }

    /// What it is believed to take now: what it took, less with every while that it was not asked.
    pub(crate) fn took(&self, now: Time) -> Span {
        let halvings = now.since(self.answered).0 / TOOK_HALVED.0;
        Span(self.took.0 >> halvings.min(63))
    }

    /// What one more call would wait for, by which hosts are compared: peak-sensitive latency average
    /// times calls in flight and queued, over slots. A host of which nothing is known comes first, for
    /// one call.
    fn expected_wait(&self, now: Time) -> u64 {
        let calls = u64::from(self.in_flight) + 1;
        let took = self.took(now);
        if took == Span::ZERO {
            return if self.in_flight == 0 { 0 } else { u64::MAX / 2 + calls };
        }
        let slots = u64::from(self.load.map_or(1, |load| load.slots.max(1)));
        let fresh = self.load.filter(|_| now.since(self.heard) < LOAD_LIFE);
        let queued = fresh.map_or(0, |load| u64::from(load.queued));
        took.0.saturating_mul(calls + queued) / slots
    }
}

/// The standings of hosts that were lately called, the least recently used forgotten first; one that
/// has calls in flight is not.
#[derive(Debug)]
pub(crate) struct Standings<P> {
    hosts: Map<P, Standing>,
    /// Those without calls in flight, by their last use.
    idle: Set<(Time, P)>,
    /// How many more attempts may be made of calls that hosts are silent about.
    pub(crate) hedges: Hedges,
}

impl<P: Peer> Empty for Standings<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

impl<P: Peer> Standings<P> {
    pub(crate) const fn new() -> Self {
        Self { hosts: Map::new(), idle: Set::new(), hedges: Hedges::FULL }
    }

    pub(crate) fn get(&self, host: P) -> Standing {
        self.hosts.get(&host).copied().unwrap_or_default()
    }

    /// Whether others are preferred for now, since it refused or failed.
    pub(crate) fn is_shunned(&self, host: P, now: Time) -> bool {
        self.hosts.get(&host).is_some_and(|standing| standing.shunned_until > now)
    }

    /// The one of two that a call would wait less for; the first if there is no difference.
    pub(crate) fn better(&self, a: P, b: P, now: Time) -> P {
        let wait = |host| self.get(host).expected_wait(now);
        if wait(b) < wait(a) { b } else { a }
    }

    fn update(&mut self, host: P, now: Time, change: impl FnOnce(&mut Standing)) -> Standing {
        let standing = self.hosts.get_or_default(host);
        self.idle.remove(&(standing.used, host));
        change(standing);
        standing.used = now;
        if standing.in_flight == 0 {
            self.idle.insert((now, host));
        }
        *standing
    }

    /// A call is sent to it.
    pub(crate) fn called(&mut self, host: P, now: Time, hosts_max: u16) {
        self.update(host, now, |standing| standing.in_flight += 1);
        self.bound(hosts_max);
    }

    fn bound(&mut self, hosts_max: u16) {
        while self.hosts.len() > usize::from(hosts_max)
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            self.hosts.remove(&oldest);
        }
    }

    /// A call to it is over, however it ended.
    pub(crate) fn over(&mut self, host: P, now: Time, hosts_max: u16) {
        self.update(host, now, |standing| {
            standing.in_flight = standing.in_flight.saturating_sub(1);
        });
        self.bound(hosts_max);
    }

    /// An answer began; `way`: how much of the time until then the call was not at the host.
    pub(crate) fn heard(&mut self, host: P, load: Option<Load>, way: Option<Span>, now: Time) {
        self.update(host, now, |standing| {
            if let Some(load) = load {
                standing.hear(load, now);
            }
            if let Some(way) = way {
                standing.rtt = average(standing.rtt, way);
            }
        });
    }

    /// A call ended well after `took`.
    pub(crate) fn answered(&mut self, host: P, took: Span, now: Time) {
        self.update(host, now, |standing| {
            (standing.refusals, standing.failures) = (0, 0);
            standing.shunned_until = Time(0);
            // Up at once, down slowly: a peak is believed.
            standing.took = took.max(average(standing.took(now), took));
            standing.answered = now;
        });
    }

    /// A call is not over though another host answered it: it takes at least so long.
    pub(crate) fn lagged(&mut self, host: P, waited: Span, now: Time) {
        self.update(host, now, |standing| {
            standing.took = standing.took(now).max(waited);
            standing.answered = now;
        });
    }

    /// It is too busy; returns how long it is best left alone. Refusals of calls that were sent before
    /// the last one was heard say nothing new.
    pub(crate) fn refused(&mut self, host: P, load: Option<Load>, since: Time, now: Time) -> Span {
        let mut pause = Span::ZERO;
        self.update(host, now, |standing| {
            pause = REFUSED_PAUSE.times(1 << standing.refusals.min(6));
            if standing.refusals == 0 || since >= standing.heard {
                standing.refusals = standing.refusals.saturating_add(1);
            }
            standing.shunned_until = standing.shunned_until.max(now + pause);
            standing.heard = now;
            if let Some(load) = load {
                standing.hear(load, now);
            }
        });
        pause
    }

    /// The system failed a call there that was sent at `since`; returns how long it is best left alone:
    /// `pause`, twice as long each time in a row up to 8 times. What was sent before the last failure
    /// says nothing new.
    pub(crate) fn failed(&mut self, host: P, pause: Span, since: Time, now: Time) -> Span {
        let mut alone = Span::ZERO;
        self.update(host, now, |standing| {
            if standing.failures == 0 || since > standing.failed {
                standing.failures = standing.failures.saturating_add(1);
                standing.failed = now;
            }
            alone = pause.times(1 << (standing.failures - 1).min(3));
            standing.shunned_until = standing.shunned_until.max(now + alone);
        });
        alone
    }

    /// A new connection to it: whatever ended the one before is over, such as a restart.
    pub(crate) fn met(&mut self, host: P) {
        if let Some(standing) = self.hosts.get_mut(&host) {
            standing.failures = 0;
            standing.shunned_until = Time(0);
        }
    }

    /// Whether the calls in flight to each host are `attempts`, and every other host can be forgotten.
    pub(crate) fn check(&self, attempts: impl Iterator<Item = P>) -> bool {
        let mut in_flight: Map<P, u32> = Map::new();
        for host in attempts {
            *in_flight.get_or_default(host) += 1;
        }
        self.hosts.iter().all(|(host, standing)| {
            let calls = in_flight.remove(host).unwrap_or(0);
            let idle = self.idle.contains(&(standing.used, *host));
            standing.in_flight == calls && idle == (calls == 0)
        }) && in_flight.is_empty()
            && self.idle.len() <= self.hosts.len()
    }
}

/// A moving average of the last eight or so.
pub(crate) fn average(old: Span, new: Span) -> Span {
    if old == Span::ZERO { new } else { Span(old.0 - old.0 / 8 + new.0 / 8) }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::tests::P;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Bounded, the least recently used forgotten first, and none that has calls in flight.
        #[test]
        fn remembers_the_hosts_last_used(
            max in 0..6u16, steps in proptest::collection::vec((0..3u8, 0..12u8), 0..200),
        ) {
            let mut standings = Standings::new();
            let mut in_flight: Vec<P> = Vec::new();
            // The last used comes last.
            let mut used: Vec<P> = Vec::new();
            for (at, (what, n)) in steps.into_iter().enumerate() {
                let now = Time(at as u64);
                let host = if what == 0 || in_flight.is_empty() {
                    standings.called(P(n), now, max);
                    in_flight.push(P(n));
                    P(n)
                } else {
                    let host = in_flight.swap_remove(usize::from(n) % in_flight.len());
                    standings.answered(host, Span(1), now);
                    standings.over(host, now, max);
                    host
                };
                used.retain(|other| *other != host);
                used.push(host);
                while used.len() > usize::from(max)
                    && let Some(at) = used.iter().position(|host| !in_flight.contains(host))
                {
                    used.remove(at);
                }
                prop_assert!(standings.check(in_flight.iter().copied()));
                let all = (0..12).map(P);
                let known: Vec<P> = all.filter(|n| standings.hosts.contains_key(n)).collect();
                used.sort_by_key(|host| standings.get(*host).used);
                let mut expected = used.clone();
                expected.sort_unstable();
                prop_assert_eq!(known, expected);
            }
        }
    }

    #[test]
    fn a_peak_is_believed_and_forgotten() {
        let mut standings = Standings::new();
        let now = |ms| Time(0) + Span::ms(ms);
        for (host, took) in [(P(1), 10), (P(2), 10), (P(2), 90), (P(2), 10)] {
            standings.called(host, now(0), 8);
            standings.answered(host, Span::ms(took), now(0));
            standings.over(host, now(0), 8);
        }
        assert_eq!(standings.better(P(2), P(1), now(0)), P(1));
        assert_eq!(standings.get(P(2)).took(now(0)), Span::ms(80));
        assert_eq!(standings.get(P(2)).took(now(20_000)), Span::ms(20));
        // Of which nothing is known comes first, for one call.
        assert_eq!(standings.better(P(1), P(3), now(0)), P(3));
        standings.called(P(3), now(0), 8);
        assert_eq!(standings.better(P(1), P(3), now(0)), P(1));
    }

    #[test]
    fn pauses_grow_by_what_is_news() {
        let mut standings = Standings::new();
        let now = |ms| Time(0) + Span::ms(ms);
        let mut refused = |since, at| standings.refused(P(1), None, now(since), now(at)).as_ms();
        // Three that were sent together are refused together.
        assert_eq!([refused(0, 5), refused(0, 5), refused(0, 5)], [20, 40, 40]);
        assert_eq!([refused(50, 55), refused(100, 105)], [40, 80]);
        assert!(standings.is_shunned(P(1), now(184)) && !standings.is_shunned(P(1), now(185)));
        let mut failed = |since, at| {
            let pause = Span::secs(10);
            standings.failed(P(1), pause, now(since), now(at)).as_ms()
        };
        assert_eq!([failed(0, 200), failed(100, 200), failed(300, 400)], [10_000, 10_000, 20_000]);
        assert!(standings.is_shunned(P(1), now(20_000)));
        standings.met(P(1));
        assert!(!standings.is_shunned(P(1), now(500)));
    }
}
