//! `[nat]`: machines that nobody can dial. They dial others, and through a relay others reach them; to
//! searches they are clients, whom no table holds.

use crate::chance::{Chance, Concern, Share};
use crate::scenario::section;

section! {
    /// Machines behind NAT: nobody can dial them, and they take no part in finding.
    "nat" => pub struct Nat {
        /// Share of the machines that are; the first never is.
        share: Share = Share::percent(50),
        /// Share of these that have a relay, through which others reach them.
        relayed: Share = Share::percent(100),
    }
}

/// So many peers are drawn until one can be a relay.
const DRAWS: u64 = 64;

impl Nat {
    /// Whether nobody can dial a peer.
    pub fn hides(&self, peer: u32, chance: &Chance) -> bool {
        peer > 0 && self.share.takes(chance.bits(Concern::Nat, peer.into(), 0, 0))
    }

    /// Through which of the first `peers` a peer that is behind NAT is reached, if at all. Should that
    /// one go, another as far away takes its place: it is not looked for.
    pub fn relay(&self, peer: u32, peers: u32, chance: &Chance) -> Option<u32> {
        if !self.relayed.takes(chance.bits(Concern::Nat, peer.into(), 1, 0)) {
            return None;
        }
        let draw = |n| chance.below(peers.into(), Concern::Nat, peer.into(), 2, n) as u32;
        let drawn = (0..DRAWS).map(draw).find(|relay| !self.hides(*relay, chance));
        Some(drawn.unwrap_or(0))
    }
}
