//! Real nodes over real sockets: what users see of a network, and what a crash or a mistake does
//! to it.

mod bad;
#[path = "../shared/binary.rs"]
mod binary;
mod bytes;
mod calls;
mod common;
mod fuzz;
mod gateway;
mod labels;
mod leaving;
mod quorum;
mod spine;
mod start;
mod store;
#[path = "../shared/up.rs"]
mod up;
