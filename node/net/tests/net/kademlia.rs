//! An outside client: rust-libp2p's own Kademlia, which knows nothing of ours but the protocol's
//! name. The tests of whole nodes ask it, too.

use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, Swarm, identify, kad, noise, tcp, yamux};

#[derive(NetworkBehaviour)]
pub(crate) struct Client {
    identify: identify::Behaviour,
    pub(crate) kad: kad::Behaviour<kad::store::MemoryStore>,
}

pub(crate) fn client(network: &str) -> Swarm<Client> {
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
