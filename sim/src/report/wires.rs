//! What came of links and connections, where a scenario has any.

use serde::{Deserialize, Serialize};

use super::MS;
use super::histogram::Histogram;
use super::spread::Spread;
use crate::world::{Stay, World};

/// What machines' links were used for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Links {
    /// Mean time from sending something until it had left its machine.
    pub up_ms_mean: f64,
    /// The longest.
    pub up_ms_max: f64,
    /// Mean time that something had to wait at its destination's link.
    pub down_ms_mean: f64,
    /// The longest.
    pub down_ms_max: f64,
    /// For how much of the time each machine's link upwards was busy, in percent.
    pub up_busy_percent: Spread,
    /// The same downwards.
    pub down_busy_percent: Spread,
    /// All of the links upwards.
    pub up_busy_distribution_percent: Histogram,
}

/// What machines' connections came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    /// Connections that were made.
    pub made: u64,
    /// Of these, those through a relay.
    pub relayed: u64,
    /// Connections that were closed to make room.
    pub closed: u64,
    /// Dials of machines behind NAT that have no relay.
    pub unreached: u64,
    /// Machines behind NAT, of those that are there at the end.
    pub hidden: u64,
    /// How many each machine has at the end.
    pub kept: Spread,
}

fn ms(stay: &Stay) -> (f64, f64) {
    let mean = stay.sum.0 as f64 / stay.count.max(1) as f64;
    (mean / MS, stay.max.0 as f64 / MS)
}

impl Links {
    pub(super) fn of(world: &World) -> Self {
        let tally = world.wired();
        let ((up_ms_mean, up_ms_max), (down_ms_mean, down_ms_max)) =
            (ms(&tally.up), ms(&tally.down));
        // Thousandths of a percent of the time so far.
        let (up, down) = world.busy(1e5);
        Self {
            up_ms_mean,
            up_ms_max,
            down_ms_mean,
            down_ms_max,
            up_busy_percent: Spread::of(&up, 1e3),
            down_busy_percent: Spread::of(&down, 1e3),
            up_busy_distribution_percent: Histogram::of(&up, 1000, 1e3),
        }
    }
}

impl Connections {
    pub(super) fn of(world: &World) -> Self {
        let tally = world.wired();
        let there = world.those_up();
        Self {
            made: tally.handshakes,
            relayed: tally.relayed,
            closed: tally.closed,
            unreached: tally.unreached,
            hidden: (there.len() - world.serving_of(&there).len()) as u64,
            kept: Spread::of(&world.connections(), 1.0),
        }
    }
}
