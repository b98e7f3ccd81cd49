//! One peer's machine beside its core: its code, and the calls that it makes and serves.

use peerless_core::few::{Map, Set};
use peerless_core::{Digest, Span, Tag, Time};

use crate::chance::Share;
use crate::scenario::{section, worded};

section! {
    /// What each machine is like.
    "host" => pub struct Host {
        /// The last so many peers host functions, the others none; all where it is unset.
        hosts: Option<u32> = None,
        /// Calls that run at once.
        slots: u16 = 4,
        /// The same of the hosts in their order, over and over, where they are unequal; then none has `slots`.
        slots_each: Vec<u16> = Vec::new(),
        /// Calls that wait.
        queue: u16 = 16,
        /// Functions that can be installed.
        room: u16 = 64,
        /// Share of the peers that carry the label that functions may ask for.
        carriers: Share = Share::NONE,
        /// Where machines differ: each has room for a number drawn evenly from this one to room.
        room_min: Option<u16> = None,
        /// Until the disk has kept something.
        store_delay: Span = Span::ms(1),
        /// Until fetched code can be called.
        compile_delay: Span = Span::ms(200),
        /// Until a run that nobody waits for has stopped.
        cancel_delay: Span = Span::ms(1),
        /// What others see of a crash: "machine" is silence, "process" a reset.
        crash: Silence = Silence::Machine,
        /// Share of what is to be kept that the disk fails to keep.
        store_fails: Share = Share::NONE,
        /// Share of the fetches of code that fail where they could succeed.
        fetch_fails: Share = Share::NONE,
        /// Share of the installs that fail.
        install_fails: Share = Share::NONE,
        /// Share of the machines on which a run takes longer.
        slow: Share = Share::NONE,
        /// How many times as long it takes there.
        slow_factor: u32 = 10,
    }
}

/// What others see of a peer that crashed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Silence {
    /// The machine is gone: nothing answers.
    Machine,
    /// The process is gone, the machine resets connections.
    Process,
}

worded!(Silence: "machine" => Machine, "process" => Process);

/// What a machine holds for its core.
#[derive(Debug, Default)]
pub struct Desk {
    /// Code that is here.
    pub code: Set<Digest>,
    /// Fetches that have not ended, where code takes links.
    pub fetching: Set<Tag>,
    /// Calls that were dispatched and have not ended.
    pub attempts: Map<Tag, Outgoing>,
    /// Calls that arrived and have not ended.
    pub calls: Map<u64, Incoming>,
    /// The same by caller and attempt.
    pub by_attempt: Map<(u32, Tag), u64>,
    /// Runs that have not ended, and whose calls they answer.
    pub jobs: Map<Tag, u64>,
    /// Packets of calls that it has sent.
    pub packets: u64,
    /// The number of the next call that arrives.
    pub next_call: u64,
    /// Peers that it ever was connected to, where they have address groups.
    pub met: Set<u32>,
    /// What the machine was told to keep, fetch and install so far.
    pub errands: u64,
}

/// A call that this peer makes.
#[derive(Copy, Clone, Debug)]
pub struct Outgoing {
    /// The host.
    pub to: u32,
    /// When it comes there.
    pub arrives: Time,
    /// The status of its answer, once that has begun.
    pub status: Option<u16>,
}

/// A call that this peer serves.
#[derive(Copy, Clone, Debug)]
pub struct Incoming {
    /// Who called.
    pub from: u32,
    /// Under which tag.
    pub attempt: Tag,
    /// The caller's request.
    pub ticket: u64,
    /// Which item of it.
    pub item: u64,
    /// The answer's status, once there is one.
    pub status: u16,
    /// When the caller gets the answer's head, once it is sent.
    pub head_at: Option<Time>,
}

impl Desk {
    /// A call has ended: it is forgotten.
    pub fn end_call(&mut self, call: u64) -> Option<Incoming> {
        let incoming = self.calls.remove(&call)?;
        self.by_attempt.remove(&(incoming.from, incoming.attempt));
        Some(incoming)
    }
}
