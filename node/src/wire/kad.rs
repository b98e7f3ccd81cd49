//! libp2p's Kademlia messages, so that any libp2p implementation can find a function's hosts.
//!
//! `Message { type 1, key 2, record 3, closerPeers 8, providerPeers 9 }`,
//! `Peer { id 1, addrs 2, connection 3 }`, `Record { key 1, value 2 }`. Ours beyond it, which
//! others skip: the signed record in 1000, the answerer's load in 1001.

use peerless_core::{Answer, Load, Name, Query, Target};

use super::{
    Addresses, Asked, Form, Hearsay, PEERS_MAX, WireError, read_load, read_peer, read_record,
    write_load, write_peer,
};
use crate::bytes32::sha256;
use crate::id::{NodeId, name_bytes, name_from_bytes};
use crate::proto::{Malformed, Reader, Value, Writer, once};

/// Largest message, as rust-libp2p has it.
pub(crate) const BYTES_MAX: usize = 16 * 1024;
/// Under this and a function's full name, others find its record with GET_VALUE.
const VALUE_PREFIX: &str = "/peerless/";
const KEY_BYTES_MAX: usize = 256;
const RECORD_FIELD: u32 = 1000;
const LOAD_FIELD: u32 = 1001;

/// The type of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Type {
    PutValue = 0,
    GetValue = 1,
    AddProvider = 2,
    GetProviders = 3,
    FindNode = 4,
}

impl Type {
    fn from_number(number: u64) -> Result<Self, WireError> {
        Ok(match number {
            0 => Self::PutValue,
            1 => Self::GetValue,
            2 => Self::AddProvider,
            3 => Self::GetProviders,
            4 => Self::FindNode,
            5 => return Err(WireError::Unsupported("PING")),
            _ => return Err(Malformed("an unknown type").into()),
        })
    }
}

/// A message as it stands on the wire.
#[derive(Default)]
struct Raw<'a> {
    of: u64,
    key: Option<&'a [u8]>,
    value: Option<Value<'a>>,
    closer: Vec<NodeId>,
    providers: Vec<NodeId>,
    record: Option<Value<'a>>,
    load: Option<Load>,
    hearsay: Hearsay,
}

fn read(bytes: &[u8]) -> Result<Raw<'_>, WireError> {
    let mut raw = Raw::default();
    let mut of = None;
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut of, value.uint()?)?,
            2 => once(&mut raw.key, value.bytes()?)?,
            3 => raw.value = read_value(value)?,
            8 => read_peer(&mut raw.closer, &mut raw.hearsay, value)?,
            9 => read_peer(&mut raw.providers, &mut raw.hearsay, value)?,
            RECORD_FIELD => once(&mut raw.record, value)?,
            LOAD_FIELD => once(&mut raw.load, read_load(value)?)?,
            _ => {}
        }
    }
    raw.of = of.unwrap_or(0);
    if raw.key.is_some_and(|key| key.len() > KEY_BYTES_MAX) {
        return Err(Malformed("a key is too long").into());
    }
    Ok(raw)
}

/// The value inside a Kademlia record.
fn read_value(value: Value<'_>) -> Result<Option<Value<'_>>, Malformed> {
    let mut inner = None;
    let mut reader = value.message()?;
    while let Some((field, value)) = reader.field()? {
        if field == 2 {
            once(&mut inner, value)?;
        }
    }
    Ok(inner)
}

/// Kademlia's bytes for what a search is for.
fn key_of(target: &Target<NodeId>) -> Vec<u8> {
    match target {
        Target::Peer(peer) => peer.id_bytes().to_vec(),
        Target::Name(name) => name_bytes(name).to_vec(),
    }
}

/// `Find` and `Hosts`; nothing else goes this way.
pub(crate) fn encode_query(query: &Query<NodeId>) -> Vec<u8> {
    let mut writer = Writer::default();
    match query {
        Query::Find(target) => {
            writer.uint(1, Type::FindNode as u64);
            writer.bytes(2, &key_of(target));
        }
        Query::Hosts(name) => {
            writer.uint(1, Type::GetProviders as u64);
            writer.bytes(2, &name_bytes(name));
        }
        other => unreachable!("{other:?} goes over our own protocol"),
    }
    writer.finish()
}

/// Whether a query stores a record.
pub(crate) fn has_record(bytes: &[u8]) -> bool {
    read(bytes).is_ok_and(|raw| raw.of == Type::PutValue as u64)
}

/// What a peer asks: one of ours, or any libp2p client.
pub(crate) fn decode_query(from: NodeId, bytes: &[u8]) -> Result<Asked, WireError> {
    let raw = read(bytes)?;
    let of = Type::from_number(raw.of)?;
    if of == Type::PutValue {
        let value = raw.value.ok_or(Malformed("PUT_VALUE without a value"))?;
        let query = Query::Store(read_record(value)?);
        return Ok(Asked { query, form: Form::KadStored(bytes.to_vec()), hearsay: Vec::new() });
    }
    let key = raw.key.ok_or(Malformed("no key"))?;
    let form = Form::Kad(of, key.to_vec());
    let asked = |query| Ok(Asked { query, form, hearsay: Vec::new() });
    let unknown_key = || WireError::Unsupported("a key that is neither a peer's nor a name's");
    match of {
        Type::FindNode => {
            let target = NodeId::from_id_bytes(key).map(Target::Peer);
            let target = target.or_else(|| name_from_bytes(key).map(Target::Name));
            asked(Query::Find(target.ok_or_else(unknown_key)?))
        }
        Type::GetProviders => asked(Query::Hosts(name_from_bytes(key).ok_or_else(unknown_key)?)),
        Type::GetValue => {
            let name = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(VALUE_PREFIX));
            let name = name.ok_or_else(unknown_key)?;
            asked(Query::Hosts(Name(sha256(name.as_bytes()))))
        }
        Type::AddProvider => {
            let name = name_from_bytes(key).ok_or_else(unknown_key)?;
            if !raw.providers.contains(&from) {
                return Err(WireError::Unsupported("ADD_PROVIDER for another peer"));
            }
            let hearsay = raw.hearsay.into_iter().filter(|(peer, _)| *peer == from).collect();
            Ok(Asked { query: Query::Provide(name, None), form: Form::Nothing, hearsay })
        }
        Type::PutValue => unreachable!("handled above"),
    }
}

/// A `Found`: hosts first, then the record, then closer peers while they fit.
pub(crate) fn encode_found(
    of: Type,
    key: &[u8],
    answer: &Answer<NodeId>,
    book: &dyn Addresses,
) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.uint(1, of as u64);
    writer.bytes(2, key);
    let Answer::Found { closer, hosts, record, load } = answer else {
        return writer.finish();
    };
    write_load(&mut writer, LOAD_FIELD, load);
    if let Some(record) = record {
        if of == Type::GetValue {
            writer.message(3, |value| {
                value.bytes(1, key);
                value.bytes(2, &record.bytes);
            });
        } else {
            writer.bytes(RECORD_FIELD, &record.bytes);
        }
    }
    // Closer peers come closest first, so the farther ones are what is dropped.
    for (field, peers) in [(9, hosts), (8, closer)] {
        for peer in peers.iter().take(PEERS_MAX) {
            let mut entry = Writer::default();
            write_peer(&mut entry, field, peer, book);
            let entry = entry.finish();
            if writer.len() + entry.len() > BYTES_MAX {
                break;
            }
            writer.append(&entry);
        }
    }
    writer.finish()
}

/// The answer to [`encode_query`].
pub(crate) fn decode_found(bytes: &[u8]) -> Result<(Answer<NodeId>, Hearsay), WireError> {
    let raw = read(bytes)?;
    let record = raw.record.map(read_record).transpose()?;
    let load = raw.load.unwrap_or_default();
    let answer = Answer::Found { closer: raw.closer, hosts: raw.providers, record, load };
    Ok((answer, raw.hearsay))
}
