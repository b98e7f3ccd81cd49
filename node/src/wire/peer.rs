//! Peerless's own messages: one field says which it is, its message says the rest.
//!
//! ```text
//! Query   { provide 1, store 2, offer 3, confirm 4, release 5, placed 6, probe 7, sync 8,
//!           withdraw 9 }
//! Answer  { stored 1, offered 3, noted 4, probed 7, synced 8 }
//! ```
//!
//! Fields that are not known are skipped, so the next version can add some; a message none of whose
//! fields is known is malformed. The version itself is in the protocol's name.

use peerless_core::{Answer, Content, Decline, Digest, Name, Owner, Query, Rank};

use super::{
    Addresses, Asked, Form, Hearsay, WireError, read_load, read_peer, read_record, write_load,
    write_peer,
};
use crate::id::NodeId;
use crate::proto::{Malformed, Reader, Value, Writer, once, push};
use crate::record;

/// Largest message: what the transport takes.
pub(crate) const BYTES_MAX: usize = 64 * 1024;
/// Names with versions in one message.
const VERSIONS_MAX: usize = 1024;
/// Names with ranks in one message.
const RANKS_MAX: usize = 512;
/// Records in one message: the most that `core.sync_records_max` may be.
pub(crate) const RECORDS_MAX: usize = 8;

const PROVIDE: u32 = 1;
const STORE: u32 = 2;
const OFFER: u32 = 3;
const CONFIRM: u32 = 4;
const RELEASE: u32 = 5;
const PLACED: u32 = 6;
const PROBE: u32 = 7;
const SYNC: u32 = 8;
const WITHDRAW: u32 = 9;

const STORED: u32 = 1;
const OFFERED: u32 = 3;
const NOTED: u32 = 4;
const PROBED: u32 = 7;
const SYNCED: u32 = 8;

/// In the order of their numbers on the wire, from 1.
const DECLINES: [Decline; 12] = [
    Decline::Runtime,
    Decline::Constraint,
    Decline::Policy,
    Decline::Full,
    Decline::Busier,
    Decline::Superseded,
    Decline::Lapsed,
    Decline::Fetch,
    Decline::Install,
    Decline::Store,
    Decline::Silent,
    Decline::NoHolder,
];

pub(crate) fn encode_query(query: &Query<NodeId>, book: &dyn Addresses) -> Vec<u8> {
    let mut message = Writer::default();
    match query {
        Query::Find(_) | Query::Hosts(_) => unreachable!("{query:?} goes over Kademlia"),
        Query::Provide(name, record) => message.message(PROVIDE, |m| {
            m.bytes(1, &name.0);
            if let Some(record) = record {
                m.bytes(2, &record.bytes);
            }
        }),
        Query::Withdraw(name) => message.message(WITHDRAW, |m| m.bytes(1, &name.0)),
        Query::Store(record) => message.message(STORE, |m| m.bytes(2, &record.bytes)),
        Query::Offer { record, waive } => message.message(OFFER, |m| {
            m.bytes(2, &record.bytes);
            m.uint(3, u64::from(*waive));
        }),
        Query::Confirm { function, version, sources, mates } => message.message(CONFIRM, |m| {
            write_version(m, function, *version);
            for peer in sources {
                write_peer(m, 3, peer, book);
            }
            for peer in mates {
                write_peer(m, 4, peer, book);
            }
        }),
        Query::Release { function, version } => {
            message.message(RELEASE, |m| write_version(m, function, *version));
        }
        Query::Placed { function, version, failure } => message.message(PLACED, |m| {
            write_version(m, function, *version);
            m.uint(3, decline_number(*failure));
        }),
        Query::Probe(versions) => message.message(PROBE, |m| write_versions(m, 1, versions)),
        Query::Sync { owner, records, have, range } => message.message(SYNC, |m| {
            m.bytes(1, &owner.0);
            for record in records {
                m.bytes(2, &record.bytes);
            }
            for (function, rank) in have {
                m.message(3, |entry| write_rank(entry, function, rank));
            }
            if let Some(range) = range {
                m.bytes(4, &range.0.0);
                m.bytes(5, &range.1.0);
            }
        }),
    }
    message.finish()
}

/// How many records a query has, without a look at them.
pub(crate) fn records_in(bytes: &[u8]) -> Result<usize, Malformed> {
    let (field, value) = the_one(bytes, PROVIDE..=WITHDRAW)?;
    let mut records = 0;
    if matches!(field, PROVIDE | STORE | OFFER | SYNC) {
        let mut reader = value.message()?;
        while let Some((field, _)) = reader.field()? {
            records += usize::from(field == 2);
        }
    }
    Ok(records)
}

pub(crate) fn decode_query(bytes: &[u8]) -> Result<Asked, WireError> {
    let mut hearsay = Hearsay::new();
    let (field, value) = the_one(bytes, PROVIDE..=WITHDRAW)?;
    let fields = Fields::read(value, &mut hearsay, field == CONFIRM)?;
    let query = match field {
        PROVIDE => Query::Provide(fields.name()?, fields.record.map(read_record).transpose()?),
        WITHDRAW => Query::Withdraw(fields.name()?),
        STORE => Query::Store(fields.record()?),
        OFFER => Query::Offer { record: fields.record()?, waive: fields.third != 0 },
        CONFIRM => {
            let (function, version) = fields.version()?;
            Query::Confirm { function, version, sources: fields.sources, mates: fields.mates }
        }
        RELEASE => {
            let (function, version) = fields.version()?;
            Query::Release { function, version }
        }
        PLACED => {
            let (function, version) = fields.version()?;
            let failure = read_decline(fields.third);
            Query::Placed { function, version, failure }
        }
        PROBE => Query::Probe(read_probe(value)?),
        _ => read_sync(value)?,
    };
    Ok(Asked { query, form: Form::Peer, hearsay })
}

pub(crate) fn encode_answer(answer: &Answer<NodeId>, book: &dyn Addresses) -> Vec<u8> {
    let mut message = Writer::default();
    match answer {
        // No question that comes this way has this answer.
        Answer::Found { .. } => {}
        Answer::Stored { kept, newer, hosts } => message.message(STORED, |m| {
            m.uint(1, u64::from(*kept));
            if let Some(record) = newer {
                m.bytes(2, &record.bytes);
            }
            for peer in hosts {
                write_peer(m, 3, peer, book);
            }
        }),
        Answer::Offered { decline, load } => message.message(OFFERED, |m| {
            m.uint(1, decline_number(*decline));
            write_load(m, 2, load);
        }),
        Answer::Noted(known) => message.message(NOTED, |m| m.uint(1, u64::from(*known))),
        Answer::Probed { serving, load } => message.message(PROBED, |m| {
            write_versions(m, 1, serving);
            write_load(m, 2, load);
        }),
        Answer::Synced { records, want, more } => message.message(SYNCED, |m| {
            for record in records {
                m.bytes(2, &record.bytes);
            }
            for name in want {
                m.bytes(3, &name.0);
            }
            m.uint(4, u64::from(*more));
        }),
    }
    message.finish()
}

pub(crate) fn decode_answer(bytes: &[u8]) -> Result<(Answer<NodeId>, Hearsay), WireError> {
    let mut hearsay = Hearsay::new();
    let (field, value) = the_one(bytes, STORED..=SYNCED)?;
    let mut reader = value.message()?;
    let answer = match field {
        STORED => {
            let (mut kept, mut newer, mut hosts) = (false, None, Vec::new());
            while let Some((field, value)) = reader.field()? {
                match field {
                    1 => kept = value.uint()? != 0,
                    2 => once(&mut newer, read_record(value)?)?,
                    3 => read_peer(&mut hosts, &mut hearsay, value)?,
                    _ => {}
                }
            }
            Answer::Stored { kept, newer, hosts }
        }
        OFFERED => {
            let (mut decline, mut load) = (0, None);
            while let Some((field, value)) = reader.field()? {
                match field {
                    1 => decline = value.uint()?,
                    2 => once(&mut load, read_load(value)?)?,
                    _ => {}
                }
            }
            let decline = read_decline(decline);
            Answer::Offered { decline, load: load.ok_or(Malformed("no load"))? }
        }
        NOTED => {
            let mut known = false;
            while let Some((field, value)) = reader.field()? {
                if field == 1 {
                    known = value.uint()? != 0;
                }
            }
            Answer::Noted(known)
        }
        PROBED => {
            let (mut serving, mut load) = (Vec::new(), None);
            while let Some((field, value)) = reader.field()? {
                match field {
                    1 => push(&mut serving, VERSIONS_MAX, read_version(value)?)?,
                    2 => once(&mut load, read_load(value)?)?,
                    _ => {}
                }
            }
            Answer::Probed { serving, load: load.ok_or(Malformed("no load"))? }
        }
        SYNCED => {
            let (mut records, mut want, mut more) = (Vec::new(), Vec::new(), false);
            while let Some((field, value)) = reader.field()? {
                match field {
                    2 => read_records(&mut records, value)?,
                    3 => push(&mut want, RANKS_MAX, Name(value.bytes32()?))?,
                    4 => more = value.uint()? != 0,
                    _ => {}
                }
            }
            Answer::Synced { records, want, more }
        }
        _ => return Err(Malformed("an unknown answer").into()),
    };
    Ok((answer, hearsay))
}

/// The one field of a message that says what it is.
fn the_one(
    bytes: &[u8],
    known: std::ops::RangeInclusive<u32>,
) -> Result<(u32, Value<'_>), Malformed> {
    if bytes.len() > BYTES_MAX {
        return Err(Malformed("too many bytes"));
    }
    let mut the_one = None;
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.field()? {
        if known.contains(&field) {
            once(&mut the_one, (field, value))?;
        }
    }
    the_one.ok_or(Malformed("nothing known in it"))
}

/// Name 1, record or version 2, and peers: what most queries are made of.
struct Fields<'a> {
    name: Option<Value<'a>>,
    record: Option<Value<'a>>,
    third: u64,
    sources: Vec<NodeId>,
    mates: Vec<NodeId>,
}

impl<'a> Fields<'a> {
    fn read(value: Value<'a>, hearsay: &mut Hearsay, peers: bool) -> Result<Self, Malformed> {
        let mut fields =
            Self { name: None, record: None, third: 0, sources: Vec::new(), mates: Vec::new() };
        let mut reader = value.message()?;
        while let Some((field, value)) = reader.field()? {
            match (field, value) {
                (1, _) => fields.name = Some(value),
                (2, _) => fields.record = Some(value),
                (3, Value::Uint(number)) => fields.third = number,
                (3, _) if peers => read_peer(&mut fields.sources, hearsay, value)?,
                (4, _) if peers => read_peer(&mut fields.mates, hearsay, value)?,
                _ => {}
            }
        }
        Ok(fields)
    }

    fn name(&self) -> Result<Name, Malformed> {
        Ok(Name(self.name.ok_or(Malformed("no name"))?.bytes32()?))
    }

    fn record(&self) -> Result<std::sync::Arc<peerless_core::Record>, WireError> {
        read_record(self.record.ok_or(Malformed("no record"))?)
    }

    fn version(&self) -> Result<(Name, u64), Malformed> {
        Ok((self.name()?, self.record.map_or(Ok(0), Value::uint)?))
    }
}

fn write_version(writer: &mut Writer, function: &Name, version: u64) {
    writer.bytes(1, &function.0);
    writer.uint(2, version);
}

fn write_versions(writer: &mut Writer, field: u32, versions: &[(Name, u64)]) {
    for (function, version) in versions {
        writer.message(field, |entry| write_version(entry, function, *version));
    }
}

fn read_version(value: Value<'_>) -> Result<(Name, u64), Malformed> {
    let (mut name, mut version) = (None, 0);
    let mut reader = value.message()?;
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut name, value.bytes32()?)?,
            2 => version = value.uint()?,
            _ => {}
        }
    }
    Ok((Name(name.ok_or(Malformed("no name"))?), version))
}

/// Name 1, version 2, and the code's digest 3, or 1 in field 4 of a tombstone.
fn write_rank(writer: &mut Writer, function: &Name, rank: &Rank) {
    write_version(writer, function, rank.version);
    match rank.what {
        Content::Runs(digest) => writer.bytes(3, &digest.0),
        Content::Removed => writer.uint(4, 1),
    }
}

fn read_rank(value: Value<'_>) -> Result<(Name, Rank), Malformed> {
    let (mut name, mut version, mut digest, mut removed) = (None, 0, None, false);
    let mut reader = value.message()?;
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut name, value.bytes32()?)?,
            2 => version = value.uint()?,
            3 => once(&mut digest, Digest(value.bytes32()?))?,
            4 => removed = value.uint()? != 0,
            _ => {}
        }
    }
    let what = match (digest, removed) {
        (Some(digest), false) => Content::Runs(digest),
        (None, true) => Content::Removed,
        _ => return Err(Malformed("neither a digest nor a tombstone, or both")),
    };
    Ok((Name(name.ok_or(Malformed("no name"))?), Rank { version, what }))
}

fn read_probe(value: Value<'_>) -> Result<Vec<(Name, u64)>, Malformed> {
    let mut versions = Vec::new();
    let mut reader = value.message()?;
    while let Some((field, value)) = reader.field()? {
        if field == 1 {
            push(&mut versions, VERSIONS_MAX, read_version(value)?)?;
        }
    }
    Ok(versions)
}

fn read_sync(value: Value<'_>) -> Result<Query<NodeId>, WireError> {
    let (mut owner, mut unread, mut have) = (None, Vec::new(), Vec::new());
    let (mut first, mut last) = (None, None);
    let mut reader = value.message()?;
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut owner, Owner(value.bytes32()?))?,
            2 => push(&mut unread, RECORDS_MAX, value)?,
            3 => push(&mut have, RANKS_MAX, read_rank(value)?)?,
            4 => once(&mut first, Name(value.bytes32()?))?,
            5 => once(&mut last, Name(value.bytes32()?))?,
            _ => {}
        }
    }
    if first.is_some() != last.is_some() {
        return Err(Malformed("half a range").into());
    }
    let owner = owner.ok_or(Malformed("no owner"))?;
    let mut records = Vec::with_capacity(unread.len());
    for value in unread {
        // A signature's check is what costs, so all that is cheaper comes first.
        if record::owner_of(value.bytes()?)? != owner {
            return Err(Malformed("another owner's record").into());
        }
        records.push(read_record(value)?);
    }
    Ok(Query::Sync { owner, records, have, range: first.zip(last).map(Box::new) })
}

fn read_records(
    records: &mut Vec<std::sync::Arc<peerless_core::Record>>,
    value: Value<'_>,
) -> Result<(), WireError> {
    // The count is checked before the signature, whose check is what costs.
    if records.len() == RECORDS_MAX {
        return Err(Malformed("too many records").into());
    }
    records.push(read_record(value)?);
    Ok(())
}

fn decline_number(decline: Option<Decline>) -> u64 {
    let number = |decline| DECLINES.iter().position(|known| *known == decline);
    decline.map_or(0, |decline| number(decline).map_or(0, |at| at as u64 + 1))
}

fn read_decline(number: u64) -> Option<Decline> {
    let at = number.checked_sub(1)?;
    // A reason that a later version knows is a refusal all the same.
    Some(DECLINES.get(at as usize).copied().unwrap_or(Decline::Policy))
}
