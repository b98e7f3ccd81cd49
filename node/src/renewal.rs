//! The owner's records signed again before they expire: when, the core decides.

use std::sync::Arc;

use peerless_core::{Event, Record, Request};

use crate::asks::ask;
use crate::clock;
use crate::node::Node;
use crate::record;

/// [`Effect::Renew`](peerless_core::Effect::Renew): signs a record for as long as a new one, and asks
/// for its deployment.
pub(crate) fn renew(node: &Arc<Node>, old: Arc<Record>) {
    let node = node.clone();
    tokio::spawn(async move {
        let name = record::details(&old).name;
        let expires_ms = clock::unix_ms() + record::LIFE_MS;
        let renewed = match record::renew(&old, expires_ms, &node.owner_key) {
            Ok(renewed) => renewed,
            Err(error) => return tracing::warn!(%name, %error, "a record cannot be signed again"),
        };
        let event = ask(&node, Request::Deploy(renewed)).await;
        if matches!(event, Event::Deployed { .. }) {
            tracing::info!(%name, "its record was renewed");
        } else {
            tracing::warn!(%name, ?event, "its record could not be renewed, and is tried again");
        }
    });
}
