//! What an outside client finds.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, identify, kad};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::kademlia::{Client, ClientEvent, client};
use crate::network::LONG;

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
