//! Peers and names whose places can be read off: a peer's number, 0 to 15, is the first four bits of
//! its position, and a name has such a place too. Distances are XORs of these numbers.

use std::fmt;
use std::sync::Arc;

use peerless_core::{Digest, Key, Name, Owner, Peer, Record, Runtime, Span, Spec, Time};

#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct P(pub u8);

impl fmt::Debug for P {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl Peer for P {
    fn key(self) -> Key {
        Key([u64::from(self.0) << 60, 0, 0, 0])
    }

    fn position(name: &Name) -> Key {
        Key::from_bytes(&name.0)
    }
}

/// The owner of every function here, unless a test says otherwise. Its place is that of p14.
pub const OWNER: Owner = Owner(at(14, b'o'));

const fn at(place: u8, letter: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = place << 4;
    bytes[1] = letter;
    bytes
}

/// A name of one letter at a place, shown as `f5`.
pub const fn name(letter: char, place: u8) -> Name {
    Name(at(place, letter as u8))
}

/// How a name is shown: what `name` made, or the place of what was drawn at random.
pub fn shown(name: &Name) -> String {
    let [place, letter, rest @ ..] = &name.0;
    if letter.is_ascii_lowercase() && rest.iter().all(|byte| *byte == 0) {
        format!("{}{}", char::from(*letter), place >> 4)
    } else {
        format!("random {}", place >> 4)
    }
}

/// A version of a function that wants this many hosts at least and at most.
pub fn function(name: Name, version: u64, replicas: (u16, u16)) -> Record {
    let spec = Spec {
        digest: Digest(at(version as u8, name.0[1])),
        size: 100,
        runtime: Runtime::Wasm,
        timeout: Span::secs(10),
        replicas,
        idempotent: None,
        constraints: Box::new([]),
    };
    Record { spec: Some(spec), ..tombstone(name, version) }
}

pub fn tombstone(name: Name, version: u64) -> Record {
    let expires = Time(0) + Span::minutes(90 * 24 * 60);
    let bytes = Box::new([]);
    Record { function: name, owner: OWNER, version, expires, spec: None, bytes }
}

pub fn record(name: Name, version: u64, replicas: u16) -> Arc<Record> {
    Arc::new(function(name, version, (replicas, replicas)))
}
