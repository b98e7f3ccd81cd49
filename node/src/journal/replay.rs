//! A journal stepped again through a new core, and read so that damage is told from a torn end.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use peerless_core::{Core, Effect, Input, Time, Turn};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    HEAD_BYTES, Header, MAGIC, RECORD_BYTES_MAX, Rolling, SCHEMA, Step, append_record, check,
};
use crate::id::NodeId;

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
    /// Whether the file ends within a record, as a crash leaves it, or a journal that could not go on.
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
struct Records<R> {
    path: PathBuf,
    file: R,
    /// The record that is read next, and where it begins.
    record: u64,
    at: u64,
}

enum Next<T> {
    Whole(T),
    Torn,
    End,
}

impl Records<BufReader<File>> {
    fn open(path: &Path) -> Result<Self, ReplayError> {
        let failed = |cause| ReplayError::File { path: path.into(), cause };
        Self::of(path, BufReader::new(File::open(path).map_err(failed)?))
    }
}

impl<R: io::Read> Records<R> {
    /// What is read is called `path` in complaints.
    fn of(path: &Path, file: R) -> Result<Self, ReplayError> {
        let failed = |cause| ReplayError::File { path: path.into(), cause };
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

/// For tests that feed it bytes: reads them as a journal, and as one of its records.
pub(crate) fn fuzz(bytes: &[u8]) {
    let path = Path::new("bytes");
    let mut records = match Records::of(path, bytes) {
        Ok(records) => records,
        Err(_) => Records { path: path.into(), file: bytes, record: 0, at: 0 },
    };
    while let Ok(Next::Whole(Step::<Input<NodeId>> { .. })) = records.next() {}
    if let Ok(step) = postcard::from_bytes::<Step<Input<NodeId>>>(bytes) {
        let mut file = MAGIC.to_vec();
        append_record(&mut file, &step);
        let mut records = Records::of(path, &file[..]).expect("it begins as a journal");
        let again = records.next::<Step<Input<NodeId>>>().expect("it is whole");
        let Next::Whole(again) = again else { panic!("it is whole") };
        assert_eq!((again.now, again.input, again.effects), (step.now, step.input, step.effects));
    }
    let _ = postcard::from_bytes::<Header>(bytes);
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
