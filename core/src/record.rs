//! What an owner signed about a function, and what a host says of its load.

use alloc::boxed::Box;

use crate::key::{Digest, Name, Owner};
use crate::time::{Span, Time};

/// One version of a function, signed by its owner. The host has verified the signature before the
/// core sees it; the core judges version, expiry, quota and place.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Record {
    /// SHA-256 of the full name `NAME.OWNER`.
    pub function: Name,
    /// Whose function it is, and whose signature stands under it.
    pub owner: Owner,
    /// max(version seen + 1, Unix milliseconds): the higher one supersedes.
    pub version: u64,
    /// After this instant nobody keeps or serves it.
    pub expires: Time,
    /// What to run; `None` in a tombstone, which says that the function was removed.
    pub spec: Option<Spec>,
    /// The exact bytes that were signed, at most [`Record::BYTES_MAX`], passed on unchanged.
    pub bytes: Box<[u8]>,
}

/// What to run, where, and how often.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Spec {
    /// SHA-256 of the code.
    pub digest: Digest,
    /// Size of the code in bytes.
    pub size: u64,
    /// What must be there to run it.
    pub runtime: Runtime,
    /// A call's deadline unless its caller sets an earlier one.
    pub timeout: Span,
    /// Fewest and most hosts that the owner wants.
    pub replicas: (u16, u16),
    /// Whether running it twice does no harm; unsaid: an anycall takes no, a manycall yes.
    pub idempotent: Option<bool>,
    /// Labels that a host must carry, each as SHA-256 of `label/KEY=VALUE`.
    pub constraints: Box<[Name]>,
}

/// A way to run a function.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Runtime {
    /// The embedded WebAssembly sandbox.
    Wasm,
}

/// What decides between two records of one function: the higher one wins.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Rank {
    /// The higher version, first of all.
    pub version: u64,
    /// At a tie, what it says.
    pub what: Content,
}

/// What a record says: a tombstone wins over code, and of two codes the higher digest.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Content {
    /// Run the code with this digest.
    Runs(Digest),
    /// The function was removed.
    Removed,
}

impl Record {
    /// Largest signed record, in bytes.
    pub const BYTES_MAX: usize = 4096;

    /// Whether this one wins over `other` of the same function: by its [`Rank`]; at a tie the
    /// higher signed bytes, so that of two that differ one always wins.
    pub fn supersedes(&self, other: &Self) -> bool {
        (self.rank(), &self.bytes) > (other.rank(), &other.bytes)
    }

    /// What decides between this one and others of the same function.
    pub fn rank(&self) -> Rank {
        let what = self.spec.as_ref().map_or(Content::Removed, |spec| Content::Runs(spec.digest));
        Rank { version: self.version, what }
    }

    /// How long a call of it may take where no more than `cap` is allowed.
    pub(crate) fn timeout(&self, cap: Span) -> Span {
        self.spec.as_ref().map_or(cap, |spec| spec.timeout.min(cap))
    }

    /// How many hosts its owner wants at least; one, where it does not say.
    pub(crate) fn wanted_least(&self) -> u16 {
        self.spec.as_ref().map_or(1, |spec| spec.replicas.0.max(1))
    }

    /// Whether it asks its hosts for no label. Else how full others are says nothing: few may host it.
    pub(crate) fn is_for_any(&self) -> bool {
        self.spec.as_ref().is_none_or(|spec| spec.constraints.is_empty())
    }

    /// Whether it can still be kept at `now`.
    pub fn lives(&self, now: Time) -> bool {
        now < self.expires
    }
}

/// What a host says of itself with every answer.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Load {
    /// Calls that may run at once.
    pub slots: u16,
    /// Calls that run.
    pub running: u16,
    /// Calls that wait for a slot.
    pub queued: u16,
    /// Calls that may wait for a slot.
    pub queue: u16,
    /// Functions installed or promised a place.
    pub hosted: u16,
    /// Functions that may be installed.
    pub room: u16,
}

impl Load {
    /// Calls that run or wait.
    pub fn taken(self) -> u32 {
        u32::from(self.running) + u32::from(self.queued)
    }

    /// Percent of its slots that are taken, also by what waits, at most 100.
    pub(crate) fn busy(self) -> u8 {
        let percent = (self.taken() * 100).checked_div(u32::from(self.slots)).unwrap_or(0);
        percent.min(100) as u8
    }
}
