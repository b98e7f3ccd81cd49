//! An outside client: rust-libp2p's own Kademlia, which knows nothing of ours but the protocol's
//! name.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identify, kad, noise, tcp, yamux};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::network::LONG;

#[derive(NetworkBehaviour)]
struct Client {
    identify: identify::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
}

fn client(network: &str) -> Swarm<Client> {
    let name = StreamProtocol::try_from_owned(format!("/peerless/{network}/kad/1")).unwrap();
    libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| {
            let me = key.public().to_peer_id();
            let identity = identify::Config::new("/outside/1".into(), key.public());
            let store = kad::store::MemoryStore::new(me);
            Client {
                identify: identify::Behaviour::new(identity),
                kad: kad::Behaviour::with_config(me, store, kad::Config::new(name)),
            }
        })
        .unwrap()
        .build()
}

/// Asks the network for the providers of a function, knowing one node of it.
pub(crate) async fn providers(network: &str, node: &str, function: &str) -> BTreeSet<String> {
    let key = kad::RecordKey::new(&[&[0x12, 0x20][..], &Sha256::digest(function)].concat());
    let mut swarm = client(network);
    let address: Multiaddr = node.parse().unwrap();
    let Some(Protocol::P2p(id)) = address.iter().last() else { panic!("no id in {address}") };
    swarm.dial(address.clone()).unwrap();
    let searching = search(&mut swarm, id, &address, &key);
    let found = timeout(LONG, searching).await.expect("the search ends");
    found.iter().map(PeerId::to_string).collect()
}

async fn search(
    swarm: &mut Swarm<Client>,
    node: PeerId,
    address: &Multiaddr,
    key: &kad::RecordKey,
) -> BTreeSet<PeerId> {
    let (mut found, mut asked) = (BTreeSet::new(), false);
    loop {
        match swarm.select_next_some().await {
            // Known to Kademlia only once identify has said that the node speaks its protocol.
            SwarmEvent::Behaviour(ClientEvent::Identify(identify::Event::Received { .. }))
                if !asked =>
            {
                asked = true;
                let kad = &mut swarm.behaviour_mut().kad;
                kad.add_address(&node, address.clone());
                kad.get_providers(key.clone());
            }
            SwarmEvent::Behaviour(ClientEvent::Kad(kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetProviders(result),
                step,
                ..
            })) => {
                if let kad::GetProvidersOk::FoundProviders { providers, .. } = result.unwrap() {
                    found.extend(providers);
                }
                if step.last {
                    return found;
                }
            }
            _ => {}
        }
    }
}
