//! From a module's bytes to code that can be run.

use std::fmt::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use wasmtime::{Engine, ExternType, InstancePre, Linker};

use crate::cache::Cache;
use crate::host::Host;
use crate::inspect::{Offered, inspect};
use crate::{Settings, clock};

/// Stack of a compiling thread: the compiler recurses over what the module's author wrote.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// Threads that read the cache at one time.
const LOADERS: usize = 4;

/// A function's compiled code, ready to run; cheap to clone.
#[derive(Clone)]
pub struct Module {
    pub(crate) code: InstancePre<Host>,
    digest: [u8; 32],
    compile_time: Option<Duration>,
}

impl Module {
    /// SHA-256 of the module's bytes.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether the code came from the cache on disk.
    pub fn was_cached(&self) -> bool {
        self.compile_time.is_none()
    }

    /// Processor time that compiling it took; 0 if it came from the cache.
    pub fn compile_time(&self) -> Duration {
        self.compile_time.unwrap_or_default()
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

/// The workers, and what they need.
#[derive(Clone)]
pub(crate) struct Compiler(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<Host>,
    offered: Offered,
    cache: Option<Cache>,
    workers: Arc<Semaphore>,
    loaders: Arc<Semaphore>,
    settings: Settings,
}

impl Compiler {
    pub(crate) fn new(
        engine: Engine,
        linker: Linker<Host>,
        offered: Offered,
        cache: Option<Cache>,
        settings: Settings,
    ) -> Self {
        let workers = Arc::new(Semaphore::new(settings.compile_workers.max(1) as usize));
        let loaders = Arc::new(Semaphore::new(LOADERS));
        Self(Arc::new(Inner { engine, linker, offered, cache, workers, loaders, settings }))
    }

    pub(crate) async fn compile(
        &self,
        digest: [u8; 32],
        bytes: Bytes,
    ) -> Result<Module, CompileError> {
        let limit = self.0.settings.compile_timeout;
        let work = async {
            // Not behind a compilation that may take long.
            if let Some(module) = self.cached(digest).await {
                return Ok(module);
            }
            let worker = Arc::clone(&self.0.workers).acquire_owned().await;
            let worker = worker.map_err(|error| CompileError::Failed(error.to_string()))?;
            // Whoever had the worker before may have compiled the same.
            let work = move |inner: &Inner| {
                inner.cached(digest).map_or_else(|| inner.compile(digest, &bytes), Ok)
            };
            self.on_thread(Some(worker), work).await?
        };
        timeout(limit, work).await.unwrap_or(Err(CompileError::Timeout(limit)))
    }

    pub(crate) async fn cached(&self, digest: [u8; 32]) -> Option<Module> {
        self.0.cache.as_ref()?;
        let loader = Arc::clone(&self.0.loaders).acquire_owned().await.ok();
        self.on_thread(loader, move |inner| inner.cached(digest)).await.ok()?
    }

    pub(crate) async fn forget(&self, digest: [u8; 32]) {
        let forget =
            move |inner: &Inner| inner.cache.iter().for_each(|cache| cache.forget(&digest));
        let _ = self.on_thread(None, forget).await;
    }

    /// Runs `work` on a thread of its own, which holds `worker` to its end, waited for or not.
    async fn on_thread<T: Send + 'static>(
        &self,
        worker: Option<OwnedSemaphorePermit>,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, CompileError> {
        let inner = Arc::clone(&self.0);
        let (tell, told) = oneshot::channel();
        thread::Builder::new()
            .name("peerless-compile".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                crate::sandbox::be_nice();
                let _ = tell.send(work(&inner));
                drop(worker);
            })
            .map_err(|error| CompileError::Failed(error.to_string()))?;
        // A panic in the compiler ends its thread alone.
        told.await.map_err(|_| CompileError::Failed("it panicked".to_owned()))
    }
}

impl Inner {
    fn cached(&self, digest: [u8; 32]) -> Option<Module> {
        let module = self.cache.as_ref()?.load(&self.engine, &digest)?;
        let code = self.linker.instantiate_pre(&module).ok()?;
        Some(Module { code, digest, compile_time: None })
    }

    fn compile(&self, digest: [u8; 32], bytes: &[u8]) -> Result<Module, CompileError> {
        let actual: [u8; 32] = Sha256::digest(bytes).into();
        if actual != digest {
            return Err(CompileError::Digest(hex(&actual)));
        }
        inspect(bytes, &self.settings, &self.offered)?;
        let (compiled, took) = clock::timed(|| wasmtime::Module::from_binary(&self.engine, bytes));
        let module = compiled.map_err(|error| CompileError::NotAModule(format!("{error:#}")))?;
        match module.get_export("_start") {
            Some(ExternType::Func(start))
                if start.params().len() == 0 && start.results().len() == 0 => {}
            _ => {
                let what = "`_start` takes or returns values".to_owned();
                return Err(CompileError::NotACommand(what));
            }
        }
        let code = self.linker.instantiate_pre(&module);
        let code = code.map_err(|error| CompileError::NotACommand(format!("{error:#}")))?;
        if let Some(cache) = &self.cache {
            cache.store(&digest, &module);
        }
        Ok(Module { code, digest, compile_time: Some(took) })
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
