//! A peer as the core sees it: its public key, with its position beside it.

use std::cmp::Ordering;
use std::fmt;

use peerless_core::{Key, Name, Peer};
use peerless_net::{PeerId, PeerKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes32::sha256;

/// What stands before the key in a PeerId: identity multihash of 36 bytes, key type Ed25519, and
/// 32 bytes of key.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// What stands before a name on the wire, so that it is a valid multihash: SHA-256, 32 bytes.
const NAME_PREFIX: [u8; 2] = [0x12, 0x20];

/// A node: its Ed25519 public key, and the SHA-256 of its PeerId's bytes, computed once.
#[derive(Copy, Clone)]
pub struct NodeId {
    key: PeerKey,
    position: Key,
}

impl NodeId {
    /// The node with this public key. Whether the bytes are a point of the curve shows when someone
    /// tries to reach it.
    pub fn new(key: PeerKey) -> Self {
        let position = Key::from_bytes(&sha256(&id_bytes(&key)));
        Self { key, position }
    }

    /// The public key.
    pub fn key_bytes(&self) -> &PeerKey {
        &self.key
    }

    /// The bytes of its PeerId, which are what Kademlia's messages carry.
    pub fn id_bytes(&self) -> [u8; 38] {
        id_bytes(&self.key)
    }

    /// The node whose PeerId has these bytes; `None` unless it is an Ed25519 key's.
    pub fn from_id_bytes(bytes: &[u8]) -> Option<Self> {
        let key = bytes.strip_prefix(&PEER_ID_PREFIX)?;
        Some(Self::new(PeerKey::try_from(key).ok()?))
    }

    /// Its libp2p id.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(&self.id_bytes()).expect("an identity multihash of 36 bytes is a PeerId")
    }
}

fn id_bytes(key: &PeerKey) -> [u8; 38] {
    let mut bytes = [0; 38];
    bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
    bytes[6..].copy_from_slice(key);
    bytes
}

/// A name's bytes in Kademlia's messages.
pub(crate) fn name_bytes(name: &Name) -> [u8; 34] {
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&NAME_PREFIX);
    bytes[2..].copy_from_slice(&name.0);
    bytes
}

/// The name that these bytes of a Kademlia message stand for.
pub(crate) fn name_from_bytes(bytes: &[u8]) -> Option<Name> {
    let name = bytes.strip_prefix(&NAME_PREFIX)?;
    Some(Name(name.try_into().ok()?))
}

impl Peer for NodeId {
    fn key(self) -> Key {
        self.position
    }

    fn position(name: &Name) -> Key {
        Key::from_bytes(&sha256(&name_bytes(name)))
    }
}

impl PartialEq for NodeId {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for NodeId {}

impl std::hash::Hash for NodeId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peer_id().fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.peer_id().to_base58();
        write!(f, "…{}", &text[text.len() - 6..])
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.key.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PeerKey::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use peerless_net::identity::Keypair;

    use super::*;

    #[test]
    fn ids_are_libp2ps() {
        let keypair = Keypair::generate_ed25519();
        let peer_id = keypair.public().to_peer_id();
        let node = NodeId::from_id_bytes(&peer_id.to_bytes()).unwrap();
        assert_eq!(node.peer_id(), peer_id);
        assert_eq!(peerless_net::peer_key(&peer_id), Some(*node.key_bytes()));
        assert_eq!(node.key(), Key::from_bytes(&sha256(&peer_id.to_bytes())));
        assert_eq!(NodeId::from_id_bytes(&peer_id.to_bytes()[1..]), None);
    }

    #[test]
    fn even_bytes_off_the_curve_have_an_id() {
        for byte in 0..=255 {
            let node = NodeId::new([byte; 32]);
            assert!(node.to_string().starts_with("12D3"));
        }
    }

    #[test]
    fn a_name_stands_at_the_hash_of_its_multihash() {
        let name = Name(sha256(b"echo"));
        let bytes = name_bytes(&name);
        assert_eq!(name_from_bytes(&bytes), Some(name));
        assert_eq!(NodeId::position(&name), Key::from_bytes(&sha256(&bytes)));
        assert_eq!(name_from_bytes(&bytes[1..]), None);
    }
}
