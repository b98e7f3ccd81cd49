//! An outside client: rust-libp2p's own Kademlia, under our protocol's name.
