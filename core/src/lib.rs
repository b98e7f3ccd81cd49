//! The deterministic state machine of Peerless: every decision, no I/O.
//!
//! A host (the simulator, the node, a test) feeds [`Input`]s to [`Core::handle`] and performs the
//! [`Effect`]s it finds in its buffer. Read [`turn`] first, then [`machine`].
#![no_std]
#![forbid(unsafe_code)]
// A float's sum depends on the order, and its functions on the platform.
#![deny(clippy::float_arithmetic, clippy::std_instead_of_core, clippy::std_instead_of_alloc)]

extern crate alloc;
// Property tests are made with std; the library is not.
#[cfg(test)]
extern crate std;

mod admission;
mod arriving;
mod attempt;
mod call;
mod census;
mod choice;
pub mod config;
mod contacts;
mod drain;
pub mod few;
mod groups;
mod guarding;
mod handing;
mod hearsay;
mod hedge;
mod holder;
mod hosting;
mod idle;
mod job;
pub mod key;
mod known;
mod labels;
pub mod laws;
mod leasing;
mod lookup;
pub mod machine;
mod membership;
pub mod message;
mod narrow;
pub mod note;
mod owner;
mod paths;
mod placement;
mod places;
pub mod planted;
mod probing;
mod providers;
mod publish;
mod queries;
mod queue;
mod quorum;
pub mod random;
pub mod record;
mod records;
mod regain;
mod repair;
mod search;
mod settling;
#[cfg(test)]
mod sizes;
mod slab;
mod standing;
mod table;
#[cfg(test)]
mod tests;
pub mod time;
mod timers;
pub mod turn;
mod warm;

pub use config::{Accept, Config, Setup};
pub use key::{Digest, Distance, Key, Name, Owner, Peer, Target};
pub use machine::Core;
pub use message::{Answer, Decline, Message, Query, Tag};
pub use note::{Note, Reason};
pub use record::{Content, Load, Rank, Record, Runtime, Spec};
pub use time::{Span, Time};
pub use turn::{
    Answered, Call, Contact, Cost, Dialled, Effect, Ending, Event, Failure, Got, Group, Input,
    Item, ItemKey, Quorum, Refusal, Request, Stay, Summary, Ticket, Turn,
};
