//! The node's key and the owner's key: files in libp2p's protobuf, readable by their user alone.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use peerless_core::Owner;
use peerless_net::identity::{self, Keypair};

/// Largest key file that is read: a key takes 68 bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// What stands before the key in an owner's CID: version 1, codec `libp2p-key`, and the identity
/// multihash of an Ed25519 key.
const CID_PREFIX: [u8; 8] = [0x01, 0x72, 0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Why there is no key; each names the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot {what} key file {path}: {cause}")]
    File {
        /// Read, write.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is no key.
    #[error("{path} is not an Ed25519 private key in libp2p's protobuf encoding: {why}")]
    Form {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Others can read it.
    #[error("key file {path} can be read by others (mode {mode:04o}): chmod 600 it")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// There is something already.
    #[error("{0} exists already and is not overwritten")]
    Exists(PathBuf),
}

impl KeyError {
    /// Whether there is no file at all.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::File { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Reads a key, or makes one where there is no file. Of several that do so at once, one makes it and
/// all have it.
pub fn load_or_create(path: &Path) -> Result<Keypair, KeyError> {
    match load(path) {
        Err(error) if error.is_absence() => {
            let key = Keypair::generate_ed25519();
            match create(path, &key) {
                Ok(()) => Ok(key),
                Err(KeyError::Exists(_)) => load(path),
                Err(error) => Err(error),
            }
        }
        other => other,
    }
}

/// Reads a key.
pub fn load(path: &Path) -> Result<Keypair, KeyError> {
    let failed = |cause| file_error("read", path, cause);
    let meta = fs::metadata(path).map_err(failed)?;
    check_mode(path, &meta)?;
    if meta.len() > FILE_BYTES_MAX {
        let why = format!("it has {} bytes", meta.len());
        return Err(KeyError::Form { path: path.into(), why });
    }
    let bytes = fs::read(path).map_err(failed)?;
    decode(&bytes).map_err(|why| KeyError::Form { path: path.into(), why })
}

/// The key that libp2p's protobuf encoding spells.
pub fn decode(bytes: &[u8]) -> Result<Keypair, String> {
    let key = Keypair::from_protobuf_encoding(bytes).map_err(|error| error.to_string())?;
    if key.key_type() != identity::KeyType::Ed25519 {
        return Err(format!("its type is {}", key.key_type()));
    }
    Ok(key)
}

/// Writes a key to a file that is not there yet. It appears whole, and is on the disk, or not at
/// all.
pub fn create(path: &Path, key: &Keypair) -> Result<(), KeyError> {
    let failed = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => KeyError::Exists(path.into()),
        _ => file_error("write", path, cause),
    };
    let bytes = key.to_protobuf_encoding().expect("an Ed25519 key has an encoding");
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(dir).map_err(failed)?;
    let partial = Partial::new(path);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial.0).map_err(failed)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    // Unlike a rename, a link never takes the place of what is there.
    fs::hard_link(&partial.0, path).map_err(failed)?;
    if cfg!(unix) {
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// The name of a key file that is being written, beside it; the file goes with it.
struct Partial(PathBuf);

impl Partial {
    fn new(path: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = crate::clock::unix_ms();
        name.push(format!(".{}-{now}-{number}.tmp", std::process::id()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn file_error(what: &'static str, path: &Path, cause: std::io::Error) -> KeyError {
    KeyError::File { what, path: path.into(), cause }
}

#[cfg(unix)]
fn check_mode(path: &Path, meta: &fs::Metadata) -> Result<(), KeyError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.into(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

/// The public half of a key that [`load`] or [`decode`] let through.
pub fn public(key: &Keypair) -> [u8; 32] {
    let public = key.public().try_into_ed25519();
    public.expect("every key here is an Ed25519 key").to_bytes()
}

/// The owner that a key makes.
pub fn owner(key: &Keypair) -> Owner {
    Owner(public(key))
}

/// An owner as people write it: the key's CIDv1 in base36, `k51…`, which fits a DNS label.
pub fn owner_text(owner: &Owner) -> String {
    let mut cid = CID_PREFIX.to_vec();
    cid.extend_from_slice(&owner.0);
    multibase::encode(multibase::Base::Base36Lower, cid)
}

/// The owner that `k51…` names.
pub fn parse_owner(text: &str) -> Option<Owner> {
    // 65 characters spell the 40 bytes; the bound keeps a quadratic decoder off long texts.
    if !text.starts_with('k') || text.len() > 80 {
        return None;
    }
    let (_, cid) = multibase::decode(text).ok()?;
    let key: [u8; 32] = cid.strip_prefix(&CID_PREFIX)?.try_into().ok()?;
    peerless_net::peer_id(&key)?;
    Some(Owner(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/identity.key");
        let key = load_or_create(&path).unwrap();
        assert_eq!(public(&load_or_create(&path).unwrap()), public(&key));
        assert!(matches!(create(&path, &key), Err(KeyError::Exists(_))));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_that_make_a_key_all_have_the_same() {
        for _ in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("owner.key");
            let start = std::sync::Barrier::new(8);
            let keys: Vec<_> = std::thread::scope(|scope| {
                let make = || {
                    start.wait();
                    public(&load_or_create(&path).unwrap())
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(keys.iter().all(|key| *key == keys[0]));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_bad_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("owner.key");
        fs::write(&path, b"no key").unwrap();
        #[cfg(unix)]
        {
            let error = load(&path).unwrap_err();
            assert!(matches!(error, KeyError::Open { .. }), "{error}");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&path, mode).unwrap();
        }
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("owner.key is not an Ed25519 private key"), "{error}");
    }

    #[test]
    fn an_owner_is_a_dns_label_and_read_back() {
        let owner = owner(&Keypair::generate_ed25519());
        let text = owner_text(&owner);
        assert!(text.starts_with("k51") && text.len() <= 63, "{text}");
        assert_eq!(parse_owner(&text), Some(owner));
        assert_eq!(parse_owner("k51abc"), None);
        assert_eq!(parse_owner(""), None);
    }
}
