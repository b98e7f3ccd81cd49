//! The whole boundary: what a core is told, and what it wants done. Read this first.
//!
//! A host calls [`Core::handle`](crate::Core::handle) with one [`Input`] at a time and performs the
//! [`Effect`]s that it finds in its buffer, in order. Nothing else passes between them.
//!
//! Laws, judged by [`laws`](crate::laws) over tests, the simulator and every recorded node, among
//! others:
//! - each [`Input::Ask`] ends in exactly one final [`Effect::Tell`] ([`Event::is_final`]);
//! - each [`Effect::Dispatch`] ends in one [`Input::Ended`] or one [`Effect::Abort`], and nothing
//!   follows either;
//! - each [`Input::Arrived`] that is not [`Input::Gone`] ends in one [`Effect::Run`] or one
//!   [`Effect::Refuse`], each `Run` in one [`Input::RanEnd`], cancelled or not;
//! - each [`Effect::Keep`] ends in one [`Input::Kept`] or [`Input::NotKept`], and what acknowledges
//!   it to a user or peer follows that;
//! - each [`Effect::Fetch`] ends in one [`Input::Fetched`], each [`Effect::Install`] in one
//!   [`Input::Installed`], each [`Effect::Dial`] in one [`Input::Dialled`], wanted still or not;
//! - the core moves no bodies: the host keeps them under the ticket, item and attempt.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Config;
use crate::key::{Digest, Name, Target};
use crate::message::{Decline, Message, Tag};
use crate::note::Note;
use crate::record::{Load, Record};
use crate::time::{Span, Time};

/// The host's number for one request of a user; never used twice in a core's life.
pub type Ticket = u64;

/// The host's number for one call that arrived; never used twice in a core's life.
pub type Call = u64;

/// The host's number for one of the addresses that its user named or that it remembers: addresses
/// never enter the core.
pub type Contact = u32;

/// The host's number for addresses that lie close together, and so may all be one operator's: one
/// /24 of IPv4, one /48 of IPv6.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Group(pub u64);

/// What a core is told.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Input<P> {
    /// A user wants something. A ticket that is still open is the host's fault, and the core panics:
    /// two final tells would answer one user.
    Ask(Ticket, Request<P>),
    /// `n` more items of a manycall lie ready at the host; `ended`: they were the last. Items are
    /// numbered from 0 in the order of their coming.
    Items {
        /// Which manycall.
        ticket: Ticket,
        /// How many, at most as many as were wanted.
        n: u32,
        /// Whether no more will come.
        ended: bool,
    },
    /// The user took `n` results of a manycall.
    Taken {
        /// Which manycall.
        ticket: Ticket,
        /// How many.
        n: u32,
    },

    /// A peer said something, on an authenticated connection.
    Heard {
        /// Who.
        from: P,
        /// What.
        message: Message<P>,
    },
    /// A query could not be sent or will not be answered; its answer never follows.
    Failed {
        /// The query's tag.
        tag: Tag,
    },
    /// A peer could not be reached. The queries that waited for that end in `Failed`, before this or
    /// after it; together they count as one failure.
    Unreached {
        /// Which.
        peer: P,
    },
    /// A connection to a peer was made and authenticated.
    Met {
        /// Who.
        peer: P,
        /// Whether it answers queries; others stay out of the table.
        serves: bool,
        /// The group of the address that the connection really comes from or goes to; `None`: it
        /// is not routed globally, and limited by nothing.
        group: Option<Group>,
        /// Whether the connection goes through a relay: it stays out of the table, where every
        /// search through it would burden the relay.
        relayed: bool,
    },

    /// An [`Effect::Dial`] ended.
    Dialled {
        /// As in the effect.
        tag: Tag,
        /// What came of it.
        outcome: Dialled<P>,
    },

    /// The answer to a dispatched call begins.
    Head {
        /// Which attempt.
        attempt: Tag,
        /// The function's HTTP status.
        status: u16,
        /// The host's load, where it said so.
        load: Option<Load>,
        /// How long the call was at the host, where it said so.
        stay: Option<Stay>,
    },
    /// A dispatched call ended.
    Ended {
        /// Which attempt.
        attempt: Tag,
        /// How.
        how: Ending,
        /// What its whole body is, where its request wants a quorum. If this turn does not tell it as
        /// its item's answer, it is never told, and the host need not keep it.
        body: Option<Digest>,
    },

    /// A peer (or this node itself) wants a function run here.
    Arrived {
        /// The host's number for the call.
        call: Call,
        /// Who wants it.
        from: P,
        /// Which function.
        function: Name,
        /// How much time is left for it.
        left: Span,
    },
    /// The caller hung up.
    Gone {
        /// Which call.
        call: Call,
    },

    /// A running function's answer begins.
    RanHead {
        /// Which run.
        job: Tag,
    },
    /// A run ended, in whatever way; its slot is free.
    RanEnd {
        /// Which run.
        job: Tag,
    },
    /// An [`Effect::Install`] ended.
    Installed {
        /// As in the effect.
        tag: Tag,
        /// Which function.
        function: Name,
        /// Which version.
        version: u64,
        /// Whether it can be called now.
        ok: bool,
    },
    /// An [`Effect::Fetch`] ended.
    Fetched {
        /// As in the effect.
        tag: Tag,
        /// What was fetched.
        digest: Digest,
        /// What came of it.
        got: Got,
    },

    /// What was to be kept is kept.
    Kept {
        /// As in [`Effect::Keep`].
        tag: Tag,
    },
    /// It could not be kept.
    NotKept {
        /// As in [`Effect::Keep`].
        tag: Tag,
    },
    /// At the start, before anything else: something that was kept.
    Restored(Item),

    /// The instant asked for by [`Effect::WakeAt`] has come. A spurious one does no harm.
    Wake,
}

/// What a core wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Effect<P> {
    /// Tell the user.
    Tell(Ticket, Event<P>),
    /// The core has room for `n` more items of a manycall.
    Want {
        /// Which manycall.
        ticket: Ticket,
        /// How many more.
        n: u32,
    },

    /// Send to a peer. If it is a query that can't be sent or answered, say [`Input::Failed`].
    Send {
        /// To whom; never to oneself.
        to: P,
        /// What.
        message: Message<P>,
    },

    /// Connect to a contact once, and see whether a peer of this network answers there.
    Dial {
        /// What Dialled will name.
        tag: Tag,
        /// Where.
        contact: Contact,
    },

    /// Call a function on a host, which may be this node itself.
    Dispatch {
        /// What Head and Ended will name.
        attempt: Tag,
        /// The user's request.
        ticket: Ticket,
        /// Which item of a manycall; 0 for an anycall.
        item: u64,
        /// The host.
        to: P,
        /// The function.
        function: Name,
        /// When the answer is too late.
        deadline: Time,
    },
    /// Nobody wants this attempt's answer any more. Nothing follows.
    Abort {
        /// Which attempt.
        attempt: Tag,
    },

    /// The call is not run here.
    Refuse {
        /// Which call.
        call: Call,
        /// Why.
        why: Refusal,
        /// How busy this host is.
        load: Load,
    },
    /// Run the function on the call's body.
    Run {
        /// What RanHead and RanEnd will name.
        job: Tag,
        /// Whose call.
        call: Call,
        /// The function.
        function: Name,
        /// Which of its versions.
        version: u64,
        /// When to stop it.
        deadline: Time,
    },
    /// Pass the head of the answer on, with this host's load.
    Respond {
        /// Which call.
        call: Call,
        /// How busy this host is.
        load: Load,
        /// How long the call was here.
        stay: Stay,
    },
    /// Nobody waits for this run any more: stop it. Its RanEnd still comes.
    Cancel {
        /// Which run.
        job: Tag,
    },

    /// Make a function callable; its code is here.
    Install {
        /// What Installed will name.
        tag: Tag,
        /// Which function and version.
        record: Arc<Record>,
    },
    /// Forget how to call this version.
    Uninstall {
        /// Which function.
        function: Name,
        /// Which version.
        version: u64,
    },
    /// Get code, unless it is here already, from this peer, and verify its digest.
    Fetch {
        /// What Fetched will name.
        tag: Tag,
        /// What.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Who may have it; `None`: it is here or nowhere.
        from: Option<P>,
    },

    /// Keep this through a crash, in place of what was kept under the same key.
    Keep {
        /// What Kept will name.
        tag: Tag,
        /// What.
        item: Item,
    },
    /// It need not be kept any longer.
    Forget(ItemKey),

    /// This record of the own owner expires before long: sign it again, with the version that follows
    /// on its own, and ask for its deployment. Whatever its owner does meanwhile has a higher version.
    Renew(Arc<Record>),

    /// Say [`Input::Wake`] at this instant. It is not past, and earlier than what was asked for
    /// before and has not come yet, which it replaces.
    WakeAt(Time),

    /// Why a decision was taken; only where [`Config::notes`] is set.
    Note(Note<P>),
}

/// What a user can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Request<P> {
    /// Meet whoever answers at a contact, which is remembered: it is dialled again where this peer
    /// has lost everybody. Ends in [`Event::Met`].
    Meet(Contact),
    /// The k peers closest to a target. Ends in [`Event::Found`].
    Lookup(Target<P>),
    /// Who hosts a function, and its record. Ends in [`Event::Hosts`].
    Hosts(Name),
    /// Make a function available. Ends in [`Event::Deployed`] or [`Event::NotPlaced`].
    Deploy(Arc<Record>),
    /// Remove a function; the record is its tombstone. Ends in [`Event::Removed`].
    Remove(Arc<Record>),
    /// The functions of this node's owner. Ends in [`Event::Listed`].
    List,
    /// Run a function once, anywhere. [`Event::Head`], then [`Event::Done`].
    Call {
        /// Which.
        function: Name,
        /// When its answer is too late.
        deadline: Time,
        /// Whether the host keeps the body for another attempt.
        kept: bool,
        /// The caller's word that running it twice does no harm.
        idempotent: bool,
    },
    /// Run a function on many items. [`Event::Item`] for each, then [`Event::Finished`].
    Many {
        /// Which.
        function: Name,
        /// When the whole job is too late.
        deadline: Option<Time>,
        /// Further attempts an item after failures of the system.
        retries: u8,
        /// How many hosts have to give an item the same answer; `None`: one.
        quorum: Option<Quorum>,
    },
    /// End another request of this node early; that one ends in [`Failure::Cancelled`] where it
    /// had not ended. This one ends in [`Event::Cancelled`].
    Cancel(Ticket),
    /// Leave for good without losing a call: others host what is hosted here, and nothing new is.
    /// Ends in [`Event::Drained`], when nothing else is under way; other requests go on, so that a
    /// host that wants an end takes no more of them. Whoever cancels it hosts again.
    Drain,
}

/// An item's answer counts when so many hosts gave it, of so many that are heard at most: hosts of
/// distinct address groups, where those are known. Two answers are equal where status and body are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Quorum {
    agree: u8,
    of: u8,
}

impl Quorum {
    /// Most hosts that are heard of one item.
    pub const OF_MAX: u8 = 31;

    /// `agree` equal answers of at most `of` hosts; `None` where that can never be, or is too many.
    pub const fn new(agree: u8, of: u8) -> Option<Self> {
        if agree == 0 || agree > of || of > Self::OF_MAX {
            return None;
        }
        Some(Self { agree, of })
    }

    /// Hosts that have to give the same answer.
    pub const fn agree(self) -> u8 {
        self.agree
    }

    /// Hosts that are heard at most.
    pub const fn of(self) -> u8 {
        self.of
    }
}

/// What a user is told.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Event<P> {
    /// A peer of this network answered at the contact.
    Met(P),
    /// The k closest live peers, closest first.
    Found {
        /// Each with the length of the chain of requests by which it was first heard of.
        peers: Vec<(P, u8)>,
        /// What it took.
        cost: Cost,
    },
    /// Who hosts a function.
    Hosts {
        /// What it is.
        record: Arc<Record>,
        /// Live as far as is known; best first.
        hosts: Vec<(P, Option<Load>)>,
        /// What it took.
        cost: Cost,
    },
    /// The function is served.
    Deployed {
        /// By these, in the order of their confirming.
        hosts: Vec<P>,
        /// Who does not host it, and why.
        declined: Vec<(P, Decline)>,
    },
    /// The tombstone is kept by the holders.
    Removed,
    /// The owner's functions, tombstones left out; for each the hosts this node knows to live.
    Listed(Vec<(Arc<Record>, u16)>),
    /// Not final: the answer to a call begins; pass this attempt's head and body on.
    Head {
        /// Whose.
        attempt: Tag,
        /// Which host.
        host: P,
        /// The how manieth attempt.
        attempts: u16,
    },
    /// The call's answer is complete.
    Done,
    /// Not final: an item has its one result.
    Item {
        /// Which item.
        index: u64,
        /// What came of it.
        result: Result<Answered<P>, Failure>,
        /// How many attempts it took.
        attempts: u16,
    },
    /// Every item has its result.
    Finished(Summary),
    /// The request to cancel was carried out; false: there was nothing to cancel.
    Cancelled(bool),
    /// It could not be done.
    Failed(Failure),
    /// No peer hosts the function that was to be deployed: the reasons, in the order of hearing.
    NotPlaced(Vec<(P, Decline)>),
    /// Nothing is hosted here any more, and nothing is under way.
    Drained,
}

impl<P> Event<P> {
    /// Whether nothing follows under the same ticket.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Head { .. } | Self::Item { .. })
    }
}

/// The answer that an item got.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Answered<P> {
    /// Whose body it is.
    pub attempt: Tag,
    /// Which host.
    pub host: P,
    /// The function's HTTP status.
    pub status: u16,
    /// From dispatch to the answer's end.
    pub took: Span,
}

/// What a search took.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Cost {
    /// Requests sent.
    pub rpcs: u32,
    /// Requests not answered.
    pub timeouts: u32,
    /// Length of the longest chain of dependent requests until the search ended.
    pub rounds: u8,
}

/// Totals of a manycall.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Summary {
    /// Items that came.
    pub items: u64,
    /// Answered with a status below 400.
    pub succeeded: u64,
    /// Answered with another status, or not at all.
    pub failed: u64,
    /// May have been run, and may not be run again.
    pub unknown: u64,
    /// Attempts dispatched.
    pub attempts: u64,
    /// Of these, those that repeated an item that ran for long elsewhere.
    pub hedged: u64,
    /// Distinct hosts that answered.
    pub hosts: u32,
}

/// Why a request could not be fulfilled.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Failure {
    /// No peer of this network answered at the contact, or none that had room for one more.
    NobodyThere,
    /// There is no such function: the closest holders answered that they have no record.
    Unknown,
    /// Too few of the closest holders answered to say that there is none.
    Incomplete {
        /// How many answered.
        answered: u8,
        /// Of how many.
        of: u8,
    },
    /// There is a record, but no host that lives.
    NoHost,
    /// Every host refused: too busy.
    Overloaded,
    /// It may have been started, and may not be started twice.
    MayHaveStarted,
    /// The answer broke off after it had begun.
    Cut,
    /// It was not answered before its deadline.
    Late,
    /// An item ran out of attempts.
    OutOfAttempts,
    /// Cancelled by the user.
    Cancelled,
    /// A newer version or tombstone is known.
    Superseded {
        /// Its version.
        version: u64,
    },
    /// This node's store failed.
    NotKept,
    /// None of the peers closest to the name keeps it.
    NoHolder,
    /// A limit of this node: too many requests at once.
    TooMany,
    /// Too few hosts gave an item the same answer, or there are too few; or it must not be run twice.
    NoQuorum,
}

impl Failure {
    /// Whether it may have been run all the same: a manycall counts such an item as unknown.
    pub fn may_have_run(&self) -> bool {
        matches!(self, Self::MayHaveStarted | Self::Cut)
    }
}

/// How long a call was at its host until its answer began.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stay {
    /// For a slot.
    pub waited: Span,
    /// In it.
    pub ran: Span,
}

/// How a dispatched call ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Ending {
    /// The answer is complete.
    Complete,
    /// The answer broke off after its head.
    Cut,
    /// The host never looked at it: it has certainly not started.
    NotSent {
        /// Whether bytes of a body that is not kept were sent, so that it can't be sent again.
        spent: bool,
    },
    /// It broke off before a head came: it may have started.
    MayHaveStarted,
    /// The host refused it; it has not started.
    Refused {
        /// Why.
        why: Refusal,
        /// How busy it is, where it said so.
        load: Option<Load>,
        /// Whether bytes of a body that is not kept were sent, so that it can't be sent again.
        spent: bool,
    },
}

/// Why a host does not run a call.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    /// Slots and queue are taken.
    Busy,
    /// It does not host the function (any more).
    NotHosted,
    /// Its deadline passed in the queue.
    Late,
}

/// What came of an [`Effect::Fetch`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Got {
    /// The code is here, and its digest is right.
    Code,
    /// Nothing: the peer gives as much as it can to others.
    Busy,
    /// Nothing: the peer does not have it, or did not give it whole and in time.
    Nothing,
}

/// What came of an [`Effect::Dial`].
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Dialled<P> {
    /// This peer is there and answered.
    Met(P),
    /// Somebody is there, and has no room for one more now.
    Busy,
    /// Nobody is there, or nobody of this network.
    Nobody,
}

/// What is kept through a crash.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Item {
    /// A record, as holder for others or as one of the owner's set.
    Record(Arc<Record>),
    /// A function that is installed here.
    Hosting(Arc<Record>),
}

/// Under which key an item is kept.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ItemKey {
    /// Of [`Item::Record`].
    Record(Name),
    /// Of [`Item::Hosting`].
    Hosting(Name),
}

impl Item {
    /// The key under which it replaces its like.
    pub fn key(&self) -> ItemKey {
        match self {
            Self::Record(record) => ItemKey::Record(record.function),
            Self::Hosting(record) => ItemKey::Hosting(record.function),
        }
    }
}

/// One call of [`Core::handle`](crate::Core::handle): what cores share, so that none of them
/// stores it, and the verbs for what is to be done.
pub struct Turn<'a, P> {
    /// The host's clock; never earlier than at the turn before.
    pub now: Time,
    /// Every limit.
    pub config: &'a Config,
    effects: &'a mut Vec<Effect<P>>,
}

impl<'a, P> Turn<'a, P> {
    /// A turn at `now` that appends to `effects`.
    pub fn new(now: Time, config: &'a Config, effects: &'a mut Vec<Effect<P>>) -> Self {
        Self { now, config, effects }
    }

    /// Appends an effect.
    pub(crate) fn push(&mut self, effect: Effect<P>) {
        self.effects.push(effect);
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, to: P, message: Message<P>) {
        self.push(Effect::Send { to, message });
    }

    /// Tells a user.
    pub(crate) fn tell(&mut self, ticket: Ticket, event: Event<P>) {
        self.push(Effect::Tell(ticket, event));
    }

    /// Tells a watcher, if there is one.
    pub(crate) fn note(&mut self, note: impl FnOnce() -> Note<P>) {
        if self.config.notes {
            self.push(Effect::Note(note()));
        }
    }
}
