//! Everything that reads bytes of others, as functions of bytes: a stable test feeds them a corpus and
//! seeded bytes, and cargo-fuzz drives the same functions. They panic where a reader does, or where what
//! was read is not what is written again.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{api, headers, id, journal, keys, proto, record, settings, units, wire};

/// A reader.
pub type Target = fn(&[u8]);

/// Every reader, by the name of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("wire", wire::fuzz),
    ("proto", proto),
    ("record", record),
    ("names", names),
    ("headers", headers),
    ("items", api::fuzz_items),
    ("journal", journal::fuzz),
    ("settings", settings::fuzz),
    ("cgi", cgi),
];

/// Fields within fields.
fn proto(bytes: &[u8]) {
    let (mut left, mut read) = (vec![(proto::Reader(bytes), 0)], 0);
    while let Some((mut reader, depth)) = left.pop() {
        while let Ok(Some((field, value))) = reader.field() {
            assert!(field > 0, "a field has a number");
            if let (Ok(inner), 0..8) = (value.message(), depth) {
                left.push((inner, depth + 1));
            }
            read += 1;
        }
    }
    assert!(read <= 8 * bytes.len(), "each field takes a byte at least");
}

/// A whole record, or what one signs.
fn record(bytes: &[u8]) {
    if let Ok(read) = record::verify(bytes) {
        assert_eq!(*read.bytes, *bytes);
        assert_eq!(record::details(&read).version, read.version);
    }
    let mut whole = proto::Writer::default();
    whole.bytes(1, bytes);
    whole.bytes(2, &[0; 64]);
    let whole = whole.finish();
    if record::owner_of(&whole).is_ok() {
        assert!(record::verify(&whole).is_err(), "nobody has signed it");
    }
}

/// Keys, ids, owners, durations and sizes.
fn names(bytes: &[u8]) {
    if let Ok(key) = keys::decode(bytes) {
        let owner = keys::owner(&key);
        assert_eq!(keys::parse_owner(&keys::owner_text(&owner)), Some(owner));
    }
    if let Some(node) = id::NodeId::from_id_bytes(bytes) {
        assert_eq!(node.id_bytes()[..], *bytes);
    }
    if let Some(name) = id::name_from_bytes(bytes) {
        assert_eq!(id::name_bytes(&name)[..], *bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(owner) = keys::parse_owner(text) {
        assert_eq!(keys::parse_owner(&keys::owner_text(&owner)), Some(owner));
    }
    if let Ok(duration) = units::parse_duration(text)
        && duration.subsec_nanos().is_multiple_of(1_000_000)
    {
        assert_eq!(units::parse_duration(&units::show_duration(duration)), Ok(duration));
    }
    if let Ok(size) = units::parse_size(text) {
        assert_eq!(units::parse_size(&size.to_string()), Ok(size));
    }
    let _ = (record::is_name(text), record::is_label(text));
}

/// What stands beside a call and its answer, a value a line.
fn headers(bytes: &[u8]) {
    const NAMES: [&str; 6] = [
        "x-peerless-function",
        "x-peerless-left-ms",
        "x-peerless-load",
        "x-peerless-stay-us",
        "x-peerless-refused",
        "connection",
    ];
    let mut map = HeaderMap::new();
    for (name, value) in NAMES.into_iter().zip(bytes.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.insert(HeaderName::from_static(name), value);
        }
    }
    let mut again = HeaderMap::new();
    if let Some((function, left)) = headers::get_call(&map) {
        headers::set_call(&mut again, &function, left);
        assert_eq!(headers::get_call(&again), Some((function, left)));
    }
    if let Some(load) = headers::get_load(&map) {
        headers::set_load(&mut again, &load);
        assert_eq!(headers::get_load(&again), Some(load));
    }
    if let Some(stay) = headers::get_stay(&map) {
        headers::set_stay(&mut again, stay);
        let read = headers::get_stay(&again).expect("what we write we can read");
        assert!(stay.waited.0.abs_diff(read.waited.0) < 1000 && read.ran <= stay.ran);
    }
    let _ = headers::get_refusal(&map);
    headers::strip(&mut map);
    assert!(map.keys().all(|name| !name.as_str().starts_with("x-peerless-")));
}

/// The head that a function writes before its answer.
fn cgi(bytes: &[u8]) {
    if let Ok(Some(block)) = peerless_wasm::cgi::parse(bytes) {
        assert!(block.size <= bytes.len(), "the head is a part of what was written");
    }
}
