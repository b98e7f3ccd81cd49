//! The deterministic state machine of Peerless: every decision, no I/O.
//!
//! A host (the simulator, the node, a test) feeds [`Input`]s to [`Core::handle`] and performs the
//! [`Effect`]s it finds in its buffer. Read [`turn`] first, then [`machine`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;
pub mod key;
pub mod machine;
pub mod message;
pub mod random;
pub mod record;
pub mod time;
pub mod turn;

pub use config::{Accept, Config, Setup};
pub use key::{Digest, Distance, Key, Name, Owner, Peer, Target};
pub use machine::Core;
pub use message::{Answer, Decline, Message, Query, Tag};
pub use record::{Load, Record, Runtime, Spec};
pub use time::{Span, Time};
pub use turn::{
    Answered, Call, Cost, Effect, Ending, Event, Failure, Input, Item, ItemKey, Note, Reason,
    Refusal, Request, Summary, Ticket, Turn,
};
