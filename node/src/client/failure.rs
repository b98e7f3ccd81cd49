//! How a command ends when it does not end well.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Something failed.
pub(crate) const FAILED: u8 = 1;
/// What was typed or given is wrong.
pub(crate) const USAGE: u8 = 2;
/// A manycall finished with some items failed.
pub(crate) const ITEMS_FAILED: u8 = 3;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// An exit status with the one line that explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    /// For standard error; none if all was said already.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { exit: FAILED, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, message: message.into() }
    }

    /// The status alone.
    pub(crate) fn silent(exit: u8) -> Self {
        Self { exit, message: String::new() }
    }

    /// A file that was named cannot be read.
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::usage(format!("cannot read {}: {}", path.display(), plain(error)))
    }

    /// Standard output or a file cannot be written. A reader that went away (`| head`) needs no
    /// message.
    pub(crate) fn unwritable(what: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(FAILED);
        }
        Self::failed(format!("cannot write {what}: {}", plain(error)))
    }

    /// Says it, and what the process ends with.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("error: {}", self.message);
        }
        ExitCode::from(self.exit)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What the system says, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.clone(), |(before, _)| before.to_lowercase())
}
