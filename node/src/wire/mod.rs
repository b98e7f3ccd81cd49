//! [`Message`](peerless_core::Message)s of the core as bytes, both ways.
//!
//! Finding goes over libp2p's Kademlia protobuf ([`kad`]), everything else over messages of our
//! own ([`peer`]). A tag never travels: a stream pairs an answer with its question. Addresses
//! travel beside each peer, out of the book and into it, and the core never sees them.
//!
//! Everything here is fed by strangers: sizes and counts are checked before anything is kept,
//! records are verified before the core can hear of them, and no bytes make it panic.

pub(crate) mod kad;
pub(crate) mod peer;

use std::sync::Arc;

use bytes::Bytes;
use peerless_core::{Answer, Load, Query, Record};
use peerless_net::{Kind, Multiaddr};

use crate::id::NodeId;
use crate::proto::{Malformed, Reader, Value, Writer, once, push};
use crate::record::{self, RecordError};

/// Addresses that travel with a peer.
pub(crate) const ADDRESSES_MAX: usize = 4;
/// Peers in one list.
const PEERS_MAX: usize = 128;
/// Bytes of one address: longer ones are no TCP address.
const ADDRESS_BYTES_MAX: usize = 300;

/// Where addresses come from when a peer is named to others.
pub trait Addresses {
    /// Addresses at which others may reach it, the best first.
    fn addresses(&self, peer: &NodeId) -> Vec<Multiaddr>;
}

/// What a message told about where peers are.
pub type Hearsay = Vec<(NodeId, Vec<Multiaddr>)>;

/// Why a message was dropped.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not of the form.
    #[error("malformed message: {0}")]
    Malformed(#[from] Malformed),
    /// A record in it is none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Of the form, but nothing that this node answers.
    #[error("not answered here: {0}")]
    Unsupported(&'static str),
}

/// A question from a peer.
#[derive(Debug)]
pub struct Asked {
    /// For the core.
    pub query: Query<NodeId>,
    /// How its answer is to be written.
    pub form: Form,
    /// For the book.
    pub hearsay: Hearsay,
}

/// The form of an answer, which follows from its question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Kademlia's, with this type and key.
    Kad(kad::Type, Vec<u8>),
    /// Kademlia's echo of a stored record.
    KadStored(Vec<u8>),
    /// None is due.
    Nothing,
    /// Our own.
    Peer,
}

/// A query as bytes, and over which protocol it goes.
pub fn encode_query(query: &Query<NodeId>, book: &dyn Addresses) -> (Kind, Bytes) {
    match query {
        Query::Find(_) | Query::Hosts(_) => (Kind::Kad, kad::encode_query(query).into()),
        Query::Provide(..)
        | Query::Store(_)
        | Query::Offer { .. }
        | Query::Confirm { .. }
        | Query::Release { .. }
        | Query::Placed { .. }
        | Query::Probe(_)
        | Query::Sync { .. } => (Kind::Peer, peer::encode_query(query, book).into()),
    }
}

/// How many records' signatures [`decode_query`] would check; nothing is checked here. 1 for what
/// is malformed: that is said when it is decoded.
pub(crate) fn records_in(kind: Kind, bytes: &[u8]) -> usize {
    match kind {
        Kind::Kad => usize::from(kad::has_record(bytes)),
        Kind::Peer => peer::records_in(bytes).unwrap_or(1),
    }
}

/// What a peer asks.
pub fn decode_query(kind: Kind, from: NodeId, bytes: &[u8]) -> Result<Asked, WireError> {
    match kind {
        Kind::Kad => kad::decode_query(from, bytes),
        Kind::Peer => peer::decode_query(bytes),
    }
}

/// An answer as bytes; `None` where none is due.
pub fn encode_answer(form: &Form, answer: &Answer<NodeId>, book: &dyn Addresses) -> Option<Bytes> {
    match form {
        Form::Kad(of, key) => Some(kad::encode_found(*of, key, answer, book).into()),
        Form::KadStored(message) => match answer {
            Answer::Stored { kept: true, .. } => Some(message.clone().into()),
            _ => None,
        },
        Form::Nothing => None,
        Form::Peer => Some(peer::encode_answer(answer, book).into()),
    }
}

/// What a peer answers to a query that went over `kind`.
pub fn decode_answer(kind: Kind, bytes: &[u8]) -> Result<(Answer<NodeId>, Hearsay), WireError> {
    match kind {
        Kind::Kad => kad::decode_found(bytes),
        Kind::Peer => peer::decode_answer(bytes),
    }
}

/// Id 1, addresses 2: the same in Kademlia's messages and ours.
fn write_peer(writer: &mut Writer, field: u32, peer: &NodeId, book: &dyn Addresses) {
    writer.message(field, |entry| {
        entry.bytes(1, &peer.id_bytes());
        for address in book.addresses(peer).iter().take(ADDRESSES_MAX) {
            entry.bytes(2, address.as_ref());
        }
    });
}

/// Reads a peer into a list. One whose key is of another kind, or whose address is unknown to us,
/// is no fault: other implementations may know more.
fn read_peer(
    list: &mut Vec<NodeId>,
    hearsay: &mut Hearsay,
    value: Value<'_>,
) -> Result<(), Malformed> {
    let (mut id, mut addresses) = (None, Vec::new());
    let mut reader = value.message()?;
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut id, value.bytes()?)?,
            2 if addresses.len() < ADDRESSES_MAX => {
                let bytes = value.bytes()?;
                if bytes.len() <= ADDRESS_BYTES_MAX {
                    addresses.extend(Multiaddr::try_from(bytes.to_vec()));
                }
            }
            _ => {}
        }
    }
    let id = id.ok_or(Malformed("a peer without id"))?;
    if let Some(peer) = NodeId::from_id_bytes(id) {
        push(list, PEERS_MAX, peer)?;
        if !addresses.is_empty() {
            hearsay.push((peer, addresses));
        }
    }
    Ok(())
}

fn write_load(writer: &mut Writer, field: u32, load: &Load) {
    writer.message(field, |entry| {
        let numbers = [load.slots, load.running, load.queued, load.queue, load.hosted, load.room];
        for (field, number) in (1..).zip(numbers) {
            entry.uint(field, u64::from(number));
        }
    });
}

fn read_load(value: Value<'_>) -> Result<Load, Malformed> {
    let mut load = Load::default();
    let mut reader = value.message()?;
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => load.slots = value.u16()?,
            2 => load.running = value.u16()?,
            3 => load.queued = value.u16()?,
            4 => load.queue = value.u16()?,
            5 => load.hosted = value.u16()?,
            6 => load.room = value.u16()?,
            _ => {}
        }
    }
    Ok(load)
}

fn read_record(value: Value<'_>) -> Result<Arc<Record>, WireError> {
    Ok(record::verify(value.bytes()?)?)
}

/// For tests that feed it bytes: decodes them as everything they could be.
pub fn fuzz(bytes: &[u8]) {
    let from = NodeId::new([9; 32]);
    for kind in [Kind::Kad, Kind::Peer] {
        if let Ok(asked) = decode_query(kind, from, bytes) {
            let (kind, again) = encode_query(&asked.query, &NoBook);
            let _ = decode_query(kind, from, &again);
        }
        if let Ok((answer, _)) = decode_answer(kind, bytes) {
            let form = match kind {
                Kind::Kad => Form::Kad(kad::Type::GetProviders, vec![1]),
                Kind::Peer => Form::Peer,
            };
            let again = encode_answer(&form, &answer, &NoBook).expect("both forms are due");
            let (decoded, _) = decode_answer(kind, &again).expect("what we write we can read");
            assert_eq!(decoded, answer);
        }
    }
    let _ = record::verify(bytes);
    let mut reader = Reader(bytes);
    while let Ok(Some(_)) = reader.field() {}
}

/// A book without addresses.
pub struct NoBook;

impl Addresses for NoBook {
    fn addresses(&self, _: &NodeId) -> Vec<Multiaddr> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
