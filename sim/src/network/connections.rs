//! `[connections]`: two machines that are not connected shake hands first, and each keeps but so many
//! connections. Either end knows only its own: what the other one closes it hears of.

use std::collections::BTreeMap;

use peerless_core::{Span, Time};

use crate::chance::{Chance, Concern, Share};
use crate::scenario::{Bad, Keys, at_least, section};

section! {
    /// Connections that take time to make, and of which a machine keeps only so many.
    "connections" => pub struct Connections {
        /// Share of the machines that have QUIC: two of these connect within one round trip, others by TCP, Noise and Yamux within four.
        quic: Share = Share::percent(100),
        /// Connections that a machine keeps: beyond these it closes the one that was not used for longest.
        most: u32 = 128,
    }
}

/// Round trips of TCP, Noise and Yamux, and of QUIC.
const TCP: u64 = 4;
const QUIC: u64 = 1;

impl Connections {
    pub(crate) fn check(&self, keys: &Keys) -> Result<(), Bad> {
        at_least(keys, "connections.most", self.most, 1)
    }

    /// How many round trips it takes until two machines are connected.
    pub fn round_trips(&self, one: u32, other: u32, chance: &Chance) -> u64 {
        let has = |peer: u32| self.quic.takes(chance.bits(Concern::Quic, peer.into(), 0, 0));
        if has(one) && has(other) { QUIC } else { TCP }
    }
}

/// One end's connection to a peer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// From when on it carries anything.
    pub ready: Time,
    /// Where it goes.
    pub way: Way,
}

/// How one machine reaches another; the direct way is the lesser one.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// Directly.
    Direct,
    /// Through a relay, which takes so much longer.
    Relayed(Span),
}

impl Way {
    /// How much longer it is than the direct one.
    pub fn detour(self) -> Span {
        match self {
            Self::Direct => Span::ZERO,
            Self::Relayed(longer) => longer,
        }
    }

    /// Whether it goes through a relay.
    pub fn is_relayed(self) -> bool {
        self != Self::Direct
    }
}

/// The connections of one machine.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    by_peer: BTreeMap<u32, (Line, u64)>,
    /// The same by when each was last used, as the machine counts.
    by_use: BTreeMap<u64, u32>,
    uses: u64,
}

impl Lines {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_peer.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    /// The connection to a peer, which is used.
    pub fn used(&mut self, peer: u32) -> Option<Line> {
        let (line, used) = self.by_peer.get_mut(&peer)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, peer);
        Some(*line)
    }

    /// A connection more, in place of any to the same peer; whom the machine is connected to no
    /// longer, because that would be more than `most`.
    pub fn open(&mut self, peer: u32, line: Line, most: u32) -> Option<u32> {
        self.close(peer);
        let closed = if self.by_peer.len() < most as usize {
            None
        } else {
            self.by_use.pop_first().map(|(_, idle)| idle)
        };
        if let Some(idle) = closed {
            self.by_peer.remove(&idle);
        }
        self.uses += 1;
        self.by_peer.insert(peer, (line, self.uses));
        self.by_use.insert(self.uses, peer);
        closed
    }

    /// A connection is no more, if there was one.
    pub fn close(&mut self, peer: u32) -> bool {
        let gone = self.by_peer.remove(&peer);
        gone.is_some_and(|(_, used)| self.by_use.remove(&used).is_some())
    }

    /// Whom the machine is connected to, ascending.
    pub fn peers(&self) -> impl Iterator<Item = u32> {
        self.by_peer.keys().copied()
    }
}
