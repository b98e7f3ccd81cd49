//! A simulated peer: its number, and the position that follows from it by arithmetic.

use std::fmt;

use peerless_core::{Key, Name, Peer};
use serde::Serialize;

/// A peer by its number in the world. A million of them need no table of keys.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Index(pub u32);

/// A bijection of 64-bit words in which every input bit moves every output bit (SplitMix64's
/// finalizer).
#[inline]
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// The first limb of a peer's position. No two peers share one, so the others never decide an order
/// among peers.
#[inline]
pub fn limb(index: u32) -> u64 {
    mix((u64::from(index) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl Index {
    /// As an index into the world's tables.
    #[inline]
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl Peer for Index {
    #[inline]
    fn key(self) -> Key {
        let first = limb(self.0);
        Key([
            first,
            first.wrapping_mul(0xD6E8_FEB8_6659_FD93),
            first.wrapping_mul(0xA076_1D64_78BD_642F).rotate_left(17),
            first.wrapping_mul(0xE703_7ED1_A0B4_28DB).rotate_left(41),
        ])
    }

    fn position(name: &Name) -> Key {
        let mut limbs = [0; 4];
        let mut state = 0;
        for round in 0..2 {
            for (limb, chunk) in limbs.iter_mut().zip(name.0.as_chunks::<8>().0) {
                state = mix(state ^ u64::from_be_bytes(*chunk).wrapping_add(round));
                *limb = state;
            }
        }
        Key(limbs)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
