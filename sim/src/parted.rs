//! What a partition does to functions, as who sees both sides counts it: how many hosts each side
//! lacks and gets, and what fails when the network is whole again.

use std::collections::BTreeMap;

use peerless_core::Time;

use crate::work::Plan;
use crate::world::{START, World};

/// One side of a partition.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Hosts that its functions lacked when it began, and those that they lost in it.
    pub missing: u64,
    /// Hosts that functions got.
    pub installs: u64,
    /// Functions with fewer hosts than wanted, and since when.
    pub short: BTreeMap<usize, u64>,
    /// How long each shortage lasted that ended.
    pub repairs: Vec<u64>,
    /// Functions that were short at its end and had no host at all.
    pub hostless: u64,
    /// Of those, the ones whose code no peer there had.
    pub codeless: u64,
}

/// Both sides of a partition.
#[derive(Clone, Debug, Default)]
pub struct Parted {
    /// The smaller and the larger one.
    pub sides: [Side; 2],
    /// The functions that had found their hosts before.
    placed: Vec<usize>,
    /// When what failed last, of all that began after the end, had begun.
    pub failed_last: Option<Time>,
}

impl World {
    pub(crate) fn plan_partition(&mut self) {
        if let Some(partition) = self.scenario.partition.as_ref().filter(|it| it.is_simple()) {
            let (at, until) = (partition.at, partition.until);
            self.plan_work(START + at, Plan::Part);
            self.plan_work(START + until, Plan::Unite);
        }
    }

    /// The network falls into two parts: what each lacks is counted.
    pub(crate) fn part(&mut self) {
        let placed = |at: &usize| self.census.functions[*at].is_placed();
        let placed: Vec<usize> = (0..self.census.functions.len()).filter(placed).collect();
        for at in &placed {
            let wanted = u64::from(self.census.functions[*at].wanted);
            for side in 0..2 {
                let live = self.live_on(*at, side);
                if live < wanted {
                    let side = &mut self.parted.sides[side];
                    side.missing += wanted - live;
                    side.short.insert(*at, self.now.0);
                }
            }
        }
        self.parted.placed = placed;
    }

    /// The network is whole again.
    pub(crate) fn unite(&mut self) {
        for side in 0..2 {
            let short = self.parted.sides[side].short.keys().copied();
            let hostless: Vec<usize> = short.filter(|at| self.live_on(*at, side) == 0).collect();
            let codeless = hostless.iter().filter(|at| !self.is_code_on(**at, side)).count();
            let side = &mut self.parted.sides[side];
            (side.hostless, side.codeless) = (hostless.len() as u64, codeless as u64);
        }
    }

    fn is_code_on(&self, function: usize, side: usize) -> bool {
        let digest = self.code_of(function as u64);
        let has = |peer: &u32| {
            self.network.side(*peer) == side
                && self.desks[*peer as usize].as_ref().is_some_and(|it| it.code.contains(&digest))
        };
        self.those_up().iter().any(has)
    }

    fn live_on(&self, function: usize, side: usize) -> u64 {
        let hosts = self.census.functions[function].hosts.iter();
        hosts.filter(|host| self.network.side(**host) == side).count() as u64
    }

    /// A function got a host, or lost one.
    pub(crate) fn hosts_changed(&mut self, function: usize, peer: u32, gained: bool) {
        let Some(partition) = self.scenario.partition.as_ref().filter(|it| it.is_simple()) else {
            return;
        };
        let apart = START + partition.at <= self.now && self.now < START + partition.until;
        if !apart || self.parted.placed.binary_search(&function).is_err() {
            return;
        }
        let side = self.network.side(peer);
        let (live, now) = (self.live_on(function, side), self.now.0);
        let wanted = u64::from(self.census.functions[function].wanted);
        let side = &mut self.parted.sides[side];
        side.installs += u64::from(gained);
        if live >= wanted {
            side.repairs.extend(side.short.remove(&function).map(|since| now - since));
        } else if !gained {
            side.missing += 1;
            side.short.entry(function).or_insert(now);
        }
    }

    /// Something that began then went wrong.
    pub(crate) fn went_wrong(&mut self, start: Time) {
        let simple = self.scenario.partition.as_ref().filter(|it| it.is_simple());
        let whole = simple.map(|it| START + it.until);
        if whole.is_some_and(|whole| start >= whole) {
            self.parted.failed_last = self.parted.failed_last.max(Some(start));
        }
    }
}
