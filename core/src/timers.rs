//! Every deadline of a core in one place, each with its reason.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::idle::{Empty, Idle};
use crate::key::Name;
use crate::message::Tag;
use crate::time::Time;
use crate::turn::Call;

/// What is due.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// A query was not answered.
    Query(Tag),
    /// A search took too long.
    Search(Tag),
    /// A placement took too long, or has waited long enough for further hosts.
    Placement(Tag),
    /// A request to run something is too late, or may look for hosts again.
    Job(Tag),
    /// An attempt is too late.
    Attempt(Tag),
    /// A call has waited too long for a slot.
    Queued(Call),
    /// Places that were promised lapse.
    Places,
    /// An install took too long, or may be tried again.
    Arrival(Name),
    /// A host may repair, or retire.
    Heal(Name),
    /// A holder may place a function anew that has lost all hosts, or ask after them again.
    Watch(Name),
    /// A host's records are to be renewed.
    Renew(Name),
    /// A newer version of what is hosted may be asked for again.
    Update(Name),
    /// What is being given up has had its time.
    Leave(Name),
    /// A contact that had no room is to be dialled again.
    Dial(Tag),
    /// Peers that are gone are to be asked again.
    Regain,
    /// A part of the table is to be refreshed.
    Refresh,
    /// Fellow hosts are to be probed.
    Probe,
    /// Hosts of the records that are kept are to be asked whether they live.
    Guard,
    /// The owner's nodes compare their sets.
    Sync,
    /// What has expired is to be dropped.
    Sweep,
}

/// Deadlines, earliest first; equal ones in the order of [`Timer`]. An entry is not taken out when
/// what it waits for ends: it is found stale when it comes up.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Idle<Heap>,
}

#[derive(Debug)]
struct Heap {
    entries: BinaryHeap<Reverse<(Time, Timer)>>,
    /// Entries that were live at the last clearing.
    live: usize,
}

impl Empty for Heap {
    const EMPTY: &'static Self = &Self { entries: BinaryHeap::new(), live: 0 };

    fn empty() -> Self {
        Self { entries: BinaryHeap::new(), live: 0 }
    }
}

/// Entries below which no clearing pays.
const CLEAR_MIN: usize = 64;

impl Timers {
    pub(crate) const fn new() -> Self {
        Self { heap: Idle::new() }
    }

    pub(crate) fn add(&mut self, at: Time, timer: Timer) {
        self.heap.entries.push(Reverse((at, timer)));
    }

    pub(crate) fn earliest(&self) -> Option<(Time, Timer)> {
        self.heap.entries.peek().map(|Reverse(entry)| *entry)
    }

    pub(crate) fn pop(&mut self) {
        self.heap.entries.pop();
        if self.heap.entries.is_empty() {
            self.heap.release();
        }
    }

    /// As [`Core::warm`](crate::Core::warm).
    pub(crate) fn warm(&self) -> u64 {
        self.heap.entries.len() as u64
    }

    /// Whether so many entries may be stale that clearing them pays.
    pub(crate) fn is_crowded(&self) -> bool {
        self.heap.entries.len() > CLEAR_MIN + 2 * self.heap.live
    }

    /// Takes out what is stale: a busy gateway's long deadlines, nearly all of them met.
    pub(crate) fn clear(&mut self, is_stale: impl Fn(Timer) -> bool) {
        let heap = &mut *self.heap;
        heap.entries.retain(|Reverse((_, timer))| !is_stale(*timer));
        heap.live = heap.entries.len();
    }
}
