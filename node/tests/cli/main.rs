//! The binary's commands against a server that answers as a node does, over real sockets.

mod bad;
#[path = "../shared/binary.rs"]
mod binary;
mod calls;
mod demo;
mod functions;
mod keys;
mod server;
