//! `deploy`: the module goes to the node, then the function's description.

use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::functions::FullName;
use super::gateway;
use super::http::{Gateway, Reply, whole};
use super::output::{Output, count};
use crate::bytes32::{hex, sha256};
use crate::cli::DeployArgs;
use crate::record;
use crate::units::{show_duration, show_size};

/// A node takes at most 120 s to compile and 30 s for all else.
const WITHIN: Duration = Duration::from_mins(3);
/// What every WebAssembly file begins with.
const MAGIC: &[u8] = b"\0asm";

pub(super) async fn deploy(args: DeployArgs, output: Output) -> Result<(), Failure> {
    let gateway = gateway(&args.gateway)?;
    let file = Path::new(&args.what);
    let module = read_module(file).await?;
    let name = function_name(&args, file)?;
    let spinner = spinner();
    spinner.set_message(format!("{name}: sending {}", show_size(module.len() as u64)));
    let digest = upload(&gateway, module).await?;
    spinner.set_message(format!("{name}: looking for hosts, which fetch and compile it"));
    let deployed = describe(&gateway, &deployment(&args, &name, &digest), &name).await?;
    drop(spinner);
    output.print(&deployed, || said(&deployed))
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    // Hidden where standard error is no terminal.
    let spinner = ProgressBar::new_spinner()
        .with_style(style.expect("a valid template"))
        .with_finish(ProgressFinish::AndClear);
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

async fn read_module(file: &Path) -> Result<Vec<u8>, Failure> {
    let wasm = file.extension().is_some_and(|extension| extension == "wasm");
    let bytes = match tokio::fs::read(file).await {
        Ok(bytes) => bytes,
        Err(error) if wasm => return Err(Failure::unreadable(file, &error)),
        Err(_) => {
            return Err(Failure::usage(format!(
                "{:?} is no file: expected a WebAssembly module such as echo.wasm",
                file.display().to_string()
            )));
        }
    };
    if !bytes.starts_with(MAGIC) {
        return Err(Failure::usage(format!(
            "{} is no WebAssembly module: it does not begin with \\0asm",
            file.display()
        )));
    }
    Ok(bytes)
}

fn function_name(args: &DeployArgs, file: &Path) -> Result<String, Failure> {
    if let Some(name) = &args.name {
        let full = FullName::parse(name)?;
        return match full.owner {
            None => Ok(full.name),
            Some(_) => Err(Failure::usage(format!(
                "name {name:?}: a function is deployed under its bare name, for the node's owner"
            ))),
        };
    }
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if record::is_name(&stem) {
        return Ok(stem);
    }
    Err(Failure::usage(format!(
        "{stem:?}, the file's name, is no function's name: give one with --name"
    )))
}

/// Sends the module; returns its digest, `sha256:HEX`.
pub(crate) async fn upload(gateway: &Gateway, module: Vec<u8>) -> Result<String, Failure> {
    let expected = format!("sha256:{}", hex(&sha256(&module)));
    let request = http::Request::put("/modules")
        .header(CONTENT_TYPE, "application/wasm")
        .header(CONTENT_LENGTH, module.len())
        .header(ACCEPT, "application/json")
        .body(whole(module))
        .expect("constant names of headers");
    let reply = gateway.reply(request, WITHIN).await?;
    let kept = reply.json(gateway, "send the module")?;
    match kept.get("digest").and_then(Value::as_str) {
        Some(digest) if digest == expected => Ok(expected),
        other => Err(Failure::failed(format!(
            "cannot send the module: {} received {}, not {expected}",
            gateway.url(),
            other.unwrap_or("something else")
        ))),
    }
}

/// OpenFaaS's FunctionDeployment, with our fields as labels and annotations.
fn deployment(args: &DeployArgs, name: &str, digest: &str) -> Value {
    let object = |pairs: &[(String, String)]| {
        let pairs = pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
        pairs.collect::<Map<_, _>>()
    };
    let mut labels = object(&args.label);
    if let Some((min, max)) = args.replicas {
        labels.insert("com.openfaas.scale.min".into(), min.to_string().into());
        labels.insert("com.openfaas.scale.max".into(), max.to_string().into());
    }
    let mut annotations = object(&args.annotation);
    if let Some(timeout) = args.timeout {
        annotations.insert("peerless.timeout".into(), show_duration(timeout).into());
    }
    if let Some(idempotent) = args.idempotent {
        annotations.insert("peerless.idempotent".into(), idempotent.to_string().into());
    }
    let constraints = args.constraint.iter().map(|(key, value)| format!("{key}={value}"));
    let mut deployment = json!({
        "service": name,
        "image": format!("wasm:{digest}"),
        "envVars": object(&args.env),
        "labels": labels,
        "annotations": annotations,
        "constraints": constraints.collect::<Vec<_>>(),
    });
    if let Some(memory) = args.memory {
        deployment["limits"] = json!({ "memory": memory.to_string() });
    }
    deployment
}

/// Deploys what a description says; returns what was deployed, with its hosts.
pub(crate) async fn describe(
    gateway: &Gateway,
    deployment: &Value,
    name: &str,
) -> Result<Value, Failure> {
    // As faas-cli does: an update first, a new function if there is none to update.
    let path = "/system/functions";
    let mut reply = gateway.ask(Method::PUT, path, Some(deployment), WITHIN).await?;
    if reply.status == StatusCode::NOT_FOUND {
        reply = gateway.ask(Method::POST, path, Some(deployment), WITHIN).await?;
    }
    let doing = format!("deploy {name}");
    reply.ok(gateway, &doing)?;
    if reply.bytes.is_empty() {
        return Err(Failure::failed(format!(
            "cannot {doing}: {} took it without saying where it went: is it a Peerless node?",
            gateway.url()
        )));
    }
    Reply::json(&reply, gateway, &doing)
}

fn said(deployed: &Value) -> String {
    let text = |key| deployed.get(key).and_then(Value::as_str).unwrap_or("?");
    let hosts: Vec<&str> =
        deployed["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let version = &deployed["version"];
    let on = count(hosts.len(), "host");
    format!("{} version {version} is served by {on}:\n  {}", text("name"), hosts.join("\n  "))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, ClientCommand, Command};

    fn args(line: &[&str]) -> DeployArgs {
        let line = ["peerless", "deploy"].iter().chain(line);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Client(ClientCommand::Deploy(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_openfaas_fields() {
        let args = args(&[
            "x.wasm",
            "--replicas",
            "2..4",
            "--timeout",
            "1.5s",
            "--idempotent",
            "--memory",
            "64MiB",
            "--env",
            "A=b=c",
            "--label",
            "l=1",
            "--annotation",
            "peerless.output=cgi",
            "--constraint",
            "gpu=yes",
        ]);
        let expected = json!({
            "service": "x", "image": "wasm:sha256:00", "envVars": {"A": "b=c"},
            "labels": {"l": "1", "com.openfaas.scale.min": "2", "com.openfaas.scale.max": "4"},
            "annotations": {"peerless.output": "cgi", "peerless.timeout": "1500ms",
                            "peerless.idempotent": "true"},
            "constraints": ["gpu=yes"], "limits": {"memory": "67108864"},
        });
        assert_eq!(deployment(&args, "x", "sha256:00"), expected);
    }

    #[test]
    fn a_name_comes_from_the_file() {
        let name = |line: &[&str]| {
            let args = args(line);
            function_name(&args, Path::new(&args.what.clone()))
        };
        assert_eq!(name(&["dir/echo.wasm"]).unwrap(), "echo");
        assert_eq!(name(&["My_Fn.wasm", "--name", "my-fn"]).unwrap(), "my-fn");
        let failure = name(&["My_Fn.wasm"]).unwrap_err();
        assert!(failure.exit == 2 && failure.message.contains("--name"), "{failure}");
        assert_eq!(name(&["x.wasm", "--name", "A"]).unwrap_err().exit, 2);
    }
}
