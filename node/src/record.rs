//! The signed record of a function, as bytes.
//!
//! ```text
//! Signed   { payload 1, signature 2 }         Ed25519 over DOMAIN ‖ payload, by the owner's key
//! payload  { name 1, owner 2, version 3, expires_ms 4, spec 5 }       no spec: a tombstone
//! spec     { runtime 1, digest 2, size 3, timeout_ms 4, replicas_min 5, replicas_max 6,
//!            idempotent 7 (1 yes, 2 no), memory_bytes 8, env 9, labels 10, annotations 11,
//!            constraints 12 }                 env, labels, annotations: { key 1, value 2 } each
//! ```
//!
//! Protocol Buffers, at most 4 KiB in all. A record is kept and passed on as the very bytes that
//! were signed, so fields that this version does not know survive it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use peerless_core::{Digest, Name, Owner, Record, Runtime, Span, Spec, Time};
use peerless_net::identity::{Keypair, ed25519};

use crate::bytes32::sha256;
use crate::keys;
use crate::proto::{Malformed, Reader, Value, Writer, once, push};

/// Signed before the payload, so that a signature made for anything else is none here.
const DOMAIN: &[u8] = b"peerless/record/1\0";

/// Longest function name: a DNS label.
pub const NAME_BYTES_MAX: usize = 63;
/// Most hosts an owner can want.
pub const REPLICAS_MAX: u16 = 1000;
/// How long a record lives that is signed now, in milliseconds: 90 days.
pub(crate) const LIFE_MS: u64 = 90 * 86_400_000;
/// Most labels of one node.
pub const LABELS_MAX: usize = peerless_core::config::LABELS_MAX;
/// Most constraints of one function.
pub const CONSTRAINTS_MAX: usize = 16;
/// Most entries of env, labels and annotations each.
const ENTRIES_MAX: usize = 128;
const RUNTIME_WASM: u64 = 1;
const MS_MAX: u64 = u64::MAX / 1_000_000;

/// Everything that a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The function's bare name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Which of its versions.
    pub version: u64,
    /// When it lapses, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// What to run; `None` in a tombstone.
    pub what: Option<What>,
}

/// What a function is, for the core and for its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    /// SHA-256 of the module.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// A call's deadline.
    pub timeout: Duration,
    /// Fewest and most hosts.
    pub replicas: (u16, u16),
    /// Whether running twice does no harm, if it was said.
    pub idempotent: Option<bool>,
    /// Memory that one call may take.
    pub memory_bytes: u64,
    /// The function's environment.
    pub env: BTreeMap<String, String>,
    /// Labels, for people and their tools.
    pub labels: BTreeMap<String, String>,
    /// Annotations: `peerless.output` and what else tools put there.
    pub annotations: BTreeMap<String, String>,
    /// Labels `KEY=VALUE` that a host must carry.
    pub constraints: Vec<String>,
}

/// Why bytes are no record.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Too many bytes.
    #[error("a record has more than 4096 bytes")]
    TooLarge,
    /// Not of the form.
    #[error("malformed record: {0}")]
    Malformed(#[from] Malformed),
    /// The signature is not the owner's.
    #[error("a record's signature is not its owner's")]
    Signature,
}

/// The key under which a function is found: SHA-256 of its full name.
pub fn function_name(name: &str, owner: &Owner) -> Name {
    Name(sha256(format!("{name}.{}", keys::owner_text(owner)).as_bytes()))
}

/// What a label or constraint `KEY=VALUE` is to the core.
pub fn label_name(label: &str) -> Name {
    Name(sha256(format!("label/{label}").as_bytes()))
}

/// Whether this is a function's name: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 characters.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= NAME_BYTES_MAX
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
}

/// Whether this is a label `KEY=VALUE` with a key.
pub fn is_label(label: &str) -> bool {
    label.split_once('=').is_some_and(|(key, _)| !key.is_empty()) && label.len() <= 256
}

/// Signs a record with its owner's key, whatever owner it names.
pub fn sign(details: &Details, owner: &Keypair) -> Result<Arc<Record>, RecordError> {
    signed(&payload(details), owner)
}

fn signed(payload: &[u8], owner: &Keypair) -> Result<Arc<Record>, RecordError> {
    let signature = owner.sign(&[DOMAIN, payload].concat()).expect("Ed25519 signs anything");
    let mut signed = Writer::default();
    signed.bytes(1, payload);
    signed.bytes(2, &signature);
    verify(&signed.finish())
}

/// Signs a record again, to live until `expires_ms`, with the version that follows on its own: all
/// that its owner did since has a higher one. What this version of the program does not know stays in
/// it.
pub fn renew(
    record: &Record,
    expires_ms: u64,
    owner: &Keypair,
) -> Result<Arc<Record>, RecordError> {
    let (payload, _) = open(&record.bytes)?;
    let mut renewed = Writer::default();
    let mut reader = Reader(payload);
    let mut rest = payload;
    while let Some((field, _)) = reader.field()? {
        let (raw, after) = rest.split_at(rest.len() - reader.0.len());
        rest = after;
        match field {
            3 => renewed.uint(3, record.version + 1),
            4 => renewed.uint(4, expires_ms),
            _ => renewed.append(raw),
        }
    }
    signed(&renewed.finish(), owner)
}

fn payload(details: &Details) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes(1, details.name.as_bytes());
    writer.bytes(2, &details.owner.0);
    writer.uint(3, details.version);
    writer.uint(4, details.expires_ms);
    if let Some(what) = &details.what {
        writer.message(5, |spec| write_spec(spec, what));
    }
    writer.finish()
}

fn write_spec(spec: &mut Writer, what: &What) {
    spec.uint(1, RUNTIME_WASM);
    spec.bytes(2, &what.digest.0);
    spec.uint(3, what.size);
    spec.uint(4, u64::try_from(what.timeout.as_millis()).unwrap_or(MS_MAX));
    spec.uint(5, u64::from(what.replicas.0));
    spec.uint(6, u64::from(what.replicas.1));
    spec.uint(7, what.idempotent.map_or(0, |yes| if yes { 1 } else { 2 }));
    spec.uint(8, what.memory_bytes);
    for (field, map) in [(9, &what.env), (10, &what.labels), (11, &what.annotations)] {
        for (key, value) in map {
            spec.message(field, |entry| {
                entry.bytes(1, key.as_bytes());
                entry.bytes(2, value.as_bytes());
            });
        }
    }
    for constraint in &what.constraints {
        spec.bytes(12, constraint.as_bytes());
    }
}

/// Checks form and signature, and makes the record that the core works with.
pub fn verify(bytes: &[u8]) -> Result<Arc<Record>, RecordError> {
    let (payload, signature) = open(bytes)?;
    let details = read_payload(payload)?;
    let key =
        ed25519::PublicKey::try_from_bytes(&details.owner.0).map_err(|_| RecordError::Signature)?;
    if !key.verify(&[DOMAIN, payload].concat(), signature) {
        return Err(RecordError::Signature);
    }
    Ok(Arc::new(core_record(&details, bytes)))
}

/// Whose record this says it is; its signature is not looked at.
pub(crate) fn owner_of(bytes: &[u8]) -> Result<Owner, RecordError> {
    let (payload, _) = open(bytes)?;
    Ok(read_payload(payload)?.owner)
}

/// All that a record says, from the bytes that were signed.
pub fn details(record: &Record) -> Details {
    open(&record.bytes)
        .and_then(|(payload, _)| read_payload(payload).map_err(RecordError::from))
        .expect("a record that the core has was verified before")
}

/// Payload and signature.
fn open(bytes: &[u8]) -> Result<(&[u8], &[u8]), RecordError> {
    if bytes.len() > Record::BYTES_MAX {
        return Err(RecordError::TooLarge);
    }
    let (mut payload, mut signature) = (None, None);
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut payload, value.bytes()?)?,
            2 => once(&mut signature, value.bytes()?)?,
            _ => {}
        }
    }
    payload.zip(signature).ok_or(Malformed("no payload or no signature").into())
}

fn core_record(details: &Details, bytes: &[u8]) -> Record {
    let spec = details.what.as_ref().map(|what| Spec {
        digest: what.digest,
        size: what.size,
        runtime: Runtime::Wasm,
        timeout: Span::ms(what.timeout.as_millis() as u64),
        replicas: what.replicas,
        idempotent: what.idempotent,
        constraints: what.constraints.iter().map(|label| label_name(label)).collect(),
    });
    Record {
        function: function_name(&details.name, &details.owner),
        owner: details.owner,
        version: details.version,
        expires: Time(details.expires_ms * 1_000_000),
        spec,
        bytes: bytes.into(),
    }
}

fn read_payload(bytes: &[u8]) -> Result<Details, Malformed> {
    let (mut name, mut owner, mut version, mut expires, mut what) = (None, None, None, None, None);
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut name, value.text()?)?,
            2 => once(&mut owner, value.bytes32()?)?,
            3 => once(&mut version, value.uint()?)?,
            4 => once(&mut expires, value.uint()?)?,
            5 => once(&mut what, read_spec(value.message()?)?)?,
            _ => {}
        }
    }
    let name = name.filter(|name| is_name(name)).ok_or(Malformed("no name, or a bad one"))?;
    let owner = Owner(owner.ok_or(Malformed("no owner"))?);
    let expires_ms = expires.filter(|ms| *ms <= MS_MAX).ok_or(Malformed("no expiry"))?;
    let version = version.ok_or(Malformed("no version"))?;
    Ok(Details { name: name.to_owned(), owner, version, expires_ms, what })
}

fn read_spec(mut reader: Reader<'_>) -> Result<What, Malformed> {
    let (mut runtime, mut digest, mut size, mut timeout) = (None, None, None, None);
    let (mut fewest, mut most, mut idempotent, mut memory) = (None, None, None, None);
    let mut maps: [BTreeMap<String, String>; 3] = Default::default();
    let mut constraints = Vec::new();
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut runtime, value.uint()?)?,
            2 => once(&mut digest, value.bytes32()?)?,
            3 => once(&mut size, value.uint()?)?,
            4 => once(&mut timeout, value.uint()?)?,
            5 => once(&mut fewest, value.u16()?)?,
            6 => once(&mut most, value.u16()?)?,
            7 => once(&mut idempotent, value.uint()?)?,
            8 => once(&mut memory, value.uint()?)?,
            9..=11 => read_entry(&mut maps[field as usize - 9], value)?,
            12 => {
                let label = value.text()?;
                if !is_label(label) {
                    return Err(Malformed("a constraint is not KEY=VALUE"));
                }
                push(&mut constraints, CONSTRAINTS_MAX, label.to_owned())?;
            }
            _ => {}
        }
    }
    if runtime != Some(RUNTIME_WASM) {
        return Err(Malformed("a runtime that is not known here"));
    }
    let timeout = timeout.filter(|ms| *ms <= MS_MAX).ok_or(Malformed("no timeout"))?;
    let replicas = (fewest.unwrap_or(0), most.unwrap_or(0));
    if replicas.0 == 0 || replicas.0 > replicas.1 || replicas.1 > REPLICAS_MAX {
        return Err(Malformed("replicas that cannot be"));
    }
    let idempotent = match idempotent {
        None => None,
        Some(1) => Some(true),
        Some(2) => Some(false),
        Some(_) => return Err(Malformed("idempotent is neither yes nor no")),
    };
    let [env, labels, annotations] = maps;
    Ok(What {
        digest: Digest(digest.ok_or(Malformed("no digest"))?),
        size: size.ok_or(Malformed("no size"))?,
        timeout: Duration::from_millis(timeout),
        replicas,
        idempotent,
        memory_bytes: memory.ok_or(Malformed("no memory limit"))?,
        env,
        labels,
        annotations,
        constraints,
    })
}

fn read_entry(map: &mut BTreeMap<String, String>, value: Value<'_>) -> Result<(), Malformed> {
    let (mut key, mut text) = (None, None);
    let mut reader = value.message()?;
    while let Some((field, value)) = reader.field()? {
        match field {
            1 => once(&mut key, value.text()?)?,
            2 => once(&mut text, value.text()?)?,
            _ => {}
        }
    }
    let (key, text) = key.zip(text).ok_or(Malformed("an entry without key or value"))?;
    if map.len() == ENTRIES_MAX || map.insert(key.to_owned(), text.to_owned()).is_some() {
        return Err(Malformed("an entry too many"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn a_name() -> impl Strategy<Value = String> {
        "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?"
    }

    fn a_map() -> impl Strategy<Value = BTreeMap<String, String>> {
        btree_map(".{0,8}", ".{0,8}", 0..4)
    }

    prop_compose! {
        fn a_what()(
            digest: [u8; 32], size in 1_u64.., timeout in 1_u64..1 << 40, fewest in 1_u16..10,
            more in 0_u16..10, idempotent: Option<bool>, memory_bytes in 1_u64..,
            env in a_map(), labels in a_map(), annotations in a_map(),
            constraints in vec("[a-z]{1,5}=[a-z]{0,5}", 0..3),
        ) -> What {
            What {
                digest: Digest(digest), size, timeout: Duration::from_millis(timeout),
                replicas: (fewest, fewest + more), idempotent, memory_bytes, env, labels,
                annotations, constraints,
            }
        }
    }

    pub(crate) fn some_details(key: &Keypair) -> impl Strategy<Value = Details> + use<> {
        let owner = keys::owner(key);
        (a_name(), 1_u64.., 1_u64..1 << 43, option::of(a_what())).prop_map(
            move |(name, version, expires_ms, what)| Details {
                name,
                owner,
                version,
                expires_ms,
                what,
            },
        )
    }

    pub(crate) fn a_key() -> Keypair {
        Keypair::ed25519_from_bytes([7; 32]).unwrap()
    }

    proptest! {
        #[test]
        fn a_record_says_what_was_signed(wanted in some_details(&a_key())) {
            let record = sign(&wanted, &a_key()).unwrap();
            prop_assert_eq!(details(&record), wanted);
            prop_assert_eq!(verify(&record.bytes).unwrap(), record);
        }

        #[test]
        fn no_byte_of_it_can_change(
            wanted in some_details(&a_key()), at: prop::sample::Index, to: u8,
        ) {
            let record = sign(&wanted, &a_key()).unwrap();
            let mut bytes = record.bytes.to_vec();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            prop_assert!(verify(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>) {
            let _ = verify(&bytes);
        }
    }

    /// A tombstone that a later version of this program has signed: what this one reads in it, and its
    /// bytes.
    fn with_an_unknown_field(version: u64, expires_ms: u64) -> (Details, Vec<u8>) {
        let owner = keys::owner(&a_key());
        let details = Details { name: "echo".into(), owner, version, expires_ms, what: None };
        let mut payload = Writer::default();
        payload.append(&super::payload(&details));
        payload.bytes(900, b"from a later version");
        let payload = payload.finish();
        let mut signed = Writer::default();
        signed.bytes(1, &payload);
        signed.bytes(2, &a_key().sign(&[DOMAIN, &payload].concat()).unwrap());
        (details, signed.finish())
    }

    #[test]
    fn a_renewed_record_says_the_same_for_longer() {
        let (_, old) = with_an_unknown_field(5, 70);
        let old = verify(&old).unwrap();
        let new = renew(&old, 90, &a_key()).unwrap();
        assert_eq!((new.version, new.expires), (6, Time(90 * 1_000_000)));
        assert_eq!(details(&new).name, "echo");
        let bytes = |record: &Record| String::from_utf8_lossy(&record.bytes).into_owned();
        assert!(bytes(&new).contains("from a later version"), "what is not known here stays");
        assert_eq!(verify(&new.bytes).unwrap(), new);
        let another = Keypair::ed25519_from_bytes([8; 32]).unwrap();
        assert!(renew(&new, 80, &another).is_err(), "only its owner's key signs it");
    }

    #[test]
    fn unknown_fields_survive() {
        let (wanted, bytes) = with_an_unknown_field(1, 2);
        let record = verify(&bytes).unwrap();
        assert_eq!(*record.bytes, *bytes);
        assert_eq!(details(&record), wanted);
    }

    #[test]
    fn names_are_labels() {
        for good in ["a", "a-b", "0", &"x".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "ä", &"x".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn another_key_signs_nothing_of_mine() {
        let other = Keypair::generate_ed25519();
        let wanted = Details {
            name: "echo".into(),
            owner: keys::owner(&a_key()),
            version: 1,
            expires_ms: 2,
            what: None,
        };
        assert_eq!(sign(&wanted, &other).unwrap_err(), RecordError::Signature);
    }
}
