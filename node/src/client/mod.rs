//! Client commands: what a user types, said to a node over its HTTP API.
//!
//! What a command sends, beside OpenFaaS's own fields:
//! - `deploy` puts the module under `/modules`, then the function under `/system/functions` as
//!   `wasm:sha256:HEX`: replicas as the labels `com.openfaas.scale.min` and `.max`, timeout and
//!   idempotence as the annotations `peerless.timeout` and `peerless.idempotent`, memory as
//!   `limits.memory` in bytes. A Peerless node answers with version and hosts.
//! - `call` sends its `--timeout` as `X-Timeout`.
//! - `manycall` streams NDJSON both ways over one request.
//!
//! A name `NAME.OWNER` is another owner's function; OpenFaaS's `namespace` carries the owner.

use std::process::ExitCode;

use crate::cli::{ClientCommand, GatewayArg};

mod call;
pub(crate) mod deploy;
mod functions;
mod key;
mod network;
mod replay;

pub(crate) mod failure;
pub(crate) mod http;
pub(crate) mod manycall;
pub(crate) mod output;

use failure::{Failure, INTERRUPTED};
use http::Gateway;
use output::Output;

/// Where a node is unless it is said.
const GATEWAY: &str = "http://127.0.0.1:8080";

/// Carries out a command; says what goes wrong on standard error.
pub(crate) fn run(command: ClientCommand, json: bool) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Failure::failed(format!("cannot start: {error}")).report(),
    };
    let ended = runtime.block_on(async {
        tokio::select! {
            // A command that has its own word about an interrupt has it before this one.
            biased;
            ended = perform(command, Output { json }) => ended,
            _ = tokio::signal::ctrl_c() => {
                Err(Failure { exit: INTERRUPTED, message: "interrupted".into() })
            }
        }
    });
    // A read of standard input that waits for a key would hold the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn perform(command: ClientCommand, output: Output) -> Result<(), Failure> {
    match command {
        ClientCommand::Deploy(args) => deploy::deploy(args, output).await,
        ClientCommand::Call(args) => call::call(args, output).await,
        ClientCommand::Manycall(args) => manycall::manycall(args, output).await,
        ClientCommand::List(args) => functions::list(&args, output).await,
        ClientCommand::Describe(args) => functions::describe(&args, output).await,
        ClientCommand::Find(args) => functions::find(&args, output).await,
        ClientCommand::Remove(args) => functions::remove(&args, output).await,
        ClientCommand::Scale(args) => functions::scale(&args, output).await,
        ClientCommand::Peers(args) => network::peers(&args, output).await,
        ClientCommand::Status(args) => network::status(&args, output).await,
        ClientCommand::Drain(args) => network::drain(&args, output).await,
        ClientCommand::Id(args) => network::id(&args, output).await,
        ClientCommand::Key(command) => key::key(command, output).await,
        ClientCommand::Replay(args) => replay::replay(&args, output),
    }
}

/// The node to talk to.
fn gateway(arg: &GatewayArg) -> Result<Gateway, Failure> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let url = arg.gateway.clone();
    let url = url.or_else(|| variable("PEERLESS_URL")).or_else(|| variable("OPENFAAS_URL"));
    Gateway::parse(url.as_deref().unwrap_or(GATEWAY))
}
