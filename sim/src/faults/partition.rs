//! `[partition]`: the network falls into two parts, and is whole again later.

use peerless_core::{Ending, Input, Span, Tag, Time};

use crate::chance::{Chance, Concern, Share};
use crate::scenario::{Bad, Keys, section};
use crate::work::Plan;
use crate::world::{START, World};

section! {
    /// A part of the peers that nobody else can reach for a while.
    "partition" => pub struct Partition {
        /// When the network falls into two parts.
        at: Span = Span::secs(60),
        /// When it is whole again.
        until: Span = Span::minutes(11),
        /// Share of the peers that are in the smaller part; newcomers too.
        share: Share = Share::percent(33),
    }
}

impl Partition {
    pub(crate) fn check(&self, keys: &Keys) -> Result<(), Bad> {
        if self.until > self.at {
            return Ok(());
        }
        let culprit =
            if keys.is_given("partition.until") { "partition.until" } else { "partition.at" };
        Err(keys.bad(culprit, "expected partition.until to be later than partition.at"))
    }

    /// Whether nothing that leaves at `time` goes from one peer to the other.
    #[inline]
    pub(crate) fn parts(&self, time: Time, from: u32, to: u32, chance: &Chance) -> bool {
        let side = |peer: u32| self.share.takes(chance.bits(Concern::Side, u64::from(peer), 0, 0));
        START + self.at <= time && time < START + self.until && side(from) != side(to)
    }
}

impl World {
    /// Whether a connection between two parts, used at `time`, is broken before they meet again; else
    /// its packets only come late.
    pub(crate) fn is_broken(&self, time: Time, from: u32, to: u32) -> bool {
        let keep_alive = self.scenario.network.keep_alive;
        let lasts = |it: &Partition| it.until > it.at + keep_alive;
        self.scenario.partition.as_ref().is_some_and(lasts) && self.network.parts(time, from, to)
    }

    /// Whether both ends of a connection know that it is broken.
    pub(crate) fn is_known_broken(&self, from: u32, to: u32) -> bool {
        let Some(partition) = &self.scenario.partition else { return false };
        let known = START + partition.at + self.scenario.network.keep_alive;
        self.now >= known && self.is_broken(self.now, from, to)
    }

    /// How long a packet of a call waits before it can pass.
    pub(crate) fn stalled(&self, from: u32, to: u32) -> Span {
        let Some(partition) = &self.scenario.partition else { return Span::ZERO };
        if !self.network.parts(self.now, from, to) {
            return Span::ZERO;
        }
        (START + partition.until).since(self.now)
    }

    pub(crate) fn begin_partition(&mut self) {
        let Some(partition) = self.scenario.partition.clone() else { return };
        let known = partition.at + self.scenario.network.keep_alive;
        if known < partition.until {
            self.plan_work(START + known, Plan::Break);
        }
    }

    /// The connections between the parts have been silent for as long as they are kept: either end of
    /// each call on them gives it up.
    pub(crate) fn break_connections(&mut self) {
        for me in 0..self.oracle.ever() {
            let Some(desk) = &self.desks[me as usize] else { continue };
            let across = |other: u32| self.network.parts(self.now, me, other);
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
