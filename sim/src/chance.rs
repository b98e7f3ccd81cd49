//! Chance without a sequence: every draw is a pure function of the seed, a concern and the draw's
//! own arguments, so that a draw added anywhere moves no other.

use peerless_core::Name;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::peer::mix;

/// What a draw is for. A number never changes its meaning; new concerns get new numbers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Concern {
    /// The seed of a core's own generator: peer, incarnation.
    Core = 0,
    /// Which peers of a bucket stand in a converged table: peer, bucket, draw.
    Table = 1,
    /// Whether a message is lost: source, destination, counter.
    Loss = 2,
    /// Whether a packet of a call has to be sent again: source, destination, counter and trial.
    Resend = 3,
    /// Who asks: operation, trial.
    Asker = 4,
    /// What is looked up: operation, word.
    Target = 5,
    /// Functions' names, code and versions: function, word.
    Function = 6,
    /// Which function is called: operation.
    Called = 7,
    /// How long a run takes: ticket, item.
    Service = 8,
    /// Who leaves: replacement, trial.
    Victim = 9,
    /// Whether one who leaves crashes: replacement.
    Manner = 10,
    /// Through whom a peer joins: peer, trial.
    Bootstrap = 11,
    /// When a replacement falls within its share of the hour: replacement.
    Instant = 12,
    /// Who is among those that crash together: draw.
    Crash = 13,
    /// At which site a peer is, or at which point: peer.
    Site = 14,
    /// How far a machine is from its network: peer.
    Access = 15,
    /// How much longer a packet takes: source, destination, counter.
    Jitter = 16,
    /// How long a link between routers is: the routers.
    Link = 17,
    /// Which routers are linked: router, purpose, draw.
    Wiring = 18,
    /// On which side of a partition a peer is: peer.
    Side = 19,
    /// How long a peer stays: peer, incarnation.
    Session = 20,
    /// How a peer leaves, whether it comes back, and when: peer, incarnation, which.
    Leave = 21,
    /// How many functions a machine has room for: machine.
    Room = 22,
    /// Whether a machine fails to keep, fetch or install something: machine, errand.
    Errand = 24,
    /// Which machines are slow: machine.
    Slow = 25,
    /// Which peers lie to who searches: peer.
    Liar = 30,
    /// Whom a liar that talks nonsense names: liar and asker, query, draw.
    Lie = 31,
    /// Which peers only take: peer.
    FreeRider = 32,
    /// Which peers answer calls wrongly: peer.
    Wrong = 33,
    /// Of which address group a peer is: peer.
    Group = 34,
    /// How long it is until the next call comes: flow, call.
    Arrival = 35,
    /// Which host leaves for good: draw.
    Drain = 36,
    /// Which peers carry the label: peer.
    Label = 37,
    /// Which ways lose more: source, destination.
    Lossy = 40,
    /// How a machine's clock goes: peer, and whether it is wrong, by how much, and how fast.
    Clock = 41,
    /// Of which kind a machine's access link is: peer.
    AccessLink = 42,
    /// Which machines have QUIC: peer.
    Quic = 43,
    /// Which machines are behind NAT, which of these have a relay, and which: peer.
    Nat = 44,
}

const CONCERNS: usize = 45;

/// All chance of one world.
#[derive(Clone, Debug)]
pub struct Chance {
    keys: [u64; CONCERNS],
}

impl Chance {
    /// The chance that `seed` names. Each concern has its own ChaCha stream.
    pub fn new(seed: u64) -> Self {
        let mut keys = [0; CONCERNS];
        for (concern, key) in (0..).zip(&mut keys) {
            let mut stream = ChaCha8Rng::seed_from_u64(seed);
            stream.set_stream(concern);
            *key = stream.next_u64();
        }
        Self { keys }
    }

    /// 64 random bits for these arguments.
    #[inline]
    pub fn bits(&self, concern: Concern, a: u64, b: u64, c: u64) -> u64 {
        let key = self.keys[concern as usize];
        let word = mix(key ^ a.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let word = mix(word ^ b.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        mix(word.wrapping_add(c.wrapping_mul(0xA076_1D64_78BD_642F)))
    }

    /// A number from 0 up to but not including `n`, by Lemire's multiply-shift; 0 if `n` is 0.
    #[inline]
    pub fn below(&self, n: u64, concern: Concern, a: u64, b: u64, c: u64) -> u64 {
        ((u128::from(self.bits(concern, a, b, c)) * u128::from(n)) >> 64) as u64
    }

    /// 32 random bytes.
    pub fn bytes32(&self, concern: Concern, a: u64, b: u64) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (c, chunk) in (0..).zip(bytes.as_chunks_mut::<8>().0) {
            *chunk = self.bits(concern, a, b, c).to_be_bytes();
        }
        bytes
    }

    /// A random name.
    pub fn name(&self, concern: Concern, a: u64, b: u64) -> Name {
        Name(self.bytes32(concern, a, b))
    }
}

/// A share from 0 to 1 in units of 2⁻³², so that a draw against it is one comparison of integers.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Share(u64);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// So many hundredths, at most 100.
    pub const fn percent(n: u64) -> Self {
        assert!(n <= 100, "a share is at most all");
        Self(((n << 32) + 50) / 100)
    }

    /// The share nearest to `part`, which lies from 0 to 1.
    pub fn new(part: f64) -> Option<Self> {
        (0.0..=1.0).contains(&part).then(|| Self((part * 4_294_967_296.0).round() as u64))
    }

    /// The share as a number from 0 to 1.
    pub fn part(self) -> f64 {
        self.0 as f64 / 4_294_967_296.0
    }

    /// Whether a draw of 64 random bits falls into the share.
    #[inline]
    pub fn takes(self, bits: u64) -> bool {
        (bits >> 32) < self.0
    }

    /// This share of `n`, rounded to the nearest.
    pub fn of(self, n: u64) -> u64 {
        ((u128::from(n) * u128::from(self.0) + (1 << 31)) >> 32) as u64
    }

    /// Both together, at most all.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(1 << 32))
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}
