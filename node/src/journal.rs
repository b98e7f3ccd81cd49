//! A node's journal: every input with its time, so that its core can be stepped again.
//!
//! ```text
//! file   "peerless-journal\n", then records
//! record length u32 LE, check of the length, check of the payload, payload in postcard
//! check  the first four bytes of the SHA-256
//! first  Header; every further one Step
//! ```
//!
//! A step carries the rolling hash of all effects so far, so a replay compares every one. A record
//! that breaks off at the end is what a crash leaves; it is said, and no error. The length has its
//! own check so that a changed one is not taken for that.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use peerless_core::{Config, Core, Effect, Input, Setup, Time, Turn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bytes32::sha256;
use crate::clock;
use crate::id::NodeId;

const MAGIC: &[u8] = b"peerless-journal\n";
const SCHEMA: u16 = 1;
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

/// A journal being written.
pub(crate) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    rolling: Rolling,
    failed: bool,
}

impl Journal {
    /// A new file in `dir`.
    pub(crate) fn create(dir: &Path, header: &Header) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let name = format!("{}-{:04}.journal", clock::unix_ms(), header.incarnation);
        let path = dir.join(name);
        let mut file = BufWriter::new(File::create_new(&path)?);
        file.write_all(MAGIC)?;
        write_record(&mut file, header)?;
        file.flush()?;
        Ok(Self { path, file, rolling: Rolling::default(), failed: false })
    }

    /// Writes down one step. A disk that fails ends the journal, not the node.
    pub(crate) fn step(&mut self, now: Time, input: &Input<NodeId>, effects: &[Effect<NodeId>]) {
        if self.failed {
            return;
        }
        let effects = self.rolling.add(effects);
        if let Err(error) = write_record(&mut self.file, &Step { now, input, effects }) {
            tracing::error!(path = %self.path.display(), %error, "the journal ends here");
            self.failed = true;
        }
    }

    /// Hands all that was written to the system, which keeps it even if this process is killed.
    pub(crate) fn flush(&mut self) {
        if !self.failed && self.file.flush().is_err() {
            self.failed = true;
        }
    }
}

fn write_record(file: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    let payload = postcard::to_stdvec(value).map_err(io::Error::other)?;
    let length = (payload.len() as u32).to_le_bytes();
    file.write_all(&[length, check(&length), check(&payload)].concat())?;
    file.write_all(&payload)
}

fn check(bytes: &[u8]) -> [u8; 4] {
    *sha256(bytes).first_chunk().expect("it has 32 bytes")
}

/// Why a journal cannot be replayed; each names the file.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error("cannot read {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is none.
    #[error("{path} is not a journal that this version of peerless reads: {why}")]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It was changed after it was written.
    #[error("{path} is damaged: record {record}, at byte {at}, is not what was written")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// The record; 0 is the header, and n the n-th input.
        record: u64,
        /// Where it begins.
        at: u64,
    },
}

/// What a replay found.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// Of this object.
    pub schema: u16,
    /// Steps taken.
    pub inputs: u64,
    /// Effects compared.
    pub effects: u64,
    /// Whether all of them were equal.
    pub equal: bool,
    /// Whether the file ends within a frame, as a crash leaves it.
    pub torn: bool,
    /// The first step whose effects differ: its number, time in nanoseconds, input and effects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs_at: Option<Difference>,
}

/// The first step whose effects differ.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Counted from 0.
    pub input: u64,
    /// The node's clock.
    pub time_ns: u64,
    /// What the core was told.
    pub told: String,
    /// What it wants done this time.
    pub effects: Vec<String>,
}

/// Steps a fresh core through a journal, and compares every effect.
pub fn replay(path: &Path) -> Result<Replayed, ReplayError> {
    replay_watched(path, |_, _, _, _| {})
}

/// As [`replay`]; shows what the core was, each input, when it came, and its effects.
pub fn replay_watched(
    path: &Path,
    mut watch: impl FnMut(&Header, Time, &Input<NodeId>, &[Effect<NodeId>]),
) -> Result<Replayed, ReplayError> {
    let mut records = Records::open(path)?;
    let header: Header = match records.next()? {
        Next::Whole(header) => header,
        Next::Torn | Next::End => return Err(records.no_journal("its header breaks off")),
    };
    if header.schema != SCHEMA {
        return Err(records.no_journal(&format!("its schema is {}", header.schema)));
    }
    let mut core = Core::new(header.me, header.setup.clone(), header.seed, header.incarnation);
    let mut rolling = Rolling::default();
    let mut effects = Vec::new();
    let mut replayed =
        Replayed { schema: 1, inputs: 0, effects: 0, equal: true, torn: false, differs_at: None };
    loop {
        let Step { now, input, effects: wanted } = match records.next::<Step<_>>()? {
            Next::Whole(step) => step,
            Next::Torn => {
                replayed.torn = true;
                return Ok(replayed);
            }
            Next::End => return Ok(replayed),
        };
        effects.clear();
        let told: Input<NodeId> = input;
        core.handle(told.clone(), &mut Turn::new(now, &header.config, &mut effects));
        watch(&header, now, &told, &effects);
        let hash = rolling.add(&effects);
        replayed.effects = rolling.count;
        if hash != wanted {
            replayed.equal = false;
            replayed.differs_at = Some(Difference {
                input: replayed.inputs,
                time_ns: now.0,
                told: format!("{told:?}"),
                effects: effects.iter().map(|effect| format!("{effect:?}")).collect(),
            });
            return Ok(replayed);
        }
        replayed.inputs += 1;
    }
}

/// A journal being read.
struct Records {
    path: PathBuf,
    file: BufReader<File>,
    /// The record that is read next, and where it begins.
    record: u64,
    at: u64,
}

enum Next<T> {
    Whole(T),
    Torn,
    End,
}

impl Records {
    fn open(path: &Path) -> Result<Self, ReplayError> {
        let failed = |cause| ReplayError::File { path: path.into(), cause };
        let file = BufReader::new(File::open(path).map_err(failed)?);
        let mut records = Self { path: path.into(), file, record: 0, at: MAGIC.len() as u64 };
        let mut magic = [0; MAGIC.len()];
        let read = read_full(&mut records.file, &mut magic).map_err(failed)?;
        if read < MAGIC.len() || magic != MAGIC {
            return Err(records.no_journal("its first bytes are others"));
        }
        Ok(records)
    }

    fn next<T: DeserializeOwned>(&mut self) -> Result<Next<T>, ReplayError> {
        let failed = |cause| ReplayError::File { path: self.path.clone(), cause };
        let mut head = [0; HEAD_BYTES];
        match read_full(&mut self.file, &mut head).map_err(failed)? {
            0 => return Ok(Next::End),
            HEAD_BYTES => {}
            _ => return Ok(Next::Torn),
        }
        let (length, checks) = head.split_first_chunk::<4>().expect("it is longer");
        let size = u32::from_le_bytes(*length);
        if check(length) != checks[..4] || size > RECORD_BYTES_MAX {
            return Err(self.damaged());
        }
        let mut payload = vec![0; size as usize];
        if read_full(&mut self.file, &mut payload).map_err(failed)? < payload.len() {
            return Ok(Next::Torn);
        }
        if check(&payload) != checks[4..] {
            return Err(self.damaged());
        }
        let value = postcard::from_bytes(&payload).map_err(|error| {
            self.no_journal(&format!("record {} at byte {}: {error}", self.record, self.at))
        })?;
        self.record += 1;
        self.at += HEAD_BYTES as u64 + u64::from(size);
        Ok(Next::Whole(value))
    }

    fn damaged(&self) -> ReplayError {
        ReplayError::Damaged { path: self.path.clone(), record: self.record, at: self.at }
    }

    fn no_journal(&self, why: &str) -> ReplayError {
        ReplayError::Form { path: self.path.clone(), why: why.to_owned() }
    }
}

/// Reads until `into` is full or the file ends.
fn read_full(file: &mut impl io::Read, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read(&mut into[read..])? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use peerless_core::{Request, Target};

    use super::*;

    fn recorded(dir: &Path) -> PathBuf {
        let me = NodeId::new([1; 32]);
        let header = Header::new(me, Setup::default(), Config::standard(), 7, 0);
        let mut journal = Journal::create(dir, &header).unwrap();
        let mut core = Core::new(me, header.setup.clone(), header.seed, header.incarnation);
        let inputs = [
            Input::Met { peer: NodeId::new([2; 32]), serves: true },
            Input::Ask(1, Request::Lookup(Target::Peer(NodeId::new([3; 32])))),
            Input::Wake,
        ];
        for (now, input) in (1..).zip(inputs) {
            let mut effects = Vec::new();
            let now = Time(now);
            core.handle(input.clone(), &mut Turn::new(now, &header.config, &mut effects));
            journal.step(now, &input, &effects);
        }
        journal.flush();
        journal.path.clone()
    }

    #[test]
    fn a_replay_is_equal() {
        let dir = tempfile::tempdir().unwrap();
        let replayed = replay(&recorded(dir.path())).unwrap();
        assert_eq!((replayed.inputs, replayed.equal, replayed.torn), (3, true, false));
    }

    #[test]
    fn a_torn_tail_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = recorded(dir.path());
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..20 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let replayed = replay(&path).unwrap();
            assert!(replayed.torn && replayed.equal && replayed.inputs == 2, "{cut}");
        }
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = recorded(dir.path());
        let whole = std::fs::read(&path).unwrap();
        let mut named = std::collections::BTreeSet::new();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            match replay(&path).unwrap_err() {
                ReplayError::Damaged { record, at: begins, .. } => {
                    assert!(begins <= at as u64, "{at}");
                    named.insert(record);
                }
                error => assert!(at < MAGIC.len(), "{at}: {error}"),
            }
        }
        assert_eq!(named.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_no_journal_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.journal");
        std::fs::write(&path, b"something else").unwrap();
        let error = replay(&path).unwrap_err().to_string();
        assert!(error.contains("x.journal is not a journal"), "{error}");
        assert!(replay(&dir.path().join("none")).is_err());
    }
}
