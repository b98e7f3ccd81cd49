//! The calls that wait for a slot of this host: fair among callers, in order for each.
//!
//! Callers take turns (Nagle 1987, "On packet switches with infinite storage"), so that one that
//! floods waits for itself.

use alloc::collections::BTreeMap;

use crate::idle::Empty;
use crate::key::{Name, Peer};
use crate::time::Time;
use crate::turn::Call;

/// A call that waits.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Waiting<P> {
    pub(crate) call: Call,
    pub(crate) caller: P,
    pub(crate) function: Name,
    pub(crate) arrived: Time,
    pub(crate) deadline: Time,
}

/// All calls that wait. Everything takes O(log n).
#[derive(Debug)]
pub(crate) struct Queue<P> {
    /// Each with its place among its caller's.
    waiting: BTreeMap<Call, (u64, Waiting<P>)>,
    lines: BTreeMap<P, Line>,
    /// Callers that have calls here, by their turns.
    turns: BTreeMap<u64, P>,
    /// The next place or turn.
    next: u64,
}

impl<P: Peer> Empty for Queue<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

/// What waits of one caller.
#[derive(Debug)]
struct Line {
    turn: u64,
    calls: BTreeMap<u64, Call>,
}

impl<P: Peer> Queue<P> {
    pub(crate) const fn new() -> Self {
        Self { waiting: BTreeMap::new(), lines: BTreeMap::new(), turns: BTreeMap::new(), next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn contains(&self, call: Call) -> bool {
        self.waiting.contains_key(&call)
    }

    /// Whether a call of a caller waits.
    pub(crate) fn has_of(&self, caller: P) -> bool {
        self.lines.contains_key(&caller)
    }

    /// Whether a call of a function waits.
    pub(crate) fn has(&self, function: Name) -> bool {
        self.waiting.values().any(|(_, waiting)| waiting.function == function)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// At the end of its caller's line; a caller that had none waiting has its turn after the others.
    pub(crate) fn push(&mut self, waiting: Waiting<P>) {
        let (call, caller, place) = (waiting.call, waiting.caller, self.number());
        if !self.lines.contains_key(&caller) {
            let turn = self.number();
            self.turns.insert(turn, caller);
            self.lines.insert(caller, Line { turn, calls: BTreeMap::new() });
        }
        let line = self.lines.get_mut(&caller).expect("it has one now");
        line.calls.insert(place, call);
        self.waiting.insert(call, (place, waiting));
    }

    pub(crate) fn remove(&mut self, call: Call) -> Option<Waiting<P>> {
        let (place, waiting) = self.waiting.remove(&call)?;
        let caller = waiting.caller;
        let line = self.lines.get_mut(&caller).expect("who waits has a line");
        line.calls.remove(&place);
        if line.calls.is_empty() {
            self.turns.remove(&line.turn);
            self.lines.remove(&caller);
        }
        Some(waiting)
    }

    /// The first call of the caller whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Waiting<P>> {
        let (_, caller) = self.turns.pop_first()?;
        let turn = self.number();
        self.turns.insert(turn, caller);
        let line = self.lines.get_mut(&caller).expect("who has a turn has a line");
        line.turn = turn;
        let call = *line.calls.first_key_value().expect("no line is empty").1;
        self.remove(call)
    }
}
