//! `[joining]`: the network grows peer by peer, instead of starting as after a long life.

use peerless_core::Span;

use crate::population::Population;
use crate::scenario::{Scenario, section};
use crate::work::Plan;
use crate::world::{START, World};

section! {
    /// One peer starts alone, and all others join through random ones that are there.
    "joining" => pub struct Joining {
        /// Within what time all peers join, evenly spaced.
        over: Span = Span::minutes(60),
    }
}

/// What a network's tables hold, and what they would if it had started converged.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Tables {
    /// Entries in the tables of all that are there.
    pub entries: u64,
    /// Entries in the tables of a converged start with the same peers.
    pub converged: u64,
}

impl Scenario {
    /// How many peers are there when the world begins.
    pub fn first_peers(&self) -> u32 {
        if self.joining.is_some() { 1 } else { self.peers }
    }
}

impl World {
    /// The peer of this number joins, and the next one's joining is planned.
    pub(crate) fn join(&mut self, n: u32) {
        let Some(joining) = self.scenario.joining.clone() else { return };
        if n >= self.scenario.peers {
            return;
        }
        let peer = self.add();
        self.meet(peer, 0);
        self.begin_session(peer);
        if n + 1 < self.scenario.peers {
            let part = u128::from(joining.over.0) * u128::from(n + 1);
            let after = Span((part / u128::from(self.scenario.peers - 1)) as u64);
            self.plan_work((START + after).max(self.now), Plan::Join(n + 1));
        }
    }

    /// How full the tables are, beside those of a converged start.
    pub fn tables(&self) -> Tables {
        let up = |peer: &u32| self.is_up(*peer);
        let sorted: Vec<u32> = self.oracle.sorted().iter().copied().filter(up).collect();
        let serving = self.serving_of(&sorted);
        let mut population = Population::new(&serving, &self.chance, self.config.k);
        let mut tables = Tables { entries: 0, converged: 0 };
        let mut table = Vec::new();
        for peer in &sorted {
            table.clear();
            population.table(*peer, &mut table);
            tables.converged += table.len() as u64;
            tables.entries += self.table(*peer).len() as u64;
        }
        tables
    }
}
