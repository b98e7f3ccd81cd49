//! `peers`, `status`, `drain`, `id`.

use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Output, cell, pairs, table};
use super::{gateway, key};
use crate::cli::{GatewayArg, IdArgs};
use crate::id::NodeId;
use crate::keys;

/// A node answers these from what it has.
const WITHIN: Duration = Duration::from_secs(15);
/// It hands over what it hosts, and lets calls of any length end.
const DRAINED_WITHIN: Duration = Duration::from_hours(2);

/// `peers`.
pub(super) async fn peers(args: &GatewayArg, output: Output) -> Result<(), Failure> {
    let gateway = gateway(args)?;
    let reply = gateway.ask(Method::GET, "/network/peers", None, WITHIN).await?;
    let peers = reply.json(&gateway, "list peers")?;
    output.print(&peers, || {
        let row = |peer: &Value| {
            ["peer_id", "connected", "rtt_ms", "addresses"].map(|key| cell(peer.get(key)))
        };
        let rows: Vec<_> = peers.as_array().into_iter().flatten().map(row).collect();
        table(["PEER", "CONNECTED", "RTT MS", "ADDRESSES"], &rows)
    })
}

/// `status`.
pub(super) async fn status(args: &GatewayArg, output: Output) -> Result<(), Failure> {
    let gateway = gateway(args)?;
    let reply = gateway.ask(Method::GET, "/network/status", None, WITHIN).await?;
    let status = reply.json(&gateway, "show the node's status")?;
    output.print(&status, || shown(&status))
}

/// `drain`.
pub(super) async fn drain(args: &GatewayArg, output: Output) -> Result<(), Failure> {
    let gateway = gateway(args)?;
    let reply = gateway.ask(Method::POST, "/network/drain", None, DRAINED_WITHIN).await?;
    let drained = reply.json(&gateway, "drain the node")?;
    output.print(&drained, || "drained: it hosts nothing and can be stopped".to_owned())
}

/// `id`: of a node that runs, or from its key files.
pub(super) async fn id(args: &IdArgs, output: Output) -> Result<(), Failure> {
    let Some(dir) = &args.data_dir else {
        return status(&args.gateway, output).await;
    };
    let id = kept_id(dir)?;
    output.print(&id, || shown(&id))
}

fn kept_id(dir: &Path) -> Result<Value, Failure> {
    let load = |name| keys::load(&dir.join(name));
    let me = load("identity.key").map_err(|error| key::failure(&error))?;
    let me = NodeId::new(keys::public(&me));
    let owner = match load("owner.key") {
        Ok(key) => Some(keys::owner_text(&keys::owner(&key))),
        // A node may share an owner key that is kept elsewhere.
        Err(error) if error.is_absence() => None,
        Err(error) => return Err(key::failure(&error)),
    };
    // What only a running node knows is null.
    Ok(json!({
        "peer_id": me.to_string(), "owner": owner, "addresses": null,
        "version": env!("CARGO_PKG_VERSION"), "functions": null, "peers": null,
    }))
}

fn shown(status: &Value) -> String {
    let titles = ["peer_id", "owner", "version", "addresses", "functions", "peers"];
    let mut rows = Vec::new();
    for title in titles {
        if let Some(value) = status.get(title) {
            rows.push((title, cell(Some(value))));
        }
    }
    for (key, value) in status.as_object().into_iter().flatten() {
        if !titles.contains(&key.as_str()) {
            rows.push((key, cell(Some(value))));
        }
    }
    pairs(&rows)
}
