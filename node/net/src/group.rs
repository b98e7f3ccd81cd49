//! Address groups: who has one address can mostly have those close to it as well.

use std::net::IpAddr;

use libp2p::{Multiaddr, multiaddr::Protocol as Part};

use crate::book::{Reach, reach};

/// What tells a group of IPv6 from one of IPv4.
const OF_IPV6: u64 = 1 << 48;

/// The group that a connection's address is of: its /24 of IPv4, its /48 of IPv6. Loopback, private
/// and link-local addresses are of none, nor is what is no IP address.
pub fn address_group(address: &Multiaddr) -> Option<u64> {
    if reach(address) != Some(Reach::Global) {
        return None;
    }
    let ip = match address.iter().next()? {
        Part::Ip4(ip) => IpAddr::V4(ip),
        Part::Ip6(ip) => IpAddr::V6(ip).to_canonical(),
        _ => return None,
    };
    Some(match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => OF_IPV6 | (ip.to_bits() >> 80) as u64,
    })
}

/// Whether a connection goes through a relay.
pub fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Part::P2pCircuit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(address: &str) -> Option<u64> {
        address_group(&address.parse().unwrap())
    }

    #[test]
    fn close_addresses_are_one_group() {
        let alike = [
            ("/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.200/udp/9/quic-v1"),
            ("/ip6/2a00:1450:4001:1::5/tcp/1", "/ip6/2a00:1450:4001:ffff::6/tcp/2"),
            ("/ip6/::ffff:8.8.8.8/tcp/1", "/ip4/8.8.8.9/tcp/1"),
        ];
        for (a, b) in alike {
            assert!(group(a).is_some() && group(a) == group(b), "{a} {b}");
        }
        let apart = [
            ("/ip4/8.8.8.8/tcp/1", "/ip4/8.8.9.8/tcp/1"),
            ("/ip6/2a00:1450:4001::5/tcp/1", "/ip6/2a00:1450:4002::5/tcp/1"),
            ("/ip6/0:0:808::1/tcp/1", "/ip4/8.8.0.8/tcp/1"),
        ];
        for (a, b) in apart {
            assert_ne!(group(a), group(b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_not_routed_globally_is_of_none() {
        let none = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/10.1.2.3/tcp/1",
            "/ip4/192.168.0.2/tcp/1",
            "/ip4/169.254.1.1/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/::ffff:10.0.0.1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/dns4/peer.example/tcp/1",
        ];
        for address in none {
            assert_eq!(group(address), None, "{address}");
        }
    }

    #[test]
    fn a_circuit_is_relayed() {
        let address = |text: &str| text.parse::<Multiaddr>().unwrap();
        assert!(is_relayed(&address("/ip4/8.8.8.8/tcp/1/p2p-circuit")));
        assert!(!is_relayed(&address("/ip4/8.8.8.8/tcp/1")));
    }
}
