//! The network over real sockets on loopback. Tests wait for events, never for time to pass.

mod calls;
mod common;
mod hostile;
mod limits;
mod outside;
mod requests;
