//! `[churn]`: one peer goes and a new one joins through a random peer, again and again.

use peerless_core::{Input, Span};

use crate::chance::{Concern, Share};
use crate::joining::CONNECTING;
use crate::peer::Index;
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
        let met = self.now + self.network.settings().latency.times(CONNECTING);
        self.plan_work(met, Plan::Meet(peer, 0));
    }

    /// A new peer meets a random one that is there.
    pub(crate) fn meet(&mut self, peer: u32, trial: u32) {
        let known = u64::from(peer) << 32 | u64::from(trial);
        match self.draw_peer(Concern::Bootstrap, known) {
            Some(bootstrap) if bootstrap == peer => self.meet(peer, trial + 1),
            Some(bootstrap) if self.network.parts(self.now, peer, bootstrap) => {
                let later = self.now + self.network.settings().connect_timeout;
                self.plan_work(later.max(self.now + Span::ms(1)), Plan::Meet(peer, trial + 1));
            }
            Some(bootstrap) => {
                self.turn(peer, Input::Met { peer: Index(bootstrap), serves: true }, 0);
            }
            None => {}
        }
    }
}
