//! One more attempt of an anycall whose answer has not begun for long: on another host, beside the one
//! that is silent. The first Head wins, the others are aborted.

use alloc::vec::Vec;

use crate::attempt::Attempt;
use crate::call::CALL_SEARCHES_MAX;
use crate::groups::Groups;
use crate::job::Job;
use crate::key::Peer;
use crate::machine::Core;
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::random::Random;
use crate::standing::Standings;
use crate::time::{Span, Time};
use crate::turn::Turn;

/// A host is silent after so many times what it is believed to take.
const SILENT_TIMES: u64 = 3;
/// But not before.
const SILENT_MIN: Span = Span::ms(100);
/// A host of which nothing is known is silent after this part of the time that was left.
const UNKNOWN_PART: u64 = 8;
/// But not before.
const UNKNOWN_MIN: Span = Span::secs(1);
/// Calls for each hedge: at most one in twenty is hedged (Dean & Barroso 2013, "The tail at scale"), so
/// that a network in which all is slow does not get twice the load.
const CALLS_A_HEDGE: u16 = 20;
/// Hedges that a core may make at once, after so many calls without; and in the beginning.
const HEDGES_AT_ONCE: u16 = 10;

/// How many hedges this core may make: a bucket of tokens. It holds for silence of any length. Silence
/// is no sign of a dead host where a function runs for long, and where all hosts are silent a second
/// attempt at each call is what they can bear least.
#[derive(Debug)]
pub(crate) struct Hedges(u16);

impl Hedges {
    const MAX: u16 = HEDGES_AT_ONCE * CALLS_A_HEDGE;
    pub(crate) const FULL: Self = Self(Self::MAX);

    /// One more call.
    pub(crate) fn earn(&mut self) {
        self.0 = (self.0 + 1).min(Self::MAX);
    }

    const fn may(&self) -> bool {
        self.0 >= CALLS_A_HEDGE
    }

    /// One more hedge.
    fn spend(&mut self) {
        self.0 = self.0.saturating_sub(CALLS_A_HEDGE);
    }
}

impl<P: Peer> Core<P> {
    /// Makes one more attempt of an anycall if its last one has been silent for long; or looks again
    /// when it will have been.
    pub(crate) fn hedge(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(job) = self.jobs.get(tag) else {
            return;
        };
        let Some((since, host)) = job.last_begun().filter(|_| job.may_hedge()) else {
            return;
        };
        // It is aborted with the first Head, so that only one that runs alone can have one.
        let running = job.open.values().flat_map(|open| &open.running);
        let mut attempts = running.filter_map(|(attempt, _)| self.attempts.get(*attempt));
        if attempts.any(Attempt::has_head) {
            return;
        }
        let took = self.standings.get(host).took(since);
        let due = since + silent_after(took, since, job.deadline);
        if due >= job.deadline {
            return;
        }
        if turn.now < due {
            return self.wake_job(tag, due, turn);
        }
        if !self.standings.hedges.may() {
            return;
        }
        let may_seek = !job.searching && !job.asked_all && job.searches < CALL_SEARCHES_MAX;
        let other = job.another(turn.now, &self.standings, &self.groups, &mut self.random);
        if let Some(host) = other {
            self.standings.hedges.spend();
            self.dispatch(tag, 0, host, turn);
        }
        // Whoever named a host that never answered may be wrong, or lie: everybody is asked for others,
        // for the next hedge. A search can end at once, and then comes back here.
        if may_seek && (other.is_none() || took == Span::ZERO) {
            self.seek(tag, turn);
        }
        if other.is_some() {
            self.hedge(tag, turn);
        }
    }
}

/// How long a host may be silent before an attempt elsewhere pays.
fn silent_after(took: Span, since: Time, deadline: Time) -> Span {
    if took == Span::ZERO {
        return Span(deadline.since(since).0 / UNKNOWN_PART).max(UNKNOWN_MIN);
    }
    took.times(SILENT_TIMES).max(SILENT_MIN)
}

impl<P: Peer> Job<P> {
    /// Whether one more attempt may be made while others run: as many as may follow failures, for
    /// silence may be one.
    fn may_hedge(&self) -> bool {
        let left = self.summary.hedged < u64::from(self.retries) && self.ready().next().is_none();
        let may = self.may_repeat() || planted::is(Bug::HedgesAnything);
        !self.is_many() && left && may && !planted::is(Bug::NeverHedges)
    }

    /// When the last attempt of an anycall began that still runs, and where.
    fn last_begun(&self) -> Option<(Time, P)> {
        let open = self.open.get(&0)?;
        open.running.last().map(|(_, host)| (open.since, *host))
    }

    /// A host that did not have it, if possible of an address group that did not have it either, where
    /// each group has one candidate: whoever has named itself a host under many names has few groups.
    fn another(
        &self,
        now: Time,
        standings: &Standings<P>,
        groups: &Groups<P>,
        random: &mut Random,
    ) -> Option<P> {
        let tried = self.open.get(&0).map_or(&[][..], |open| &open.tried);
        let may = |peer: &P| !tried.contains(peer) && !standings.is_shunned(*peer, now);
        let able = self.hosts.iter().filter(|host| host.is_able(now)).map(|host| host.peer);
        let able: Vec<P> = able.filter(may).collect();
        let apart = |peer: &P| !tried.iter().any(|other| groups.are_one(*peer, *other));
        let apart = groups.few_of_each(able.iter().copied().filter(apart), 1);
        let of = if apart.is_empty() { able } else { apart };
        self.better_of_two(|host| of.contains(&host.peer), now, standings, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_in_twenty_is_hedged() {
        let mut hedges = Hedges::FULL;
        let mut made = 0;
        for _ in 0..1_000 {
            hedges.earn();
            if hedges.may() {
                hedges.spend();
                made += 1;
            }
        }
        // The first call finds it full.
        assert_eq!(made, HEDGES_AT_ONCE + 999 / CALLS_A_HEDGE);
        (0..1_000).for_each(|_| hedges.earn());
        assert_eq!(hedges.0, Hedges::MAX);
    }

    #[test]
    fn silence_is_judged_by_what_a_host_takes() {
        let after = |took, left| silent_after(Span::ms(took), Time(5), Time(5) + Span::ms(left));
        assert_eq!(after(50, 60_000), Span::ms(150));
        assert_eq!(after(1, 60_000), SILENT_MIN);
        assert_eq!(after(0, 60_000), Span::ms(7_500));
        assert_eq!(after(0, 4_000), UNKNOWN_MIN);
    }
}
