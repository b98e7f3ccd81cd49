//! Why the core decided what it did: for logs and for whoever watches `/network/events`.

use peerless_core::{Name, Note, Target};
use serde_json::{Value, json};

use crate::bytes32::hex;
use crate::id::NodeId;
use crate::node::Node;

/// Logs a note, and hands it to the watchers, if there are any.
pub(crate) fn publish(node: &Node, note: &Note<NodeId>) {
    tracing::debug!(?note, "core");
    if node.notes.receiver_count() > 0 {
        let _ = node.notes.send(object(note).to_string().into());
    }
}

fn object(note: &Note<NodeId>) -> Value {
    match note {
        Note::Searched { ticket, target, found, cost } => json!({
            "event": "searched", "ticket": ticket, "target": target_text(target), "found": found,
            "rpcs": cost.rpcs, "timeouts": cost.timeouts, "rounds": cost.rounds,
        }),
        Note::Attempt { ticket, item, host, reason } => json!({
            "event": "attempt", "ticket": ticket, "item": item, "host": host.to_string(),
            "reason": format!("{reason:?}").to_lowercase(),
        }),
        Note::Declined { function, peer, why } => json!({
            "event": "declined", "function": name_text(function), "peer_id": peer.to_string(),
            "reason": reason(*why),
        }),
        Note::Lost { function, peer } => json!({
            "event": "lost", "function": name_text(function), "peer_id": peer.to_string(),
        }),
        Note::Repair { function, rank, live, wanted } => json!({
            "event": "repair", "function": name_text(function), "rank": rank, "live": live,
            "wanted": wanted,
        }),
        Note::Suspects { failed, asked } => json!({
            "event": "suspects-itself", "failed": failed, "asked": asked,
        }),
        Note::HandsOn { function, full } => json!({
            "event": "hands-on", "function": name_text(function), "full": full,
        }),
        Note::HandedOn { function, to } => json!({
            "event": "handed-on", "function": name_text(function), "peer_id": to.to_string(),
        }),
        Note::Retire { function, live } => json!({
            "event": "retire", "function": name_text(function), "live": live,
        }),
    }
}

/// A reason to decline, in a word.
pub(crate) fn reason(why: peerless_core::Decline) -> &'static str {
    use peerless_core::Decline;
    match why {
        Decline::Runtime => "runtime",
        Decline::Constraint => "constraint",
        Decline::Policy => "policy",
        Decline::Full => "full",
        Decline::Busier => "busier",
        Decline::Superseded => "superseded",
        Decline::Lapsed => "lapsed",
        Decline::Fetch => "fetch",
        Decline::Install => "install",
        Decline::Store => "store",
        Decline::NoHolder => "no-holder",
        Decline::Silent => "silent",
    }
}

fn name_text(name: &Name) -> String {
    hex(&name.0)
}

fn target_text(target: &Target<NodeId>) -> String {
    match target {
        Target::Peer(peer) => peer.to_string(),
        Target::Name(name) => name_text(name),
    }
}
