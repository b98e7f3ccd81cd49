//! Dialling an address that somebody typed, and names.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
};

use futures::future::join_all;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol as Part};
use tokio::{sync::oneshot, time::timeout};

use crate::{DialError, Net, PeerKey, book, driver::Command, peer_key};

/// Addresses of one name that are tried.
const RESOLVED_MAX: usize = 8;

/// Names of one peer that are resolved.
const NAMES_MAX: usize = 4;

/// An address taken apart.
pub(crate) struct Target {
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

/// Dials an address once.
pub(crate) async fn dial(net: &Net, address: Multiaddr) -> Result<PeerKey, DialError> {
    let target = parse(&address).ok_or(DialError::Unsupported(address))?;
    let peer = match target.peer {
        Some(id) => Some(peer_key(&id).ok_or(DialError::WrongPeer(id))?),
        None => None,
    };
    if peer == Some(net.shared.me) {
        return Err(DialError::Own);
    }
    let mut last = DialError::Failed("no address".into());
    for ip in resolve(net, &target).await? {
        let address = Multiaddr::from(ip).with(Part::Tcp(target.port));
        let (done, dialled) = oneshot::channel();
        let command = match peer {
            Some(peer) => Command::Connect { peer, addresses: vec![address], joins: false, done },
            None => Command::Dial { address, done },
        };
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

/// What the book says of a peer: addresses to dial at once, and names to resolve first. Only our
/// own user puts names there.
pub(crate) fn known(net: &Net, peer: &PeerKey) -> (Vec<Multiaddr>, Vec<Target>) {
    let (ips, names): (Vec<_>, Vec<_>) =
        net.shared.book().get(peer).into_iter().partition(book::is_ip);
    (ips, names.iter().filter_map(parse).take(NAMES_MAX).collect())
}

/// Resolves names at the same time; those that do not resolve give nothing.
pub(crate) async fn resolve_all(net: &Net, names: Vec<Target>) -> Vec<Multiaddr> {
    let each = names.iter().map(|target| async move {
        let ips = resolve(net, target).await.unwrap_or_default();
        ips.into_iter().map(|ip| Multiaddr::from(ip).with(Part::Tcp(target.port)))
    });
    join_all(each).await.into_iter().flatten().collect()
}

async fn resolve(net: &Net, target: &Target) -> Result<Vec<IpAddr>, DialError> {
    let (name, v4, v6) = match &target.host {
        Host::Ip(ip) => return Ok(vec![*ip]),
        Host::Name { name, v4, v6 } => (name, *v4, *v6),
    };
    let unresolved = |why: String| DialError::Unresolved { name: name.clone(), why };
    let patience = net.shared.limits.dial_timeout;
    let found = timeout(patience, look_up(net, name.clone(), target.port)).await;
    let found = found.map_err(|_| unresolved("no answer in time".into()))?;
    let found = found.map_err(|error| unresolved(error.to_string()))?;
    let mut seen = BTreeSet::new();
    let wanted =
        found.iter().map(std::net::SocketAddr::ip).filter(|ip| if ip.is_ipv4() { v4 } else { v6 });
    let ips: Vec<_> = wanted.filter(|ip| seen.insert(*ip)).take(RESOLVED_MAX).collect();
    if ips.is_empty() {
        return Err(unresolved("no address of this kind".into()));
    }
    Ok(ips)
}

/// Asks the system's resolver. It cannot be interrupted, so the place it takes is given back when
/// it has answered, whether or not anybody waits for that.
async fn look_up(net: &Net, name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let place = net.shared.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
    let asked = tokio::spawn(async move {
        let found = tokio::net::lookup_host((name, port)).await;
        drop(place);
        Ok(found?.collect())
    });
    asked.await.map_err(io::Error::other)?
}
