//! The network over real sockets on loopback. Tests wait for events, never for time to pass.

mod addresses;
mod calls;
mod common;
mod hostile;
mod hostile_again;
mod hostile_calls;
mod kademlia;
mod limits;
mod outside;
mod raw;
mod requests;
