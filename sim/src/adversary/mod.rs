//! Peers that do not do what they should. What a liar says is made up by the world in place of its
//! core; the oracle judges by the honest ones.

mod liars;
mod sybils;

pub use self::liars::{Adversaries, Lie};
pub(crate) use self::sybils::Crowd;
pub use self::sybils::{Fate, Sybils};
