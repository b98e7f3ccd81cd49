//! Messages between the core and other nodes: from effects to bytes, and from bytes to inputs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use peerless_core::{Answer, Input, Message, Query, Tag};
use peerless_net::{Event, Kind, Reply, RequestError};
use tokio::sync::mpsc;

use crate::id::NodeId;
use crate::node::Node;
use crate::wire::{self, Form, Hearsay, WireError};

/// Questions of others that wait for the core's answer. Over it the oldest gets none.
const REPLIES_MAX: usize = 4096;
/// A query's connection, stream and answer together; the core gives it up earlier.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The ways back to those who asked, under the tags that were made for them.
#[derive(Default)]
pub(crate) struct Replies(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    next: u64,
    open: BTreeMap<u64, (Reply, Form)>,
}

impl Replies {
    fn put(&self, reply: Reply, form: Form) -> Tag {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = pending.next;
        pending.next += 1;
        if form != Form::Nothing {
            pending.open.insert(number, (reply, form));
        }
        if pending.open.len() > REPLIES_MAX {
            pending.open.pop_first();
        }
        Tag { slot: number as u32, epoch: (number >> 32) as u32, incarnation: 0 }
    }

    fn take(&self, tag: Tag) -> Option<(Reply, Form)> {
        let number = u64::from(tag.slot) | u64::from(tag.epoch) << 32;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&number)
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
                learn(&node, hearsay);
                let message = Message::Answer(tag, answer);
                node.tell(Input::Heard { from: to, message }).await;
            }
            Err(why) => {
                node.tell(Input::Failed { tag }).await;
                if why == Some(RequestError::Unreached) {
                    node.tell(Input::Unreached { peer: to }).await;
                }
            }
        }
    });
}

fn reply(node: &Node, tag: Tag, answer: &Answer<NodeId>) {
    if let Some((reply, form)) = node.replies.take(tag) {
        match wire::encode_answer(&form, answer, node) {
            Some(bytes) => reply.send(bytes),
            None => reply.refuse(),
        }
    }
}

fn learn(node: &Node, hearsay: Hearsay) {
    for (peer, addresses) in hearsay {
        if peer != node.me {
            node.net().learn(peer.key_bytes(), addresses);
        }
    }
}

/// Takes what the network says, until it ends.
pub(crate) async fn listen(node: Arc<Node>, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Listening(address) => tracing::info!(%address, "listening"),
            Event::Met { peer, serves, addresses, observed } => {
                tracing::debug!(peer = %NodeId::new(peer), serves, %observed, "met");
                node.net().learn(&peer, addresses);
                if serves {
                    node.store.met(peer, node.net().addresses_of(&peer));
                }
                node.tell(Input::Met { peer: NodeId::new(peer), serves }).await;
            }
            // That a connection closed says nothing of the peer: connections are few.
            Event::Lost { peer } => tracing::debug!(peer = %NodeId::new(peer), "lost"),
            Event::Request { from, kind, body, reply } => {
                asked(&node, NodeId::new(from), kind, &body, reply).await;
            }
        }
    }
}

async fn asked(node: &Node, from: NodeId, kind: Kind, body: &Bytes, reply: Reply) {
    match wire::decode_query(kind, from, body) {
        Ok(asked) => {
            learn(node, asked.hearsay);
            let tag = node.replies.put(reply, asked.form);
            let message = Message::Query(tag, asked.query);
            node.tell(Input::Heard { from, message }).await;
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
