//! About how many bytes a message takes on the wire: the protobuf of the real network, with two
//! addresses a peer. Only the report's `bytes` depends on it.

use peerless_core::{Answer, Message, Query, Record};

use crate::peer::Index;

const FRAME: usize = 8;
const PEER: usize = 90;
const NAME: usize = 34;
const VERSION: usize = 9;
const LOAD: usize = 12;

fn record(record: &Record) -> usize {
    record.bytes.len() + 6
}

/// The size of one message.
pub fn size(message: &Message<Index>) -> u64 {
    let body = match message {
        Message::Query(_, query) => query_size(query),
        Message::Answer(_, answer) => answer_size(answer),
    };
    (FRAME + body) as u64
}

fn query_size(query: &Query<Index>) -> usize {
    match query {
        Query::Find(_) | Query::Hosts(_) | Query::Withdraw(_) => NAME,
        Query::Provide(_, stored) => NAME + stored.as_deref().map_or(0, record),
        Query::Store(stored) => record(stored),
        Query::Offer { record: offered, .. } => record(offered),
        Query::Confirm { sources, mates, .. } => {
            NAME + VERSION + (sources.len() + mates.len()) * PEER
        }
        Query::Probe(versions) => versions.len() * (NAME + VERSION),
        Query::Sync { records, have, .. } => {
            let records: usize = records.iter().map(|one| record(one)).sum();
            3 * NAME + records + have.len() * (2 * NAME + VERSION)
        }
        _ => NAME + VERSION,
    }
}

fn answer_size(answer: &Answer<Index>) -> usize {
    match answer {
        Answer::Found { closer, hosts, record: found, .. } => {
            (closer.len() + hosts.len()) * PEER + found.as_deref().map_or(0, record) + LOAD
        }
        Answer::Stored { newer, hosts, .. } => {
            2 + newer.as_deref().map_or(0, record) + hosts.len() * PEER
        }
        Answer::Probed { serving, .. } => serving.len() * (NAME + VERSION) + LOAD,
        Answer::Synced { records, want, .. } => {
            records.iter().map(|one| record(one)).sum::<usize>() + want.len() * NAME
        }
        _ => 2 + LOAD,
    }
}
