//! Messages between the core and other nodes: from effects to bytes, and from bytes to inputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use peerless_core::{Answer, Effect, Group, Input, Message, Query, Tag};
use peerless_net::{Event, Kind, Reply, RequestError, address_group, is_relayed};
use tokio::sync::mpsc;

use crate::id::NodeId;
use crate::node::Node;
use crate::quota::Quota;
use crate::verify::Verifier;
use crate::wire::{self, Asked, Form, Hearsay, WireError};

/// Questions of others that wait for the core's answer. Over it the oldest gets none.
const REPLIES_MAX: usize = 4096;
/// A query's connection, stream and answer together; the core gives it up earlier.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Peers of whose addresses one peer may tell us in a minute. A search brings 20 from each peer that
/// is asked, and a function's hosts are at most 128 with as many sources.
const HEARSAY_MAX: u32 = 2048;
/// Signatures of one peer's records that are checked in a minute.
const RECORDS_A_MINUTE_MAX: u32 = 6000;

/// What peers may tell us in a minute.
pub(crate) struct Quotas {
    hearsay: Quota,
    records: Quota,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { hearsay: Quota::new(HEARSAY_MAX), records: Quota::new(RECORDS_A_MINUTE_MAX) }
    }
}

/// The ways back to those who asked, under the tags that were made for them.
#[derive(Default)]
pub(crate) struct Replies(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    next: u64,
    open: BTreeMap<u64, Waiting>,
}

/// Somebody who asked.
struct Waiting {
    reply: Reply,
    form: Form,
    from: NodeId,
    /// Learnt once the core has noted what was said.
    hearsay: Hearsay,
}

impl Replies {
    fn put(&self, waiting: Waiting) -> Tag {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = pending.next;
        pending.next += 1;
        if waiting.form != Form::Nothing {
            pending.open.insert(number, waiting);
        }
        if pending.open.len() > REPLIES_MAX {
            pending.open.pop_first();
        }
        Tag { slot: number as u32, epoch: (number >> 32) as u32, incarnation: 0 }
    }

    fn take(&self, tag: Tag) -> Option<Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&number(tag))
    }

    /// The hearsay that came with a question; it is handed out once.
    fn hearsay(&self, tag: Tag) -> Option<(NodeId, Hearsay)> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = pending.open.get_mut(&number(tag))?;
        Some((waiting.from, std::mem::take(&mut waiting.hearsay)))
    }
}

fn number(tag: Tag) -> u64 {
    u64::from(tag.slot) | u64::from(tag.epoch) << 32
}

/// Learns where the peers are that a question named, if the core took note of it: before any other
/// effect is performed, for the first may already be to fetch from them.
pub(crate) fn learn_noted(node: &Node, effects: &[Effect<NodeId>]) {
    for effect in effects {
        if let Effect::Send { message: Message::Answer(tag, Answer::Noted(true)), .. } = effect
            && let Some((from, hearsay)) = node.replies.hearsay(*tag)
        {
            learn(node, from, hearsay);
        }
    }
}

/// [`Effect::Send`](peerless_core::Effect::Send).
pub(crate) fn send(node: &Arc<Node>, to: NodeId, message: Message<NodeId>) {
    match message {
        Message::Query(tag, query) => query_peer(node, to, tag, &query),
        Message::Answer(tag, answer) => reply(node, tag, &answer),
    }
}

fn query_peer(node: &Arc<Node>, to: NodeId, tag: Tag, query: &Query<NodeId>) {
    let (kind, bytes) = wire::encode_query(query, node.as_ref());
    let node = node.clone();
    tokio::spawn(async move {
        let asked = node.net().request(to.key_bytes(), kind, bytes, REQUEST_TIMEOUT).await;
        let answer =
            asked.map_err(Some).and_then(|bytes| match wire::decode_answer(kind, &bytes) {
                Ok(heard) => Ok(heard),
                Err(error) => {
                    tracing::debug!(peer = %to, %error, "dropped an answer");
                    Err(None)
                }
            });
        match answer {
            Ok((answer, hearsay)) => {
                learn(&node, to, hearsay);
                let message = Message::Answer(tag, answer);
                node.tell(Input::Heard { from: to, message }).await;
            }
            Err(why) => {
                node.tell(Input::Failed { tag }).await;
                // For want of room of our own nothing is known of the peer.
                if why == Some(RequestError::Unreached) {
                    node.tell(Input::Unreached { peer: to }).await;
                }
            }
        }
    });
}

fn reply(node: &Node, tag: Tag, answer: &Answer<NodeId>) {
    if let Some(Waiting { reply, form, .. }) = node.replies.take(tag) {
        match wire::encode_answer(&form, answer, node) {
            Some(bytes) => reply.send(bytes),
            None => reply.refuse(),
        }
    }
}

/// Files what a peer told of others, as far as its quota goes.
fn learn(node: &Node, informant: NodeId, hearsay: Hearsay) {
    for (peer, addresses) in hearsay {
        if peer == node.me {
            continue;
        }
        if !node.quotas.hearsay.take(informant, 1) {
            tracing::debug!(peer = %informant, "heard enough of it for now");
            return;
        }
        node.net().hear(informant.key_bytes(), peer.key_bytes(), addresses);
    }
}

/// Takes what the network says, until it ends.
pub(crate) async fn listen(node: Arc<Node>, mut events: mpsc::Receiver<Event>) {
    let mut verifier = Verifier::default();
    while let Some(event) = events.recv().await {
        match event {
            Event::Listening(address) => tracing::info!(%address, "listening"),
            Event::Met { peer, serves, observed, .. } => {
                let (group, relayed) = (address_group(&observed).map(Group), is_relayed(&observed));
                tracing::debug!(peer = %NodeId::new(peer), serves, %observed, "met");
                if serves {
                    node.store.met(peer, node.net().addresses_of(&peer));
                }
                let peer = NodeId::new(peer);
                node.tell(Input::Met { peer, serves, group, relayed }).await;
            }
            // That a connection closed says nothing of the peer: connections are few.
            Event::Lost { peer } => tracing::debug!(peer = %NodeId::new(peer), "lost"),
            Event::Request { from, kind, body, reply } => {
                let asking = Asking { from: NodeId::new(from), kind, body, reply };
                asked(&node, &mut verifier, asking).await;
            }
        }
    }
}

/// A question as it came.
pub(crate) struct Asking {
    pub(crate) from: NodeId,
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
    pub(crate) reply: Reply,
}

/// Reads a question at once if that costs little, and else apart: this is the one task that listens.
async fn asked(node: &Arc<Node>, verifier: &mut Verifier, asking: Asking) {
    let records = wire::records_in(asking.kind, &asking.body) as u32;
    if records > 0 && !node.quotas.records.take(asking.from, records) {
        tracing::debug!(peer = %asking.from, records, "refused records");
        return asking.reply.refuse();
    }
    if records == 0 && !verifier.is_busy_with(asking.from) {
        let decoded = wire::decode_query(asking.kind, asking.from, &asking.body);
        return heard(node, asking.from, asking.reply, decoded).await;
    }
    verifier.verify(node, asking);
}

/// Tells the core of a question, or the peer what is wrong with it.
pub(crate) async fn heard(
    node: &Node,
    from: NodeId,
    reply: Reply,
    decoded: Result<Asked, WireError>,
) {
    match decoded {
        Ok(Asked { query, form, hearsay }) => {
            // Of itself alone may a peer speak unasked.
            let (own, others): (Hearsay, Hearsay) =
                hearsay.into_iter().partition(|(peer, _)| *peer == from);
            learn(node, from, own);
            let tag = node.replies.put(Waiting { reply, form, from, hearsay: others });
            node.tell(Input::Heard { from, message: Message::Query(tag, query) }).await;
        }
        Err(WireError::Unsupported(what)) => {
            tracing::debug!(peer = %from, what, "refused a question");
            reply.refuse();
        }
        Err(error) => {
            tracing::debug!(peer = %from, %error, "dropped a question");
            reply.malformed();
        }
    }
}
