//! A case: one world with its settings, and a schedule of what is done to it. What is left out of it,
//! by hand or by shrinking, moves nothing else.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};

use clap::ValueEnum;
use peerless_core::Span;

use crate::network::{Model, Settings};
use crate::scenario::{Partition, Readable, Scenario, Silence};

/// How worlds are drawn.
#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
pub enum Preset {
    /// 3 to 40 peers for a few minutes: most worlds a second.
    Lite,
    /// Up to 200 peers for longer, with more of everything.
    Swarm,
    /// Hundreds of peers without faults, with as much to do as they can bear: what comes of it is held
    /// against what must, and its figures are told.
    Performance,
}

impl Preset {
    /// As it is written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lite => "lite",
            Self::Swarm => "swarm",
            Self::Performance => "performance",
        }
    }
}

macro_rules! features {
    ($($Feature:ident $says:literal)*) => {
        /// What a case may have or be without.
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
        pub enum Feature {
            $(#[doc = $says] $Feature,)*
        }

        impl Feature {
            /// Every feature.
            pub const ALL: &'static [Self] = &[$(Self::$Feature,)*];
        }
    };
}

features! {
    Loss "Messages are lost."
    Crashes "Peers go without a word."
    Leaves "Peers close their connections and go."
    Restarts "Peers that went come back."
    Wipes "Some of these without what their disks kept."
    Joins "New peers come."
    Updates "Functions are deployed again in a newer version."
    Removals "Functions are removed."
    Calls "Functions are called."
    Jobs "Functions are called for many items."
    Cancels "Users cancel what they asked for."
    Lookups "Users look up names, hosts and lists."
    Stores "Disks fail to keep."
    Fetches "Fetches of code fail."
    Installs "Installs fail."
    Slow "Some machines are slow."
    Tight "Machines have few slots, short queues and little room."
    Jitter "Packets are late, and overtake each other."
    Partitions "The network falls into parts for a while, or again and again."
    Bounces "Peers restart at once."
    Idlers "Some peers host nothing."
    Late "Users take the results of manycalls late."
    Labels "Some functions ask for a label that few carry."
    Uneven "Some ways lose more messages than the ways back."
    Clocks "Clocks are wrong, by milliseconds or by hours."
    Links "Machines' links are narrow."
    Handshakes "Connecting takes time, and machines keep few connections."
    Nat "Some machines are behind NAT, if connecting takes time."
}

impl Feature {
    /// As it is written on the command line.
    pub fn word(self) -> String {
        let value = self.to_possible_value().expect("no feature is hidden");
        value.get_name().to_owned()
    }

    /// Whether it is a setting, of the world or of operations: the others are operations of the schedule.
    pub fn is_setting(self) -> bool {
        matches!(
            self,
            Self::Loss
                | Self::Stores
                | Self::Fetches
                | Self::Installs
                | Self::Slow
                | Self::Tight
                | Self::Jitter
                | Self::Partitions
                | Self::Idlers
                | Self::Late
                | Self::Labels
                | Self::Uneven
                | Self::Clocks
                | Self::Links
                | Self::Handshakes
                | Self::Nat
        )
    }
}

/// What names a case: all else is drawn from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// A built-in scenario or a file that is perturbed; else the world is drawn as well.
    pub scenario: Option<String>,
    /// What the case is drawn from.
    pub seed: u64,
    /// How.
    pub preset: Preset,
    /// Only these operations of the schedule, where it is given.
    pub only: Option<BTreeSet<u32>>,
    /// Without these features.
    pub off: BTreeSet<Feature>,
    /// At most so many peers at the start.
    pub peers: Option<u32>,
}

impl Named {
    /// The command that plays this case and no other.
    pub fn command(&self) -> String {
        let mut command = String::from("peerless-sim fuzz");
        if let Some(scenario) = &self.scenario {
            let _ = write!(command, " {}", crate::cli::quoted(scenario));
        }
        let seed = self.seed;
        let _ = write!(command, " --seeds {seed}..{} --preset {}", seed + 1, self.preset.word());
        if let Some(peers) = self.peers {
            let _ = write!(command, " --peers {peers}");
        }
        if !self.off.is_empty() {
            let off: Vec<String> = self.off.iter().map(|feature| feature.word()).collect();
            let _ = write!(command, " --off {}", off.join(","));
        }
        if let Some(only) = &self.only {
            let only: Vec<String> = only.iter().map(u32::to_string).collect();
            let none = if only.is_empty() { "none" } else { "" };
            let _ = write!(command, " --only {none}{}", only.join(","));
        }
        command
    }
}

/// A function of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Fewest and most hosts.
    pub replicas: (u16, u16),
    /// The record's word on running twice.
    pub idempotent: Option<bool>,
    /// A call's deadline by the record.
    pub timeout: Span,
    /// Size of the code in bytes.
    pub size: u64,
    /// Whether only peers that carry the label may host it.
    pub labelled: bool,
}

/// What is done at some instant.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each sentence says what its fields are")]
pub enum Op {
    /// An owner deploys a function, anew or in a newer version.
    Deploy { function: u32, again: bool },
    /// An owner removes it.
    Remove { function: u32 },
    /// A peer calls it.
    Call { function: u32, deadline: Span, kept: bool, idempotent: bool },
    /// A peer calls it for many items.
    Many {
        function: u32,
        items: u64,
        burst: u32,
        pause: Span,
        late: bool,
        retries: u8,
        deadline: Option<Span>,
        takes: Span,
    },
    /// A peer's user cancels what another operation asked of it.
    Cancel { of: u32 },
    /// A peer looks a name up.
    Lookup,
    /// A peer asks who hosts a function.
    Hosts { function: u32 },
    /// A peer lists its owner's functions.
    List,
    /// A peer goes.
    Go { silence: Silence },
    /// A peer that went comes back, with what its disk kept or without; it meets `via`.
    Back { disk: bool, via: u32 },
    /// A new peer comes and meets `via`.
    Join { via: u32 },
    /// A peer's process goes and is back at once, with what its disk kept or without; it meets `via`.
    Bounce { disk: bool, via: u32 },
}

/// One line of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number: it keeps it whatever is left out.
    pub id: u32,
    /// Since the world's start.
    pub at: Span,
    /// At which peer.
    pub peer: u32,
    /// What.
    pub op: Op,
    /// What it is a part of.
    pub feature: Option<Feature>,
}

/// A case, ready to be played.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is drawn from.
    pub named: Named,
    /// The world; without work of its own if no scenario is named.
    pub scenario: Scenario,
    /// The functions that the schedule deploys.
    pub functions: Vec<Function>,
    /// In the order of time.
    pub schedule: Vec<Step>,
    /// The peers that stay away when faults stop, if they are away then; the others return.
    pub stay_away: BTreeSet<u32>,
}

/// Seconds with as many places as tell operations apart.
fn seconds(span: Span) -> String {
    format!("{:.3} s", span.0 as f64 / 1e9)
}

/// In what parts the network falls, and when.
fn parted(it: &Partition) -> String {
    let (at, until) = (seconds(it.at), seconds(it.until));
    let shares = if it.shares.is_empty() { it.share.show() } else { it.shares.show() };
    let mut text = format!("in parts from {at} to {until}, {shares} apart from the rest");
    if it.times > 1 {
        let _ = write!(text, ", {} times, each {}", it.times, seconds(it.every));
    }
    text.push_str(if it.one_way { ", one way" } else { "" });
    text
}

/// What lies between machines and the network.
fn wired(scenario: &Scenario) -> String {
    let mut lines = Vec::new();
    if let Some(it) = &scenario.links {
        let (up, down) = (it.up.show(), it.down.show());
        let (request, response) = (it.request.show(), it.response.show());
        lines.push(format!("links of {up} up, {down} down; bodies {request}, {response}"));
    }
    if let Some(it) = &scenario.connections {
        let behind = scenario.nat.as_ref().map_or(String::new(), |nat| {
            format!(", {} of the machines behind NAT", nat.share.show())
        });
        lines.push(format!("{} connections each, {} with QUIC{behind}", it.most, it.quic.show()));
    }
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn lossy(network: &Settings) -> String {
    if network.lossy.is_zero() {
        return String::new();
    }
    format!(" ({} on {} of the ways)", network.lossy_loss.show(), network.lossy.show())
}

impl Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deploy { function, again: false } => write!(f, "deploys f{function}"),
            Self::Deploy { function, again: true } => write!(f, "deploys f{function} anew"),
            Self::Remove { function } => write!(f, "removes f{function}"),
            Self::Call { function, deadline, kept, idempotent } => {
                let body = if *kept { "kept" } else { "spent" };
                let twice = if *idempotent { "may run twice" } else { "as recorded" };
                let within = seconds(*deadline);
                write!(f, "calls f{function} within {within}, body {body}, {twice}")
            }
            Self::Many { function, items, burst, pause, late, retries, deadline, takes } => {
                let pause = seconds(*pause);
                write!(f, "calls f{function} for {items} items, {burst} at once each {pause}")?;
                write!(f, ", {retries} retries")?;
                if let Some(deadline) = deadline {
                    write!(f, ", within {}", seconds(*deadline))?;
                }
                if *takes > Span::ZERO {
                    write!(f, ", each result taken after {}", seconds(*takes))?;
                }
                f.write_str(if *late { ", the end said apart" } else { "" })
            }
            Self::Cancel { of } => write!(f, "cancels #{of}"),
            Self::Lookup => f.write_str("looks a name up"),
            Self::Hosts { function } => write!(f, "asks who hosts f{function}"),
            Self::List => f.write_str("lists its owner's functions"),
            Self::Go { silence: Silence::Machine } => f.write_str("crashes with its machine"),
            Self::Go { silence: Silence::Process } => f.write_str("goes, its connections closed"),
            Self::Back { disk, via } => {
                let disk = if *disk { "" } else { ", its disk empty," };
                write!(f, "comes back{disk} and meets {via}")
            }
            Self::Join { via } => write!(f, "joins and meets {via}"),
            Self::Bounce { disk, via } => {
                let disk = if *disk { "" } else { ", its disk empty," };
                write!(f, "restarts{disk} and meets {via}")
            }
        }
    }
}

impl Case {
    /// Whether it has no schedule, but a world's own work that must be done well.
    pub fn is_load(&self) -> bool {
        self.named.preset == Preset::Performance && self.named.scenario.is_none()
    }

    /// Its settings, a few lines.
    pub fn setup(&self) -> String {
        let Scenario { peers, owners, owner_keys, network, host, core, .. } = &self.scenario;
        let mut text = format!(
            "{peers} peers, {owners} owners of {} keys, k {}, α {}, latency {} ms, {}jitter {}, loss {}{}, a query {} ms\n",
            owner_keys.min(owners),
            core.k,
            core.alpha,
            network.latency.as_ms(),
            if network.model == Model::Constant { "" } else { "by distance, " },
            network.jitter.show(),
            network.loss.show(),
            lossy(network),
            core.reply_timeout.as_ms(),
        );
        let _ = writeln!(
            text,
            "machines: {}{}{} slots, queue {}, room {}; fails to store {}, fetch {}, install {}; slow {}",
            host.hosts.map_or(String::new(), |hosts| format!("{hosts} host; ")),
            if self.has(Feature::Labels) {
                format!("{} carry the label; ", host.carriers.show())
            } else {
                String::new()
            },
            host.slots,
            host.queue,
            host.room,
            host.store_fails.show(),
            host.fetch_fails.show(),
            host.install_fails.show(),
            host.slow.show(),
        );
        if let Some(it) = &self.scenario.partition {
            let _ = writeln!(text, "{}", parted(it));
        }
        text.push_str(&wired(&self.scenario));
        if let Some(it) = &self.scenario.clocks {
            let (wrong, off) = (it.wrong.show(), it.offset_max.show());
            let ppm = it.drift_ppm_max;
            let _ = writeln!(text, "{wrong} of the clocks wrong by up to {off} and {ppm} ppm");
        }
        if self.is_load() {
            text.push_str(&super::load::describe(&self.scenario));
        }
        let used: BTreeSet<u32> =
            self.schedule.iter().filter_map(|step| step.op.function()).collect();
        for (n, function) in (0..).zip(&self.functions).filter(|(n, _)| used.contains(n)) {
            let (least, most) = function.replicas;
            let twice = match function.idempotent {
                Some(true) => "may run twice",
                Some(false) => "runs once",
                None => "twice unsaid",
            };
            let within = seconds(function.timeout);
            let label = if function.labelled { ", asks for the label" } else { "" };
            let _ =
                writeln!(text, "f{n}: {least} to {most} hosts, {twice}, {within} a call{label}");
        }
        text
    }

    /// Whether it has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        let host = &self.scenario.host;
        match feature {
            Feature::Loss => !self.scenario.network.loss.is_zero(),
            Feature::Stores => !host.store_fails.is_zero(),
            Feature::Fetches => !host.fetch_fails.is_zero(),
            Feature::Installs => !host.install_fails.is_zero(),
            Feature::Slow => !host.slow.is_zero(),
            Feature::Tight => host.slots < 4,
            Feature::Calls if self.is_load() => self.scenario.anycalls.is_some(),
            Feature::Jobs if self.is_load() => self.scenario.manycalls.is_some(),
            Feature::Lookups if self.is_load() => self.scenario.lookups.is_some(),
            Feature::Jitter => !self.scenario.network.jitter.is_zero(),
            Feature::Links => self.scenario.links.is_some(),
            Feature::Handshakes => self.scenario.connections.is_some(),
            Feature::Nat => self.scenario.nat.is_some(),
            Feature::Clocks => self.scenario.clocks.is_some(),
            Feature::Uneven => !self.scenario.network.lossy.is_zero(),
            Feature::Partitions => self.scenario.partition.is_some(),
            Feature::Idlers => host.hosts.is_some(),
            Feature::Labels => self.functions.iter().any(|function| function.labelled),
            Feature::Wipes => self.schedule.iter().any(|step| {
                matches!(step.op, Op::Back { disk: false, .. } | Op::Bounce { disk: false, .. })
            }),
            Feature::Late => self
                .schedule
                .iter()
                .any(|step| matches!(step.op, Op::Many { takes, .. } if takes > Span::ZERO)),
            _ => self.schedule.iter().any(|step| step.feature == Some(feature)),
        }
    }

    /// Its schedule, a line for each operation.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        for Step { id, at, peer, op, .. } in &self.schedule {
            let at = seconds(*at);
            let _ = writeln!(text, "#{id:<4} {at:>10}  {peer} {op}");
        }
        text
    }
}

impl Op {
    /// The function that it concerns.
    pub fn function(&self) -> Option<u32> {
        match self {
            Self::Deploy { function, .. }
            | Self::Remove { function }
            | Self::Call { function, .. }
            | Self::Many { function, .. }
            | Self::Hosts { function } => Some(*function),
            Self::Cancel { .. }
            | Self::Lookup
            | Self::List
            | Self::Go { .. }
            | Self::Back { .. }
            | Self::Join { .. }
            | Self::Bounce { .. } => None,
        }
    }
}
