use std::collections::BTreeMap;
use std::sync::Arc;

use peerless_core::{Content, Decline, Digest, Name, Owner, Rank, Target};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::record::{Details, What};

fn a_record() -> Arc<Record> {
    let key = record::tests::a_key();
    let what = What {
        digest: Digest([3; 32]),
        size: 1000,
        timeout: std::time::Duration::from_mins(1),
        replicas: (3, 5),
        idempotent: Some(true),
        memory_bytes: 1 << 27,
        env: [("KEY".to_owned(), "x".repeat(3000))].into(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        constraints: vec!["region=eu".into()],
    };
    let details = Details {
        name: "echo".into(),
        owner: crate::keys::owner(&key),
        version: 17,
        expires_ms: 1 << 40,
        what: Some(what),
    };
    record::sign(&details, &key).unwrap()
}

fn a_peer() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId::new)
}

fn peers(max: usize) -> impl Strategy<Value = Vec<NodeId>> {
    vec(a_peer(), 0..=max)
}

fn a_fn_name() -> impl Strategy<Value = Name> {
    any::<[u8; 32]>().prop_map(Name)
}

fn versions() -> impl Strategy<Value = Vec<(Name, u64)>> {
    vec((a_fn_name(), any::<u64>()), 0..=256)
}

fn ranks() -> impl Strategy<Value = Vec<(Name, Rank)>> {
    let content = option::of(any::<[u8; 32]>())
        .prop_map(|digest| digest.map_or(Content::Removed, |bytes| Content::Runs(Digest(bytes))));
    let rank = (any::<u64>(), content).prop_map(|(version, what)| Rank { version, what });
    vec((a_fn_name(), rank), 0..=256)
}

fn a_load() -> impl Strategy<Value = Load> {
    any::<[u16; 6]>().prop_map(|[slots, running, queued, queue, hosted, room]| Load {
        slots,
        running,
        queued,
        queue,
        hosted,
        room,
    })
}

fn a_decline() -> impl Strategy<Value = Option<Decline>> {
    option::of(prop_oneof![Just(Decline::Runtime), Just(Decline::Busier), Just(Decline::NoHolder)])
}

fn a_query() -> impl Strategy<Value = Query<NodeId>> {
    let record = || Just(a_record());
    prop_oneof![
        a_peer().prop_map(|peer| Query::Find(Target::Peer(peer))),
        a_fn_name().prop_map(|name| Query::Find(Target::Name(name))),
        a_fn_name().prop_map(Query::Hosts),
        (a_fn_name(), option::of(record())).prop_map(|(name, record)| Query::Provide(name, record)),
        a_fn_name().prop_map(Query::Withdraw),
        record().prop_map(Query::Store),
        (record(), any::<bool>()).prop_map(|(record, waive)| Query::Offer { record, waive }),
        (a_fn_name(), any::<u64>(), peers(20), peers(32)).prop_map(
            |(function, version, sources, mates)| Query::Confirm {
                function,
                version,
                sources,
                mates
            }
        ),
        (a_fn_name(), any::<u64>())
            .prop_map(|(function, version)| Query::Release { function, version }),
        (a_fn_name(), any::<u64>(), a_decline()).prop_map(|(function, version, failure)| {
            Query::Placed { function, version, failure }
        }),
        versions().prop_map(Query::Probe),
        (any::<[u8; 32]>(), vec(record(), 0..=8), ranks(), option::of((a_fn_name(), a_fn_name())))
            .prop_map(|(owner, records, have, range)| Query::Sync {
                owner: records.first().map_or(Owner(owner), |record| record.owner),
                records,
                have,
                range: range.map(Box::new)
            }),
    ]
}

fn an_answer() -> impl Strategy<Value = (Kind, Answer<NodeId>)> {
    let record = || option::of(Just(a_record()));
    let peer = |answer| (Kind::Peer, answer);
    prop_oneof![
        (peers(20), peers(32), record(), a_load()).prop_map(|(closer, hosts, record, load)| (
            Kind::Kad,
            Answer::Found { closer, hosts, record, load }
        )),
        (any::<bool>(), record(), peers(32))
            .prop_map(move |(kept, newer, hosts)| peer(Answer::Stored { kept, newer, hosts })),
        (a_decline(), a_load())
            .prop_map(move |(decline, load)| peer(Answer::Offered { decline, load })),
        any::<bool>().prop_map(move |known| peer(Answer::Noted(known))),
        (versions(), a_load())
            .prop_map(move |(serving, load)| peer(Answer::Probed { serving, load })),
        (vec(Just(a_record()), 0..=8), vec(a_fn_name(), 0..=256), any::<bool>())
            .prop_map(move |(records, want, more)| peer(Answer::Synced { records, want, more })),
    ]
}

/// A book that knows six addresses of everybody.
struct FullBook;

impl Addresses for FullBook {
    fn addresses(&self, peer: &NodeId) -> Vec<Multiaddr> {
        let port = u16::from(peer.key_bytes()[0]) + 1;
        (1..=6).map(|n| format!("/ip6/2001:db8::{n}/tcp/{port}").parse().unwrap()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_query_arrives_as_it_was_sent(query in a_query()) {
        let (kind, bytes) = encode_query(&query, &FullBook);
        let max = if kind == Kind::Kad { kad::BYTES_MAX } else { peer::BYTES_MAX };
        prop_assert!(bytes.len() <= max);
        let asked = decode_query(kind, NodeId::new([0; 32]), &bytes).unwrap();
        prop_assert_eq!(asked.query, query);
        for (_, addresses) in asked.hearsay {
            prop_assert_eq!(addresses.len(), ADDRESSES_MAX);
        }
    }

    #[test]
    fn an_answer_arrives_as_it_was_sent((kind, answer) in an_answer()) {
        let form = match kind {
            Kind::Kad => Form::Kad(kad::Type::GetProviders, vec![7; 34]),
            Kind::Peer => Form::Peer,
        };
        let bytes = encode_answer(&form, &answer, &FullBook).unwrap();
        let max = if kind == Kind::Kad { kad::BYTES_MAX } else { peer::BYTES_MAX };
        prop_assert!(bytes.len() <= max);
        prop_assert_eq!(decode_answer(kind, &bytes).unwrap().0, answer);
    }

    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        fuzz(&bytes);
    }

    #[test]
    fn a_message_with_one_byte_changed_is_read(query in a_query(), at: prop::sample::Index, to: u8) {
        let (_, bytes) = encode_query(&query, &FullBook);
        let mut bytes = bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        fuzz(&bytes);
    }
}

#[test]
fn far_peers_make_room_for_the_record() {
    let peers = |from: u8| (0..64).map(|n| NodeId::new([from + n; 32])).collect::<Vec<_>>();
    let (closer, hosts) = (peers(0), peers(100));
    let record = Some(a_record());
    let load = Load::default();
    let answer = Answer::Found { closer: closer.clone(), hosts: hosts.clone(), record, load };
    let form = Form::Kad(kad::Type::GetProviders, vec![7; 34]);
    let bytes = encode_answer(&form, &answer, &FullBook).unwrap();
    assert!(bytes.len() <= kad::BYTES_MAX);
    let (Answer::Found { closer: near, hosts: all, record, .. }, _) =
        decode_answer(Kind::Kad, &bytes).unwrap()
    else {
        panic!("another answer");
    };
    assert_eq!(all, hosts);
    assert_eq!(record, Some(a_record()));
    assert!(near.len() < 64 && near.len() > 20);
    assert_eq!(near, closer[..near.len()]);
}

#[test]
fn only_the_sender_can_provide() {
    let (me, other) = (NodeId::new([1; 32]), NodeId::new([2; 32]));
    let mut message = Writer::default();
    message.uint(1, kad::Type::AddProvider as u64);
    message.bytes(2, &crate::id::name_bytes(&Name([5; 32])));
    write_peer(&mut message, 9, &me, &FullBook);
    let message = message.finish();
    let asked = decode_query(Kind::Kad, me, &message).unwrap();
    assert_eq!(asked.query, Query::Provide(Name([5; 32]), None));
    assert_eq!(asked.form, Form::Nothing);
    assert_eq!(asked.hearsay.len(), 1);
    let refused = decode_query(Kind::Kad, other, &message).unwrap_err();
    assert!(matches!(refused, WireError::Unsupported(_)), "{refused}");
}

#[test]
fn others_can_get_a_record_by_its_name() {
    let key = format!("/peerless/echo.{}", crate::keys::owner_text(&a_record().owner));
    let mut message = Writer::default();
    message.uint(1, kad::Type::GetValue as u64);
    message.bytes(2, key.as_bytes());
    let asked = decode_query(Kind::Kad, NodeId::new([1; 32]), &message.finish()).unwrap();
    assert_eq!(asked.query, Query::Hosts(a_record().function));
    let answer = Answer::Found {
        closer: Vec::new(),
        hosts: Vec::new(),
        record: Some(a_record()),
        load: Load::default(),
    };
    let bytes = encode_answer(&asked.form, &answer, &NoBook).unwrap();
    let in_it = bytes.windows(a_record().bytes.len()).any(|part| *part == *a_record().bytes);
    assert!(in_it);
}

#[test]
fn a_forged_record_never_reaches_the_core() {
    let (kind, bytes) = encode_query(&Query::Store(a_record()), &NoBook);
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let error = decode_query(kind, NodeId::new([1; 32]), &bytes).unwrap_err();
    assert!(matches!(error, WireError::Record(RecordError::Signature)), "{error}");
}

#[test]
fn records_are_counted_and_their_owner_compared_before_a_signature_is_checked() {
    let sync = |owner, count| {
        let records = vec![a_record(); count];
        let rank = Rank { version: 2, what: Content::Removed };
        let query = Query::Sync { owner, records, have: vec![(Name([1; 32]), rank)], range: None };
        encode_query(&query, &NoBook)
    };
    let own = a_record().owner;
    for (owner, count, wrong) in [
        (own, peer::RECORDS_MAX, None),
        (own, peer::RECORDS_MAX + 1, Some("malformed message: a list is too long")),
        (Owner([9; 32]), 1, Some("malformed message: another owner's record")),
    ] {
        let (kind, bytes) = sync(owner, count);
        assert_eq!(records_in(kind, &bytes), count);
        let said = decode_query(kind, NodeId::new([1; 32]), &bytes).err();
        assert_eq!(said.map(|error| error.to_string()).as_deref(), wrong);
    }
    let (kind, bytes) = encode_query(&Query::Offer { record: a_record(), waive: false }, &NoBook);
    assert_eq!(records_in(kind, &bytes), 1);
    for without in [Query::Probe(vec![(Name([1; 32]), 2)]), Query::Withdraw(Name([1; 32]))] {
        let (kind, bytes) = encode_query(&without, &NoBook);
        assert_eq!(records_in(kind, &bytes), 0, "{without:?}");
    }
}

/// Messages whose bytes are fixed: nodes of other versions speak them, too. They are also the
/// corpus of the fuzz test; `PEERLESS_UPDATE=1` writes it anew.
#[test]
fn the_wire_is_what_it_was() {
    let peers = |n: u8| (1..=n).map(|byte| NodeId::new([byte; 32])).collect::<Vec<_>>();
    let (name, record) = (Name([5; 32]), a_record());
    let load = Load { slots: 4, running: 1, queued: 2, queue: 16, hosted: 3, room: 64 };
    let queries = [
        ("find", Query::Find(Target::Peer(NodeId::new([1; 32])))),
        ("hosts", Query::Hosts(name)),
        ("provide", Query::Provide(name, Some(record.clone()))),
        ("withdraw", Query::Withdraw(name)),
        ("offer", Query::Offer { record: record.clone(), waive: true }),
        (
            "confirm",
            Query::Confirm { function: name, version: 7, sources: peers(2), mates: peers(3) },
        ),
        ("placed", Query::Placed { function: name, version: 7, failure: Some(Decline::Fetch) }),
        ("probe", Query::Probe(vec![(name, 7), (Name([6; 32]), 8)])),
        (
            "sync",
            Query::Sync {
                owner: record.owner,
                records: vec![record.clone()],
                have: vec![
                    (name, Rank { version: 7, what: Content::Runs(Digest([7; 32])) }),
                    (Name([6; 32]), Rank { version: 8, what: Content::Removed }),
                ],
                range: Some(Box::new((name, Name([9; 32])))),
            },
        ),
    ];
    let answers = [
        (
            "found",
            Form::Kad(kad::Type::GetProviders, crate::id::name_bytes(&name).to_vec()),
            Answer::Found { closer: peers(3), hosts: peers(2), record: Some(record.clone()), load },
        ),
        ("stored", Form::Peer, Answer::Stored { kept: true, newer: None, hosts: peers(2) }),
        ("offered", Form::Peer, Answer::Offered { decline: Some(Decline::Busier), load }),
        ("probed", Form::Peer, Answer::Probed { serving: vec![(name, 7)], load }),
        (
            "synced",
            Form::Peer,
            Answer::Synced { records: vec![record], want: vec![name], more: true },
        ),
    ];
    let queries = queries.iter().map(|(of, query)| (*of, encode_query(query, &FullBook).1));
    let answers = answers
        .iter()
        .map(|(of, form, answer)| (*of, encode_answer(form, answer, &FullBook).unwrap()));
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/wire");
    for (of, bytes) in queries.chain(answers) {
        let path = dir.join(of);
        if std::env::var_os("PEERLESS_UPDATE").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == *bytes, "{of} is written otherwise than it was");
    }
}
