//! What an outside client asks is answered by the node, and read by the client.

use bytes::Bytes;
use futures::StreamExt as _;
use libp2p::{identify, kad, swarm::SwarmEvent};
use peerless_net::{Event, Kind, PeerId, peer_id};

use crate::{
    common::*,
    kademlia::{ClientEvent, client},
};

/// A protobuf field of bytes.
fn field(number: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    out.push(u8::try_from(value.len()).expect("short"));
    out.extend_from_slice(value);
}

/// Answers GET_PROVIDERS (type 3) with one provider; anything else with no peers at all.
fn respond(body: &[u8], provider: PeerId) -> Bytes {
    let kind = if body[0] == 8 { body[1] } else { 0 };
    let mut answer = vec![8, kind];
    if kind == 3 {
        let mut peer = Vec::new();
        field(1, &provider.to_bytes(), &mut peer);
        field(
            2,
            &"/ip4/192.0.2.1/tcp/4001".parse::<libp2p::Multiaddr>().unwrap().to_vec(),
            &mut peer,
        );
        field(9, &peer, &mut answer);
    }
    answer.into()
}

#[tokio::test]
async fn libp2p_kademlia_finds_providers_through_us() {
    let mut node = node().await;
    let (id, address) = (peer_id(&node.key).unwrap(), node.address());
    let provider = PeerId::random();
    tokio::spawn(async move {
        while let Some(event) = node.events.recv().await {
            if let Event::Request { kind, body, reply, .. } = event {
                assert_eq!(kind, Kind::Kad);
                reply.send(respond(&body, provider));
            }
        }
    });
    let mut client = client(NETWORK);
    // Known to Kademlia only once identify has said that we speak its protocol.
    client.dial(address.clone()).unwrap();
    let key = kad::RecordKey::new(&[&[0x12, 0x20][..], &[7; 32]].concat());
    let found = soon("the providers", async {
        loop {
            match client.select_next_some().await {
                SwarmEvent::Behaviour(ClientEvent::Identify(identify::Event::Received {
                    info,
                    ..
                })) => {
                    assert!(info.protocols.iter().any(|name| name == &"/peerless/test/kad/1"));
                    client.behaviour_mut().kad.add_address(&id, address.clone());
                    client.behaviour_mut().kad.get_providers(key.clone());
                }
                SwarmEvent::Behaviour(ClientEvent::Kad(kad::Event::OutboundQueryProgressed {
                    result:
                        kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders {
                            providers,
                            ..
                        })),
                    ..
                })) => return providers,
                _ => {}
            }
        }
    });
    assert_eq!(found.await.into_iter().collect::<Vec<_>>(), [provider]);
}
