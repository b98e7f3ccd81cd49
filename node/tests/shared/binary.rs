//! The binary under test.

use std::process::Stdio;

use tokio::process::Command;

/// It, with nothing of this environment that it would heed.
pub(crate) fn peerless() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerless"));
    for (name, _) in std::env::vars_os() {
        if name == "OPENFAAS_URL" || name.to_string_lossy().starts_with("PEERLESS_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
