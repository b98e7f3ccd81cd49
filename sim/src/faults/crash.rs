//! `[crash]`: hosts crash together, and do not come back.

use peerless_core::Span;

use crate::chance::{Concern, Share};
use crate::scenario::section;
use crate::world::World;

section! {
    /// Peers that crash at one instant.
    "crash" => pub struct Crash {
        /// When hosts crash.
        at: Span = Span::secs(60),
        /// Share of the peers that host a function at that instant.
        share: Share = Share::percent(5),
        /// How many crash, instead of a share.
        count: Option<u32> = None,
        /// All hosts of so many functions crash, and no others.
        functions: Option<u32> = None,
    }
}

impl World {
    /// Some of the hosts crash at one instant.
    pub(crate) fn crash_together(&mut self) {
        let Some(crash) = self.scenario.crash.clone() else { return };
        if let Some(functions) = crash.functions {
            return self.crash_hosts_of(functions);
        }
        let mut hosts = self.census.hosts();
        let n = crash.count.unwrap_or(crash.share.of(hosts.len() as u64) as u32);
        for draw in 0..n.min(hosts.len() as u32) {
            let left = hosts.len() as u64;
            let at = self.chance.below(left, Concern::Crash, u64::from(draw), 0, 0);
            let peer = hosts.swap_remove(at as usize);
            self.remove(peer, self.scenario.host.crash);
            self.work.crashed += 1;
        }
    }

    /// All hosts of some functions crash at one instant.
    fn crash_hosts_of(&mut self, functions: u32) {
        let mut left: Vec<usize> = (0..self.census.functions.len()).collect();
        for draw in 0..functions.min(left.len() as u32) {
            let n = left.len() as u64;
            let at = self.chance.below(n, Concern::Crash, u64::from(draw), 1, 0);
            for peer in self.hosts_of(left.swap_remove(at as usize)) {
                self.remove(peer, self.scenario.host.crash);
                self.work.crashed += 1;
            }
        }
    }
}
