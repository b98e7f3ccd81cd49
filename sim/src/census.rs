//! Who really hosts which function, over time: counted from installs, uninstalls and crashes.

use std::collections::{BTreeMap, BTreeSet};

use peerless_core::Name;

/// What a slot can run at once that is not slow.
pub const CAPACITY: u64 = 1 << 20;

/// One function's hosts.
#[derive(Clone, Debug)]
pub struct Function {
    /// How many hosts its owner wants at least.
    pub wanted: u32,
    /// The live hosts, whatever versions they serve.
    pub hosts: BTreeSet<u32>,
    /// The versions that each of them serves: for a while two, when it is updated.
    versions: BTreeSet<(u32, u64)>,
    /// (When, how many hosts lived from then on).
    pub log: Vec<(u64, u32)>,
    /// Which host came or went then.
    who: Vec<u32>,
    /// Since when fewer live than wanted, once there had been enough.
    pub short_since: Option<u64>,
    /// How long each shortage lasted that ended.
    pub repairs: Vec<u64>,
    /// Hosts that it lost to crashes and leaves after it had had enough.
    pub lost: u64,
    /// Hosts that it got after it had had enough, without those that took another's place.
    pub gained: u64,
    /// Hosts that it got while it was not short, and for which no other one gave up.
    spares: Vec<Spare>,
    placed: bool,
}

/// A host that a function got while it was not short.
#[derive(Copy, Clone, Debug)]
struct Spare {
    peer: u32,
    at: u64,
    /// Whether it counts as moved on a leave.
    on_leave: bool,
}

/// Who gives a function up so soon after another peer has installed it handed its place on to that
/// one: a surplus is seen for longer before one retires.
const HANDING: u64 = 30_000_000_000;

/// All functions' hosts.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// In the order of their making.
    pub functions: Vec<Function>,
    by_name: BTreeMap<Name, usize>,
    hosted: BTreeMap<u32, BTreeSet<usize>>,
    newcomers: BTreeSet<u32>,
    left: bool,
    /// Offers that had been made before any host was lost.
    offers_before: Option<u64>,
    /// Hosts that functions ever got.
    pub installs: u64,
    /// Hosts that functions got, once some peer had gone, of which no peer that is gone was a host:
    /// a leave should move nothing but what the leaver hosted.
    pub moved_on_leave: u64,
    /// Hosts that gave a function up for a newcomer, which had installed it before.
    pub moved_on_join: u64,
    /// Hosts that gave a function up for any other peer so.
    pub moved: u64,
}

impl Census {
    /// A function that is to have `wanted` hosts.
    pub fn expect(&mut self, name: Name, wanted: u32) {
        self.by_name.insert(name, self.functions.len());
        self.functions.push(Function {
            wanted,
            hosts: BTreeSet::new(),
            versions: BTreeSet::new(),
            log: Vec::new(),
            who: Vec::new(),
            short_since: None,
            repairs: Vec::new(),
            lost: 0,
            gained: 0,
            spares: Vec::new(),
            placed: false,
        });
    }

    /// The number of the function of this name.
    pub fn number(&self, name: &Name) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A peer can be called for a version of a function from now on.
    /// The function's number, if it is a host more.
    pub fn installed(&mut self, time: u64, peer: u32, name: &Name, version: u64) -> Option<usize> {
        let at = *self.by_name.get(name)?;
        let function = &mut self.functions[at];
        function.versions.insert((peer, version));
        if !function.hosts.insert(peer) {
            return None;
        }
        self.installs += 1;
        self.hosted.entry(peer).or_default().insert(at);
        if function.placed {
            function.gained += 1;
            let on_leave = self.left && function.lost == 0;
            self.moved_on_leave += u64::from(on_leave);
            if function.short_since.is_none() {
                function.spares.push(Spare { peer, at: time, on_leave });
            }
        }
        function.changed(time, peer);
        Some(at)
    }

    /// A peer can't be called for a version of a function any more.
    /// The function's number, if it is a host less.
    pub fn uninstalled(
        &mut self,
        time: u64,
        peer: u32,
        name: &Name,
        version: u64,
    ) -> Option<usize> {
        let at = *self.by_name.get(name)?;
        let function = &mut self.functions[at];
        function.versions.remove(&(peer, version));
        let serves_another = function.versions.range((peer, 0)..=(peer, u64::MAX)).next().is_some();
        if serves_another || !function.hosts.remove(&peer) {
            return None;
        }
        if let Some(hosted) = self.hosted.get_mut(&peer) {
            hosted.remove(&at);
        }
        function.spares.retain(|spare| spare.peer != peer && time - spare.at <= HANDING);
        if !function.spares.is_empty() {
            let to = function.spares.remove(0);
            function.gained -= 1;
            self.moved += 1;
            self.moved_on_join += u64::from(self.newcomers.contains(&to.peer));
            self.moved_on_leave -= u64::from(to.on_leave);
        }
        function.changed(time, peer);
        Some(at)
    }

    /// A new peer is there.
    pub fn joined(&mut self, peer: u32) {
        self.newcomers.insert(peer);
    }

    /// A peer is gone. The functions that it hosted.
    pub fn left(&mut self, time: u64, peer: u32) -> BTreeSet<usize> {
        self.left = true;
        let hosted = self.hosted.remove(&peer).unwrap_or_default();
        for at in &hosted {
            let function = &mut self.functions[*at];
            function.hosts.remove(&peer);
            function.versions.retain(|(host, _)| *host != peer);
            function.lost += u64::from(function.placed);
            function.changed(time, peer);
        }
        hosted
    }

    /// Hosts that functions got after they had had enough, over the hosts that they lost; `None`
    /// where they lost none.
    pub fn installs_over_lost(&self) -> Option<f64> {
        let lost: u64 = self.functions.iter().map(|function| function.lost).sum();
        let gained: u64 = self.functions.iter().map(|function| function.gained).sum();
        (lost > 0).then(|| gained as f64 / lost as f64)
    }

    /// A peer is going, and so many offers were made so far.
    pub fn leaving(&mut self, peer: u32, offers: u64) {
        let hosts = self.hosted.get(&peer).is_some_and(|functions| !functions.is_empty());
        if hosts && self.offers_before.is_none() {
            self.offers_before = Some(offers);
        }
    }

    /// Offers made from the first loss of a host on for each that was lost, of so many in all.
    pub fn offers_over_lost(&self, offers: u64) -> Option<f64> {
        let lost: u64 = self.functions.iter().map(|function| function.lost).sum();
        let since = offers - self.offers_before?;
        (lost > 0).then(|| since as f64 / lost as f64)
    }

    /// The peers that host anything, ascending.
    pub fn hosts(&self) -> Vec<u32> {
        let hosting = self.hosted.iter().filter(|(_, functions)| !functions.is_empty());
        hosting.map(|(peer, _)| *peer).collect()
    }

    /// How many functions a peer hosts.
    pub fn functions_on(&self, peer: u32) -> u64 {
        self.hosted.get(&peer).map_or(0, |functions| functions.len() as u64)
    }

    /// The live hosts of the function of this number, each with a version that it serves.
    pub fn serving(&self, function: usize) -> impl Iterator<Item = (u32, u64)> {
        self.functions[function].versions.iter().copied()
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

    /// The new peers, ascending.
    pub fn newcomers(&self) -> impl Iterator<Item = u32> + '_ {
        self.newcomers.iter().copied()
    }

    /// How long functions were without any host, each time, those that still are until `end`.
    pub fn hostless(&self, end: u64) -> Vec<u64> {
        let spans = self.functions.iter().flat_map(|function| {
            let ends = function.log.iter().skip(1).map(|(time, _)| *time).chain([end]);
            let without = function.log.iter().zip(ends).filter(|((_, live), _)| *live == 0);
            without.map(|((from, _), until)| until - from)
        });
        spans.filter(|span| *span > 0).collect()
    }

    /// The share of the functions' time, since each first had a host, without any host.
    pub fn hostless_fraction(&self, end: u64) -> f64 {
        let starts = self.functions.iter().filter_map(|function| function.log.first());
        let all: u64 = starts.map(|(start, _)| end - start).sum();
        let without: u64 = self.hostless(end).iter().sum();
        if all == 0 { 0.0 } else { without as f64 / all as f64 }
    }
}

impl Function {
    /// Whether it ever had as many hosts as are wanted.
    pub fn is_placed(&self) -> bool {
        self.placed
    }

    fn changed(&mut self, time: u64, peer: u32) {
        let live = self.hosts.len() as u32;
        self.log.push((time, live));
        self.who.push(peer);
        if live >= self.wanted {
            self.placed = true;
            if let Some(since) = self.short_since.take() {
                self.repairs.push(time - since);
            }
        } else if self.placed && self.short_since.is_none() {
            self.short_since = Some(time);
        }
    }

    /// The instant at which its hosts, each with its `capacity` in [`CAPACITY`]s of a slot, could from
    /// `start` on have done `work` nanoseconds of service; `None` while they could not yet.
    pub fn could_be_done(
        &self,
        start: u64,
        work: u128,
        capacity: impl Fn(u32) -> u64,
    ) -> Option<u64> {
        let (mut now, mut left) = (start, work * u128::from(CAPACITY));
        let (mut rate, mut live) = (0_u128, 0);
        let changes =
            self.log.iter().zip(&self.who).map(|((time, live), who)| (*time, *live, *who));
        for (until, next, who) in changes.chain([(u64::MAX, 0, 0)]) {
            if until > now {
                let needed = if rate == 0 { u128::MAX } else { left.div_ceil(rate) };
                if needed <= u128::from(until - now) {
                    return Some(now + needed as u64);
                }
                left -= rate * u128::from(until - now);
                now = until;
            }
            if until < u64::MAX {
                let its = u128::from(capacity(who));
                rate = if next > live { rate + its } else { rate - its };
                live = next;
            }
        }
        None
    }
}
