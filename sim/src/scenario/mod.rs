//! What a scenario says: TOML, strictly read, into plain settings. The settings of each section are
//! declared where they are used.

mod check;
mod keys;
mod limits;
mod value;

use std::path::Path;
use std::sync::Arc;

use peerless_core::{Config, Span};

pub(crate) use self::check::{at_least, positive};
pub use self::keys::{Bad, Keys, Known, Section};
pub use self::limits::CORE_KEYS;
pub use self::value::{Readable, Size, Value};
pub use crate::adversary::{Adversaries, Fate, Lie, Sybils};
pub use crate::desk::{Host, Silence};
pub use crate::expect::Expect;
pub use crate::faults::{Arrivals, Churn, Clocks, Crash, Lengths, Partition, Sessions};
pub use crate::joining::Joining;
pub use crate::work::{
    Anycalls, Drain, Flow, Functions, Idempotent, Lookups, Manycalls, Pace, Spread,
};

use crate::chance::{Chance, Concern};
use crate::network::{self, Connections, Links, Matrix, Nat, Topology};

pub(crate) use self::keys::section;
pub(crate) use self::value::{listed, worded};

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
    /// The latencies between sites, where they were measured.
    pub matrix: Option<Arc<Matrix>>,
    /// `[topology]`
    pub topology: Topology,
    /// `[links]`
    pub links: Option<Links>,
    /// `[connections]`
    pub connections: Option<Connections>,
    /// `[nat]`
    pub nat: Option<Nat>,
    /// `[host]`
    pub host: Host,
    /// `[lookups]`
    pub lookups: Option<Lookups>,
    /// `[churn]`
    pub churn: Option<Churn>,
    /// `[crash]`
    pub crash: Option<Crash>,
    /// `[arrivals]`
    pub arrivals: Option<Arrivals>,
    /// `[partition]`
    pub partition: Option<Partition>,
    /// `[clocks]`
    pub clocks: Option<Clocks>,
    /// `[joining]`
    pub joining: Option<Joining>,
    /// `[sessions]`
    pub sessions: Option<Sessions>,
    /// The lengths of sessions, by their law or trace.
    pub lengths: Option<Arc<Lengths>>,
    /// `[adversaries]`
    pub adversaries: Option<Adversaries>,
    /// `[sybils]`
    pub sybils: Option<Sybils>,
    /// `[functions]`
    pub functions: Option<Functions>,
    /// `[anycalls]`
    pub anycalls: Option<Anycalls>,
    /// `[manycalls]`
    pub manycalls: Option<Manycalls>,
    /// `[drain]`
    pub drain: Option<Drain>,
    /// `[expect]`
    pub expect: Expect,
    /// `[core]`
    pub core: Config,
}

/// The built-in scenarios: name and text.
pub const BUILT_IN: [(&str, &str); 27] = [
    ("lookup", include_str!("../../scenarios/lookup.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("joining", include_str!("../../scenarios/joining.toml")),
    ("placement", include_str!("../../scenarios/placement.toml")),
    ("labels", include_str!("../../scenarios/labels.toml")),
    ("anycall", include_str!("../../scenarios/anycall.toml")),
    ("manycall", include_str!("../../scenarios/manycall.toml")),
    ("sessions", include_str!("../../scenarios/sessions.toml")),
    ("eclipse", include_str!("../../scenarios/eclipse.toml")),
    ("liars", include_str!("../../scenarios/liars.toml")),
    ("dfaas-light", include_str!("../../scenarios/dfaas-light.toml")),
    ("dfaas-mid", include_str!("../../scenarios/dfaas-mid.toml")),
    ("dfaas-all", include_str!("../../scenarios/dfaas-all.toml")),
    ("overload", include_str!("../../scenarios/overload.toml")),
    ("scaling", include_str!("../../scenarios/scaling.toml")),
    ("leaving", include_str!("../../scenarios/leaving.toml")),
    ("quorum", include_str!("../../scenarios/quorum.toml")),
    ("manycall-equal", include_str!("../../scenarios/manycall-equal.toml")),
    ("manycall-spread", include_str!("../../scenarios/manycall-spread.toml")),
    ("manycall-faults", include_str!("../../scenarios/manycall-faults.toml")),
    ("manycall-short", include_str!("../../scenarios/manycall-short.toml")),
    ("manycall-huge", include_str!("../../scenarios/manycall-huge.toml")),
    ("turnover", include_str!("../../scenarios/turnover.toml")),
    ("partition", include_str!("../../scenarios/partition.toml")),
    ("filling", include_str!("../../scenarios/filling.toml")),
    ("homes", include_str!("../../scenarios/homes.toml")),
    ("full", include_str!("../../scenarios/full.toml")),
];

const PEERS: &str = "Peers at the start; their tables are as after a long life.";
const OWNERS: &str = "The first so many peers hold an owner key: they deploy, and begin manycalls.";
const OWNER_KEYS: &str = "How many owner keys there are among the owners.";
const SETTLE: &str = "After the last work, until all must have come to rest.";
const PATIENCE: &str = "What is open so long after the last work was planned is a violation.";

impl Scenario {
    /// The built-in scenario of this name, or the file at this path.
    pub fn load(scenario: &str, sets: &[String]) -> Result<Self, Bad> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == scenario) {
            return Self::parse(name, &format!("{name}.toml"), text, sets);
        }
        let path = Path::new(scenario);
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
        let mut scenario = Self::read(name, &mut keys)?;
        scenario.check(&keys)?;
        scenario.matrix = Matrix::load(&scenario.network, &keys)?.map(Arc::new);
        scenario.lengths = Lengths::load(&scenario, &keys)?;
        keys.finish()?;
        Ok(scenario)
    }

    fn read(name: &str, keys: &mut Keys) -> Result<Self, Bad> {
        Ok(Self {
            name: name.to_owned(),
            about: keys.get("", "about", "What the list says of it.", String::new())?,
            peers: keys.get("", "peers", PEERS, 1000)?,
            owners: keys.get("", "owners", OWNERS, 0)?,
            owner_keys: keys.get("", "owner_keys", OWNER_KEYS, u32::MAX)?,
            duration: keys.get("", "duration", "It lasts at least this long.", Span::ZERO)?,
            settle: keys.get("", "settle", SETTLE, Span::ZERO)?,
            patience: keys.get("", "patience", PATIENCE, Span::secs(120))?,
            network: keys.section()?,
            matrix: None,
            topology: keys.section()?,
            links: keys.section_if_given()?,
            connections: keys.section_if_given()?,
            nat: keys.section_if_given()?,
            host: keys.section()?,
            lookups: keys.section_if_given()?,
            churn: keys.section_if_given()?,
            crash: keys.section_if_given()?,
            arrivals: keys.section_if_given()?,
            partition: keys.section_if_given()?,
            clocks: keys.section_if_given()?,
            joining: keys.section_if_given()?,
            sessions: keys.section_if_given()?,
            lengths: None,
            adversaries: keys.section_if_given()?,
            sybils: keys.section_if_given()?,
            functions: keys.section_if_given()?,
            anycalls: keys.section_if_given()?,
            manycalls: keys.section_if_given()?,
            drain: keys.section_if_given()?,
            expect: keys.section()?,
            core: keys.section()?,
        })
    }

    /// Every key that a scenario can have, section by section.
    pub fn keys() -> Vec<Known> {
        let mut keys = Keys::all();
        Self::read("", &mut keys).expect("what is standard can be read");
        keys.into_known()
    }

    /// The number of the owner key that a peer holds, if it holds one.
    pub fn owner_of(&self, peer: u32) -> Option<u32> {
        (peer < self.owners).then_some(peer % self.owner_keys)
    }

    /// How many functions a peer has room for.
    pub(crate) fn room_of(&self, peer: u32, chance: &Chance) -> u16 {
        let most = self.host.room;
        match self.host.room_min {
            _ if self.slots_of(peer) == 0 => 0,
            None => most,
            Some(least) => {
                let spread = u64::from(most - least) + 1;
                least + chance.below(spread, Concern::Room, peer.into(), 0, 0) as u16
            }
        }
    }

    /// How many calls a peer runs at once; 0: it hosts nothing.
    pub fn slots_of(&self, peer: u32) -> u16 {
        let first = self.host.hosts.map_or(0, |hosts| self.peers - hosts);
        let each = &self.host.slots_each;
        match peer.checked_sub(first) {
            None => 0,
            Some(nth) if !each.is_empty() => each[nth as usize % each.len()],
            Some(_) => self.host.slots,
        }
    }
}
