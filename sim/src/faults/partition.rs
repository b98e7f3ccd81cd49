//! `[partition]`: the network falls into parts, and is whole again later.

use peerless_core::{Ending, Input, Span, Tag, Time};

use crate::chance::{Chance, Concern, Share};
use crate::scenario::{Bad, Keys, at_least, section};
use crate::work::Plan;
use crate::world::{START, World};

section! {
    /// Parts of the peers that can't reach each other for a while.
    "partition" => pub struct Partition {
        /// When the network falls into parts.
        at: Span = Span::secs(60),
        /// When it is whole again.
        until: Span = Span::minutes(11),
        /// Share of the peers that are in the smaller part; newcomers too.
        share: Share = Share::percent(33),
        /// The same of all parts but the last, where there are more than two; then `share` is not given.
        shares: Vec<Share> = Vec::new(),
        /// How often the network falls into parts, into others each time.
        times: u32 = 1,
        /// From when it falls into parts to when it does again, where it does so several times.
        every: Span = Span::minutes(20),
        /// Whether only what goes from a part to those that are named after it is lost.
        one_way: bool = false,
    }
}

/// One of the times for which the network is in parts.
struct Round {
    number: u32,
    began: Time,
    ends: Time,
}

impl Partition {
    pub(crate) fn check(&self, keys: &Keys) -> Result<(), Bad> {
        if self.until <= self.at {
            let culprit =
                if keys.is_given("partition.until") { "partition.until" } else { "partition.at" };
            return Err(keys.bad(culprit, "expected partition.until to be later than partition.at"));
        }
        if !self.shares.is_empty() && keys.is_given("partition.share") {
            return Err(keys.bad("partition.share", "expected no share beside partition.shares"));
        }
        if self.shares.iter().fold(0.0, |sum, share| sum + share.part()) > 1.0 {
            return Err(keys.bad("partition.shares", "expected at most 1 together"));
        }
        at_least(keys, "partition.times", self.times, 1)?;
        if self.times > 1 && self.every <= self.until.less(self.at) {
            let culprit = if keys.is_given("partition.every") {
                "partition.every"
            } else {
                "partition.until"
            };
            let what = "expected more in partition.every than from partition.at to partition.until";
            return Err(keys.bad(culprit, what));
        }
        Ok(())
    }

    /// When the network falls into parts for the how manieth time.
    fn begins(&self, round: u32) -> Time {
        START + self.at + self.every.times(round.into())
    }

    /// The time for which the network is in parts at `time`, if it is.
    #[inline]
    fn round(&self, time: Time) -> Option<Round> {
        let since = time.0.checked_sub((START + self.at).0)?;
        let number = if self.times == 1 { 0 } else { since / self.every.0 };
        let number = u32::try_from(number).ok().filter(|number| *number < self.times)?;
        let began = self.begins(number);
        let ends = began + self.until.less(self.at);
        (time < ends).then_some(Round { number, began, ends })
    }

    /// Whether there is one time and there are two parts, of which neither hears anything of the other:
    /// only then is it counted what each lacks.
    pub(crate) fn is_simple(&self) -> bool {
        self.shares.is_empty() && self.times == 1 && !self.one_way
    }

    /// In which part a peer is.
    pub(crate) fn part(&self, peer: u32, round: u32, chance: &Chance) -> usize {
        let bits = chance.bits(Concern::Side, peer.into(), round.into(), 0);
        if self.shares.is_empty() {
            return usize::from(!self.share.takes(bits));
        }
        let mut up_to = Share::NONE;
        let found = self.shares.iter().position(|share| {
            up_to = up_to.plus(*share);
            up_to.takes(bits)
        });
        found.unwrap_or(self.shares.len())
    }

    /// Whether nothing that leaves at `time` goes from one peer to the other.
    #[inline]
    pub(crate) fn parts(&self, time: Time, from: u32, to: u32, chance: &Chance) -> bool {
        let Some(Round { number, .. }) = self.round(time) else { return false };
        let (from, to) = (self.part(from, number, chance), self.part(to, number, chance));
        if self.one_way { from < to } else { from != to }
    }
}

impl World {
    /// Whether a connection between two parts, used at `time`, is broken before they meet again; else
    /// its packets only come late.
    pub(crate) fn is_broken(&self, time: Time, from: u32, to: u32) -> bool {
        let keep_alive = self.scenario.network.keep_alive;
        let lasts = |it: &Partition| it.until > it.at + keep_alive;
        self.scenario.partition.as_ref().is_some_and(lasts) && self.network.apart(time, from, to)
    }

    /// Whether both ends of a connection know that it is broken.
    pub(crate) fn is_known_broken(&self, from: u32, to: u32) -> bool {
        let Some(partition) = &self.scenario.partition else { return false };
        let Some(round) = partition.round(self.now) else { return false };
        let known = round.began + self.scenario.network.keep_alive;
        self.now >= known && self.is_broken(self.now, from, to)
    }

    /// How long a packet of a call waits before it can pass.
    pub(crate) fn stalled(&self, from: u32, to: u32) -> Span {
        let Some(partition) = &self.scenario.partition else { return Span::ZERO };
        if !self.network.apart(self.now, from, to) {
            return Span::ZERO;
        }
        partition.round(self.now).map_or(Span::ZERO, |round| round.ends.since(self.now))
    }

    pub(crate) fn begin_partition(&mut self) {
        self.plan_partition();
        self.plan_break(0);
    }

    /// Plans that the connections between the parts break, if they are apart for long enough.
    fn plan_break(&mut self, round: u32) {
        let Some(partition) = &self.scenario.partition else { return };
        let keep_alive = self.scenario.network.keep_alive;
        if round < partition.times && partition.at + keep_alive < partition.until {
            let known = partition.begins(round) + keep_alive;
            self.plan_work(known, Plan::Break(round));
        }
    }

    /// The connections between the parts have been silent for as long as they are kept: either end of
    /// each call on them gives it up.
    pub(crate) fn break_connections(&mut self, round: u32) {
        self.plan_break(round + 1);
        for me in 0..self.oracle.ever() {
            let Some(desk) = &self.desks[me as usize] else { continue };
            let across = |other: u32| self.network.apart(self.now, me, other);
            let attempts: Vec<(Tag, Ending)> = desk
                .attempts
                .iter()
                .filter(|(_, outgoing)| across(outgoing.to))
                .map(|(attempt, outgoing)| {
                    let began = outgoing.status.is_some();
                    (*attempt, if began { Ending::Cut } else { Ending::MayHaveStarted })
                })
                .collect();
            let calls = desk.calls.iter().filter(|(_, incoming)| across(incoming.from));
            let calls: Vec<u64> = calls.map(|(call, _)| *call).collect();
            for (attempt, how) in attempts {
                if self.desk(me).attempts.remove(&attempt).is_some() {
                    self.turn(me, Input::Ended { attempt, how, body: None }, 0);
                }
            }
            for call in calls {
                if self.desk(me).end_call(call).is_some() {
                    self.turn(me, Input::Gone { call }, 0);
                }
            }
        }
    }
}
