//! A node in a process of its own.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::binary::peerless;

/// Far more than a start takes, so that only a hang ends by it.
const LONG: Duration = Duration::from_mins(1);

/// What `up --json` says when it is ready.
#[derive(Deserialize)]
pub(crate) struct Ready {
    pub(crate) peer_id: String,
    pub(crate) owner: String,
    pub(crate) listen: Vec<String>,
    pub(crate) http: String,
}

/// Starts a node whose data and log are in `dir`, told more by `tell`; returns when it is ready.
pub(crate) async fn up(dir: &Path, tell: impl FnOnce(&mut Command)) -> (Child, Ready) {
    fs::create_dir_all(dir).unwrap();
    let mut command = peerless();
    command.args(["up", "--json", "--http", "127.0.0.1:0", "--data-dir"]).arg(dir);
    tell(&mut command);
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let ready = timeout(LONG, ready(stdout)).await.ok().flatten();
    let ready = ready.unwrap_or_else(|| panic!("{}: {}", dir.display(), log_in(dir)));
    (child, ready)
}

async fn ready(stdout: ChildStdout) -> Option<Ready> {
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next_line().await.ok()??;
    // What it says later goes nowhere, but a full pipe would hold it up.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    serde_json::from_str(&line).ok()
}

/// All that it logged.
pub(crate) fn log_in(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).unwrap_or_default()
}
