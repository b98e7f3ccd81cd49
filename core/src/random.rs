//! Bounded integer draws over a small, portable, seeded generator.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

/// One core's chance: SplitMix64 (Steele, Lea, Flood 2014), eight bytes of state. Seeds come from
/// the host; nothing here is secret.
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// A generator of the stream that `seed` names.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 up to but not including `n`; 0 if `n` is 0. Lemire's multiply-shift; its
    /// bias, below n / 2⁶⁴, cannot be seen here.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// 32 random bytes, such as a random name to refresh a bucket with.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
