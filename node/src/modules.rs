//! Modules on disk: one file each, named by the SHA-256 of its bytes.
//!
//! A file appears under its name only after its bytes are on the disk and their digest is right, so
//! what is there is whole. What a disk does to it later is found when it is read whole, and mended
//! by writing the module again.
//!
//! All that looks at files runs on threads for blocking work; whoever changes what is there holds
//! the one lock over the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peerless_core::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::bytes32::{hex, sha256, unhex32};
use crate::clock::{self, Stopwatch};

/// Where files are while they are written.
const PARTIAL: &str = "partial";

/// The node's modules; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Modules(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    bytes_max: u64,
    module_bytes_max: u64,
    next: AtomicU64,
    /// Size of all files together; locked while files are put in place or dropped.
    bytes: Mutex<u64>,
    kept: Mutex<Kept>,
}

/// What is not dropped to make room.
#[derive(Debug, Default)]
struct Kept {
    /// Installed here, or about to be: how often.
    pinned: BTreeMap<Digest, usize>,
    /// Fetched for an install that is to come: since when, and for how long.
    held: BTreeMap<Digest, (Stopwatch, Duration)>,
}

/// Why a module is not here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModuleError {
    #[error("a module may have at most {0} bytes here")]
    TooLarge(u64),
    #[error("no room for a module of {size} bytes: modules here may take {max} bytes in all")]
    NoRoom { size: u64, max: u64 },
    #[error("the module's SHA-256 is {0}, which is not what was asked for")]
    Digest(String),
    #[error("the module broke off: {0}")]
    Broken(String),
    #[error("cannot write a module to {path}: {cause}")]
    File { path: PathBuf, cause: io::Error },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Modules {
    /// Takes over what is in `dir`.
    pub(crate) fn open(dir: PathBuf, bytes_max: u64, module_bytes_max: u64) -> io::Result<Self> {
        let partial = dir.join(PARTIAL);
        fs::create_dir_all(&partial)?;
        for left in fs::read_dir(&partial)? {
            fs::remove_file(left?.path())?;
        }
        let mut bytes = 0;
        for entry in fs::read_dir(&dir)? {
            let meta = entry?.metadata()?;
            if meta.is_file() {
                bytes += meta.len();
            }
        }
        Ok(Self(Arc::new(Inner {
            dir,
            bytes_max,
            module_bytes_max,
            next: AtomicU64::new(0),
            bytes: Mutex::new(bytes),
            kept: Mutex::default(),
        })))
    }

    /// Its size, if it is here.
    pub(crate) async fn size(&self, digest: &Digest) -> Option<u64> {
        let meta = tokio::fs::metadata(self.0.path(digest)).await.ok()?;
        Some(meta.len())
    }

    /// Its size, if it is here as it should be; a file that is not is dropped.
    pub(crate) async fn sound_size(&self, digest: &Digest) -> Option<u64> {
        self.read(digest).await.ok().map(|bytes| bytes.len() as u64)
    }

    /// Its file, if it is here, for whoever is given it: that is a use.
    pub(crate) async fn file(&self, digest: &Digest) -> Option<tokio::fs::File> {
        let digest = *digest;
        let file = self.blocking(move |inner| inner.open_used(&digest)).await;
        file.ok().map(tokio::fs::File::from_std)
    }

    /// Whether it is here as it should be; a file that is not is dropped.
    pub(crate) async fn verified(&self, digest: &Digest) -> bool {
        let digest = *digest;
        self.blocking(move |inner| inner.read(&digest).is_ok()).await
    }

    /// Its bytes, if it is here as it should be; a file that is not is dropped.
    pub(crate) async fn read(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let digest = *digest;
        self.blocking(move |inner| inner.read(&digest)).await
    }

    /// Keeps a module from being dropped as long as what is returned lives.
    pub(crate) fn pin(&self, digest: Digest) -> Pin {
        *lock(&self.0.kept).pinned.entry(digest).or_default() += 1;
        Pin { modules: self.clone(), digest }
    }

    /// Keeps a module from being dropped for some time: one that is fetched now and installed soon.
    pub(crate) fn hold(&self, digest: &Digest, time: Duration) {
        let held = &mut lock(&self.0.kept).held;
        held.retain(|_, (since, time)| since.elapsed() < *time);
        held.insert(*digest, (Stopwatch::start(), time));
    }

    /// Begins to write a module.
    pub(crate) async fn writer(&self) -> Result<Writer, ModuleError> {
        let name = self.0.next.fetch_add(1, Ordering::Relaxed).to_string();
        let path = self.0.dir.join(PARTIAL).join(name);
        let file = tokio::fs::File::create_new(&path).await;
        let file = file.map_err(|cause| ModuleError::File { path: path.clone(), cause })?;
        let (modules, path) = (self.clone(), Partial(path));
        Ok(Writer { modules, file, path, hash: Sha256::new(), size: 0 })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> T {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.expect("work on files does not panic, and is not aborted")
    }
}

/// Keeps a module from being dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    modules: Modules,
    digest: Digest,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let pinned = &mut lock(&self.modules.0.kept).pinned;
        if let Some(count) = pinned.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                pinned.remove(&self.digest);
            }
        }
    }
}

impl Inner {
    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(hex(&digest.0))
    }

    /// Opens a file and marks it as used; if that fails, it goes earlier than it might.
    fn open_used(&self, digest: &Digest) -> io::Result<fs::File> {
        let file = fs::File::open(self.path(digest))?;
        let _ = file.set_modified(clock::wall());
        Ok(file)
    }

    fn read(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.open_used(digest)?, &mut bytes)?;
        if sha256(&bytes) == digest.0 {
            return Ok(bytes);
        }
        let mut total = lock(&self.bytes);
        // Whoever had the lock may have put a sound one in its place.
        let path = self.path(digest);
        let again = fs::read(&path)?;
        if sha256(&again) == digest.0 {
            return Ok(again);
        }
        tracing::error!(path = %path.display(), "a module on disk was altered");
        if fs::remove_file(&path).is_ok() {
            *total = total.saturating_sub(again.len() as u64);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the module on disk was altered"))
    }

    /// Puts a whole file, whose bytes are on the disk, under its name. One that is there already is
    /// replaced: nothing says that it is still what it was.
    fn place(&self, partial: &Path, digest: &Digest, size: u64) -> Result<(), ModuleError> {
        let to = self.path(digest);
        let mut total = lock(&self.bytes);
        let before = fs::metadata(&to).map_or(0, |meta| meta.len());
        self.make_room(&mut total, digest, size.saturating_sub(before))?;
        let renamed = fs::rename(partial, &to).and_then(|()| sync_dir(&self.dir));
        renamed.map_err(|cause| ModuleError::File { path: to, cause })?;
        *total = total.saturating_sub(before) + size;
        Ok(())
    }

    /// Drops the modules used least recently, but none that is kept nor the one that is written,
    /// until `size` more bytes fit.
    fn make_room(&self, total: &mut u64, but: &Digest, size: u64) -> Result<(), ModuleError> {
        let max = self.bytes_max;
        if total.saturating_add(size) <= max {
            return Ok(());
        }
        for (path, bytes) in self.droppable(but) {
            if fs::remove_file(path).is_ok() {
                *total = total.saturating_sub(bytes);
            }
            if total.saturating_add(size) <= max {
                return Ok(());
            }
        }
        Err(ModuleError::NoRoom { size, max })
    }

    /// Files that may go, the one used least recently first.
    fn droppable(&self, but: &Digest) -> Vec<(PathBuf, u64)> {
        let kept: BTreeSet<Digest> = {
            let kept = lock(&self.kept);
            let held = kept.held.iter().filter(|(_, (since, time))| since.elapsed() < *time);
            kept.pinned.keys().chain(held.map(|(digest, _)| digest)).copied().collect()
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let digest = entry.file_name().to_str().and_then(unhex32).map(Digest);
            if let (Some(digest), Ok(meta)) = (digest, entry.metadata())
                && digest != *but
                && !kept.contains(&digest)
            {
                found.push((meta.modified().ok(), entry.path(), meta.len()));
            }
        }
        found.sort();
        found.into_iter().map(|(_, path, bytes)| (path, bytes)).collect()
    }
}

/// A partial file, gone when it is dropped.
#[derive(Debug)]
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A module being written.
pub(crate) struct Writer {
    modules: Modules,
    file: tokio::fs::File,
    path: Partial,
    hash: Sha256,
    size: u64,
}

impl Writer {
    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), ModuleError> {
        self.size += bytes.len() as u64;
        let max = self.modules.0.module_bytes_max;
        if self.size > max {
            return Err(ModuleError::TooLarge(max));
        }
        self.hash.update(bytes);
        let written = self.file.write_all(bytes).await;
        written.map_err(|cause| self.error(cause))
    }

    /// Ends it: from here on the module is on the disk under its digest, which is `wanted` where
    /// one was.
    pub(crate) async fn finish(
        mut self,
        wanted: Option<&Digest>,
    ) -> Result<(Digest, u64), ModuleError> {
        let digest = Digest(std::mem::take(&mut self.hash).finalize().into());
        if wanted.is_some_and(|wanted| *wanted != digest) {
            return Err(ModuleError::Digest(hex(&digest.0)));
        }
        let flushed = self.file.flush().await;
        flushed.map_err(|cause| self.error(cause))?;
        let synced = self.file.sync_all().await;
        synced.map_err(|cause| self.error(cause))?;
        let Self { modules, path, size, .. } = self;
        let placed = modules.blocking(move |inner| inner.place(&path.0, &digest, size)).await;
        placed.map(|()| (digest, size))
    }

    fn error(&self, cause: io::Error) -> ModuleError {
        ModuleError::File { path: self.path.0.clone(), cause }
    }
}

/// Makes a rename in a directory last.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn put(modules: &Modules, bytes: &[u8]) -> Result<Digest, ModuleError> {
        let mut writer = modules.writer().await?;
        writer.write(bytes).await?;
        writer.finish(None).await.map(|(digest, _)| digest)
    }

    #[tokio::test]
    async fn a_module_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let modules = Modules::open(dir.path().join("modules"), 100, 60).unwrap();
        let digest = put(&modules, b"one").await.unwrap();
        assert_eq!(digest, Digest(sha256(b"one")));
        assert_eq!(modules.read(&digest).await.unwrap(), b"one");

        let mut writer = modules.writer().await.unwrap();
        writer.write(b"tw").await.unwrap();
        let error = writer.finish(Some(&digest)).await.unwrap_err();
        assert!(matches!(error, ModuleError::Digest(_)));
        let left = fs::read_dir(dir.path().join("modules/partial")).unwrap().count();
        assert_eq!(left, 0);
        let error = put(&modules, &[0; 61]).await.unwrap_err();
        assert!(matches!(error, ModuleError::TooLarge(60)));
    }

    #[tokio::test]
    async fn room_is_made_of_what_is_not_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let modules = Modules::open(dir.path().into(), 100, 60).unwrap();
        let first = put(&modules, &[1; 50]).await.unwrap();
        let _first = modules.pin(first);
        let second = put(&modules, &[2; 50]).await.unwrap();
        let third = put(&modules, &[3; 50]).await.unwrap();
        assert!(modules.size(&first).await.is_some());
        assert!(modules.size(&second).await.is_none());
        let pin = modules.pin(third);
        let twice = modules.pin(third);
        drop(twice);
        let error = put(&modules, &[4; 50]).await.unwrap_err();
        assert!(matches!(error, ModuleError::NoRoom { .. }));
        let again = Modules::open(dir.path().into(), 100, 60).unwrap();
        assert_eq!(*lock(&again.0.bytes), 100);
        drop(pin);
        modules.hold(&third, Duration::from_hours(1));
        assert!(put(&modules, &[4; 50]).await.is_err(), "it was fetched for an install");
        modules.hold(&third, Duration::ZERO);
        put(&modules, &[4; 50]).await.unwrap();
        assert!(modules.size(&third).await.is_none());
    }

    #[tokio::test]
    async fn the_one_used_last_stays() {
        let dir = tempfile::tempdir().unwrap();
        let modules = Modules::open(dir.path().into(), 100, 60).unwrap();
        let mut digests = Vec::new();
        for byte in [1, 2] {
            digests.push(put(&modules, &[byte; 40]).await.unwrap());
            let path = dir.path().join(hex(&digests.last().unwrap().0));
            let age = Duration::from_secs(100 - u64::from(byte));
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(clock::wall() - age).unwrap();
        }
        modules.read(&digests[0]).await.unwrap();
        put(&modules, &[3; 40]).await.unwrap();
        assert!(modules.size(&digests[0]).await.is_some());
        assert!(modules.size(&digests[1]).await.is_none());
    }

    #[tokio::test]
    async fn writing_a_module_again_mends_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let modules = Modules::open(dir.path().into(), 100, 60).unwrap();
        let digest = put(&modules, b"sound").await.unwrap();
        let path = dir.path().join(hex(&digest.0));
        fs::write(&path, b"damaged").unwrap();
        assert_eq!(put(&modules, b"sound").await.unwrap(), digest);
        assert_eq!(fs::read(&path).unwrap(), b"sound");
        fs::write(&path, b"other").unwrap();
        assert!(!modules.verified(&digest).await);
        assert!(modules.read(&digest).await.is_err() && !path.exists());
    }

    #[tokio::test]
    async fn two_writers_of_one_module_count_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let modules = Modules::open(dir.path().into(), 100, 60).unwrap();
        let mut writers = Vec::new();
        for _ in 0..4 {
            let mut writer = modules.writer().await.unwrap();
            writer.write(&[1; 30]).await.unwrap();
            writers.push(writer.finish(None));
        }
        for ended in futures::future::join_all(writers).await {
            ended.unwrap();
        }
        assert_eq!(*lock(&modules.0.bytes), 30);
    }
}
