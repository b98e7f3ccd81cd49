//! What a scenario says: TOML, strictly read, into plain settings.

use peerless_core::{Config, Span};

use crate::chance::Share;
use crate::keys::{Bad, Keys, Size};
use crate::network;

/// One world, what happens in it, and what must come of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name: the file's without its ending.
    pub name: String,
    /// One line for the list.
    pub about: String,
    /// Peers at the start.
    pub peers: u32,
    /// The first so many peers hold an owner key; they are the gateways of functions.
    pub owners: u32,
    /// How many owner keys there are among them.
    pub owner_keys: u32,
    /// It lasts at least this long.
    pub duration: Span,
    /// After the last work, so that what is under way can end.
    pub settle: Span,
    /// How long after `duration` requests may stay open; then it is a violation.
    pub patience: Span,
    /// `[network]`
    pub network: network::Settings,
    /// `[host]`
    pub host: Host,
    /// `[lookups]`
    pub lookups: Option<Lookups>,
    /// `[churn]`
    pub churn: Option<Churn>,
    /// `[crash]`
    pub crash: Option<Crash>,
    /// `[functions]`
    pub functions: Option<Functions>,
    /// `[anycalls]`
    pub anycalls: Option<Anycalls>,
    /// `[manycalls]`
    pub manycalls: Option<Manycalls>,
    /// `[expect]`
    pub expect: Expect,
    /// `[core]`
    pub core: Config,
}

/// What each machine is like.
#[derive(Clone, Debug)]
pub struct Host {
    /// Peers that host functions, counted from the highest number down; the others have no slots.
    pub hosts: Option<u32>,
    /// Calls that run at once.
    pub slots: u16,
    /// Calls that wait.
    pub queue: u16,
    /// Functions that can be installed.
    pub room: u16,
    /// How long keeping an item takes.
    pub store_delay: Span,
    /// How long compiling code takes.
    pub compile_delay: Span,
    /// How long stopping a run takes.
    pub cancel_delay: Span,
    /// What a crash looks like from outside.
    pub silence: Silence,
}

/// What others see of a peer that crashed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Silence {
    /// The machine is gone: nothing answers.
    Machine,
    /// The process is gone, the machine resets connections.
    Process,
}

/// Lookups of random keys by random peers.
#[derive(Clone, Debug)]
pub struct Lookups {
    /// How many.
    pub count: u32,
    /// From one to the next.
    pub interval: Span,
    /// When the first begins.
    pub start: Span,
}

/// Peers that are replaced one by one.
#[derive(Clone, Debug)]
pub struct Churn {
    /// Of the peers at the start, an hour.
    pub per_hour: Share,
    /// Of those that go, without a word.
    pub crashed: Share,
    /// When it begins.
    pub start: Span,
    /// When it ends.
    pub end: Span,
}

/// Peers that crash at one instant.
#[derive(Clone, Debug)]
pub struct Crash {
    /// When.
    pub at: Span,
    /// Of the peers that host a function at that instant.
    pub share: Share,
    /// Instead of a share: so many.
    pub count: Option<u32>,
}

/// Functions that are deployed through random owners.
#[derive(Clone, Debug)]
pub struct Functions {
    /// How many.
    pub count: u32,
    /// From one deployment to the next.
    pub interval: Span,
    /// When the first is deployed.
    pub start: Span,
    /// Fewest and most hosts.
    pub replicas: (u16, u16),
    /// Of the code.
    pub size: u64,
    /// Mean time of one run.
    pub service: Span,
    /// How runs' times are spread.
    pub spread: Spread,
    /// What the record says.
    pub idempotent: Option<bool>,
    /// A call's deadline.
    pub timeout: Span,
}

/// How the times of runs are spread about their mean.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Spread {
    /// All the same.
    Constant,
    /// Evenly from half to one and a half.
    Uniform,
    /// As waiting times are.
    Exponential,
}

/// Anycalls of random functions through random peers.
#[derive(Clone, Debug)]
pub struct Anycalls {
    /// How many.
    pub count: u32,
    /// From one to the next.
    pub interval: Span,
    /// When the first is made.
    pub start: Span,
    /// When an answer is too late.
    pub deadline: Span,
    /// Whether the callers say that running twice does no harm.
    pub idempotent: bool,
}

/// Manycalls of random functions through owners.
#[derive(Clone, Debug)]
pub struct Manycalls {
    /// How many.
    pub jobs: u32,
    /// From one to the next.
    pub interval: Span,
    /// When the first begins.
    pub start: Span,
    /// Items in each.
    pub items: u64,
    /// Further attempts an item.
    pub retries: u8,
}

macro_rules! expectations {
    ($($(#[$doc:meta])* $key:ident),* $(,)?) => {
        /// What must come of a run; each is checked where it is given.
        #[derive(Clone, Debug, Default)]
        pub struct Expect {
            $($(#[$doc])* pub $key: Option<f64>,)*
        }

        impl Expect {
            fn read(keys: &mut Keys) -> Result<Self, Bad> {
                keys.has("expect");
                Ok(Self {
                    $($key: keys.find(concat!("expect.", stringify!($key)))?,)*
                })
            }
        }
    };
}

expectations! {
    /// Least share of lookups that were right at some instant.
    lookup_succeeded_min,
    /// Least share of lookups that were right at their end.
    lookup_exact_min,
    /// Most by which the mean of hops exceeds 1 + max(0, (log2(N/k) − 1 − g)/(g + ½)).
    lookup_hops_above_formula_max,
    /// Most requests a lookup, on average, up to 10,000 peers; 1.6 more for every tenfold.
    lookup_rpcs_mean_max,
    /// Least share of the functions that were placed at all.
    placement_placed_min,
    /// Most seconds until a shortage of hosts was made up, at the 95th percentile.
    placement_repair_seconds_p95_max,
    /// Most shortages that were not made up by the end.
    placement_short_max,
    /// Fewest hosts of any function at the end.
    placement_live_min,
    /// Most functions on one peer over the mean.
    placement_load_max_over_mean_max,
    /// Least share of the anycalls made while a host lived that succeeded.
    anycall_succeeded_min,
    /// Most milliseconds of an anycall at the 99th percentile.
    anycall_latency_ms_p99_max,
    /// Most items of manycalls that failed.
    manycall_failed_max,
    /// Least ratio of the ideal to the true makespan.
    manycall_efficiency_min,
}

/// The built-in scenarios: name and text.
pub const BUILT_IN: [(&str, &str); 5] = [
    ("lookup", include_str!("../scenarios/lookup.toml")),
    ("churn", include_str!("../scenarios/churn.toml")),
    ("placement", include_str!("../scenarios/placement.toml")),
    ("anycall", include_str!("../scenarios/anycall.toml")),
    ("manycall", include_str!("../scenarios/manycall.toml")),
];

impl Scenario {
    /// The built-in scenario of this name, or the file at this path.
    pub fn load(scenario: &str, sets: &[String]) -> Result<Self, Bad> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == scenario) {
            return Self::parse(name, &format!("{name}.toml"), text, sets);
        }
        let path = std::path::Path::new(scenario);
        if path.extension().is_none_or(|ending| ending != "toml") {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(Bad(format!(
                "there is no scenario {scenario:?}: expected {} or a file that ends in .toml",
                names.join(", ")
            )));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| Bad(format!("{scenario}: cannot be read: {error}")))?;
        let name = path.file_stem().map_or(scenario.into(), |stem| stem.to_string_lossy());
        Self::parse(&name, scenario, &text, sets)
    }

    /// Reads a scenario's text; `file` is named in complaints.
    pub fn parse(name: &str, file: &str, text: &str, sets: &[String]) -> Result<Self, Bad> {
        let mut keys = Keys::parse(file, text, sets)?;
        let scenario = Self::read(name, &mut keys)?;
        scenario.check(&keys)?;
        keys.finish()?;
        Ok(scenario)
    }

    fn read(name: &str, keys: &mut Keys) -> Result<Self, Bad> {
        Ok(Self {
            name: name.to_owned(),
            about: keys.get("about", String::new())?,
            peers: keys.get("peers", 1000)?,
            owners: keys.get("owners", 0)?,
            owner_keys: keys.get("owner_keys", u32::MAX)?,
            duration: keys.get("duration", Span::ZERO)?,
            settle: keys.get("settle", Span::ZERO)?,
            patience: keys.get("patience", Span::secs(120))?,
            network: read_network(keys)?,
            host: Host::read(keys)?,
            lookups: Lookups::read(keys)?,
            churn: Churn::read(keys)?,
            crash: Crash::read(keys)?,
            functions: Functions::read(keys)?,
            anycalls: Anycalls::read(keys)?,
            manycalls: Manycalls::read(keys)?,
            expect: Expect::read(keys)?,
            core: read_core(keys)?,
        })
    }

    /// What no single key can tell.
    fn check(&self, keys: &Keys) -> Result<(), Bad> {
        let fail = |key: &str, what: &str| Err(keys.bad(key, what));
        if self.peers < 2 {
            return fail("peers", "expected at least 2");
        }
        if self.peers > 1 << 24 {
            return fail("peers", "expected at most 16777216");
        }
        if self.core.k == 0 {
            return fail("core.k", "expected at least 1");
        }
        if self.core.alpha == 0 {
            return fail("core.alpha", "expected at least 1");
        }
        if self.network.bandwidth == 0 {
            return fail("network.bandwidth", "expected more than nothing");
        }
        if self.network.latency == Span::ZERO {
            return fail("network.latency", "expected more than nothing");
        }
        if self.owners > self.peers {
            return fail("owners", "expected no more than there are peers");
        }
        if self.owner_keys == 0 {
            return fail("owner_keys", "expected at least 1");
        }
        if self.functions.is_some() && self.owners == 0 {
            return fail("owners", "functions need at least one owner");
        }
        if self.functions.is_none() {
            if self.anycalls.is_some() {
                return fail("anycalls", "there is nothing to call without [functions]");
            }
            if self.manycalls.is_some() {
                return fail("manycalls", "there is nothing to call without [functions]");
            }
        }
        if self.host.hosts.is_some_and(|hosts| hosts > self.peers) {
            return fail("host.hosts", "expected no more than there are peers");
        }
        Ok(())
    }

    /// The number of the owner key that a peer holds, if it holds one.
    pub fn owner_of(&self, peer: u32) -> Option<u32> {
        (peer < self.owners).then_some(peer % self.owner_keys)
    }

    /// How many calls a peer runs at once; 0: it hosts nothing.
    pub fn slots_of(&self, peer: u32) -> u16 {
        match self.host.hosts {
            Some(hosts) if peer < self.peers - hosts => 0,
            _ => self.host.slots,
        }
    }
}

fn read_network(keys: &mut Keys) -> Result<network::Settings, Bad> {
    keys.has("network");
    Ok(network::Settings {
        latency: keys.get("network.latency", Span::ms(25))?,
        loss: keys.get("network.loss", Share::new(0.0).expect("a share"))?,
        retransmit: keys.get("network.retransmit", Span::ms(200))?,
        connect_timeout: keys.get("network.connect_timeout", Span::secs(3))?,
        keep_alive: keys.get("network.keep_alive", Span::secs(5))?,
        bandwidth: keys.get("network.bandwidth", Size(12 << 20))?.0,
    })
}

impl Host {
    fn read(keys: &mut Keys) -> Result<Self, Bad> {
        keys.has("host");
        let silences = [("machine", Silence::Machine), ("process", Silence::Process)];
        Ok(Self {
            hosts: keys.find("host.hosts")?,
            slots: keys.get("host.slots", 4)?,
            queue: keys.get("host.queue", 16)?,
            room: keys.get("host.room", 64)?,
            store_delay: keys.get("host.store_delay", Span::ms(1))?,
            compile_delay: keys.get("host.compile_delay", Span::ms(200))?,
            cancel_delay: keys.get("host.cancel_delay", Span::ms(1))?,
            silence: keys.choice("host.crash", &silences, Silence::Machine)?,
        })
    }
}

impl Lookups {
    fn read(keys: &mut Keys) -> Result<Option<Self>, Bad> {
        if !keys.has("lookups") {
            return Ok(None);
        }
        Ok(Some(Self {
            count: keys.get("lookups.count", 10_000)?,
            interval: keys.get("lookups.interval", Span::ms(1))?,
            start: keys.get("lookups.start", Span::ZERO)?,
        }))
    }
}

impl Churn {
    fn read(keys: &mut Keys) -> Result<Option<Self>, Bad> {
        if !keys.has("churn") {
            return Ok(None);
        }
        let share = |part| Share::new(part).expect("a share");
        Ok(Some(Self {
            per_hour: keys.get("churn.per_hour", share(0.1))?,
            crashed: keys.get("churn.crashed", share(0.5))?,
            start: keys.get("churn.start", Span::ZERO)?,
            end: keys.get("churn.end", Span::minutes(120))?,
        }))
    }
}

impl Crash {
    fn read(keys: &mut Keys) -> Result<Option<Self>, Bad> {
        if !keys.has("crash") {
            return Ok(None);
        }
        Ok(Some(Self {
            at: keys.get("crash.at", Span::secs(60))?,
            share: keys.get("crash.share", Share::new(0.05).expect("a share"))?,
            count: keys.find("crash.count")?,
        }))
    }
}

impl Functions {
    fn read(keys: &mut Keys) -> Result<Option<Self>, Bad> {
        if !keys.has("functions") {
            return Ok(None);
        }
        let spreads = [
            ("constant", Spread::Constant),
            ("uniform", Spread::Uniform),
            ("exponential", Spread::Exponential),
        ];
        let words = [("yes", Some(true)), ("no", Some(false)), ("unsaid", None)];
        Ok(Some(Self {
            count: keys.get("functions.count", 1)?,
            interval: keys.get("functions.interval", Span::ms(10))?,
            start: keys.get("functions.start", Span::secs(1))?,
            replicas: keys.get("functions.replicas", (3, 5))?,
            size: keys.get("functions.size", Size(100 << 10))?.0,
            service: keys.get("functions.service", Span::ms(20))?,
            spread: keys.choice("functions.spread", &spreads, Spread::Exponential)?,
            idempotent: keys.choice("functions.idempotent", &words, None)?,
            timeout: keys.get("functions.timeout", Span::secs(60))?,
        }))
    }
}

impl Anycalls {
    fn read(keys: &mut Keys) -> Result<Option<Self>, Bad> {
        if !keys.has("anycalls") {
            return Ok(None);
        }
        Ok(Some(Self {
            count: keys.get("anycalls.count", 1000)?,
            interval: keys.get("anycalls.interval", Span::ms(10))?,
            start: keys.get("anycalls.start", Span::secs(30))?,
            deadline: keys.get("anycalls.deadline", Span::secs(60))?,
            idempotent: keys.get("anycalls.idempotent", true)?,
        }))
    }
}

impl Manycalls {
    fn read(keys: &mut Keys) -> Result<Option<Self>, Bad> {
        if !keys.has("manycalls") {
            return Ok(None);
        }
        Ok(Some(Self {
            jobs: keys.get("manycalls.jobs", 1)?,
            interval: keys.get("manycalls.interval", Span::secs(1))?,
            start: keys.get("manycalls.start", Span::secs(30))?,
            items: keys.get("manycalls.items", 10_000)?,
            retries: keys.get("manycalls.retries", 3)?,
        }))
    }
}

macro_rules! core_keys {
    ($($key:ident)*) => {
        /// The core's limits that `[core]` can set: all of them.
        pub const CORE_KEYS: &[&str] = &[$(stringify!($key)),*];

        fn read_core(keys: &mut Keys) -> Result<Config, Bad> {
            keys.has("core");
            let mut config = Config::standard();
            $(config.$key = keys.get(concat!("core.", stringify!($key)), config.$key)?;)*
            Ok(config)
        }
    };
}

core_keys! {
    k alpha reply_timeout misses_max search_timeout refresh_period renew_period host_life hosts_max
    records_max known_life known_max offers_max reserve_life loads_min busier_permille busier_max
    install_timeout deploy_grace place_timeout probe_period probes_missed_max rank_delay
    repair_backoff retire_after repair sync_period siblings_max sync_have_max sync_records_max
    call_timeout_max call_retries standings_max host_pause asks_max items_ahead_max hostless_max rehost_period notes
}
