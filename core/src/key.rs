//! Positions in the 256-bit key space, their XOR distance, and the names that have a position.

use core::fmt;

/// A position in the key space, as four limbs, most significant first: comparing limbs compares
/// positions, and the first limb nearly always decides.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Key(pub [u64; 4]);

/// The XOR of two positions (Maymounkov and Mazières, *Kademlia*, 2002, §2.1).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance(pub [u64; 4]);

impl Key {
    /// The position whose big-endian bytes are `bytes`.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *limb = u64::from_be_bytes(*chunk);
        }
        Self(limbs)
    }

    /// XOR distance to `other`.
    #[inline]
    pub fn distance(self, other: Self) -> Distance {
        let (a, b) = (self.0, other.0);
        Distance([a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]])
    }

    /// How many leading bits both positions share: 0 to 256, and 256 only for equal positions.
    #[inline]
    pub fn shared_prefix(self, other: Self) -> u32 {
        let mut bits = 0;
        for limb in self.distance(other).0 {
            bits += limb.leading_zeros();
            if limb != 0 {
                break;
            }
        }
        bits
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}…", self.0[0])
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}…", self.0[0])
    }
}

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub [u8; 32]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in &self.0[..4] {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("…")
            }
        }
    };
}

bytes32!(
    /// What a search is for when it is not a peer: SHA-256 of a function's full name
    /// `NAME.OWNER`, or of `owner/OWNER`. Its wire form is the multihash `12 20 ‖ name`.
    Name
);
impl Name {
    /// The first and the last in order.
    pub(crate) const ENDS: (Self, Self) = (Self([0; 32]), Self([0xff; 32]));

    /// The next in order; `None` after the last.
    pub(crate) fn next(self) -> Option<Self> {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return Some(Self(bytes));
            }
        }
        None
    }
}

bytes32!(
    /// An owner's Ed25519 public key.
    Owner
);
bytes32!(
    /// SHA-256 of the code that a function runs: a Wasm module, or an image's manifest.
    Digest
);

/// A peer as its host names it: an index in the simulator, a public key with its cached position
/// in the node. `Ord` need not agree with the position.
pub trait Peer: Copy + Ord + fmt::Debug + 'static {
    /// This peer's position.
    fn key(self) -> Key;
    /// The position of a name, by the same rule by which the host's network hashes names.
    fn position(name: &Name) -> Key;
    /// The name under which an owner's nodes are found: where names are hashes, that of
    /// `owner/OWNER`.
    fn owner_name(owner: &Owner) -> Name {
        Name(owner.0)
    }
}

/// What a lookup is for.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Target<P> {
    /// The neighbourhood of a peer.
    Peer(P),
    /// The neighbourhood of a name.
    Name(Name),
}

impl<P: Peer> Target<P> {
    /// The position that is looked for.
    pub fn key(&self) -> Key {
        match self {
            Self::Peer(peer) => peer.key(),
            Self::Name(name) => P::position(name),
        }
    }
}
