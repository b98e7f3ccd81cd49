//! Every deadline of a core in one place, each with its reason.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::idle::{Empty, Idle};
use crate::key::Name;
use crate::message::Tag;
use crate::time::Time;
use crate::turn::Call;

/// What is due. Where it waits, a name lies elsewhere: few deadlines have one.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer<N = Name> {
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
    Arrival(N),
    /// A host may repair, or retire.
    Heal(N),
    /// A holder may place a function anew that has lost all hosts, or ask after them again.
    Watch(N),
    /// A host's records are to be renewed.
    Renew(N),
    /// The holders of this host's labels are to be told again.
    Labels,
    /// A newer version of what is hosted may be asked for again.
    Update(N),
    /// What is being given up has had its time.
    Leave(N),
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

impl<N> Timer<N> {
    /// The same with the name laid elsewhere.
    fn map<M>(&self, name: impl FnOnce(&N) -> M) -> Timer<M> {
        match self {
            Self::Query(tag) => Timer::Query(*tag),
            Self::Search(tag) => Timer::Search(*tag),
            Self::Placement(tag) => Timer::Placement(*tag),
            Self::Job(tag) => Timer::Job(*tag),
            Self::Attempt(tag) => Timer::Attempt(*tag),
            Self::Queued(call) => Timer::Queued(*call),
            Self::Places => Timer::Places,
            Self::Arrival(function) => Timer::Arrival(name(function)),
            Self::Heal(function) => Timer::Heal(name(function)),
            Self::Watch(function) => Timer::Watch(name(function)),
            Self::Renew(function) => Timer::Renew(name(function)),
            Self::Update(function) => Timer::Update(name(function)),
            Self::Leave(function) => Timer::Leave(name(function)),
            Self::Dial(tag) => Timer::Dial(*tag),
            Self::Regain => Timer::Regain,
            Self::Refresh => Timer::Refresh,
            Self::Probe => Timer::Probe,
            Self::Labels => Timer::Labels,
            Self::Guard => Timer::Guard,
            Self::Sync => Timer::Sync,
            Self::Sweep => Timer::Sweep,
        }
    }
}

/// Deadlines, earliest first; equal ones in the order of [`Timer`]. An entry is not taken out when
/// what it waits for ends: it is found stale when it comes up.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Idle<Heap>,
}

#[derive(Debug)]
struct Heap {
    entries: BinaryHeap<Reverse<(Time, Timer<Box<Name>>)>>,
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
        let entries = &mut self.heap.entries;
        if entries.len() == entries.capacity() {
            entries.reserve_exact(1 + entries.len() / 2);
        }
        entries.push(Reverse((at, timer.map(|name| Box::new(*name)))));
    }

    pub(crate) fn earliest(&self) -> Option<(Time, Timer)> {
        let Reverse((at, timer)) = self.heap.entries.peek()?;
        Some((*at, timer.map(|name| **name)))
    }

    pub(crate) fn pop(&mut self) {
        let entries = &mut self.heap.entries;
        entries.pop();
        if entries.is_empty() {
            self.heap.release();
        } else if entries.capacity() > 2 + 2 * entries.len() {
            entries.shrink_to_fit();
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
        heap.entries.retain(|Reverse((_, timer))| !is_stale(timer.map(|name| **name)));
        heap.live = heap.entries.len();
    }
}
