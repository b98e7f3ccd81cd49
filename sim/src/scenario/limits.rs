//! `[core]`: every limit of the core can be set.

use peerless_core::Config;

use super::keys::{Bad, Keys, Section};

macro_rules! limits {
    ($($key:ident: $doc:literal,)*) => {
        /// The core's limits that `[core]` can set: all of them.
        pub const CORE_KEYS: &[&str] = &[$(stringify!($key)),*];

        impl Section for Config {
            const NAME: &'static str = "core";

            fn read(keys: &mut Keys) -> Result<Self, Bad> {
                let mut config = Self::standard();
                $(config.$key = keys.get("core", stringify!($key), $doc, config.$key)?;)*
                Ok(config)
            }
        }
    };
}

limits! {
    k: "Peers a bucket holds, an answer names, and that keep a record.",
    alpha: "Requests in flight in one search.",
    alpha_near: "The same once one of the k closest known has answered, where it is more.",
    reply_timeout: "After how long a query counts as not answered.",
    group_max: "Peers of one address group in a bucket, in a search over several paths, and among hosts.",
    misses_max: "Failures in a row after which a peer leaves the table.",
    store_paths: "Disjoint paths of a search to store or place something, and of a second look for what was not found.",
    user_paths: "Disjoint paths of a search for what a user asks for.",
    search_timeout: "Longest search for anything.",
    refresh_period: "How often buckets that lie idle are refreshed; 0s: never.",
    renew_period: "How often a host renews its record with the holders.",
    host_life: "How long a host record lives without renewal.",
    hosts_max: "Hosts a holder keeps, and an answer names, of one function.",
    records_max: "Records a peer keeps for others.",
    known_life: "How long a search's hosts are used again without another search.",
    known_max: "Functions whose hosts are remembered.",
    offers_max: "Offers a placement makes at most.",
    reserve_life: "How long an accepted offer keeps its place.",
    loads_min: "Loads that a peer must have heard before it declines as busier than the mean.",
    busier_permille: "Permille of the mean use beyond which a peer declines.",
    busier_max: "Offers declined as busier after which the placer asks again, waiving it.",
    install_timeout: "From confirming to serving: fetching, compiling, announcing.",
    deploy_grace: "How long a deployment waits for further hosts once one serves.",
    place_timeout: "From offers to tells, without the installing.",
    probe_period: "How often hosts of a function probe each other.",
    probes_missed_max: "Probes missed in a row after which a fellow host is dead.",
    rank_delay: "How much longer each farther host waits before it repairs.",
    repair_backoff: "How long a host waits after a repair that found no place.",
    retire_after: "How long there must be too many hosts before the farthest retires.",
    repair: "Whether hosts and holders repair at all.",
    guard_period: "How often the closest holder of a record asks after the function's hosts.",
    sync_period: "How often the nodes of one owner compare their sets.",
    siblings_max: "Nodes of one owner that a node talks to.",
    sync_have_max: "Names and versions in one comparison.",
    sync_records_max: "Records in one comparison.",
    call_timeout_max: "Longest time for a call, whatever its caller and the function's record say.",
    call_retries: "Further attempts of an anycall after failures of the system.",
    standings_max: "Hosts whose latency, load and failures are remembered.",
    host_pause: "How long a host that failed is passed over.",
    asks_max: "Requests of users in progress at once.",
    items_ahead_max: "Items ahead of the oldest open one, and results not taken, of one manycall.",
    hostless_max: "How long a manycall looks for hosts when none lives.",
    rehost_period: "How often a manycall looks for further hosts.",
    notes: "Whether the core tells why it decided something.",
}
