//! `key generate|show|export|import`: the owner's key, which all machines of one person share.

use std::path::PathBuf;

use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::failure::Failure;
use super::output::{Output, pairs};
use crate::bytes32::{base64, unbase64};
use crate::cli::{KeyCommand, KeyFileArgs};
use crate::keys::{self, KeyError};
use crate::settings;
use peerless_net::identity::Keypair;

/// A key in base64 takes 92 characters.
const TEXT_BYTES_MAX: u64 = 4096;

pub(super) async fn key(command: KeyCommand, output: Output) -> Result<(), Failure> {
    match command {
        KeyCommand::Generate(args) => {
            let path = path(args)?;
            let key = Keypair::generate_ed25519();
            keys::create(&path, &key).map_err(|error| failure(&error))?;
            show(&path, &key, output)
        }
        KeyCommand::Show(args) => {
            let path = path(args)?;
            show(&path, &load(&path)?, output)
        }
        KeyCommand::Export(args) => export(&load(&path(args)?)?, output),
        KeyCommand::Import(args) => {
            let path = path(args)?;
            let key = read_key().await?;
            keys::create(&path, &key).map_err(|error| failure(&error))?;
            show(&path, &key, output)
        }
    }
}

fn path(args: KeyFileArgs) -> Result<PathBuf, Failure> {
    match (args.owner_key, args.data_dir) {
        (Some(file), _) => Ok(file),
        (None, Some(dir)) => Ok(dir.join("owner.key")),
        (None, None) => {
            let dir = settings::default_data_dir();
            dir.map(|dir| dir.join("owner.key")).map_err(|wrong| Failure::usage(wrong.to_string()))
        }
    }
}

fn load(path: &std::path::Path) -> Result<Keypair, Failure> {
    keys::load(path).map_err(|error| failure(&error))
}

/// A key file that is wrong, or in the way, is bad input.
pub(super) fn failure(error: &KeyError) -> Failure {
    Failure::usage(error.to_string())
}

fn show(path: &std::path::Path, key: &Keypair, output: Output) -> Result<(), Failure> {
    let owner = keys::owner_text(&keys::owner(key));
    let file = path.display().to_string();
    let shown = json!({ "owner": owner, "file": file });
    output.print(&shown, || pairs(&[("owner", owner.clone()), ("file", file.clone())]))
}

fn export(key: &Keypair, output: Output) -> Result<(), Failure> {
    let bytes = key.to_protobuf_encoding().expect("an Ed25519 key has an encoding");
    let text = base64(&bytes);
    let owner = keys::owner_text(&keys::owner(key));
    output.print(&json!({ "owner": owner, "key": text }), || text.clone())
}

/// What `export` printed, on standard input.
async fn read_key() -> Result<Keypair, Failure> {
    let mut text = String::new();
    let mut input = tokio::io::stdin().take(TEXT_BYTES_MAX);
    let wrong = |why: &str| {
        Failure::usage(format!(
            "standard input holds no key: {why}; expected the line that `peerless key export` prints"
        ))
    };
    input.read_to_string(&mut text).await.map_err(|error| wrong(&error.to_string()))?;
    let bytes = unbase64(text.trim()).filter(|bytes| !bytes.is_empty());
    keys::decode(&bytes.ok_or_else(|| wrong("it is no base64"))?).map_err(|why| wrong(&why))
}
