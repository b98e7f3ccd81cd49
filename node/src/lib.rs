//! A Peerless node: everything that is not decided but done.

pub mod id;
pub mod journal;
pub mod keys;
pub mod record;
pub mod wire;

mod bytes32;
mod cli;
mod clock;
mod modules;
mod proto;
mod settings;
mod store;
mod units;
