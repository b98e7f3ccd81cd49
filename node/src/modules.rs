//! Modules on disk: one file each, named by the SHA-256 of its bytes.
//!
//! A file appears under its name only after its bytes are on the disk and their digest is right, so
//! what is there is whole.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use peerless_core::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::bytes32::{hex, unhex32};

/// Where files are while they are written.
const PARTIAL: &str = "partial";

/// The node's modules.
#[derive(Debug)]
pub(crate) struct Modules {
    dir: PathBuf,
    bytes_max: u64,
    module_bytes_max: u64,
    bytes: AtomicU64,
    next: AtomicU64,
    /// Those that are never dropped to make room: what is installed here.
    pinned: Mutex<BTreeSet<Digest>>,
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
        Ok(Self {
            dir,
            bytes_max,
            module_bytes_max,
            bytes: AtomicU64::new(bytes),
            next: AtomicU64::new(0),
            pinned: Mutex::default(),
        })
    }

    /// Where a module is, if it is here.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(hex(&digest.0))
    }

    /// Its size, if it is here.
    pub(crate) async fn size(&self, digest: &Digest) -> Option<u64> {
        let meta = tokio::fs::metadata(self.path(digest)).await.ok()?;
        Some(meta.len())
    }

    /// Whether it is here as it should be; a file that is not is dropped.
    pub(crate) async fn verified(&self, digest: &Digest) -> bool {
        let Ok(bytes) = self.read(digest).await else {
            return false;
        };
        let whole = crate::bytes32::sha256(&bytes) == digest.0;
        if !whole {
            tracing::error!(path = %self.path(digest).display(), "a module on disk was altered");
            if tokio::fs::remove_file(self.path(digest)).await.is_ok() {
                self.bytes.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
            }
        }
        whole
    }

    /// Its bytes, if it is here.
    pub(crate) async fn read(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        tokio::fs::read(self.path(digest)).await
    }

    /// Keeps a module from being dropped, or no longer.
    pub(crate) fn pin(&self, digest: Digest, pinned: bool) {
        let mut set = self.pinned.lock().expect("no panic while pinning");
        if pinned {
            set.insert(digest);
        } else {
            set.remove(&digest);
        }
    }

    /// Begins to write a module.
    pub(crate) async fn writer(&self) -> Result<Writer<'_>, ModuleError> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let path = self.dir.join(PARTIAL).join(name);
        let file = tokio::fs::File::create_new(&path).await;
        let file = file.map_err(|cause| ModuleError::File { path: path.clone(), cause })?;
        Ok(Writer { modules: self, file, path: Partial(path), hash: Sha256::new(), size: 0 })
    }

    /// Drops the modules used least recently, but none that is pinned, until `size` more bytes fit.
    fn make_room(&self, size: u64) -> Result<(), ModuleError> {
        let max = self.bytes_max;
        let fits = || self.bytes.load(Ordering::Relaxed).saturating_add(size) <= max;
        if fits() {
            return Ok(());
        }
        let pinned = self.pinned.lock().expect("no panic while pinning").clone();
        for (path, bytes) in self.droppable(&pinned) {
            if fs::remove_file(path).is_ok() {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            if fits() {
                return Ok(());
            }
        }
        Err(ModuleError::NoRoom { size, max })
    }

    /// Files that may go, the oldest first.
    fn droppable(&self, pinned: &BTreeSet<Digest>) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let digest = entry.file_name().to_str().and_then(unhex32).map(Digest);
            if let (Some(digest), Ok(meta)) = (digest, entry.metadata())
                && !pinned.contains(&digest)
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
pub(crate) struct Writer<'a> {
    modules: &'a Modules,
    file: tokio::fs::File,
    path: Partial,
    hash: Sha256,
    size: u64,
}

impl Writer<'_> {
    /// Appends bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), ModuleError> {
        self.size += bytes.len() as u64;
        if self.size > self.modules.module_bytes_max {
            return Err(ModuleError::TooLarge(self.modules.module_bytes_max));
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
        let to = self.modules.path(&digest);
        if tokio::fs::try_exists(&to).await.unwrap_or(false) {
            return Ok((digest, self.size));
        }
        self.modules.make_room(self.size)?;
        let flushed = self.file.flush().await;
        flushed.map_err(|cause| self.error(cause))?;
        let synced = self.file.sync_all().await;
        synced.map_err(|cause| self.error(cause))?;
        let renamed = fs::rename(&self.path.0, &to).and_then(|()| sync_dir(&self.modules.dir));
        renamed.map_err(|cause| self.error(cause))?;
        self.modules.bytes.fetch_add(self.size, Ordering::Relaxed);
        Ok((digest, self.size))
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
    use crate::bytes32::sha256;

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
        modules.pin(first, true);
        let second = put(&modules, &[2; 50]).await.unwrap();
        let third = put(&modules, &[3; 50]).await.unwrap();
        assert!(modules.size(&first).await.is_some());
        assert!(modules.size(&second).await.is_none());
        modules.pin(third, true);
        let error = put(&modules, &[4; 50]).await.unwrap_err();
        assert!(matches!(error, ModuleError::NoRoom { .. }));
        let again = Modules::open(dir.path().into(), 100, 60).unwrap();
        assert_eq!(again.bytes.load(Ordering::Relaxed), 100);
    }
}
