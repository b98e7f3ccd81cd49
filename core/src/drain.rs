//! Leaving for good without losing a call: what is hosted here gets another host first, then nothing
//! new is run, and what runs ends. Meanwhile this node's own requests go on.

use alloc::vec::Vec;

use crate::key::{Name, Peer};
use crate::machine::{Core, Work};
use crate::planted::{self, Bug};
use crate::turn::{Event, Ticket, Turn};

/// Functions that are handed over at once.
const HANDED_MAX: usize = 2;

impl<P: Peer> Core<P> {
    /// A user wants this node to leave.
    pub(crate) fn drain(&mut self, ticket: Ticket, turn: &mut Turn<'_, P>) {
        self.withdraw_labels(turn);
        self.drains = true;
        self.asks.insert(ticket, Work::Drain);
        self.hand_over(turn);
    }

    /// Gives up what can be given up, and looks for other hosts of some of the rest.
    fn hand_over(&mut self, turn: &mut Turn<'_, P>) {
        let functions: Vec<Name> = self.hosting.keys().copied().collect();
        for function in functions {
            let handing = self.hosting.values().filter(|hosting| hosting.healing > 0).count();
            let Some(hosting) = self.hosting.get_mut(&function) else {
                continue;
            };
            if hosting.is_leaving() || hosting.healing > 0 {
                continue;
            }
            if self.is_needless(function, turn) || planted::is(Bug::DrainsAtOnce) {
                self.retire(function, turn);
            } else if handing < HANDED_MAX {
                self.hosting.get_mut(&function).expect("it is hosted").healing = 1;
                self.place_lacking(function, 1, turn);
            }
        }
    }

    /// What was given up is not taken back, but this node hosts again, unless another request wants it
    /// to leave.
    pub(crate) fn drain_cancelled(&mut self, turn: &mut Turn<'_, P>) {
        self.drains = self.asks.values().any(|it| *it == Work::Drain);
        self.tell_labels(turn);
    }

    /// Another host was found, or there is none: either way this one goes.
    pub(crate) fn handed_over(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        self.retire(function, turn);
        self.hand_over(turn);
    }

    /// Ends the draining, once nothing is hosted here and nothing else is under way.
    pub(crate) fn end_drain(&mut self, turn: &mut Turn<'_, P>) {
        let busy = |work: &Work| *work != Work::Drain;
        let telling = self.publishes.len() > 0;
        let arriving = !self.hosting.is_empty() || !self.arriving.is_empty() || telling;
        if arriving || self.asks.values().any(busy) {
            return;
        }
        let tickets: Vec<Ticket> = self.asks.keys().copied().collect();
        for ticket in tickets {
            self.conclude(ticket, Event::Drained, turn);
        }
    }
}
