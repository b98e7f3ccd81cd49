//! The core itself: one `handle`, one `match`.

use crate::config::Setup;
use crate::key::Peer;
use crate::turn::{Input, Turn};

/// One peer's every decision.
#[derive(Debug)]
pub struct Core<P: Peer> {
    me: P,
}

impl<P: Peer> Core<P> {
    /// A core that knows nobody. `seed` starts its chance; `incarnation` differs from that of any
    /// earlier start of the same peer whose answers could still come.
    pub fn new(me: P, setup: &Setup, seed: u64, incarnation: u32) -> Self {
        let _ = (setup, seed, incarnation);
        Self { me }
    }

    /// Takes one input and appends what is to be done. Never fails, never blocks, bounded work.
    pub fn handle(&mut self, input: Input<P>, turn: &mut Turn<'_, P>) {
        let _ = (input, turn, self.me);
    }

    /// Puts peers into the routing table as if they had answered: a converged start.
    pub fn seed_table(&mut self, peers: impl IntoIterator<Item = P>) {
        let _ = peers;
    }

    /// The peers in the routing table, nearest buckets last.
    pub fn table(&self) -> impl Iterator<Item = P> + '_ {
        [].into_iter()
    }
}
