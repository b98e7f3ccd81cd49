//! A journal being written, by a thread of its own.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use peerless_core::{Effect, Input, Time};

use super::{Header, MAGIC, Rolling, Step, append_record};
use crate::clock;
use crate::id::NodeId;

/// Size of a journal; one that reaches it ends.
const BYTES_MAX: u64 = 4 << 30;
/// What may wait for the disk; a journal further behind ends.
const BEHIND_BYTES_MAX: usize = 64 << 20;
/// Batches that may wait for the disk.
const BEHIND_MAX: usize = 4096;
/// Behind the last whole record of a journal that was ended: less than a head, so that it is read
/// as a record that breaks off.
const ENDED: &[u8] = &[0xff; 4];

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

#[cfg(test)]
mod tests {
    use peerless_core::{Config, Core, Request, Setup, Target, Turn};

    use super::*;
    use crate::journal::{ReplayError, replay};

    fn recorded(dir: &Path) -> PathBuf {
        let me = NodeId::new([1; 32]);
        let header = Header::new(me, Setup::default(), Config::standard(), 7, 0);
        let mut journal = Journal::create(dir, &header).unwrap();
        let mut core = Core::new(me, header.setup.clone(), header.seed, header.incarnation);
        let inputs = [
            Input::Met { peer: NodeId::new([2; 32]), serves: true, group: None, relayed: false },
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
            let input = Input::Met {
                peer: NodeId::new([2; 32]),
                serves: true,
                group: None,
                relayed: false,
            };
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
