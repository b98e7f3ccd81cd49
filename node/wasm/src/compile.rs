//! From a module's bytes to code that can be run.

use std::time::Duration;

/// A function's compiled code, ready to run; cheap to clone.
#[derive(Clone)]
pub struct Module {}

impl Module {
    /// SHA-256 of the module's bytes.
    pub fn digest(&self) -> [u8; 32] {
        todo!()
    }

    /// Whether the code came from the cache on disk.
    pub fn was_cached(&self) -> bool {
        todo!()
    }

    /// Processor time that compiling it took; 0 if it came from the cache.
    pub fn compile_time(&self) -> Duration {
        todo!()
    }
}

/// Why a module cannot be run here, in words for the function's owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The bytes are not those that the digest names.
    #[error("the bytes do not have the digest they should: they have {0}")]
    Digest(String),
    /// Not a WebAssembly module, or not a valid one, or one that uses a feature that is off here.
    #[error("not a module that can be run: {0}")]
    NotAModule(String),
    /// A module, but not a WASI preview 1 command.
    #[error("not a WASI preview 1 command: {0}")]
    NotACommand(String),
    /// It imports what is not offered.
    #[error("imports `{module}` `{name}`, which is not offered")]
    Import {
        /// The import's module.
        module: String,
        /// The import's name in it.
        name: String,
    },
    /// Over a limit; the text says which, what it is and what the module has.
    #[error("too large: {0}")]
    TooLarge(String),
    /// Not ready in [`crate::Settings::compile_timeout`].
    #[error("not compiled within {0:?}")]
    Timeout(Duration),
    /// The compiler itself failed.
    #[error("the compiler failed: {0}")]
    Failed(String),
}
