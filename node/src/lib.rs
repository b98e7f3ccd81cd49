//! A Peerless node: everything that is not decided but done.

pub mod id;
pub mod keys;
pub mod record;
pub mod wire;

mod bytes32;
mod proto;
