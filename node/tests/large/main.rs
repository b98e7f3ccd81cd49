//! Whole networks of the binary, as processes of their own over real sockets.

mod client;
mod hostile;
mod journals;
mod network;
mod outside;
#[cfg(feature = "planted")]
mod planted;
mod raw;
mod routing;
mod scenario;
