//! One binary for all tests of the simulator.

mod support;

// A planted bug is active in the whole process, so that its tests run alone.
#[cfg(feature = "planted")]
mod planted;

#[cfg(not(feature = "planted"))]
mod agenda;
#[cfg(not(feature = "planted"))]
mod census;
#[cfg(not(feature = "planted"))]
mod chance;
#[cfg(not(feature = "planted"))]
mod cli;
#[cfg(not(feature = "planted"))]
mod clocks;
#[cfg(not(feature = "planted"))]
mod digests;
#[cfg(not(feature = "planted"))]
mod fuzz;
#[cfg(not(feature = "planted"))]
mod judges;
#[cfg(not(feature = "planted"))]
mod network;
#[cfg(not(feature = "planted"))]
mod page;
#[cfg(not(feature = "planted"))]
mod reports;
#[cfg(not(feature = "planted"))]
mod scenarios;
#[cfg(not(feature = "planted"))]
mod series;
#[cfg(not(feature = "planted"))]
mod sessions;
#[cfg(not(feature = "planted"))]
mod sweep;
#[cfg(not(feature = "planted"))]
mod transcripts;
#[cfg(not(feature = "planted"))]
mod wires;
#[cfg(not(feature = "planted"))]
mod workloads;
