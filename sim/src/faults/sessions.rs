//! `[sessions]`: peers stay for as long as a law or a trace says, and others come for them, or they
//! come back themselves.

use std::sync::Arc;

use peerless_core::{Span, Time};

use crate::chance::{Concern, Share};
use crate::network::{beside, exponential};
use crate::scenario::{Bad, Keys, Scenario, Silence, section, worded};
use crate::work::Plan;
use crate::world::{START, World};

section! {
    /// How long peers stay.
    "sessions" => pub struct Sessions {
        /// The law of the lengths: "weibull", "log-normal", or "trace" for those in a file.
        law: Law = Law::Weibull,
        /// The median length of a law.
        median: Span = Span::minutes(60),
        /// The shape of the Weibull law: below 1, who has been there for long will stay for long.
        shape: f64 = 0.5,
        /// The deviation of the lengths' logarithms by the log-normal law.
        sigma: f64 = 1.5,
        /// The file of a trace, relative to the scenario's: the seconds of one session a line.
        trace: Option<String> = None,
        /// Share of those that go without a word; the others close their connections.
        crashed: Share = Share::percent(50),
        /// Share of those that go that come back; for each other a new peer comes at once.
        returns: Share = Share::NONE,
        /// Mean time until one who comes back is there, exponentially spread.
        downtime: Span = Span::minutes(10),
        /// When peers begin to go.
        start: Span = Span::ZERO,
        /// When they stop going.
        end: Span = Span::minutes(120),
    }
}

/// What says how long peers stay.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Law {
    /// Of Weibull, which fits measured sessions best: Stutzbach and Rejaie, "Understanding churn in
    /// peer-to-peer networks" (IMC 2006).
    Weibull,
    /// Its logarithm is normal.
    LogNormal,
    /// Lengths that were measured.
    Trace,
}

worded!(Law: "weibull" => Weibull, "log-normal" => LogNormal, "trace" => Trace);

/// So many quantiles of a law are drawn from, with what lies between two of them.
const QUANTILES: u32 = 4096;
/// More sessions than these are not read.
const TRACE_MAX: usize = 100_000;
/// Microseconds of the shortest session: nobody is there for less than a second.
const SHORTEST: f64 = 1e6;
/// Microseconds of the longest session, more than a year.
const LONGEST: f64 = 3.6e13;

/// The lengths that sessions have: microseconds, ascending, each as likely as any other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lengths {
    micros: Vec<u64>,
    /// Sums of the lengths up to and with each.
    sums: Vec<u64>,
}

impl Lengths {
    fn new(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let mut sum = 0;
        let sums = micros.iter().map(|length| {
            sum += length;
            sum
        });
        let sums = sums.collect();
        Self { micros, sums }
    }

    /// The quantiles of a law; `None` of a trace.
    pub fn of(sessions: &Sessions) -> Option<Self> {
        let median = sessions.median.0 as f64 / 1e3;
        let length = |part: f64| match sessions.law {
            Law::Weibull => {
                let ratio = -libm::log(1.0 - part) / std::f64::consts::LN_2;
                Some(median * libm::pow(ratio, 1.0 / sessions.shape))
            }
            Law::LogNormal => Some(median * libm::exp(sessions.sigma * normal_quantile(part))),
            Law::Trace => None,
        };
        let parts = (0..QUANTILES).map(|n| (f64::from(n) + 0.5) / f64::from(QUANTILES));
        let micros: Option<Vec<u64>> =
            parts.map(|part| Some(length(part)?.clamp(SHORTEST, LONGEST) as u64)).collect();
        micros.map(Self::new)
    }

    /// Reads a trace. An error begins with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut micros = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let word = line.split('#').next().unwrap_or_default().trim();
            if word.is_empty() {
                continue;
            }
            let length = word.parse::<f64>().ok().map(|seconds| seconds * 1e6);
            let length = length.filter(|micros| (SHORTEST..=LONGEST).contains(micros));
            let expected = "expected the seconds of one session, from 1 to 3.6e7";
            micros
                .push(length.ok_or_else(|| format!("{number}: {expected}, not {word:?}"))? as u64);
            if micros.len() > TRACE_MAX {
                return Err(format!("{number}: expected at most {TRACE_MAX} sessions"));
            }
        }
        if micros.is_empty() {
            return Err("1: expected at least one session".to_owned());
        }
        Ok(Self::new(micros))
    }

    /// The lengths that a scenario asks for.
    pub(crate) fn load(scenario: &Scenario, keys: &Keys) -> Result<Option<Arc<Self>>, Bad> {
        let Some(sessions) = &scenario.sessions else { return Ok(None) };
        if let Some(lengths) = Self::of(sessions) {
            return Ok(Some(Arc::new(lengths)));
        }
        let named = sessions.trace.as_deref().unwrap_or_default();
        let path = beside(keys.file(), named);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()));
        let lengths = text
            .and_then(|text| Self::parse(&text).map_err(|why| format!("{}:{why}", path.display())));
        lengths.map(Arc::new).map(Some).map_err(|why| keys.bad("sessions.trace", &why))
    }

    /// The length of a session from its beginning, by 64 random bits.
    pub fn whole(&self, bits: u64) -> Span {
        let place = u128::from(bits) * (self.micros.len() as u128);
        let at = (place >> 64) as usize;
        let (low, high) = (self.micros[at], self.micros[(at + 1).min(self.micros.len() - 1)]);
        let between = (u128::from(place as u64) * u128::from(high - low)) >> 64;
        Span((low + between as u64).saturating_mul(1000))
    }

    /// How much is left of a session in whose midst one falls, by 64 random bits: the longer it is,
    /// the likelier one falls into it.
    pub fn rest(&self, bits: u64) -> Span {
        let all = self.sums.last().copied().unwrap_or(0);
        let place = ((u128::from(bits) * u128::from(all)) >> 64) as u64;
        let at = self.sums.partition_point(|sum| *sum <= place);
        Span((self.sums[at] - place).saturating_mul(1000))
    }
}

/// Where the normal law has this part of its mass below: by halving, to the last bit that tells.
fn normal_quantile(part: f64) -> f64 {
    let (mut low, mut high) = (-10.0, 10.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let below = 0.5 * libm::erfc(-middle / std::f64::consts::SQRT_2);
        if below < part {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

impl Sessions {
    pub(crate) fn check(&self, keys: &Keys) -> Result<(), Bad> {
        if self.median < Span::secs(1) {
            return Err(keys.bad("sessions.median", "expected at least \"1s\""));
        }
        if !(0.1..=10.0).contains(&self.shape) {
            return Err(keys.bad("sessions.shape", "expected a number from 0.1 to 10"));
        }
        if self.sigma > 5.0 {
            return Err(keys.bad("sessions.sigma", "expected at most 5"));
        }
        if self.end <= self.start {
            let culprit = if keys.is_given("sessions.end") { "end" } else { "start" };
            let what = "expected sessions.end to be later than sessions.start";
            return Err(keys.bad(&format!("sessions.{culprit}"), what));
        }
        if (self.law == Law::Trace) != self.trace.is_some() {
            let what = "expected sessions.law = \"trace\" and sessions.trace, or neither";
            return Err(keys.bad("sessions.law", what));
        }
        Ok(())
    }
}

impl World {
    /// The peers of the start are in the midst of their sessions.
    pub(crate) fn begin_sessions(&mut self) {
        let Some(sessions) = self.scenario.sessions.clone() else { return };
        for peer in 0..self.scenario.first_peers() {
            let bits = self.chance.bits(Concern::Session, peer.into(), u64::from(u32::MAX), 0);
            let rest = self.lengths().rest(bits);
            self.plan_departure(peer, START + sessions.start + rest);
        }
    }

    fn lengths(&self) -> &Lengths {
        self.scenario.lengths.as_ref().expect("a scenario with sessions has their lengths")
    }

    /// A peer has just come: when it will go, if others go too.
    pub(crate) fn begin_session(&mut self, peer: u32) {
        if self.scenario.sessions.is_none() {
            return;
        }
        let incarnation = self.incarnations[peer as usize];
        let bits = self.chance.bits(Concern::Session, peer.into(), incarnation.into(), 0);
        self.plan_departure(peer, self.now + self.lengths().whole(bits));
    }

    fn plan_departure(&mut self, peer: u32, time: Time) {
        let Some(sessions) = &self.scenario.sessions else { return };
        if time < START + sessions.end {
            let time = time.max(START + sessions.start);
            self.plan_work(time, Plan::Depart(peer, self.incarnations[peer as usize]));
        }
    }

    /// A peer's session ends, if nothing else ended it.
    pub(crate) fn depart(&mut self, peer: u32, incarnation: u32) {
        let Some(sessions) = self.scenario.sessions.clone() else { return };
        if !self.is_up(peer) || self.incarnations[peer as usize] != incarnation {
            return;
        }
        let bits =
            |aspect| self.chance.bits(Concern::Leave, peer.into(), incarnation.into(), aspect);
        let (manner, back, pause) = (bits(0), bits(1), bits(2));
        let crashed = sessions.crashed.takes(manner);
        let silence = if crashed { self.scenario.host.crash } else { Silence::Process };
        self.remove(peer, silence);
        self.work.departed += 1;
        if sessions.returns.takes(back) {
            let pause = Span(exponential(sessions.downtime.0, pause).max(1));
            self.plan_work(self.now + pause, Plan::Return(peer));
            return;
        }
        let newcomer = self.add();
        self.arrive(newcomer);
    }

    /// A peer that was gone is there again.
    pub(crate) fn come_back(&mut self, peer: u32) {
        self.restart(peer);
        self.work.returned += 1;
        self.arrive(peer);
    }

    pub(super) fn arrive(&mut self, peer: u32) {
        self.meet(peer, 0);
        self.begin_session(peer);
    }
}
