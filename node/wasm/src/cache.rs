//! Compiled code on disk.
//!
//! What is in these files is run as native code, so they are taken from nobody: the directory is
//! ours alone, and a file counts only if it carries the SHA-256 of its own code together with the
//! module's digest and the engine's settings. That finds damage and files in the wrong place; it
//! is no defence against someone who can write here, who could as well change this program.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module};

use crate::clock;
use crate::compile::hex;

const MAGIC: &[u8; 8] = b"prlscw1\n";
const HEAD_BYTES: usize = MAGIC.len() + 32;

/// A directory of compiled modules.
pub(crate) struct Cache {
    dir: PathBuf,
    bytes_max: u64,
    /// Of everything that decides whether code fits this engine.
    engine: [u8; 32],
    written: AtomicU64,
}

impl Cache {
    pub(crate) fn open(dir: &Path, bytes_max: u64, engine: &Engine) -> Result<Self, String> {
        create_private(dir).map_err(|error| error.to_string())?;
        check_private(dir)?;
        let cache = Self {
            dir: dir.to_owned(),
            bytes_max,
            engine: hash(engine),
            written: AtomicU64::new(0),
        };
        for (path, _, _) in cache.files() {
            // Left by a process that was killed while it wrote.
            if path.extension() == Some(OsStr::new("tmp")) {
                let _ = fs::remove_file(path);
            }
        }
        Ok(cache)
    }

    /// The module's code, if it is here and whole. A damaged file is removed.
    pub(crate) fn load(&self, engine: &Engine, digest: &[u8; 32]) -> Option<Module> {
        let path = self.path(digest);
        let bytes = fs::read(&path).ok()?;
        let module = self.checked(digest, &bytes).and_then(|code| deserialize(engine, code).ok());
        if module.is_none() {
            tracing::warn!(path = %path.display(), "damaged compiled code: removed");
            let _ = fs::remove_file(&path);
            return None;
        }
        // Marks it as used; if that fails, it goes earlier than it might.
        let _ = File::open(&path).and_then(|file| file.set_modified(clock::wall()));
        module
    }

    /// Keeps a module's code. A failure costs a compilation later, so it is only noted.
    pub(crate) fn store(&self, digest: &[u8; 32], module: &Module) {
        let kept = module.serialize().map_err(io::Error::other).and_then(|code| {
            self.make_room((HEAD_BYTES + code.len()) as u64);
            self.write(digest, &code)
        });
        if let Err(error) = kept {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot keep compiled code");
        }
    }

    pub(crate) fn forget(&self, digest: &[u8; 32]) {
        let _ = fs::remove_file(self.path(digest));
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        self.dir.join(format!("{}-{}.cwasm", hex(digest), hex(&self.engine[..8])))
    }

    fn checked<'a>(&self, digest: &[u8; 32], bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (head, code) = bytes.split_at_checked(HEAD_BYTES)?;
        let (magic, sum) = head.split_at(MAGIC.len());
        (magic == MAGIC && sum == self.sum(digest, code)).then_some(code)
    }

    fn sum(&self, digest: &[u8; 32], code: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.engine)
            .chain_update(digest)
            .chain_update(code)
            .finalize()
            .into()
    }

    /// Under another name first, so that no reader sees half a file.
    fn write(&self, digest: &[u8; 32], code: &[u8]) -> io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let new = self.dir.join(format!("{}-{number}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&new).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&self.sum(digest, code))?;
            file.write_all(code)
        });
        written.and_then(|()| fs::rename(&new, self.path(digest))).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    /// Removes the files used least recently until `bytes` more fit.
    fn make_room(&self, bytes: u64) {
        let mut files = self.files();
        files.sort_by_key(|(_, used, _)| *used);
        let mut total = bytes + files.iter().map(|(_, _, size)| size).sum::<u64>();
        for (path, _, size) in files {
            if total <= self.bytes_max {
                return;
            }
            if fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }

    fn files(&self) -> Vec<(PathBuf, SystemTime, u64)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let known = entries.filter_map(|entry| {
            let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((entry.path(), meta.modified().ok()?, meta.len()))
        });
        known.collect()
    }
}

fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(unix)]
fn check_private(dir: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(dir).map_err(|error| error.to_string())?;
    if !meta.is_dir() {
        return Err("it is not a directory".to_owned());
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user".to_owned());
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!("others may write to it (mode {:o})", meta.mode() & 0o777));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_dir: &Path) -> Result<(), String> {
    Ok(())
}

/// Reads code that has passed [`Cache::checked`].
#[expect(unsafe_code, reason = "wasmtime cannot check native code; we know who wrote it")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: the bytes are what `Module::serialize` gave this program, under an engine of the same
    // compatibility hash: the checksum over both says that they are unchanged, and the directory
    // they lie in is writable by this user alone.
    unsafe { Module::deserialize(engine, code) }
}

/// SHA-256 of what the engine feeds to a hasher.
struct Sum(Sha256);

impl Hasher for Sum {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

fn hash(engine: &Engine) -> [u8; 32] {
    let mut sum = Sum(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sum);
    sum.0.finalize().into()
}
