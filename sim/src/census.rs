//! Who really hosts which function, over time: counted from installs, uninstalls and crashes.

use std::collections::{BTreeMap, BTreeSet};

use peerless_core::Name;

/// One function's hosts.
#[derive(Clone, Debug)]
pub struct Function {
    /// How many hosts its owner wants at least.
    pub wanted: u32,
    /// The live hosts.
    pub hosts: BTreeSet<u32>,
    /// (When, how many hosts lived from then on).
    pub log: Vec<(u64, u32)>,
    /// Since when fewer live than wanted, once there had been enough.
    pub short_since: Option<u64>,
    /// How long each shortage lasted that ended.
    pub repairs: Vec<u64>,
    placed: bool,
}

/// All functions' hosts.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// In the order of their making.
    pub functions: Vec<Function>,
    by_name: BTreeMap<Name, usize>,
    hosted: BTreeMap<u32, BTreeSet<usize>>,
    disturbed: bool,
    grown: bool,
    /// Hosts that were installed after the first peer had gone.
    pub moved_on_leave: u64,
    /// Hosts that gave a function up while they lived, after the first peer had joined.
    pub moved_on_join: u64,
}

impl Census {
    /// A function that is to have `wanted` hosts.
    pub fn expect(&mut self, name: Name, wanted: u32) {
        self.by_name.insert(name, self.functions.len());
        self.functions.push(Function {
            wanted,
            hosts: BTreeSet::new(),
            log: Vec::new(),
            short_since: None,
            repairs: Vec::new(),
            placed: false,
        });
    }

    /// A peer can be called for a function from now on.
    pub fn installed(&mut self, time: u64, peer: u32, name: &Name) {
        let Some(&at) = self.by_name.get(name) else { return };
        if self.functions[at].hosts.insert(peer) {
            self.hosted.entry(peer).or_default().insert(at);
            self.functions[at].changed(time);
            self.moved_on_leave += u64::from(self.disturbed);
        }
    }

    /// A peer can't be called for a function any more.
    pub fn uninstalled(&mut self, time: u64, peer: u32, name: &Name) {
        let Some(&at) = self.by_name.get(name) else { return };
        if self.functions[at].hosts.remove(&peer) {
            if let Some(hosted) = self.hosted.get_mut(&peer) {
                hosted.remove(&at);
            }
            self.functions[at].changed(time);
            self.moved_on_join += u64::from(self.grown);
        }
    }

    /// A new peer is there.
    pub fn joined(&mut self) {
        self.grown = true;
    }

    /// A peer is gone.
    pub fn left(&mut self, time: u64, peer: u32) {
        for at in self.hosted.remove(&peer).unwrap_or_default() {
            self.functions[at].hosts.remove(&peer);
            self.functions[at].changed(time);
            self.disturbed = true;
        }
    }

    /// The peers that host anything, ascending.
    pub fn hosts(&self) -> Vec<u32> {
        let hosting = self.hosted.iter().filter(|(_, functions)| !functions.is_empty());
        hosting.map(|(peer, _)| *peer).collect()
    }

    /// Whether a peer hosts the function of this number.
    pub fn does_host(&self, peer: u32, function: usize) -> bool {
        self.functions[function].hosts.contains(&peer)
    }

    /// How many functions each of these many peers hosts at most, over the mean.
    pub fn load_max_over_mean(&self, peers: u32) -> f64 {
        let most = self.hosted.values().map(BTreeSet::len).max().unwrap_or(0);
        let all: usize = self.hosted.values().map(BTreeSet::len).sum();
        if all == 0 {
            return 0.0;
        }
        most as f64 * f64::from(peers) / all as f64
    }

    /// The share of the functions' time, since each first had a host, without any host.
    pub fn hostless_fraction(&self, end: u64) -> f64 {
        let (mut without, mut all) = (0, 0);
        for function in &self.functions {
            let Some(&(start, _)) = function.log.first() else { continue };
            all += end - start;
            let ends = function.log[1..].iter().map(|(time, _)| *time).chain([end]);
            for ((from, live), until) in function.log.iter().zip(ends) {
                without += if *live == 0 { until - from } else { 0 };
            }
        }
        if all == 0 { 0.0 } else { without as f64 / all as f64 }
    }
}

impl Function {
    fn changed(&mut self, time: u64) {
        let live = self.hosts.len() as u32;
        self.log.push((time, live));
        if live >= self.wanted {
            self.placed = true;
            if let Some(since) = self.short_since.take() {
                self.repairs.push(time - since);
            }
        } else if self.placed && self.short_since.is_none() {
            self.short_since = Some(time);
        }
    }

    /// The instant at which hosts of `slots` slots each, from `start` on, could have done `work`
    /// nanoseconds of service; `None` while they could not yet.
    pub fn could_be_done(&self, start: u64, slots: u64, work: u128) -> Option<u64> {
        let before = self.log.partition_point(|(time, _)| *time <= start);
        let mut live = if before == 0 { 0 } else { self.log[before - 1].1 };
        let (mut now, mut left) = (start, work);
        let ends = self.log[before..].iter().copied().chain([(u64::MAX, 0)]);
        for (until, next) in ends {
            let rate = u128::from(live) * u128::from(slots);
            if rate > 0 {
                let needed = left.div_ceil(rate);
                if needed <= u128::from(until - now) {
                    return Some(now + needed as u64);
                }
                left -= rate * u128::from(until - now);
            }
            (now, live) = (until, next);
        }
        None
    }
}
