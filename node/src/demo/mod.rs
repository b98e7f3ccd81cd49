//! The demo: a whole network on this machine, each step checked.
