//! The address book: where peers may be, in bounded memory.
//!
//! Anybody may tell anything of anybody, so what it holds is ranked. An address gives way only to
//! a better one, a peer only to one that is at least as well known, and of what one peer merely
//! says of others no more than a share is kept.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use libp2p::{Multiaddr, multiaddr::Protocol as Part};

use crate::{PeerKey, peer_id};

/// How much an address is worth; the better ones are never displaced by the lesser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Somebody said so, and a dial failed.
    #[default]
    Doubted,
    /// Somebody said so.
    Hearsay,
    /// The peer itself said so, or our own user did.
    Claimed,
    /// A dial succeeded.
    Worked,
}

impl Rank {
    /// After a dial that failed.
    fn lower(self) -> Self {
        match self {
            Self::Worked => Self::Claimed,
            Self::Claimed => Self::Hearsay,
            Self::Hearsay | Self::Doubted => Self::Doubted,
        }
    }
}

/// Addresses of one peer that one other may have told us of.
pub(crate) const HEARSAY_PER_INFORMANT: usize = 4;

/// What share of the book one peer's hearsay may fill: one in so many.
const INFORMANT_SHARE: usize = 16;

#[derive(Debug)]
struct Known {
    rank: Rank,
    address: Multiaddr,
    /// Who told us, if it is hearsay.
    informant: Option<PeerKey>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Best first; equals newest first.
    addresses: Vec<Known>,
    /// The best rank that any address had: a dial that fails does not make a stranger of a peer.
    standing: Rank,
    used: u64,
    /// Whose share of the book it takes, as long as it is hearsay alone.
    informant: Option<PeerKey>,
}

/// Addresses by peer. Over the limit the peer least worth knowing is forgotten: by standing, then
/// by when it was last heard of; never one that is connected.
#[derive(Debug)]
pub(crate) struct Book {
    peers_max: usize,
    addresses_max: usize,
    entries: HashMap<PeerKey, Entry>,
    /// The same peers, the first to be forgotten first.
    order: BTreeMap<(Rank, u64), PeerKey>,
    /// Peers known by hearsay alone, under who told us of them first, by when they were used.
    hearsay: HashMap<PeerKey, BTreeMap<u64, PeerKey>>,
    connected: HashSet<PeerKey>,
    clock: u64,
}

impl Book {
    pub(crate) fn new(peers_max: usize, addresses_max: usize) -> Self {
        Self {
            peers_max,
            addresses_max,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            hearsay: HashMap::new(),
            connected: HashSet::new(),
            clock: 0,
        }
    }

    /// Files an address that [`usable`] has let through.
    pub(crate) fn learn(&mut self, peer: &PeerKey, address: Multiaddr, rank: Rank) {
        self.file(peer, Known { rank, address, informant: None });
    }

    /// Files an address that another peer told us of.
    pub(crate) fn hear(&mut self, informant: &PeerKey, peer: &PeerKey, address: Multiaddr) {
        let informant = Some(*informant);
        self.file(peer, Known { rank: Rank::Hearsay, address, informant });
    }

    fn file(&mut self, peer: &PeerKey, mut new: Known) {
        let max = self.addresses_max;
        let Some(entry) = self.touch(peer, new.rank, new.informant) else {
            return;
        };
        let addresses = &mut entry.addresses;
        if let Some(index) = addresses.iter().position(|known| known.address == new.address) {
            // Hearing of it again proves nothing: what failed stays doubted.
            if new.rank == Rank::Hearsay {
                return;
            }
            new.rank = addresses.remove(index).rank.max(new.rank);
        } else if new.rank == Rank::Hearsay {
            let theirs = |(_, known): &(usize, &Known)| {
                known.rank <= Rank::Hearsay && known.informant == new.informant
            };
            let told = || addresses.iter().enumerate().filter(theirs);
            if new.informant.is_some() && told().count() >= HEARSAY_PER_INFORMANT {
                let worst = told().min_by_key(|(index, known)| (known.rank, *index));
                if let Some(index) = worst.map(|(index, _)| index) {
                    addresses.remove(index);
                }
            }
        }
        if addresses.len() >= max {
            // The last is of the lowest rank, and the oldest of it. One peer's hearsay is worth
            // no more than another's.
            let gives_way = |worst: &Known| match new.rank {
                Rank::Hearsay => worst.rank < new.rank,
                _ => worst.rank <= new.rank,
            };
            if !addresses.last().is_some_and(gives_way) {
                return;
            }
            addresses.pop();
        }
        insert(addresses, new);
    }

    /// A dial failed: the address is worth one step less, and tried after its new equals.
    pub(crate) fn failed(&mut self, peer: &PeerKey, address: &Multiaddr) {
        if let Some(mut known) = self.take(peer, address) {
            known.rank = known.rank.lower();
            if let Some(entry) = self.entries.get_mut(peer) {
                let at = entry.addresses.partition_point(|other| other.rank >= known.rank);
                entry.addresses.insert(at, known);
            }
        }
    }

    /// Somebody else answered there: the address is forgotten.
    pub(crate) fn wrong(&mut self, peer: &PeerKey, address: &Multiaddr) {
        self.take(peer, address);
    }

    fn take(&mut self, peer: &PeerKey, address: &Multiaddr) -> Option<Known> {
        let addresses = &mut self.entries.get_mut(peer)?.addresses;
        let index = addresses.iter().position(|known| known.address == *address)?;
        Some(addresses.remove(index))
    }

    pub(crate) fn get(&self, peer: &PeerKey) -> Vec<Multiaddr> {
        let entry = self.entries.get(peer);
        entry.map_or_else(Vec::new, |entry| {
            entry.addresses.iter().map(|known| known.address.clone()).collect()
        })
    }

    /// Every peer in the book, in no order that means anything.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &PeerKey> {
        self.order.values()
    }

    /// Notes whether a peer is connected: such a one is not forgotten.
    pub(crate) fn connected(&mut self, peer: &PeerKey, is: bool) {
        if is {
            self.connected.insert(*peer);
        } else {
            self.connected.remove(peer);
        }
    }

    /// The peer's entry, now the last of its standing to be forgotten. `None`: there is no room
    /// for a peer that is known no better than this.
    fn touch(
        &mut self,
        peer: &PeerKey,
        rank: Rank,
        informant: Option<PeerKey>,
    ) -> Option<&mut Entry> {
        let (standing, informant) = if let Some(entry) = self.entries.get(peer) {
            (entry.standing.max(rank), entry.informant)
        } else {
            self.make_room(rank, informant)?;
            (rank, informant)
        };
        self.unlist(peer);
        self.clock += 1;
        let informant = informant.filter(|_| standing <= Rank::Hearsay);
        if let Some(informant) = informant {
            self.hearsay.entry(informant).or_default().insert(self.clock, *peer);
        }
        self.order.insert((standing, self.clock), *peer);
        let entry = self.entries.entry(*peer).or_default();
        (entry.standing, entry.used, entry.informant) = (standing, self.clock, informant);
        Some(entry)
    }

    /// Makes room for a new peer: at the cost of what the same informant said longest ago, if it
    /// has had its share; else of whoever is known no better and was not heard of for longest.
    fn make_room(&mut self, rank: Rank, informant: Option<PeerKey>) -> Option<()> {
        let share = (self.peers_max / INFORMANT_SHARE).max(1);
        if let Some(told) = informant.and_then(|informant| self.hearsay.get(&informant))
            && told.len() >= share
        {
            let oldest = told.values().find(|peer| !self.connected.contains(*peer)).copied()?;
            self.forget(&oldest);
        }
        if self.entries.len() >= self.peers_max {
            let known_no_better = self.order.range(..=(rank, u64::MAX));
            let mut candidates = known_no_better.map(|(_, peer)| *peer);
            let oldest = candidates.find(|peer| !self.connected.contains(peer))?;
            self.forget(&oldest);
        }
        Some(())
    }

    fn forget(&mut self, peer: &PeerKey) {
        self.unlist(peer);
        self.entries.remove(peer);
    }

    /// Takes a peer out of the orders, not out of the book.
    fn unlist(&mut self, peer: &PeerKey) {
        let Some(entry) = self.entries.get(peer) else {
            return;
        };
        self.order.remove(&(entry.standing, entry.used));
        if let Some(informant) = entry.informant
            && let Some(told) = self.hearsay.get_mut(&informant)
        {
            told.remove(&entry.used);
            if told.is_empty() {
                self.hearsay.remove(&informant);
            }
        }
    }
}

/// Inserts an address before its equals; hearsay behind them, since nothing makes it better.
fn insert(addresses: &mut Vec<Known>, new: Known) {
    let at = match new.rank {
        Rank::Doubted | Rank::Hearsay => addresses.partition_point(|other| other.rank >= new.rank),
        Rank::Claimed | Rank::Worked => addresses.partition_point(|other| other.rank > new.rank),
    };
    addresses.insert(at, new);
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

/// Whether an address names no host: what a stranger says is never asked of a resolver.
pub(crate) fn is_ip(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Part::Ip4(_) | Part::Ip6(_)))
}

/// Whether a peer seen at `observed` can mean us by an address: a peer on the Internet cannot be
/// reached at its private addresses, nor one on our network at its loopback.
pub(crate) fn plausible(address: &Multiaddr, observed: &Multiaddr) -> bool {
    match (reach(address), reach(observed)) {
        (Some(address), Some(observed)) => address >= observed,
        _ => true,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    Loopback,
    Local,
    Global,
}

/// How far an address reaches; `None`: it is no IP address.
pub(crate) fn reach(address: &Multiaddr) -> Option<Reach> {
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

    const M: PeerKey = [0xaa; 32];

    #[test]
    fn hearsay_never_displaces_what_worked() {
        let mut book = Book::new(4, 2);
        let peer = [1; 32];
        book.learn(&peer, port(1), Rank::Worked);
        book.learn(&peer, port(2), Rank::Claimed);
        book.hear(&M, &peer, port(3));
        assert_eq!(book.get(&peer), [port(1), port(2)]);
        book.learn(&peer, port(4), Rank::Claimed);
        assert_eq!(book.get(&peer), [port(1), port(4)]);
    }

    #[test]
    fn a_failed_dial_costs_one_step() {
        let mut book = Book::new(4, 3);
        let peer = [1; 32];
        book.learn(&peer, port(1), Rank::Worked);
        book.learn(&peer, port(2), Rank::Claimed);
        book.failed(&peer, &port(1));
        assert_eq!(book.get(&peer), [port(2), port(1)], "behind its new equals");
        // It still stands over hearsay, however much of it comes.
        for (informant, number) in (10..20).enumerate() {
            book.hear(&[informant as u8; 32], &peer, port(number));
        }
        assert_eq!(book.get(&peer), [port(2), port(1), port(10)]);
        // What failed twice over is hearsay, and a third time gives way to fresh hearsay.
        book.failed(&peer, &port(1));
        book.failed(&peer, &port(1));
        book.hear(&M, &peer, port(1));
        assert_eq!(book.get(&peer), [port(2), port(10), port(1)], "hearing it again is no proof");
        book.hear(&M, &peer, port(30));
        assert_eq!(book.get(&peer), [port(2), port(10), port(30)]);
    }

    #[test]
    fn hearsay_does_not_displace_hearsay_and_each_informant_has_a_share() {
        let mut book = Book::new(4, 8);
        let peer = [1; 32];
        book.hear(&[2; 32], &peer, port(2));
        for number in 10..20 {
            book.hear(&M, &peer, port(number));
        }
        assert_eq!(book.get(&peer)[0], port(2));
        assert_eq!(book.get(&peer).len(), 1 + HEARSAY_PER_INFORMANT);
        for informant in 30..40 {
            book.hear(&[informant; 32], &peer, port(u16::from(informant)));
        }
        assert_eq!(book.get(&peer).len(), 8);
        assert_eq!(book.get(&peer)[0], port(2));
    }

    #[test]
    fn an_address_where_another_answers_is_forgotten() {
        let mut book = Book::new(4, 2);
        book.learn(&[1; 32], port(1), Rank::Worked);
        book.wrong(&[1; 32], &port(1));
        assert_eq!(book.get(&[1; 32]), []);
    }

    #[test]
    fn the_least_recently_used_peer_is_forgotten() {
        let mut book = Book::new(2, 2);
        for peer in [1, 2, 1, 3] {
            book.learn(&[peer; 32], port(u16::from(peer)), Rank::Claimed);
        }
        assert_eq!(book.get(&[2; 32]), []);
        assert_eq!(book.peers().count(), 2);
        assert_eq!(book.get(&[1; 32]), [port(1)]);
    }

    /// One peer that invents others costs the book its own share, and no peer that we know.
    #[test]
    fn a_flood_of_hearsay_wipes_nobody() {
        let mut book = Book::new(64, 2);
        let peer = |number: u16| {
            let mut peer = [7; 32];
            peer[..2].copy_from_slice(&number.to_be_bytes());
            peer
        };
        book.learn(&peer(0), port(1), Rank::Worked);
        book.learn(&peer(1), port(2), Rank::Claimed);
        book.failed(&peer(1), &port(2));
        book.hear(&[2; 32], &peer(2), port(3));
        book.connected(&peer(2), true);
        book.hear(&[2; 32], &peer(3), port(4));
        for number in 100..10_000 {
            book.hear(&M, &peer(number), port(number));
        }
        for kept in 0..4 {
            assert_eq!(book.get(&peer(kept)).len(), 1, "{kept}");
        }
        assert_eq!(book.peers().count(), 4 + 64 / INFORMANT_SHARE);
        // Many informants fill it, and still displace only what is hearsay and not connected.
        for number in 100..10_000 {
            book.hear(&peer(number), &peer(number.wrapping_add(20_000)), port(number));
        }
        assert_eq!(book.peers().count(), 64);
        for kept in 0..3 {
            assert_eq!(book.get(&peer(kept)).len(), 1, "{kept}");
        }
        assert_eq!(book.order.len(), book.entries.len());
        assert!(book.hearsay.values().map(BTreeMap::len).sum::<usize>() <= 64);
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
}
