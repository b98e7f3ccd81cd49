//! Every limit, named, and what must hold between them: [`Config::check`].

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::key::{Name, Owner};
use crate::membership::LOADS_MAX;
use crate::time::Span;

/// What all cores of a network share. There is no default on purpose: a host says which network it
/// means, [`Config::standard`] or one made from it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// Peers a bucket holds, an answer names, and that keep a record (Kademlia's k).
    pub k: u16,
    /// Requests in flight in one search (Kademlia's α), until it is near its target.
    pub alpha: u16,
    /// The same once one of the k closest that are known has answered, where it is more than α. Such
    /// a peer knows nearly all of the k closest, so that to ask them at once costs hardly a request
    /// more than to ask them one after the other.
    pub alpha_near: u16,
    /// After how long a query counts as not answered.
    pub reply_timeout: Span,
    /// Peers of one address group in a bucket, among the answers of a search over several paths and
    /// among the hosts that an answer names.
    pub group_max: u16,
    /// Failures in a row after which a peer leaves the table.
    pub misses_max: u8,
    /// Disjoint paths of a search for peers to store or place something with, and of the second one
    /// for what a user asks for, where the first found nothing.
    pub store_paths: u16,
    /// Disjoint paths of a search for what a user asks for.
    pub user_paths: u16,
    /// Longest search for anything.
    pub search_timeout: Span,
    /// How often buckets that lie idle are refreshed; `Span(0)`: never.
    pub refresh_period: Span,
    /// How often a host renews its record with the holders; shorter than `host_life`.
    pub renew_period: Span,
    /// How long a host record lives without renewal.
    pub host_life: Span,
    /// Hosts a holder keeps, and an answer names, of one function.
    pub hosts_max: u16,
    /// Records a peer keeps for others.
    pub records_max: u32,
    /// How long a search's hosts are used again without another search.
    pub known_life: Span,
    /// Functions whose hosts are remembered.
    pub known_max: u16,

    /// Offers a placement makes at most.
    pub offers_max: u16,
    /// How long an accepted offer keeps its place.
    pub reserve_life: Span,
    /// Loads that a peer must have heard before it declines as busier than the mean.
    pub loads_min: u16,
    /// Permille of the mean use beyond which a peer declines: 1250 is 1.25 times.
    pub busier_permille: u32,
    /// Offers declined as busier after which the placer asks again, waiving it: so many that it has looked
    /// far beyond a neighbourhood that is full before it makes that fuller.
    pub busier_max: u16,
    /// From confirming to serving: fetching, compiling, announcing.
    pub install_timeout: Span,
    /// How long a deployment waits for further hosts once one serves.
    pub deploy_grace: Span,
    /// From offers to tells, without the installing.
    pub place_timeout: Span,

    /// How often hosts of a function probe each other.
    pub probe_period: Span,
    /// Probes missed in a row after which a fellow host is dead.
    pub probes_missed_max: u8,
    /// How much longer each farther host waits before it repairs.
    pub rank_delay: Span,
    /// How long a host waits after a repair that found no place.
    pub repair_backoff: Span,
    /// How long there must be too many hosts before the farthest retires.
    pub retire_after: Span,
    /// Whether hosts and holders repair at all.
    pub repair: bool,
    /// How often the closest holder of a record asks the function's hosts whether they live; the
    /// next one half as often, and so on.
    pub guard_period: Span,

    /// How often the nodes of one owner compare their sets.
    pub sync_period: Span,
    /// Nodes of one owner that a node talks to.
    pub siblings_max: u16,
    /// Names and versions in one comparison.
    pub sync_have_max: u16,
    /// Records in one comparison.
    pub sync_records_max: u16,

    /// Longest time for a call, whatever its caller and the function's record say: as a gateway and
    /// as a host.
    pub call_timeout_max: Span,
    /// Further attempts of an anycall after failures of the system.
    pub call_retries: u8,
    /// Hosts whose latency, load and failures are remembered, beside those that have calls in flight.
    pub standings_max: u16,
    /// How long a host that failed is passed over.
    pub host_pause: Span,
    /// Requests of users in progress at once.
    pub asks_max: u32,
    /// Items ahead of the oldest open one, and results not taken, of one manycall.
    pub items_ahead_max: u32,
    /// How long a manycall looks for hosts when none lives.
    pub hostless_max: Span,
    /// How often a manycall looks for further hosts.
    pub rehost_period: Span,

    /// Whether [`Effect::Note`](crate::Effect::Note) is wanted.
    pub notes: bool,
}

impl Config {
    /// Whether a core can work with these values: else the first key that is wrong, and what is
    /// expected of it. A host checks what its user configured; a core that is given values which
    /// do not pass may hang, overflow or be misunderstood by others.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        const PERIOD: &str = "at least 10ms";
        const SOME: &str = "at least 1";
        let period = |span: Span| span >= Span::ms(10);
        let rules = [
            ("k", (1..=64).contains(&self.k), "from 1 to 64"),
            ("alpha", (1..=64).contains(&self.alpha), "from 1 to 64"),
            ("alpha_near", (1..=64).contains(&self.alpha_near), "from 1 to 64"),
            ("reply_timeout", self.reply_timeout >= Span::ms(1), "at least 1ms"),
            ("reply_timeout", self.reply_timeout <= Span::secs(60), "at most 60s"),
            ("misses_max", self.misses_max >= 1, SOME),
            ("group_max", self.group_max >= 1, SOME),
            ("store_paths", (1..=16).contains(&self.store_paths), "from 1 to 16"),
            ("user_paths", (1..=16).contains(&self.user_paths), "from 1 to 16"),
            (
                "search_timeout",
                self.search_timeout >= self.reply_timeout,
                "at least core.reply_timeout",
            ),
            (
                "refresh_period",
                self.refresh_period == Span::ZERO || period(self.refresh_period),
                "at least 10ms, or 0 for never",
            ),
            ("renew_period", period(self.renew_period), PERIOD),
            ("host_life", self.host_life >= self.renew_period, "at least core.renew_period"),
            ("hosts_max", (1..=128).contains(&self.hosts_max), "from 1 to 128"),
            ("records_max", (1..=1 << 24).contains(&self.records_max), "from 1 to 16777216"),
            ("offers_max", self.offers_max >= 1, SOME),
            ("place_timeout", period(self.place_timeout), PERIOD),
            (
                "reserve_life",
                self.reserve_life >= self.place_timeout,
                "at least core.place_timeout",
            ),
            (
                "loads_min",
                (1..=LOADS_MAX).contains(&usize::from(self.loads_min)),
                "from 1 to 64, of which a core remembers no more",
            ),
            (
                "busier_permille",
                (1000..=1_000_000).contains(&self.busier_permille),
                "from 1000, the mean itself, to 1000000",
            ),
            ("install_timeout", period(self.install_timeout), PERIOD),
            ("probe_period", period(self.probe_period), PERIOD),
            ("probes_missed_max", self.probes_missed_max >= 1, SOME),
            ("repair_backoff", period(self.repair_backoff), PERIOD),
            ("guard_period", period(self.guard_period), PERIOD),
            ("sync_period", period(self.sync_period), PERIOD),
            ("sync_have_max", (1..=512).contains(&self.sync_have_max), "from 1 to 512"),
            ("sync_records_max", (1..=8).contains(&self.sync_records_max), "from 1 to 8"),
            ("asks_max", self.asks_max >= 1, SOME),
            ("items_ahead_max", self.items_ahead_max >= 1, SOME),
            ("rehost_period", period(self.rehost_period), PERIOD),
        ];
        let broken = rules.into_iter().find(|(_, holds, _)| !holds);
        broken.map_or(Ok(()), |(key, _, expected)| Err((key, expected)))
    }

    /// The limits of the real network.
    pub const fn standard() -> Self {
        Self {
            k: 20,
            alpha: 3,
            alpha_near: 20,
            reply_timeout: Span::ms(1500),
            group_max: 2,
            misses_max: 2,
            store_paths: 8,
            user_paths: 1,
            search_timeout: Span::secs(20),
            refresh_period: Span::minutes(10),
            renew_period: Span::minutes(10),
            host_life: Span::minutes(25),
            hosts_max: 128,
            records_max: 65_536,
            known_life: Span::secs(30),
            known_max: 1024,
            offers_max: 128,
            reserve_life: Span::secs(30),
            loads_min: 32,
            busier_permille: 1250,
            busier_max: 100,
            install_timeout: Span::secs(150),
            deploy_grace: Span::secs(2),
            place_timeout: Span::secs(28),
            probe_period: Span::secs(10),
            probes_missed_max: 3,
            rank_delay: Span::secs(15),
            repair_backoff: Span::secs(30),
            retire_after: Span::secs(60),
            repair: true,
            guard_period: Span::secs(30),
            sync_period: Span::secs(60),
            siblings_max: 64,
            sync_have_max: 256,
            sync_records_max: 8,
            call_timeout_max: Span::minutes(60),
            call_retries: 3,
            standings_max: 1024,
            host_pause: Span::secs(10),
            asks_max: 65_536,
            items_ahead_max: 65_536,
            hostless_max: Span::secs(60),
            rehost_period: Span::secs(15),
            notes: false,
        }
    }
}

/// Labels by which a host is found: the first of its setup.
pub const LABELS_MAX: usize = 16;

/// What one peer is: the part of its configuration that differs between peers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Setup {
    /// The owner whose key this node holds.
    pub owner: Option<Owner>,
    /// Calls that may run at once; 0: it hosts nothing.
    pub slots: u16,
    /// Calls that may wait for a slot.
    pub queue: u16,
    /// Functions that may be installed.
    pub room: u16,
    /// Whose functions may be installed.
    pub accept: Accept,
    /// This node's labels, each as SHA-256 of `label/KEY=VALUE`; at most [`LABELS_MAX`].
    pub labels: Box<[Name]>,
}

/// Whose functions a node hosts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Accept {
    /// Its own owner's.
    #[default]
    Owner,
    /// Anyone's.
    Anyone,
    /// Its own owner's and these.
    These(Vec<Owner>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let standard = Config::standard;
        let wrong = [
            ("k", Config { k: 0, ..standard() }),
            ("alpha", Config { alpha: 0, ..standard() }),
            ("alpha_near", Config { alpha_near: 0, ..standard() }),
            ("reply_timeout", Config { reply_timeout: Span::ZERO, ..standard() }),
            ("group_max", Config { group_max: 0, ..standard() }),
            ("store_paths", Config { store_paths: 0, ..standard() }),
            ("user_paths", Config { user_paths: 17, ..standard() }),
            ("search_timeout", Config { search_timeout: Span::ms(1), ..standard() }),
            ("refresh_period", Config { refresh_period: Span(1), ..standard() }),
            ("renew_period", Config { renew_period: Span::ZERO, ..standard() }),
            ("host_life", Config { renew_period: Span::minutes(26), ..standard() }),
            ("hosts_max", Config { hosts_max: 129, ..standard() }),
            ("reserve_life", Config { place_timeout: Span::secs(31), ..standard() }),
            ("loads_min", Config { loads_min: 0, ..standard() }),
            ("busier_permille", Config { busier_permille: u32::MAX, ..standard() }),
            ("probe_period", Config { probe_period: Span::ZERO, ..standard() }),
            ("repair_backoff", Config { repair_backoff: Span::ZERO, ..standard() }),
            ("guard_period", Config { guard_period: Span::ZERO, ..standard() }),
            ("sync_period", Config { sync_period: Span::ZERO, ..standard() }),
            ("sync_have_max", Config { sync_have_max: 0, ..standard() }),
            ("sync_records_max", Config { sync_records_max: 9, ..standard() }),
            ("rehost_period", Config { rehost_period: Span::ZERO, ..standard() }),
        ];
        assert_eq!(standard().check(), Ok(()));
        let never = Config { refresh_period: Span::ZERO, siblings_max: 0, ..standard() };
        assert_eq!(never.check(), Ok(()));
        for (key, config) in wrong {
            assert_eq!(config.check().map_err(|(key, _)| key), Err(key));
        }
    }
}
