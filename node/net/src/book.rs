//! The address book: where peers may be, in bounded memory.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use libp2p::{Multiaddr, multiaddr::Protocol as Part};

use crate::{PeerKey, peer_id};

/// How much an address is worth; the better ones are never displaced by the lesser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Somebody said so.
    Hearsay,
    /// The peer itself said so.
    Claimed,
    /// A dial succeeded.
    Worked,
}

#[derive(Debug, Default)]
struct Entry {
    /// Best first; equals newest first.
    addresses: Vec<(Rank, Multiaddr)>,
    used: u64,
}

/// Addresses by peer; the least recently used peer is forgotten over the limit.
#[derive(Debug)]
pub(crate) struct Book {
    peers_max: usize,
    addresses_max: usize,
    entries: HashMap<PeerKey, Entry>,
    /// The same peers by when they were used.
    order: BTreeMap<u64, PeerKey>,
    clock: u64,
}

impl Book {
    pub(crate) fn new(peers_max: usize, addresses_max: usize) -> Self {
        Self { peers_max, addresses_max, entries: HashMap::new(), order: BTreeMap::new(), clock: 0 }
    }

    /// Files an address that [`usable`] has let through.
    pub(crate) fn learn(&mut self, peer: &PeerKey, address: Multiaddr, rank: Rank) {
        let max = self.addresses_max;
        let addresses = &mut self.touch(peer).addresses;
        let known = addresses.iter().position(|(_, known)| *known == address);
        let rank = match known {
            Some(index) => addresses.remove(index).0.max(rank),
            None => rank,
        };
        if addresses.len() >= max {
            // The last is of the lowest rank, and the oldest of it.
            if addresses.last().is_none_or(|(worst, _)| *worst > rank) {
                return;
            }
            addresses.pop();
        }
        let at = addresses.partition_point(|(other, _)| *other > rank);
        addresses.insert(at, (rank, address));
    }

    /// A dial failed: the address is tried last from now on.
    pub(crate) fn failed(&mut self, peer: &PeerKey, address: &Multiaddr) {
        if let Some(entry) = self.entries.get_mut(peer)
            && let Some(index) = entry.addresses.iter().position(|(_, known)| known == address)
        {
            let (_, address) = entry.addresses.remove(index);
            entry.addresses.push((Rank::Hearsay, address));
        }
    }

    pub(crate) fn get(&self, peer: &PeerKey) -> Vec<Multiaddr> {
        let entry = self.entries.get(peer);
        entry.map_or_else(Vec::new, |entry| {
            entry.addresses.iter().map(|(_, address)| address.clone()).collect()
        })
    }

    /// Every peer in the book, in no order that means anything.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &PeerKey> {
        self.order.values()
    }

    fn touch(&mut self, peer: &PeerKey) -> &mut Entry {
        self.clock += 1;
        if !self.entries.contains_key(peer)
            && self.entries.len() >= self.peers_max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        let entry = self.entries.entry(*peer).or_default();
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(self.clock, *peer);
        entry
    }
}

/// An address that we can dial for a peer, without its `/p2p`; `None` for any other.
pub(crate) fn usable(peer: &PeerKey, mut address: Multiaddr) -> Option<Multiaddr> {
    if let Some(Part::P2p(named)) = address.iter().last() {
        if peer_id(peer) != Some(named) {
            return None;
        }
        address.pop();
    }
    let mut parts = address.iter();
    let host = match parts.next()? {
        Part::Ip4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        Part::Ip6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
        Part::Dns(name) | Part::Dns4(name) | Part::Dns6(name) => !name.is_empty(),
        _ => false,
    };
    let port = matches!(parts.next(), Some(Part::Tcp(port)) if port > 0);
    (host && port && parts.next().is_none()).then_some(address)
}

/// Whether a peer seen at `observed` can mean us by an address: a peer on the Internet cannot be
/// reached at its private addresses, nor one on our network at its loopback.
pub(crate) fn plausible(address: &Multiaddr, observed: &Multiaddr) -> bool {
    match (reach(address), reach(observed)) {
        (Some(address), Some(observed)) => address >= observed,
        _ => true,
    }
}

/// Whether an informant seen at `observed` can mean another peer by an address; one that is not
/// connected any more is taken for one on the Internet. A name is not looked up for hearsay.
pub(crate) fn hearsay(address: &Multiaddr, observed: Option<&Multiaddr>) -> bool {
    let seen = observed.and_then(reach).unwrap_or(Reach::Global);
    reach(address).is_some_and(|told| told >= seen)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Loopback,
    Local,
    Global,
}

fn reach(address: &Multiaddr) -> Option<Reach> {
    let ip = match address.iter().next()? {
        Part::Ip4(ip) => IpAddr::V4(ip),
        Part::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
        _ => return None,
    };
    Some(match ip {
        ip if ip.is_loopback() => Reach::Loopback,
        IpAddr::V4(ip) if local4(ip) => Reach::Local,
        IpAddr::V6(ip) if local6(ip) => Reach::Local,
        _ => Reach::Global,
    })
}

/// Private and link-local addresses, and the 100.64.0.0/10 of carriers.
fn local4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
}

fn local6(ip: Ipv6Addr) -> bool {
    ip.is_unique_local() || ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn port(port: u16) -> Multiaddr {
        address(&format!("/ip4/192.0.2.1/tcp/{port}"))
    }

    #[test]
    fn hearsay_never_displaces_what_worked() {
        let mut book = Book::new(4, 2);
        let peer = [1; 32];
        book.learn(&peer, port(1), Rank::Worked);
        book.learn(&peer, port(2), Rank::Claimed);
        book.learn(&peer, port(3), Rank::Hearsay);
        assert_eq!(book.get(&peer), [port(1), port(2)]);
        book.learn(&peer, port(4), Rank::Claimed);
        assert_eq!(book.get(&peer), [port(1), port(4)]);
        book.failed(&peer, &port(1));
        assert_eq!(book.get(&peer), [port(4), port(1)]);
        book.learn(&peer, port(5), Rank::Hearsay);
        assert_eq!(book.get(&peer), [port(4), port(5)]);
    }

    #[test]
    fn the_least_recently_used_peer_is_forgotten() {
        let mut book = Book::new(2, 2);
        for peer in [1, 2, 1, 3] {
            book.learn(&[peer; 32], port(u16::from(peer)), Rank::Hearsay);
        }
        assert_eq!(book.get(&[2; 32]), []);
        assert_eq!(book.peers().count(), 2);
        assert_eq!(book.get(&[1; 32]), [port(1)]);
    }

    #[test]
    fn only_what_can_be_dialled_is_usable() {
        let key = libp2p::identity::Keypair::generate_ed25519().public();
        let id = key.to_peer_id();
        let peer = crate::peer_key(&id).unwrap();
        let other = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
        let ok = |text: String| usable(&peer, address(&text)).map(|address| address.to_string());
        let plain = "/ip4/192.0.2.1/tcp/1";
        assert_eq!(ok(plain.into()).as_deref(), Some(plain));
        assert_eq!(ok(format!("{plain}/p2p/{id}")).as_deref(), Some(plain));
        assert!(ok("/dns4/peer.example/tcp/1".into()).is_some());
        assert!(ok(format!("{plain}/p2p/{other}")).is_none());
        for bad in [
            "/ip4/0.0.0.0/tcp/1",
            "/ip6/::/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/192.0.2.1/udp/1",
            "/ip4/192.0.2.1/tcp/1/ws",
            "/ip4/192.0.2.1",
            "/memory/1",
        ] {
            assert!(ok(bad.into()).is_none(), "{bad}");
        }
    }

    #[test]
    fn private_addresses_of_far_peers_are_implausible() {
        let plausible = |of: &str, seen: &str| plausible(&address(of), &address(seen));
        assert!(!plausible("/ip4/192.168.0.2/tcp/1", "/ip4/8.8.8.8/tcp/1"));
        assert!(!plausible("/ip4/127.0.0.1/tcp/1", "/ip4/192.168.0.2/tcp/1"));
        assert!(plausible("/ip4/192.168.0.2/tcp/1", "/ip4/192.168.0.2/tcp/1"));
        assert!(plausible("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1"));
        assert!(plausible("/dns4/peer.example/tcp/1", "/ip4/8.8.8.8/tcp/1"));
    }

    #[test]
    fn hearsay_is_of_ip_addresses_that_the_informant_can_mean() {
        let told = |of: &str, seen: Option<&str>| hearsay(&address(of), seen.map(address).as_ref());
        let (local, global) = ("/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1");
        assert!(told(local, Some(local)) && told(global, Some(local)));
        assert!(!told(local, Some(global)) && !told("/ip4/10.0.0.1/tcp/1", Some(global)));
        assert!(!told("/dns4/peer.example/tcp/1", Some(local)));
        assert!(!told(local, None) && told(global, None));
    }
}
