//! Whole networks of the binary, as processes of their own over real sockets.

#[path = "../shared/binary.rs"]
mod binary;
mod client;
mod hostile;
mod journals;
#[path = "../../net/tests/net/kademlia.rs"]
mod kademlia;
mod network;
mod outside;
#[cfg(feature = "planted")]
mod planted;
#[path = "../../net/tests/net/raw.rs"]
mod raw;
mod routing;
mod scenario;
#[path = "../shared/up.rs"]
mod up;
