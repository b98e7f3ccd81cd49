//! What peers say to each other. Every query is answered once, with the tag it came with.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Name, Owner, Target};
use crate::record::{Load, Rank, Record};

/// Whose answer this is: a slot that can be indexed, and an epoch and incarnation by which a stale
/// answer never matches. To the peer that answers it is opaque, and a host may put its own there.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tag {
    /// Index of the slot.
    pub slot: u32,
    /// How often the slot had been used before.
    pub epoch: u32,
    /// Which start of this core it was.
    pub incarnation: u32,
}

/// One message between two peers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Message<P> {
    /// A question; exactly one [`Message::Answer`] with the same tag is due.
    Query(Tag, Query<P>),
    /// The answer to the query with this tag.
    Answer(Tag, Answer<P>),
}

/// What can be asked of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Query<P> {
    /// The peers closest to a target (Kademlia's `FIND_NODE`). Answered by `Found`.
    Find(Target<P>),
    /// The hosts of a name, its record, and the peers closest to it (`GET_PROVIDERS`). `Found`.
    Hosts(Name),
    /// I host this name (`ADD_PROVIDER`), under this record where it is a function's. `Stored`.
    Provide(Name, Option<Arc<Record>>),
    /// I host this name no longer: name me to nobody. `Noted`.
    Withdraw(Name),
    /// Keep this record for others (`PUT_VALUE`). `Stored`.
    Store(Arc<Record>),
    /// Would you host this? Accepting reserves a place. `Offered`.
    Offer {
        /// What.
        record: Arc<Record>,
        /// Whether being busier than the mean is no reason to decline.
        waive: bool,
    },
    /// Host it: fetch the code from one of `sources`; `mates` host it too. `Noted`.
    Confirm {
        /// Which function.
        function: Name,
        /// Which version was offered.
        version: u64,
        /// Peers that have the code, the placer among them.
        sources: Vec<P>,
        /// The other hosts.
        mates: Vec<P>,
    },
    /// The place is not needed. `Noted`.
    Release {
        /// Which function.
        function: Name,
        /// Which version was offered.
        version: u64,
    },
    /// I serve this version now, or why I can't: a host to the one that confirmed it. `Noted`.
    Placed {
        /// Which function.
        function: Name,
        /// Which version was confirmed.
        version: u64,
        /// Why it is not served.
        failure: Option<Decline>,
    },
    /// Are you alive, and do you serve these versions still, as I do? Version 0 asks for any, and
    /// says nothing of the asker. `Probed`.
    Probe(Vec<(Name, u64)>),
    /// What I know of an owner's functions: records that are new, and which I have of a range.
    /// `Synced`.
    Sync {
        /// Whose functions.
        owner: Owner,
        /// Records to take over.
        records: Vec<Arc<Record>>,
        /// What I have, by ascending name.
        have: Vec<(Name, Rank)>,
        /// The names that `have` is complete for, both ends included; `None`: just pushing. Boxed, as
        /// it alone would make every message half as large again.
        range: Option<Box<(Name, Name)>>,
    },
}

/// What a peer answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Answer<P> {
    /// To `Find` and `Hosts`: the closest peers I know, without you and me; hosts and record of
    /// the name, where I have them.
    Found {
        /// Closest first, at most k.
        closer: Vec<P>,
        /// Hosts of the name, at most `hosts_max`: myself first, if I am one, then those that told me
        /// so themselves, each on its own authenticated connection; never hearsay.
        hosts: Vec<P>,
        /// The name's record.
        record: Option<Arc<Record>>,
        /// How busy I am.
        load: Load,
    },
    /// To `Provide` and `Store`: kept; or a newer record that stands against it.
    Stored {
        /// Whether I keep it from now on, and have noted who provides it.
        kept: bool,
        /// The record that I have, where it supersedes the one sent.
        newer: Option<Arc<Record>>,
        /// Other hosts of the name.
        hosts: Vec<P>,
    },
    /// To `Offer`.
    Offered {
        /// Why not; `None`: a place is reserved.
        decline: Option<Decline>,
        /// How busy I am.
        load: Load,
    },
    /// To `Confirm`, `Release`, `Placed` and `Withdraw`: heard; false if I know nothing of it.
    Noted(bool),
    /// To `Probe`: which of them I serve, in the order asked, and other versions that I serve.
    Probed {
        /// Those of the question that I serve.
        serving: Vec<(Name, u64)>,
        /// How busy I am.
        load: Load,
    },
    /// To `Sync`: records that you lack or have older, and names that I want from you.
    Synced {
        /// Newer here.
        records: Vec<Arc<Record>>,
        /// Newer there, of those that `have` named.
        want: Vec<Name>,
        /// Whether more of the range is newer here than fitted.
        more: bool,
    },
}

/// Why a peer does not host a function.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Decline {
    /// It has no runtime for it.
    Runtime,
    /// It lacks a label that the record asks for.
    Constraint,
    /// Its operator does not accept this owner.
    Policy,
    /// It has no room.
    Full,
    /// It would be busier than 1.25 times the mean that it knows of.
    Busier,
    /// It knows a newer version, or a tombstone.
    Superseded,
    /// The reservation had lapsed.
    Lapsed,
    /// The code could not be fetched from any source.
    Fetch,
    /// The code could not be installed.
    Install,
    /// Its store failed.
    Store,
    /// It serves the function, but none of the closest peers keeps the record.
    NoHolder,
    /// It did not answer in time.
    Silent,
}
