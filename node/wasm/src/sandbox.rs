//! The sandbox: an engine, a pool of instances, threads for guests, and a cache.

use bytes::Bytes;

use crate::{CompileError, Invocation, Module, Running, Settings};

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine could not be set up, most often for want of address space.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
    /// The cache's directory cannot be used.
    #[error("cannot use {path} for compiled code: {reason}")]
    Cache {
        /// The directory.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The sandbox; cheap to clone. Needs no tokio runtime to be made, one with time to be used.
/// Dropping the last clone ends all calls.
#[derive(Clone)]
pub struct Sandbox {}

impl Sandbox {
    /// Sets up the engine, the guests' threads and the cache's directory.
    pub fn new(_settings: Settings) -> Result<Self, Error> {
        todo!()
    }

    /// Checks and compiles `module`, or takes its code from the cache. Does its work on threads of
    /// its own, [`Settings::compile_workers`] at a time. A compilation cannot be killed: one that is
    /// over time keeps its worker until it ends, and what it made is then in the cache.
    pub async fn compile(&self, _digest: [u8; 32], _module: Bytes) -> Result<Module, CompileError> {
        todo!()
    }

    /// The code of the module with this digest, if the cache has it: what a node asks for after a
    /// restart, so that it need not read the module.
    pub async fn cached(&self, _digest: [u8; 32]) -> Option<Module> {
        todo!()
    }

    /// Drops a module's code from the cache. Calls that run it go on.
    pub async fn forget(&self, _digest: [u8; 32]) {
        todo!()
    }

    /// Starts a call. Returns at once; the guest runs on the sandbox's threads, after waiting for a
    /// free instance if [`Settings::instances_max`] are in use.
    pub fn run(&self, _module: &Module, _invocation: Invocation) -> Running {
        todo!()
    }

    /// Instances alive now.
    pub fn live(&self) -> u32 {
        todo!()
    }
}
