//! One number says how many hosts a function should have: as many as its owner wants at least, and
//! more, up to what the owner allows, while its hosts are busy. They lease these for a time: an
//! owner's wish, a lack of hosts, load, and a large job, which is load, all end in this one number,
//! and repair meets it.
//!
//! Hosts agree on it without a word, since each hears in every answer to a probe how busy the others
//! are; where they disagree, the ranks of repair see to it that one acts first.

use alloc::vec::Vec;

use crate::hosting::Hosting;
use crate::key::{Name, Peer};
use crate::machine::Core;
use crate::planted::{self, Bug};
use crate::time::Time;
use crate::turn::Turn;

/// Percent of their slots that the hosts use, on average, before they lease more hosts.
const HIGH_PERCENT: u32 = 80;
/// Percent from which on they keep as many as there are.
const KEEP_PERCENT: u32 = 50;
/// Probe periods in a row for which use must have been high.
const HIGH_PERIODS: u8 = 3;
/// Probe periods for which a lease stands.
const LEASE_PERIODS: u64 = 12;

/// As many hosts as are wanted for a time.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lease {
    hosts: u16,
    until: Time,
    /// Probe periods in a row in which use was high.
    high: u8,
    /// Among how many hosts it was.
    among: u16,
}

impl Lease {
    /// What its placer wanted, who told this host of so many others: it holds until this host can
    /// judge by itself.
    pub(crate) fn told(others: usize, turn: &Turn<'_, impl Peer>) -> Self {
        let hosts = u16::try_from(others + 1).unwrap_or(u16::MAX);
        Self { hosts, until: ends(turn), high: 0, among: 0 }
    }

    pub(crate) const NONE: Self = Self { hosts: 0, until: Time(0), high: 0, among: 0 };

    /// A period in which `hosts`, as many as were `wanted` or not, used so many percent of their slots.
    fn judge(&mut self, hosts: u16, wanted: u16, percent: u32, turn: &Turn<'_, impl Peer>) {
        // What is still to come may be enough.
        let high = percent >= HIGH_PERCENT && hosts >= wanted;
        let before = if self.among == hosts { self.high } else { 0 };
        self.high = if high { before.saturating_add(1) } else { 0 };
        self.among = hosts;
        if self.high >= HIGH_PERIODS && !planted::is(Bug::NeverLeases) {
            let more = hosts.saturating_add(hosts.div_ceil(2)).min(turn.config.hosts_max);
            *self = Self { hosts: more.max(self.hosts), until: ends(turn), high: 0, among: hosts };
        } else if percent >= KEEP_PERCENT {
            (self.hosts, self.until) = (self.hosts.max(hosts), ends(turn));
        } else if self.until <= turn.now && !planted::is(Bug::LeaseNeverLapses) {
            self.hosts = 0;
        }
    }
}

fn ends(turn: &Turn<'_, impl Peer>) -> Time {
    turn.now + turn.config.probe_period.times(LEASE_PERIODS)
}

impl<P> Hosting<P> {
    /// How many hosts are wanted now; `None`: nothing is to be run.
    pub(crate) fn wanted(&self) -> Option<u16> {
        let (least, most) = self.record.spec.as_ref()?.replicas;
        Some(self.lease.hosts.min(most).max(least))
    }

    /// There is no more than what there is: a leased host that was lost, or that found no place, is
    /// leased again only if the others are busy without it. So one that left for good, since it saw
    /// that it was needless, is not made up for by those that see it later.
    pub(crate) fn lower_lease(&mut self) {
        let live = u16::try_from(self.mates.len() + 1).unwrap_or(u16::MAX);
        self.lease.hosts = self.lease.hosts.min(live);
    }
}

impl<P: Peer> Core<P> {
    /// Leases hosts for the functions that are busy, keeps leases while they are, and lets the others
    /// lapse. Once a period, unless what is seen of the others may be this host's own fault.
    pub(crate) fn lease_hosts(&mut self, turn: &Turn<'_, P>) {
        if self.suspicion.is_on() || !turn.config.repair {
            return;
        }
        let load = self.load();
        let functions: Vec<Name> = self.hosting.keys().copied().collect();
        for function in &functions {
            // Whoever has less than its share of what is taken here is not what keeps this host busy.
            let its = self.admission.taken_by(*function).saturating_mul(functions.len());
            let is_cause = its >= load.taken() as usize;
            let hosting = self.hosting.get_mut(function).expect("it was just listed");
            let Some(wanted) = hosting.wanted().filter(|_| !hosting.is_leaving()) else {
                continue;
            };
            // Each host counts alike and at most as full: one that lies weighs no more than others.
            let proven = hosting.mates.iter().filter(|mate| mate.proven_at.is_some());
            let busy = proven.clone().map(|mate| u32::from(mate.busy)).sum::<u32>();
            let hosts = proven.count() as u16 + 1;
            let mean = (busy + u32::from(load.busy())) / u32::from(hosts);
            let percent = if is_cause { mean } else { 0 };
            hosting.lease.judge(hosts, wanted, percent, turn);
            if hosting.wanted() != Some(wanted) {
                self.look_after(*function, turn);
            }
        }
    }
}
