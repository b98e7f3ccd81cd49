//! Why a decision was taken: for who watches, never for who acts.

use crate::key::{Name, Target};
use crate::message::Decline;
use crate::turn::{Cost, Ticket};

/// Why a decision was taken. For traces, logs, events and snapshots alike.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Note<P> {
    /// A search ended.
    Searched {
        /// For which request; `None`: the core's own.
        ticket: Option<Ticket>,
        /// What it was for.
        target: Target<P>,
        /// Peers or hosts found.
        found: u16,
        /// What it took.
        cost: Cost,
    },
    /// One more attempt.
    Attempt {
        /// For which request.
        ticket: Ticket,
        /// For which item.
        item: u64,
        /// On which host.
        host: P,
        /// Why.
        reason: Reason,
    },
    /// A peer did not take a function.
    Declined {
        /// Which.
        function: Name,
        /// Who.
        peer: P,
        /// Why.
        why: Decline,
    },
    /// A fellow host is taken for dead.
    Lost {
        /// Of which function.
        function: Name,
        /// Who.
        peer: P,
    },
    /// This host makes up for lost ones.
    Repair {
        /// Which function.
        function: Name,
        /// How many closer hosts live.
        rank: u16,
        /// Hosts that live.
        live: u16,
        /// Hosts that are wanted.
        wanted: u16,
    },
    /// So many probes of a period failed, or this node was woken so late, that the fault may be its
    /// own: until others answer again it takes nobody for dead and repairs nothing.
    Suspects {
        /// Peers that did not answer; 0: it was woken late.
        failed: u16,
        /// Of how many.
        asked: u16,
    },
    /// This host looks for another one to take a function's place here.
    HandsOn {
        /// Which function.
        function: Name,
        /// Whether this host is fuller than its share; else it knows an emptier peer that is closer.
        full: bool,
    },
    /// Another peer serves a function now, and this host leaves.
    HandedOn {
        /// Which function.
        function: Name,
        /// Who.
        to: P,
    },
    /// This host gives a function up, since there are more hosts than wanted.
    Retire {
        /// Which function.
        function: Name,
        /// Hosts that live.
        live: u16,
    },
}

/// Why one more attempt is made.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Reason {
    /// The first.
    First,
    /// The one before was refused.
    Refused,
    /// The one before failed.
    Retry,
    /// The one before takes long, and goes on; the first answer counts.
    Straggler,
    /// No answer of the one before has begun for long; the first that begins counts.
    Hedge,
    /// Another host has to give the same answer.
    Quorum,
}
