//! Every limit, named. Relations between them are asserted where they are made.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::key::{Name, Owner};
use crate::time::Span;

/// What all cores of a network share. There is no default on purpose: a host says which network it
/// means, [`Config::standard`] or one made from it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// Peers a bucket holds, an answer names, and that keep a record (Kademlia's k).
    pub k: u16,
    /// Requests in flight in one search (Kademlia's α).
    pub alpha: u16,
    /// After how long a query counts as not answered.
    pub reply_timeout: Span,
    /// Failures in a row after which a peer leaves the table.
    pub misses_max: u8,
    /// Longest search for anything.
    pub search_timeout: Span,
    /// How often buckets that lie idle are refreshed; `Span(0)`: never.
    pub refresh_period: Span,
    /// How often a host renews its record with the holders.
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
    /// Offers declined as busier after which the placer asks again, waiving it.
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
    /// Whether hosts repair at all.
    pub repair: bool,

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
    /// The limits of the real network.
    pub const fn standard() -> Self {
        Self {
            k: 20,
            alpha: 3,
            reply_timeout: Span::ms(1500),
            misses_max: 2,
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
            busier_max: 40,
            install_timeout: Span::secs(150),
            deploy_grace: Span::secs(2),
            place_timeout: Span::secs(28),
            probe_period: Span::secs(10),
            probes_missed_max: 3,
            rank_delay: Span::secs(15),
            repair_backoff: Span::secs(30),
            retire_after: Span::secs(60),
            repair: true,
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
    /// This node's labels, each as SHA-256 of `label/KEY=VALUE`.
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
