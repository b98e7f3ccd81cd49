//! Contacts: the addresses behind the core's numbers, and what came of dialling each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peerless_core::{Contact, Dialled, Input, Query, Tag, Target};
use peerless_net::{DialError, Multiaddr, PeerKey, RequestError};

use crate::id::NodeId;
use crate::node::Node;
use crate::wire;

/// How long somebody may take to be reached and to answer one question.
const GREET_WITHIN: Duration = Duration::from_secs(20);

/// The addresses that the user named, and some that were known before.
#[derive(Default)]
pub(crate) struct Contacts(Vec<Entry>);

struct Entry {
    address: Multiaddr,
    named: bool,
    /// Why nobody was met there last time.
    why: Mutex<String>,
}

impl Contacts {
    /// Those that the user named come first.
    pub(crate) fn new(named: &[Multiaddr], known: Vec<Multiaddr>) -> Self {
        let entry = |named| move |address| Entry { address, named, why: Mutex::default() };
        let named = named.iter().cloned().map(entry(true));
        Self(named.chain(known.into_iter().map(entry(false))).collect())
    }

    /// Every contact.
    pub(crate) fn all(&self) -> impl Iterator<Item = Contact> + use<> {
        0..self.0.len() as Contact
    }

    /// Where it is, whether the user named it, and why nobody was met there.
    pub(crate) fn described(&self, contact: Contact) -> (&Multiaddr, bool, String) {
        let Entry { address, named, why } = &self.0[contact as usize];
        (address, *named, why.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// [`Effect::Dial`](peerless_core::Effect::Dial): connects to an address and asks whoever is there
/// one question. A connection alone says little: nodes of all networks have the same handshake, and
/// only one of ours has our protocol.
pub(crate) fn dial(node: &Arc<Node>, tag: Tag, contact: Contact) {
    let node = node.clone();
    tokio::spawn(async move {
        let entry = &node.contacts.0[contact as usize];
        let met = tokio::time::timeout(GREET_WITHIN, greet(&node, &entry.address)).await;
        let met = met.unwrap_or_else(|_| {
            let words = format!("no answer within {} s", GREET_WITHIN.as_secs());
            Err((Dialled::Nobody, words))
        });
        let outcome = met.map_or_else(
            |(outcome, words)| {
                tracing::debug!(address = %entry.address, words, "met nobody");
                *entry.why.lock().unwrap_or_else(PoisonError::into_inner) = words;
                outcome
            },
            |peer| Dialled::Met(NodeId::new(peer)),
        );
        node.tell(Input::Dialled { tag, outcome }).await;
    });
}

async fn greet(
    node: &Arc<Node>,
    address: &Multiaddr,
) -> Result<PeerKey, (Dialled<NodeId>, String)> {
    let net = node.net();
    let peer = net.dial(address.clone()).await.map_err(|error| {
        let turned_away = matches!(error, DialError::TurnedAway(_) | DialError::NoRoom);
        let outcome = if turned_away { Dialled::Busy } else { Dialled::Nobody };
        (outcome, error.to_string())
    })?;
    let (kind, question) = wire::encode_query(&Query::Find(Target::Peer(node.me)), node.as_ref());
    match net.request(&peer, kind, question, GREET_WITHIN).await {
        // One that is too busy to answer says so in our protocol.
        Ok(_) | Err(RequestError::Refused | RequestError::TooLarge) => Ok(peer),
        Err(RequestError::Unsupported) => {
            let words = format!("is not in network {:?}", node.settings.network);
            Err((Dialled::Nobody, words))
        }
        Err(error @ RequestError::TimedOut) => Err((Dialled::Nobody, after(error))),
        // It may have closed the connection for want of room.
        Err(error) => Err((Dialled::Busy, after(error))),
    }
}

fn after(error: RequestError) -> String {
    format!("connected, and then: {error}")
}
