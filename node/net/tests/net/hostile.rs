//! Hostile peers, made of raw libp2p.
