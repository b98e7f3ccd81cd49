//! `[drain]`: hosts leave for good, without losing a call.

use peerless_core::{Event, Request, Span};

use super::{Doing, Plan};
use crate::chance::Concern;
use crate::peer::Index;
use crate::scenario::{Silence, section};
use crate::tickets::{DRAIN, KIND_SHIFT};
use crate::world::World;

section! {
    /// Hosts that leave: their users ask others from then on.
    "drain" => pub struct Drain {
        /// When they are told to leave.
        at: Span = Span::secs(60),
        /// How many of those that host anything then and hold no owner key.
        count: u32 = 1,
        /// How long each is still there after it has given all up, to refuse those who do not know it yet.
        linger: Span = Span::secs(30),
    }
}

impl World {
    pub(super) fn begin_drain(&mut self) {
        let Some(work) = self.scenario.drain.clone() else { return };
        let owners = self.scenario.owners;
        let mut hosts = self.census.hosts();
        hosts.retain(|host| *host >= owners);
        for n in 0..u64::from(work.count).min(hosts.len() as u64) {
            let drawn = self.chance.below(hosts.len() as u64, Concern::Drain, n, 0, 0);
            let peer = hosts.swap_remove(drawn as usize);
            self.work.draining.insert(peer);
            self.ask(peer, DRAIN << KIND_SHIFT | n, Doing::Drain, Request::Drain);
        }
    }

    pub(super) fn end_drain(&mut self, peer: u32, event: &Event<Index>) {
        if *event == Event::Drained {
            let linger = self.scenario.drain.as_ref().map_or(Span::ZERO, |work| work.linger);
            self.plan_work(self.now + linger, Plan::Close(peer));
        }
    }

    /// A machine that its core has left is switched off.
    pub(super) fn close(&mut self, peer: u32) {
        if self.is_up(peer) {
            self.work.drained += 1;
            self.remove(peer, Silence::Process);
        }
    }
}
