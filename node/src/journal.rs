//! A node's journal: every input with its time, so that its core can be stepped again.
//!
//! ```text
//! file   "peerless-journal\n", then frames
//! frame  length u32 LE, check u32 LE (of the payload's SHA-256), payload in postcard
//! first  Header; every further one Step
//! ```
//!
//! A step carries the rolling hash of all effects so far, so a replay compares every one. A frame
//! that breaks off at the end is what a crash leaves; it is said, and no error.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
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
const FRAME_BYTES_MAX: u32 = 16 << 20;

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
        write_frame(&mut file, header)?;
        file.flush()?;
        Ok(Self { path, file, rolling: Rolling::default(), failed: false })
    }

    /// Writes down one step. A disk that fails ends the journal, not the node.
    pub(crate) fn step(&mut self, now: Time, input: &Input<NodeId>, effects: &[Effect<NodeId>]) {
        if self.failed {
            return;
        }
        let effects = self.rolling.add(effects);
        if let Err(error) = write_frame(&mut self.file, &Step { now, input, effects }) {
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

fn write_frame(file: &mut impl io::Write, value: &impl Serialize) -> io::Result<()> {
    let payload = postcard::to_stdvec(value).map_err(io::Error::other)?;
    file.write_all(&(payload.len() as u32).to_le_bytes())?;
    file.write_all(&check(&payload))?;
    file.write_all(&payload)
}

fn check(payload: &[u8]) -> [u8; 4] {
    *sha256(payload).first_chunk().expect("it has 32 bytes")
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
    let failed = |cause| ReplayError::File { path: path.into(), cause };
    let no_journal = |why: String| ReplayError::Form { path: path.into(), why };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Err(no_journal("its first bytes are others".into()));
    }
    let header = match read_frame::<Header>(&mut file).map_err(failed)? {
        Frame::Whole(header) if header.schema == SCHEMA => header,
        Frame::Whole(header) => return Err(no_journal(format!("schema {}", header.schema))),
        Frame::Torn | Frame::End => return Err(no_journal("its header breaks off".into())),
    };
    let mut core = Core::new(header.me, header.setup.clone(), header.seed, header.incarnation);
    let mut rolling = Rolling::default();
    let mut effects = Vec::new();
    let mut replayed =
        Replayed { schema: 1, inputs: 0, effects: 0, equal: true, torn: false, differs_at: None };
    loop {
        let step = match read_frame::<Step<Input<NodeId>>>(&mut file).map_err(failed)? {
            Frame::Whole(step) => step,
            Frame::Torn => {
                replayed.torn = true;
                break;
            }
            Frame::End => break,
        };
        effects.clear();
        let input = step.input.clone();
        core.handle(input, &mut Turn::new(step.now, &header.config, &mut effects));
        let hash = rolling.add(&effects);
        replayed.effects = rolling.count;
        if hash != step.effects {
            replayed.equal = false;
            replayed.differs_at = Some(Difference {
                input: replayed.inputs,
                time_ns: step.now.0,
                told: format!("{:?}", step.input),
                effects: effects.iter().map(|effect| format!("{effect:?}")).collect(),
            });
            break;
        }
        replayed.inputs += 1;
    }
    Ok(replayed)
}

enum Frame<T> {
    Whole(T),
    Torn,
    End,
}

fn read_frame<T: DeserializeOwned>(file: &mut impl io::Read) -> io::Result<Frame<T>> {
    let mut head = [0; 8];
    match read_full(file, &mut head)? {
        0 => return Ok(Frame::End),
        8 => {}
        _ => return Ok(Frame::Torn),
    }
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    if len > FRAME_BYTES_MAX {
        return Ok(Frame::Torn);
    }
    let mut payload = vec![0; len as usize];
    if read_full(file, &mut payload)? < payload.len() || check(&payload) != head[4..] {
        return Ok(Frame::Torn);
    }
    Ok(postcard::from_bytes(&payload).map_or(Frame::Torn, Frame::Whole))
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
    fn what_is_no_journal_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.journal");
        std::fs::write(&path, b"something else").unwrap();
        let error = replay(&path).unwrap_err().to_string();
        assert!(error.contains("x.journal is not a journal"), "{error}");
        assert!(replay(&dir.path().join("none")).is_err());
    }
}
