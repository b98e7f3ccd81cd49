//! The peers of several modules' tests.

use crate::key::{Key, Name, Peer};

/// Eight bits of position.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct P(pub(crate) u8);

impl Peer for P {
    fn key(self) -> Key {
        Key([u64::from(self.0) << 56, 0, 0, 0])
    }

    fn position(name: &Name) -> Key {
        Key::from_bytes(&name.0)
    }
}
