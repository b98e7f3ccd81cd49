//! Dialling an address that somebody typed.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol as Part};
use tokio::{sync::oneshot, time::timeout};

use crate::{DialError, Net, PeerKey, driver::Command, peer_key};

/// Addresses of one name that are tried.
const RESOLVED_MAX: usize = 8;

/// An address taken apart.
struct Target {
    host: Host,
    port: u16,
    peer: Option<PeerId>,
}

enum Host {
    Ip(IpAddr),
    /// A name, and the families of addresses asked for.
    Name {
        name: String,
        v4: bool,
        v6: bool,
    },
}

pub(crate) async fn dial(net: &Net, address: Multiaddr) -> Result<PeerKey, DialError> {
    let target = parse(&address).ok_or(DialError::Unsupported(address))?;
    let peer = match target.peer {
        Some(id) => Some(peer_key(&id).ok_or(DialError::WrongPeer(id))?),
        None => None,
    };
    if peer == Some(net.shared.me) {
        return Err(DialError::Own);
    }
    let patience = net.shared.limits.dial_timeout;
    let mut last = DialError::Failed("no address".into());
    for ip in resolve(&target, patience).await? {
        let address = Multiaddr::from(ip).with(Part::Tcp(target.port));
        let (done, dialled) = oneshot::channel();
        let command = Command::Dial { peer, address, done };
        net.commands.send(command).await.map_err(|_| DialError::NoRoom)?;
        match dialled.await.unwrap_or(Err(DialError::NoRoom)) {
            Ok(peer) => return Ok(peer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn parse(address: &Multiaddr) -> Option<Target> {
    let mut parts = address.iter();
    let name = |name: &str, v4, v6| Host::Name { name: name.to_owned(), v4, v6 };
    let host = match parts.next()? {
        Part::Ip4(ip) => Host::Ip(ip.into()),
        Part::Ip6(ip) => Host::Ip(ip.into()),
        Part::Dns(host) => name(&host, true, true),
        Part::Dns4(host) => name(&host, true, false),
        Part::Dns6(host) => name(&host, false, true),
        _ => return None,
    };
    let Part::Tcp(port) = parts.next()? else {
        return None;
    };
    let peer = match parts.next() {
        Some(Part::P2p(peer)) => Some(peer),
        Some(_) => return None,
        None => None,
    };
    parts.next().is_none().then_some(Target { host, port, peer })
}

/// Addresses from the book with names replaced by what they resolve to, if they do.
pub(crate) async fn resolved(known: Vec<Multiaddr>, patience: Duration) -> Vec<Multiaddr> {
    let mut addresses = Vec::with_capacity(known.len());
    for target in known.iter().filter_map(parse) {
        let ips = resolve(&target, patience).await.unwrap_or_default();
        addresses
            .extend(ips.into_iter().map(|ip| Multiaddr::from(ip).with(Part::Tcp(target.port))));
    }
    addresses
}

async fn resolve(target: &Target, patience: Duration) -> Result<Vec<IpAddr>, DialError> {
    let (name, v4, v6) = match &target.host {
        Host::Ip(ip) => return Ok(vec![*ip]),
        Host::Name { name, v4, v6 } => (name, *v4, *v6),
    };
    let unresolved = |why: String| DialError::Unresolved { name: name.clone(), why };
    let found = timeout(patience, tokio::net::lookup_host((name.as_str(), target.port))).await;
    let found = found.map_err(|_| unresolved("no answer in time".into()))?;
    let found = found.map_err(|error| unresolved(error.to_string()))?;
    let mut seen = BTreeSet::new();
    let wanted = found.map(|socket| socket.ip()).filter(|ip| if ip.is_ipv4() { v4 } else { v6 });
    let ips: Vec<_> = wanted.filter(|ip| seen.insert(*ip)).take(RESOLVED_MAX).collect();
    if ips.is_empty() {
        return Err(unresolved("no address of this kind".into()));
    }
    Ok(ips)
}
