//! What it costs to simulate a network with the `libp2p-kad` crate instead, over its memory
//! transport: `cargo bench -p peerless-sim --bench kad --features keys`, or with other sizes
//! `-- 100`.
//!
//! Both have the same peers at the same positions, those of their PeerIds, with the same tables, k and
//! α, and look up the same names from the same peers; one oracle judges the answers. The crate's swarms
//! run in one thread, and what is measured is the third time over: every connection that a lookup
//! needs stands. They trust each other's word about who they are, since to encrypt is no part of what
//! is compared.
#![expect(clippy::print_stdout, reason = "a benchmark's table is for people")]

use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::executor::LocalPool;
use futures::future::{Either, select};
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _};
use futures::task::LocalSpawnExt as _;
use futures::{AsyncRead, AsyncWrite, Future, StreamExt as _, stream};
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::{
    InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version,
};
use libp2p::core::{Multiaddr, Transport as _, multiaddr::Protocol};
use libp2p::kad::store::MemoryStore;
use libp2p::kad::{self, Behaviour, BucketInserts, Event, Mode, QueryResult};
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{PeerId, StreamProtocol, Swarm, yamux};
use peerless_core::{Key, Name};
use peerless_sim::chance::{Chance, Concern};
use peerless_sim::meter::{Meter, rss_bytes};
use peerless_sim::oracle::Oracle;
use peerless_sim::peer::{Index, keys, limb};
use peerless_sim::report;
use peerless_sim::scenario::Scenario;
use peerless_sim::tickets::operation;
use peerless_sim::world::World;
use sha2::{Digest as _, Sha256};

const SEED: u64 = 1;
const LOOKUPS: u32 = 1_000;
const SIZES: [u32; 3] = [100, 200, 500];
/// Lookups under way at once.
const AT_ONCE: usize = 16;
/// How a process is told to measure one size of one of the two alone.
const ALONE: &str = "PEERLESS_BENCH_KAD";
/// A new peer in its table makes the crate look itself up half a second later.
const REST: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    if let Ok(alone) = std::env::var(ALONE) {
        let (what, peers) = alone.split_once(' ').expect("what is measured, and of which size");
        let peers = peers.parse().expect("a size is a number");
        keys::set((0..peers).map(|peer| sha256(&peer_id(peer).to_bytes())).collect(), position);
        match what {
            "kad" => measure_kad(peers),
            _ => measure_sim(peers, what),
        }
        return ExitCode::SUCCESS;
    }
    let sizes: Vec<u32> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    println!("peers  of what               requests  right  lookups/CPU s  KiB a peer");
    let this = std::env::current_exe().expect("a process knows its own program");
    for peers in sizes {
        for what in ["kad", "core.alpha_near=1", "core.alpha_near=20"] {
            let status = Command::new(&this).env(ALONE, format!("{what} {peers}")).status();
            if !status.expect("the same program can be run again").success() {
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn sha256(bytes: &[u8]) -> Key {
    Key::from_bytes(&Sha256::digest(bytes).into())
}

fn position(name: &Name) -> Key {
    sha256(&name.0)
}

/// The PeerId of a key that nobody has.
fn peer_id(peer: u32) -> PeerId {
    let digest: [u8; 32] = Sha256::digest(peer.to_be_bytes()).into();
    PeerId::from_bytes(&[&[0x12, 0x20], &digest[..]].concat()).expect("it is a SHA-256 multihash")
}

fn address(peer: u32) -> Multiaddr {
    Protocol::Memory(u64::from(peer) + 1).into()
}

fn scenario(peers: u32, set: &str) -> Scenario {
    let sets = [format!("peers={peers}"), format!("lookups.count={LOOKUPS}"), set.to_owned()];
    Scenario::load("lookup", &sets).expect("the scenario is built in")
}

fn print(peers: u32, what: &str, requests: u64, right: u64, cpu: f64, memory: u64) {
    let each = requests as f64 / f64::from(LOOKUPS);
    let speed = f64::from(LOOKUPS) / cpu;
    let weight = memory as f64 / 1024.0 / f64::from(peers);
    println!("{peers:>5}  {what:<20}  {each:>8.2}  {right:>5}  {speed:>13.0}  {weight:>10.1}");
}

fn measure_sim(peers: u32, set: &str) {
    let before = rss_bytes();
    let mut world = World::new(scenario(peers, set), SEED);
    let run = Meter::start();
    world.run();
    let cpu = run.cpu_seconds();
    let weight = rss_bytes() - before;
    let requests = world.work().lookups.rpcs.iter().sum();
    let report = report::report(&mut world, SEED, 0.0, run);
    let right = report.lookup.as_ref().expect("the scenario looks up").exact;
    print(peers, &format!("simulator, {set}"), requests, right, cpu, weight);
}

/// A lookup: who asks for what.
fn lookup(scenario: &Scenario, number: u32) -> (u32, Name) {
    let chance = Chance::new(SEED);
    let ticket = operation(scenario, number.into()).expect("the scenario looks up").ticket;
    let asker = chance.below(scenario.peers.into(), Concern::Asker, ticket, 0, 0);
    (asker as u32, chance.name(Concern::Target, number.into(), 0))
}

/// What a swarm is asked to look up, and where it says whom it found and how many requests it sent.
type Ask = (Vec<u8>, oneshot::Sender<(Vec<PeerId>, u32)>);

fn measure_kad(peers: u32) {
    let scenario = scenario(peers, "core.alpha_near=1");
    let world = World::new(scenario.clone(), SEED);
    let lookups: Vec<(u32, Name)> = (0..LOOKUPS).map(|number| lookup(&scenario, number)).collect();
    let before = rss_bytes();
    let mut pool = LocalPool::new();
    let mut asks = Vec::new();
    for peer in 0..peers {
        let swarm = make_swarm(peer, &world.table(peer), scenario.core.alpha);
        let (sender, receiver) = mpsc::unbounded();
        asks.push(sender);
        pool.spawner().spawn_local(serve(swarm, receiver)).expect("the pool is there");
    }
    for _ in 0..2 {
        pool.run_until(look_up(&asks, &lookups));
        pool.run_until(rest());
    }
    let run = Meter::start();
    let found = pool.run_until(look_up(&asks, &lookups));
    let cpu = run.cpu_seconds();
    let weight = rss_bytes() - before;
    let oracle = Oracle::new(limb, peers, 0);
    let k = usize::from(scenario.core.k);
    let right = found.iter().filter(|(number, (found, _))| {
        let (asker, name) = &lookups[*number];
        let truth = oracle.closest(position(name).0[0], k, 0, Some(*asker));
        found.iter().copied().eq(truth.into_iter().map(peer_id))
    });
    let requests = found.iter().map(|(_, (_, requests))| u64::from(*requests)).sum();
    print(peers, "libp2p-kad", requests, right.count() as u64, cpu, weight);
}

fn make_swarm(peer: u32, table: &[Index], alpha: u16) -> Swarm<Behaviour<MemoryStore>> {
    let me = peer_id(peer);
    let transport = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(Word(me))
        .multiplex(yamux::Config::default())
        .boxed();
    let mut config = kad::Config::new(StreamProtocol::new("/ipfs/kad/1.0.0"));
    config
        .set_parallelism(usize::from(alpha).try_into().expect("α is at least one"))
        .set_kbucket_inserts(BucketInserts::Manual)
        .set_periodic_bootstrap_interval(None)
        .set_replication_interval(None)
        .set_publication_interval(None);
    let mut behaviour = Behaviour::with_config(me, MemoryStore::new(me), config);
    behaviour.set_mode(Some(Mode::Server));
    for other in table {
        behaviour.add_address(&peer_id(other.0), address(other.0));
    }
    let config = swarm::Config::without_executor()
        .with_idle_connection_timeout(Duration::from_hours(1))
        .with_max_negotiating_inbound_streams(1024);
    let mut swarm = Swarm::new(transport, behaviour, me, config);
    swarm.listen_on(address(peer)).expect("each has an address of its own");
    swarm
}

/// Runs one swarm for ever.
async fn serve(mut swarm: Swarm<Behaviour<MemoryStore>>, mut asks: mpsc::UnboundedReceiver<Ask>) {
    let mut waiting = Vec::new();
    loop {
        match select(asks.next(), swarm.next()).await {
            Either::Left((Some((target, tell)), _)) => {
                waiting.push((swarm.behaviour_mut().get_closest_peers(target), tell));
            }
            Either::Right((
                Some(SwarmEvent::Behaviour(Event::OutboundQueryProgressed {
                    id,
                    result: QueryResult::GetClosestPeers(result),
                    stats,
                    step,
                })),
                _,
            )) if step.last => {
                let Some(at) = waiting.iter().position(|(other, _)| *other == id) else { continue };
                let found = result.map_or_else(|_| Vec::new(), |found| found.peers);
                let found = found.into_iter().map(|peer| peer.peer_id).collect();
                let told = waiting.swap_remove(at).1.send((found, stats.num_requests()));
                assert!(told.is_ok(), "who asked waits for the answer");
            }
            Either::Left((None, _)) | Either::Right((None, _)) => return,
            Either::Right((Some(_), _)) => {}
        }
    }
}

/// Looks all up; by their numbers, whom each found and the requests it sent.
async fn look_up(
    asks: &[mpsc::UnboundedSender<Ask>],
    lookups: &[(u32, Name)],
) -> Vec<(usize, (Vec<PeerId>, u32))> {
    let all = lookups.iter().enumerate().map(|(number, (asker, name))| async move {
        let (tell, told) = oneshot::channel();
        asks[*asker as usize].unbounded_send((name.0.to_vec(), tell)).expect("the swarm runs");
        (number, told.await.expect("every lookup ends"))
    });
    stream::iter(all).buffer_unordered(AT_ONCE).collect().await
}

/// Lets the swarms do what they do by themselves, by the clock of the machine.
#[expect(clippy::disallowed_methods, reason = "it only waits; the swarms keep to this thread")]
async fn rest() {
    let (over, is_over) = oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(REST);
        over.send(())
    });
    is_over.await.expect("the time passes");
}

/// Each side says who it is.
#[derive(Clone)]
struct Word(PeerId);

impl UpgradeInfo for Word {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/word/1")
    }
}

type Said<C> = Pin<Box<dyn Future<Output = std::io::Result<(PeerId, C)>> + Send>>;

impl Word {
    fn exchange<C: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, mut way: C) -> Said<C> {
        Box::pin(async move {
            way.write_all(&self.0.to_bytes()).await?;
            way.flush().await?;
            let mut other = [0; 34];
            way.read_exact(&mut other).await?;
            let other = PeerId::from_bytes(&other).map_err(std::io::Error::other)?;
            Ok((other, way))
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Word {
    type Output = (PeerId, C);
    type Error = std::io::Error;
    type Future = Said<C>;

    fn upgrade_inbound(self, way: C, _: Self::Info) -> Said<C> {
        self.exchange(way)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Word {
    type Output = (PeerId, C);
    type Error = std::io::Error;
    type Future = Said<C>;

    fn upgrade_outbound(self, way: C, _: Self::Info) -> Said<C> {
        self.exchange(way)
    }
}
