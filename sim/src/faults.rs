//! Machines that come and go.

use peerless_core::{Input, Span};

use crate::chance::Concern;
use crate::peer::Index;
use crate::scenario::Silence;
use crate::work::Plan;
use crate::world::{START, World};

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
            if churn.crashed.takes(bits) { self.scenario.host.silence } else { Silence::Process };
        self.remove(victim, silence);
        self.work.replaced += 1;
        let peer = self.add();
        // Connecting takes TCP, Noise and Yamux: four round trips.
        let met = self.now + self.network.settings().latency.times(8);
        self.plan_work(met, Plan::Meet(peer, 0));
    }

    /// A new peer meets a random one that is there.
    pub(crate) fn meet(&mut self, peer: u32, trial: u32) {
        let known = u64::from(peer) << 32 | u64::from(trial);
        match self.draw_peer(Concern::Bootstrap, known) {
            Some(bootstrap) if bootstrap == peer => self.meet(peer, trial + 1),
            Some(bootstrap) => {
                self.turn(peer, Input::Met { peer: Index(bootstrap), serves: true }, 0);
            }
            None => {}
        }
    }

    /// Some of the hosts crash at one instant.
    pub(crate) fn crash_together(&mut self) {
        let Some(crash) = self.scenario.crash.clone() else { return };
        let mut hosts = self.census.hosts();
        let n = crash.count.unwrap_or(crash.share.of(hosts.len() as u64) as u32);
        for draw in 0..n.min(hosts.len() as u32) {
            let left = hosts.len() as u64;
            let at = self.chance.below(left, Concern::Crash, u64::from(draw), 0, 0);
            let peer = hosts.swap_remove(at as usize);
            self.remove(peer, self.scenario.host.silence);
            self.work.crashed += 1;
        }
    }
}
