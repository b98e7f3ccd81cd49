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

use std::fs::File;
use std::io::{self, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

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
/// Size of a journal; one that reaches it ends.
const BYTES_MAX: u64 = 4 << 30;
/// What may wait for the disk; a journal further behind ends.
const BEHIND_BYTES_MAX: usize = 64 << 20;
/// Batches that may wait for the disk.
const BEHIND_MAX: usize = 4096;
/// Behind the last whole record of a journal that was ended: less than a head, so that it is read
/// as a record that breaks off.
const ENDED: &[u8] = &[0xff; 4];

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

/// A journal being written. Dropping it writes what waits.
pub(crate) struct Journal {
    path: PathBuf,
    rolling: Rolling,
    /// Steps since the last flush.
    batch: Vec<u8>,
    /// Size of the file when all is written.
    bytes: u64,
    bytes_max: u64,
    /// `None` once it has ended.
    batches: Option<SyncSender<Vec<u8>>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What a journal and its thread both know.
#[derive(Default)]
struct Shared {
    /// Bytes that wait for the disk.
    behind: AtomicUsize,
    /// It ends before its node does.
    cut: AtomicBool,
}

impl Journal {
    /// A new file in `dir`.
    pub(crate) fn create(dir: &Path, header: &Header) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let name = format!("{}-{:04}.journal", clock::unix_ms(), header.incarnation);
        let path = dir.join(name);
        let mut file = File::create_new(&path)?;
        let mut first = MAGIC.to_vec();
        append_record(&mut first, header);
        file.write_all(&first)?;
        let (batches, waiting) = sync_channel(BEHIND_MAX);
        let shared = Arc::new(Shared::default());
        let run = {
            let (path, shared) = (path.clone(), shared.clone());
            move || write(&mut file, &path, &waiting, &shared)
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(run)?;
        Ok(Self {
            path,
            rolling: Rolling::default(),
            batch: Vec::new(),
            bytes: first.len() as u64,
            bytes_max: BYTES_MAX,
            batches: Some(batches),
            shared,
            thread: Some(thread),
        })
    }

    /// Takes down one step.
    pub(crate) fn step(&mut self, now: Time, input: &Input<NodeId>, effects: &[Effect<NodeId>]) {
        if self.batches.is_none() {
            return;
        }
        let effects = self.rolling.add(effects);
        let before = self.batch.len();
        append_record(&mut self.batch, &Step { now, input, effects });
        if self.bytes + self.batch.len() as u64 > self.bytes_max {
            self.batch.truncate(before);
            self.flush();
            self.end("it has reached its largest size");
        }
    }

    /// Hands all steps so far to the thread that writes.
    pub(crate) fn flush(&mut self) {
        let Some(batches) = &self.batches else { return };
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let size = batch.len();
        let behind = self.shared.behind.fetch_add(size, Ordering::Relaxed);
        if behind + size > BEHIND_BYTES_MAX || batches.try_send(batch).is_err() {
            return self.end("the disk is too far behind, or failed");
        }
        self.bytes += size as u64;
    }

    /// A journal that cannot go on ends; the node does not.
    fn end(&mut self, why: &'static str) {
        let (path, bytes) = (self.path.display(), self.bytes);
        tracing::error!(%path, bytes, why, "the journal ends here");
        self.shared.cut.store(true, Ordering::Release);
        self.batches = None;
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.flush();
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread: hands batch after batch to the system, which keeps them even if this process is
/// killed.
fn write(file: &mut File, path: &Path, batches: &Receiver<Vec<u8>>, shared: &Shared) {
    let mut failed = false;
    for batch in batches {
        let whole = file.stream_position();
        if let Err(error) = file.write_all(&batch) {
            tracing::error!(path = %path.display(), %error, "cannot write the journal");
            // A part of it must not run into the mark.
            let _ = whole.and_then(|whole| file.set_len(whole));
            failed = true;
            break;
        }
        shared.behind.fetch_sub(batch.len(), Ordering::Relaxed);
    }
    if failed || shared.cut.load(Ordering::Acquire) {
        let _ = file.seek(io::SeekFrom::End(0)).and_then(|_| file.write_all(ENDED));
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
        let path = journal.path.clone();
        drop(journal);
        path
    }

    /// Steps of a node that is told of a peer again and again.
    fn many(journal: &mut Journal, header: &Header, steps: u64) {
        let mut core = Core::new(header.me, header.setup.clone(), header.seed, header.incarnation);
        let mut effects = Vec::new();
        for now in (1..=steps).map(Time) {
            let input = Input::Met { peer: NodeId::new([2; 32]), serves: true };
            effects.clear();
            core.handle(input.clone(), &mut Turn::new(now, &header.config, &mut effects));
            journal.step(now, &input, &effects);
            journal.flush();
        }
    }

    #[test]
    fn a_journal_that_is_full_ends_with_a_word_and_can_be_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let header = Header::new(NodeId::new([1; 32]), Setup::default(), Config::standard(), 7, 0);
        let mut journal = Journal::create(dir.path(), &header).unwrap();
        let path = journal.path.clone();
        journal.bytes_max = journal.bytes + 10_000;
        many(&mut journal, &header, 1000);
        drop(journal);
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size < 15_000, "{size}");
        let replayed = replay(&path).unwrap();
        assert!(replayed.torn && replayed.equal, "{replayed:?}");
        assert!((50..1000).contains(&replayed.inputs), "{replayed:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_fails_ends_the_journal_and_not_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let header = Header::new(NodeId::new([1; 32]), Setup::default(), Config::standard(), 7, 0);
        let mut journal = Journal::create(dir.path(), &header).unwrap();
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let (batches, waiting) = sync_channel(4);
        let shared = journal.shared.clone();
        let run = move || write(&mut full, Path::new("/dev/full"), &waiting, &shared);
        journal.batches = Some(batches);
        journal.thread = Some(std::thread::spawn(run));
        while journal.batches.is_some() {
            many(&mut journal, &header, 1);
        }
        assert!(journal.shared.cut.load(Ordering::Acquire));
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
