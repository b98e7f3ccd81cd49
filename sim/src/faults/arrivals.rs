//! `[arrivals]`: new peers come together, and stay.

use peerless_core::Span;

use crate::scenario::section;
use crate::world::World;

section! {
    /// New peers that come at one instant, each through a random peer that is there.
    "arrivals" => pub struct Arrivals {
        /// When new peers come.
        at: Span = Span::secs(60),
        /// How many.
        count: u32 = 1,
    }
}

impl World {
    /// New peers come.
    pub(crate) fn arrive_together(&mut self) {
        let Some(arrivals) = self.scenario.arrivals.clone() else { return };
        for _ in 0..arrivals.count {
            let peer = self.add();
            self.arrive(peer);
        }
    }
}
