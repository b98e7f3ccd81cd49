//! How long runs take.

use peerless_core::{Name, Span, Ticket};

use crate::chance::Concern;
use crate::network::exponential;
use crate::scenario::worded;
use crate::world::World;

/// How the times of runs are spread about their mean.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Spread {
    /// All the same.
    Constant,
    /// Evenly from half to one and a half.
    Uniform,
    /// As waiting times are.
    Exponential,
    /// The logarithm is normal, as measured run times of functions mostly are.
    LogNormal,
}

worded!(
    Spread:
    "constant" => Constant,
    "uniform" => Uniform,
    "exponential" => Exponential,
    "log-normal" => LogNormal,
);

impl Spread {
    /// A time with this mean, from 64 random bits; `sigma` is the deviation of its logarithm where
    /// that is normal.
    pub fn draw(self, mean: Span, sigma: f64, bits: u64) -> Span {
        match self {
            Self::Constant => mean,
            Self::Uniform => {
                let rest = (u128::from(bits) * u128::from(mean.0)) >> 64;
                Span(mean.0 / 2 + rest as u64)
            }
            Self::Exponential => Span(exponential(mean.0, bits)),
            // The mean of e^(σz) is e^(σ²/2).
            Self::LogNormal => {
                let factor = libm::exp(sigma * (normal(bits) - sigma / 2.0));
                Span((mean.0 as f64 * factor) as u64)
            }
        }
    }
}

/// A normally spread number from 64 random bits (Box and Muller 1958, "A note on the generation of
/// random normal deviates").
fn normal(bits: u64) -> f64 {
    // 32 random bits each; of the first never 0.
    let radius = ((bits >> 32) + 1) as f64 / 4_294_967_296.0;
    let angle = (bits & 0xFFFF_FFFF) as f64 / 4_294_967_296.0;
    libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(2.0 * std::f64::consts::PI * angle)
}

impl World {
    /// How long an item takes to run: the same whenever it is run, and on every machine that is not
    /// slow.
    pub(crate) fn service(&self, function: usize, caller: u32, ticket: Ticket, item: u64) -> Span {
        let Some(functions) = &self.scenario.functions else { return Span::ZERO };
        let mean = functions.services.get(function).copied().unwrap_or(functions.service);
        let bits = self.chance.bits(Concern::Service, u64::from(caller), ticket, item);
        functions.spread.draw(mean, functions.sigma, bits)
    }

    /// The number of the function of this name; those that the workload does not know come after its
    /// own.
    pub(crate) fn function_number(&self, name: &Name) -> usize {
        self.census.number(name).unwrap_or(usize::MAX)
    }

    /// How many times as long as elsewhere a run takes on a machine.
    pub(crate) fn slowness(&self, host: u32) -> u64 {
        let settings = &self.scenario.host;
        let bits = self.chance.bits(Concern::Slow, u64::from(host), 0, 0);
        if settings.slow.takes(bits) { settings.slow_factor.into() } else { 1 }
    }

    /// How much a machine can run at once, in [`CAPACITY`](crate::census::CAPACITY)s of a slot that is
    /// not slow.
    pub(crate) fn capacity(&self, host: u32) -> u64 {
        let slots = u64::from(self.scenario.slots_of(host));
        slots * crate::census::CAPACITY / self.slowness(host).max(1)
    }
}
