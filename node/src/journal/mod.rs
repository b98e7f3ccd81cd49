//! A node's journal: every input with its time, so that its core can be stepped again.
//!
//! ```text
//! file   "peerless-journal\n", then records
//! record length u32 LE, check of the length, check of the payload, payload in postcard
//! check  the first four bytes of the SHA-256
//! first  Header; every further one Step
//! ```
//!
//! A thread of its own writes, so that no disk keeps the core waiting. A journal has an end: at its
//! largest size, when the disk is too far behind, or when it fails. It is then logged, and the file
//! ends within a record, so that a replay of what is there says that it is not all; no input in the
//! middle is ever left out. A journal is not continued in another file: a replay begins with a new
//! core, so it would need one from that moment.
//!
//! A step carries the rolling hash of all effects so far, so a replay compares every one. A record
//! that breaks off at the end is what a crash leaves; it is said, and no error. The length has its
//! own check so that a changed one is not taken for that.

mod replay;
mod write;

pub(crate) use replay::fuzz;
pub use replay::{Difference, ReplayError, Replayed, replay, replay_watched};
pub(crate) use write::Journal;

use peerless_core::{Config, Effect, Setup, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bytes32::sha256;
use crate::id::NodeId;

const MAGIC: &[u8] = b"peerless-journal\n";
const SCHEMA: u16 = 3;
/// No input comes near it.
const RECORD_BYTES_MAX: u32 = 16 << 20;
/// A length and both checks.
const HEAD_BYTES: usize = 12;

/// How the core was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Of the journal's layout.
    pub schema: u16,
    /// The version that wrote it: another one may decide otherwise.
    pub written_by: String,
    /// Whose core.
    pub me: NodeId,
    /// What it was.
    pub setup: Setup,
    /// Its limits.
    pub config: Config,
    /// Of its chance.
    pub seed: u64,
    /// Which start it was.
    pub incarnation: u32,
}

impl Header {
    /// A header of this version.
    pub fn new(me: NodeId, setup: Setup, config: Config, seed: u64, incarnation: u32) -> Self {
        let written_by = env!("CARGO_PKG_VERSION").to_owned();
        Self { schema: SCHEMA, written_by, me, setup, config, seed, incarnation }
    }
}

#[derive(Serialize, Deserialize)]
struct Step<I> {
    now: Time,
    input: I,
    effects: u64,
}

/// The rolling hash of effects.
#[derive(Default)]
struct Rolling {
    hash: [u8; 32],
    count: u64,
}

impl Rolling {
    fn add(&mut self, effects: &[Effect<NodeId>]) -> u64 {
        for effect in effects {
            let bytes = postcard::to_stdvec(effect).expect("an effect is plain data");
            self.hash = Sha256::new().chain_update(self.hash).chain_update(bytes).finalize().into();
            self.count += 1;
        }
        u64::from_le_bytes(*self.hash.first_chunk().expect("it has 32 bytes"))
    }
}

fn append_record(to: &mut Vec<u8>, value: &impl Serialize) {
    let payload = postcard::to_stdvec(value).expect("a record is plain data");
    let length = (payload.len() as u32).to_le_bytes();
    to.extend_from_slice(&length);
    to.extend_from_slice(&check(&length));
    to.extend_from_slice(&check(&payload));
    to.extend_from_slice(&payload);
}

fn check(bytes: &[u8]) -> [u8; 4] {
    *sha256(bytes).first_chunk().expect("it has 32 bytes")
}
