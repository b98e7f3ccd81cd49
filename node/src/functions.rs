//! The functions that can be called here: compiled modules with what their records say.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use peerless_core::{Digest, Input, Name, Record, Tag};
use peerless_net::Body;
use peerless_wasm::{CompileError, Invocation, Limits, Module, Running, Sandbox};

use crate::headers;
use crate::modules::Pin;
use crate::node::Node;
use crate::record::{self, What};

/// A call's standard error that is kept for the log.
const STDERR_BYTES_MAX: usize = 16 * 1024;
/// With the value `cgi`, a function's output begins with a header block.
pub(crate) const OUTPUT_ANNOTATION: &str = "peerless.output";

/// What is installed here.
pub(crate) struct Functions {
    sandbox: Sandbox,
    /// Bytes that one call may answer.
    output_bytes_max: u64,
    installed: Mutex<HashMap<(Name, u64), Arc<Installed>>>,
}

struct Installed {
    what: What,
    module: Module,
    /// The module's file stays as long as the function does.
    _pin: Pin,
}

impl Functions {
    pub(crate) fn new(sandbox: Sandbox, output_bytes_max: u64) -> Self {
        Self { sandbox, output_bytes_max, installed: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Name, u64), Arc<Installed>>> {
        self.installed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many functions are installed.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Compiles a module, or finds it compiled, to see whether it can be run.
    pub(crate) async fn compile(&self, digest: Digest, module: Bytes) -> Result<(), CompileError> {
        self.sandbox.compile(digest.0, module).await.map(drop)
    }

    /// Starts a call; `None` if that version is not installed.
    pub(crate) fn start(
        &self,
        function: &Name,
        version: u64,
        request: http::Request<Body>,
        time: Duration,
    ) -> Option<Running> {
        let installed = self.lock().get(&(*function, version))?.clone();
        let what = &installed.what;
        let (mut parts, body) = request.into_parts();
        headers::strip(&mut parts.headers);
        let input = body.into_data_stream().map(|chunk| chunk.map_err(io::Error::other)).boxed();
        let invocation = Invocation {
            request: http::Request::from_parts(parts, input),
            limits: Limits {
                memory_bytes: what.memory_bytes,
                time,
                output_bytes_max: Some(self.output_bytes_max),
                stderr_bytes_max: STDERR_BYTES_MAX,
            },
            env: what.env.clone().into_iter().collect(),
            cgi: what.annotations.get(OUTPUT_ANNOTATION).is_some_and(|value| value == "cgi"),
        };
        Some(self.sandbox.run(&installed.module, invocation))
    }

    /// [`Effect::Uninstall`](peerless_core::Effect::Uninstall).
    pub(crate) fn uninstall(&self, function: Name, version: u64) {
        self.lock().remove(&(function, version));
    }
}

/// [`Effect::Install`](peerless_core::Effect::Install).
pub(crate) fn install(node: &Arc<Node>, tag: Tag, record: Arc<Record>) {
    let node = node.clone();
    tokio::spawn(async move {
        let ok = match prepare(&node, &record).await {
            Ok(()) => true,
            Err(why) => {
                tracing::warn!(function = ?record.function, why, "cannot install a function");
                false
            }
        };
        let (function, version) = (record.function, record.version);
        node.tell(Input::Installed { tag, function, version, ok }).await;
    });
}

async fn prepare(node: &Node, record: &Record) -> Result<(), String> {
    let what = record::details(record).what.ok_or("a tombstone")?;
    if what.memory_bytes > node.settings.limits.memory_max {
        return Err(format!("it wants {} bytes of memory", what.memory_bytes));
    }
    let sandbox = &node.functions.sandbox;
    let digest = what.digest;
    // From before it is looked for, so that it is not dropped meanwhile; a failure lets it go.
    let pin = node.modules.pin(digest);
    let module = if let Some(module) = sandbox.cached(digest.0).await {
        module
    } else {
        let bytes = node.modules.read(&digest).await.map_err(|error| error.to_string())?;
        sandbox.compile(digest.0, bytes.into()).await.map_err(|error| error.to_string())?
    };
    let installed = Arc::new(Installed { what, module, _pin: pin });
    node.functions.lock().insert((record.function, record.version), installed);
    Ok(())
}
