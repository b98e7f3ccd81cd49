//! What the network does to a packet: functions of the seed and the packet's own arguments.

mod connections;
mod latency;
mod links;
mod matrix;
mod nat;
mod topology;

use peerless_core::{Span, Time};

pub use self::connections::{Connections, Line, Lines, Way};
pub use self::latency::Model;
pub use self::links::{Class, Links, Pipe};
pub use self::matrix::{Matrix, Measured, Unit};
pub use self::nat::Nat;
pub use self::topology::Topology;

use self::latency::Latency;
pub(crate) use self::matrix::beside;
use crate::chance::{Chance, Concern, Share};
use crate::faults::Partition;
use crate::scenario::{Bad, Keys, Scenario, Size, at_least, positive, section, worded};

section! {
    /// How the network behaves.
    "network" => pub struct Settings {
        /// Where latencies come from: "constant", "coordinates", "matrix", "transit-stub", "scale-free" or "small-world".
        model: Model = Model::Constant,
        /// From one peer to another, one way: always where the model is constant, on average elsewhere; a matrix has its own.
        latency: Span = Span::ms(25),
        /// Longest way from a machine to its network; each has its own, added at both ends.
        access_max: Span = Span::ZERO,
        /// How much longer than its latency a packet takes, as a share of it: any two may be reordered.
        jitter: Share = Share::NONE,
        /// How the jitter is spread: "uniform" up to the share, or "exponential" with the share as its mean.
        jitter_law: JitterLaw = JitterLaw::Uniform,
        /// The file of a measured matrix, relative to the scenario's.
        matrix: Option<String> = None,
        /// The unit of the matrix: "us" or "ms".
        matrix_unit: Unit = Unit::Ms,
        /// What the matrix measures: "round-trip" or "one-way".
        matrix_of: Measured = Measured::RoundTrip,
        /// Share of the messages between peers that are lost, each way; calls lose time instead.
        loss: Share = Share::NONE,
        /// Share of the ways from one peer to another that lose more; the way back need not be one of them.
        lossy: Share = Share::NONE,
        /// Share of the messages that are lost on these.
        lossy_loss: Share = Share::percent(50),
        /// After how long a lost packet of a call is sent again; doubles each time.
        retransmit: Span = Span::ms(200),
        /// After how long dialling a machine that is silent is given up.
        connect_timeout: Span = Span::secs(3),
        /// After how long a kept connection to a machine that fell silent counts as broken.
        keep_alive: Span = Span::secs(5),
        /// Address groups among which the peers are spread at random; 0: none is of any.
        groups: u32 = 0,
        /// Bytes a second that code is fetched with, where machines' links are not narrow.
        bandwidth: Size = Size(12 << 20),
    }
}

/// How the jitter of packets is spread.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum JitterLaw {
    /// Evenly from nothing to the share.
    Uniform,
    /// Exponentially, with the share as the mean.
    Exponential,
}

worded!(JitterLaw: "uniform" => Uniform, "exponential" => Exponential);

impl Settings {
    /// Values that are impossible, alone or beside others.
    pub(crate) fn check(&self, topology: &Topology, keys: &Keys) -> Result<(), Bad> {
        positive(keys, "network.latency", self.latency)?;
        positive(keys, "network.retransmit", self.retransmit)?;
        at_least(keys, "network.bandwidth", self.bandwidth.0, 1)?;
        match (self.model, &self.matrix) {
            (Model::Matrix, None) => {
                let what = "expected network.matrix beside it, the file with the latencies";
                return Err(keys.bad("network.model", what));
            }
            (Model::Matrix, Some(_)) | (_, None) => {}
            (_, Some(_)) => {
                return Err(keys.bad("network.matrix", "expected network.model = \"matrix\""));
            }
        }
        topology.check(self.model, keys)
    }
}

/// A message that leaves its source: all that its fate may depend on, beside the seed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Passage {
    /// Who sends it.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// The source's own counter: messages and packets of calls have one each.
    pub counter: u64,
    /// When it leaves.
    pub time: Time,
    /// How long it is.
    pub bytes: u64,
}

/// What the network does to a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It comes after this long.
    Deliver(Span),
    /// It never comes, and nobody is told.
    Drop,
}

/// The network between the peers of one world.
#[derive(Clone, Debug)]
pub struct Network {
    settings: Settings,
    latency: Latency,
    partition: Option<Partition>,
    chance: Chance,
}

/// A retransmission is tried this often before the connection would be given up.
const RESENDS_MAX: u64 = 8;

/// Packets of calls draw their jitter apart from messages, whose counters are others.
const OF_A_CALL: u64 = 1 << 62;

impl Network {
    /// The side of a partition on which a peer is: 0 is the smaller one.
    pub(crate) fn side(&self, peer: u32) -> usize {
        self.partition.as_ref().map_or(1, |partition| partition.part(peer, 0, &self.chance))
    }

    /// The network of a scenario.
    pub fn new(scenario: &Scenario, chance: Chance) -> Self {
        let settings = scenario.network.clone();
        let matrix = scenario.matrix.clone();
        let latency = Latency::new(&settings, &scenario.topology, matrix, &chance);
        let partition = scenario.partition.clone();
        Self { settings, latency, partition, chance }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Nothing is lost from now on, and nobody is apart.
    pub(crate) fn calm(&mut self) {
        self.settings.loss = Share::NONE;
        self.settings.lossy = Share::NONE;
        self.settings.jitter = Share::NONE;
        self.partition = None;
    }

    /// Whether a partition keeps what leaves at `time` from going from one peer to the other.
    #[inline]
    pub fn parts(&self, time: Time, from: u32, to: u32) -> bool {
        let parts = |it: &Partition| it.parts(time, from, to, &self.chance);
        self.partition.as_ref().is_some_and(parts)
    }

    /// The same of either way.
    #[inline]
    pub fn apart(&self, time: Time, one: u32, other: u32) -> bool {
        self.parts(time, one, other) || self.parts(time, other, one)
    }

    /// Which share of what goes from one peer to another is lost.
    #[inline]
    fn loss(&self, from: u32, to: u32) -> Share {
        let Settings { loss, lossy, lossy_loss, .. } = &self.settings;
        let bits = || self.chance.bits(Concern::Lossy, from.into(), to.into(), 0);
        if lossy.is_zero() || !lossy.takes(bits()) {
            return *loss;
        }
        *loss.max(lossy_loss)
    }

    /// How long the way from one peer to another is, without jitter.
    #[inline]
    pub fn latency(&self, from: u32, to: u32) -> Span {
        let way = self.latency.between(from, to, &self.chance);
        if self.settings.access_max == Span::ZERO {
            return way;
        }
        way + self.access(from) + self.access(to)
    }

    fn access(&self, peer: u32) -> Span {
        let max = self.settings.access_max.0;
        Span(self.chance.below(max, Concern::Access, peer.into(), 0, 0))
    }

    /// How long one packet takes.
    #[inline]
    fn way(&self, from: u32, to: u32, counter: u64) -> Span {
        let way = self.latency(from, to);
        if self.settings.jitter.is_zero() {
            return way;
        }
        let bits = self.chance.bits(Concern::Jitter, u64::from(from), u64::from(to), counter);
        let longest = self.settings.jitter.of(way.0);
        way + Span(match self.settings.jitter_law {
            JitterLaw::Uniform => ((u128::from(bits) * u128::from(longest)) >> 64) as u64,
            JitterLaw::Exponential => exponential(longest, bits),
        })
    }

    /// What becomes of a message between peers.
    #[inline]
    pub fn judge(&self, passage: &Passage) -> Verdict {
        let Passage { from, to, counter, time, .. } = *passage;
        if self.parts(time, from, to) {
            return Verdict::Drop;
        }
        let loss = self.loss(from, to);
        if !loss.is_zero() {
            let bits = self.chance.bits(Concern::Loss, u64::from(from), u64::from(to), counter);
            if loss.takes(bits) {
                return Verdict::Drop;
            }
        }
        Verdict::Deliver(self.way(from, to, counter))
    }

    /// How long a packet of a call takes: it rides on a reliable transport, so that loss costs time.
    pub fn reliable(&self, passage: &Passage) -> Span {
        let Passage { from, to, counter, .. } = *passage;
        if from == to {
            return Span::ZERO;
        }
        let loss = self.loss(from, to);
        let mut took = self.way(from, to, counter | OF_A_CALL);
        let mut pause = self.settings.retransmit;
        for trial in 0..RESENDS_MAX {
            let packet = counter * RESENDS_MAX + trial;
            let bits = self.chance.bits(Concern::Resend, u64::from(from), u64::from(to), packet);
            if !loss.takes(bits) {
                break;
            }
            took = took + pause;
            pause = pause.times(2);
        }
        took
    }

    /// How long a transfer of `bytes` to one peer from another takes, with the asking.
    pub fn transfer(&self, to: u32, from: u32, bytes: u64) -> Span {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.settings.bandwidth.0);
        let sent = Span(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.latency(to, from) + self.latency(from, to) + sent
    }
}

/// An exponentially spread number with this mean, from 64 random bits.
pub(crate) fn exponential(mean: u64, bits: u64) -> u64 {
    // 53 random bits, never 0.
    let part = ((bits >> 11) + 1) as f64 / 9_007_199_254_740_992.0;
    (mean as f64 * -libm::log(part)) as u64
}
