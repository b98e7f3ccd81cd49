//! `[churn]`: one peer goes and a new one joins through a random peer, again and again.

use peerless_core::Span;

use crate::chance::{Concern, Share};
use crate::scenario::{Silence, section};
use crate::work::Plan;
use crate::world::{START, World};

section! {
    /// Peers that are replaced one by one.
    "churn" => pub struct Churn {
        /// Share of the first peers that are replaced in an hour.
        per_hour: Share = Share::percent(10),
        /// Share of those that go without a word; the others close their connections.
        crashed: Share = Share::percent(50),
        /// When replacing begins.
        start: Span = Span::ZERO,
        /// When replacing ends.
        end: Span = Span::minutes(120),
    }
}

/// How often a newcomer that drew itself draws again.
const DRAWS: u64 = 8;

impl World {
    /// One peer goes, and a new one comes.
    pub(crate) fn replace(&mut self, n: u32) {
        let Some(churn) = self.scenario.churn.clone() else { return };
        let an_hour = Span::minutes(60).0;
        let replaced = churn.per_hour.of(u64::from(self.scenario.peers)).max(1);
        let spacing = an_hour / replaced;
        let next = START + churn.start + Span(spacing).times(u64::from(n) + 1);
        if next < START + churn.end {
            let jitter = self.chance.below(spacing, Concern::Instant, u64::from(n), 0, 0);
            let next = (next + Span(jitter)).max(self.now);
            self.plan_work(next, Plan::Replace(n + 1));
        }
        let Some(victim) = self.draw_peer(Concern::Victim, u64::from(n)) else { return };
        let bits = self.chance.bits(Concern::Manner, u64::from(n), 0, 0);
        let silence =
            if churn.crashed.takes(bits) { self.scenario.host.crash } else { Silence::Process };
        self.remove(victim, silence);
        self.work.replaced += 1;
        let peer = self.add();
        self.meet(peer, 0);
    }

    /// A new peer dials a random one that is there and can be dialled, if there is another.
    pub(crate) fn meet(&mut self, peer: u32, trial: u32) {
        let known = u64::from(peer) << 32 | u64::from(trial);
        let drawn = (0..DRAWS).find_map(|draw| {
            let other = self.draw_peer(Concern::Bootstrap, known ^ draw << 56);
            other.filter(|other| *other != peer && !self.is_hidden(*other))
        });
        if let Some(contact) = drawn {
            self.dial(peer, contact, trial);
        }
    }
}
