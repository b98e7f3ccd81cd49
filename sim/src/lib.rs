//! Whole networks of peerless cores in virtual time, deterministically.
//!
//! Read [`world`] first: a happening is taken from the agenda, handed to its core, and the effects
//! are performed. [`scenario`] says what happens, [`oracle`], [`laws`] and [`census`] judge it, and
//! [`report`] tells.
//!
//! `peerless-sim run` runs one world, [`sweep`](mod@sweep) many side by side, and `report` draws one
//! [`page`] of what they wrote.
//!
//! The same scenario, seed and settings give the same digest on every machine and in every build:
//! no `usize` and no hash map take part in what happens, and floats only by operations that are the
//! same to the bit everywhere, IEEE's basic ones and `libm`'s; order is (time, destination, source,
//! the source's own counter); chance is a function of the seed and what it is for.
#![forbid(unsafe_code)]

pub mod adversary;
pub mod agenda;
mod calls;
pub mod census;
mod chains;
pub mod chance;
pub mod cli;
pub mod desk;
pub mod digest;
pub mod expect;
pub mod faults;
pub mod fuzz;
pub mod joining;
pub mod laws;
pub mod meter;
pub mod network;
pub mod oracle;
pub mod outcomes;
pub mod page;
pub mod parted;
pub mod peer;
pub mod population;
pub mod progress;
pub mod record;
pub mod report;
pub mod scenario;
pub mod series;
pub mod sweep;
pub mod tickets;
pub mod trace;
pub mod wire;
pub mod words;
pub mod work;
pub mod world;
