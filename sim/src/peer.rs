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
    #[cfg(feature = "keys")]
    if let Some(key) = keys::of(index) {
        return key.0[0];
    }
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
        #[cfg(feature = "keys")]
        if let Some(key) = keys::of(self.0) {
            return key;
        }
        let first = limb(self.0);
        Key([
            first,
            first.wrapping_mul(0xD6E8_FEB8_6659_FD93),
            first.wrapping_mul(0xA076_1D64_78BD_642F).rotate_left(17),
            first.wrapping_mul(0xE703_7ED1_A0B4_28DB).rotate_left(41),
        ])
    }

    fn position(name: &Name) -> Key {
        #[cfg(feature = "keys")]
        if let Some(position) = keys::position() {
            return position(name);
        }
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

/// Positions from elsewhere in place of those by arithmetic, for a comparison with other programs.
#[cfg(feature = "keys")]
pub mod keys {
    use std::sync::OnceLock;

    use peerless_core::{Key, Name};

    type Position = fn(&Name) -> Key;

    static KEYS: OnceLock<(Vec<Key>, Position)> = OnceLock::new();

    /// From now on the positions of this process's peers are these, by their numbers, and those of
    /// names what `position` says. Two peers must differ in the first limb.
    pub fn set(keys: Vec<Key>, position: Position) {
        assert!(KEYS.set((keys, position)).is_ok(), "the positions are set once, before all else");
    }

    #[inline]
    pub(super) fn of(index: u32) -> Option<Key> {
        KEYS.get().map(|(keys, _)| keys[index as usize])
    }

    pub(super) fn position() -> Option<Position> {
        KEYS.get().map(|(_, position)| *position)
    }
}
