//! Small worlds that several tests run.

use std::fmt::Write as _;

use peerless_core::Span;
use peerless_sim::peer::Index;
use peerless_sim::record::{Interest, Recorder};
use peerless_sim::report::{self, Report};
use peerless_sim::scenario::{Scenario, Silence};
use peerless_sim::trace;
use peerless_sim::words::Words;
use peerless_sim::world::{START, World};

/// The built-in scenarios, small enough for a debug build. What follows a slash tells those of one
/// scenario apart.
pub(crate) const SMALL: [(&str, &[&str]); 34] = [
    ("lookup", &["peers=400", "lookups.count=300"]),
    (
        "churn",
        &[
            "peers=150",
            "core.k=8",
            "churn.per_hour=0.6",
            "churn.end=20m",
            "lookups.count=400",
            "lookups.interval=3s",
            "core.refresh_period=3m",
            "expect.lookup_succeeded_min=0.97",
            "expect.lookup_timeouts_mean_max=0.7",
        ],
    ),
    (
        "placement",
        &[
            "peers=80",
            "owners=8",
            "functions.count=40",
            "crash.share=0.1",
            "functions.start=60s",
            "crash.at=90s",
            "duration=4m",
            "core.refresh_period=20s",
            "expect.placement_near_min=0.85",
            "expect.placement_load_max_over_mean_max=2.5",
            "expect.placement_installs_over_lost_max=1.1",
        ],
    ),
    (
        "labels",
        &["peers=200", "owners=20", "host.carriers=0.05", "functions.count=20", "crash.share=0.2"],
    ),
    (
        "anycall",
        &["peers=60", "owners=5", "functions.count=8", "anycalls.count=600", "crash.at=32s"],
    ),
    (
        "manycall",
        &[
            "peers=16",
            "host.hosts=10",
            "functions.replicas=[10, 10]",
            "manycalls.items=600",
            "crash.at=35s",
            "crash.count=2",
            "expect.placement_live_min=8",
        ],
    ),
    (
        "liars",
        &[
            "peers=1000",
            "core.k=8",
            "adversaries.liars=0.4",
            "lookups.count=300",
            "expect.lookup_succeeded_min=0.98",
        ],
    ),
    (
        "eclipse",
        &[
            "peers=300",
            "owners=3",
            "core.k=8",
            "network.groups=150",
            "sybils.count=100",
            "sybils.groups=2",
            "sybils.reach=40",
            "functions.start=5s",
            "lookups.count=60",
            "lookups.start=12s",
            "anycalls.count=60",
            "anycalls.start=16s",
            "expect.lookup_missing_mean_max=4.5",
        ],
    ),
    (
        "anycall/adversaries",
        &[
            "peers=60",
            "owners=5",
            "functions.count=8",
            "anycalls.count=300",
            "crash.at=32s",
            "adversaries.liars=0.1",
            "adversaries.free_riders=0.3",
            "adversaries.wrong=0.2",
            "expect.anycall_succeeded_min=0.7",
        ],
    ),
    (
        "anycall/once",
        &[
            "peers=60",
            "owners=5",
            "functions.count=8",
            "functions.idempotent=no",
            "anycalls.count=600",
            "anycalls.idempotent=false",
            "crash.at=32s",
            "host.crash=process",
            "expect.anycall_succeeded_min=0.9",
        ],
    ),
    (
        "manycall/once",
        &[
            "peers=16",
            "host.hosts=10",
            "functions.replicas=[10, 10]",
            "functions.idempotent=no",
            "manycalls.items=600",
            "crash.at=35s",
            "crash.count=2",
            "expect.placement_live_min=8",
            "expect.manycall_efficiency_min=0.5",
            "expect.manycall_failed_max=16",
        ],
    ),
    (
        "overload",
        &[
            "functions.services=[\"80ms\"]",
            "anycalls.flows=[{ rate = 150, from = \"5s\", until = \"17s\", through = 0, function = 0 }, \
             { rate = 150, from = \"5s\", until = \"17s\", through = 1, function = 0 }]",
        ],
    ),
    (
        "manycall-spread",
        &[
            "peers=16",
            "host.hosts=10",
            "functions.replicas=[10, 10]",
            "manycalls.items=1000",
            "expect.manycall_efficiency_min=0.93",
        ],
    ),
    ("scaling", &[]),
    (
        "leaving",
        &[
            "functions.services=[\"80ms\"]",
            "anycalls.flows=[{ rate = 40, from = \"10s\", until = \"75s\" }]",
            "drain.at=15s",
            "functions.redeployed=[\"20s\"]",
        ],
    ),
    (
        "dfaas-all",
        &[
            "anycalls.flows=[{ rate = 350, from = \"5s\", until = \"8s\", through = 0, function = 0 }, \
             { rate = 600, from = \"5s\", until = \"8s\", through = 1, function = 0 }]",
            "functions.redeployed=[\"6s\"]",
        ],
    ),
    (
        "anycall/zipf",
        &[
            "peers=60",
            "owners=5",
            "functions.count=20",
            "functions.popularity=1.1",
            "anycalls.count=600",
            "anycalls.arrivals=poisson",
            "anycalls.burst=5",
            "host.slots_each=[1, 2, 8]",
            "crash.at=33s",
        ],
    ),
    (
        "manycall-faults",
        &[
            "peers=24",
            "host.hosts=20",
            "host.slow=0.1",
            "functions.replicas=[20, 20]",
            "manycalls.items=1000",
            "crash.at=60s",
        ],
    ),
    (
        "turnover",
        &[
            "peers=80",
            "owners=8",
            "functions.count=20",
            "functions.start=5s",
            "sessions.start=1m",
            "sessions.end=8m",
            "sessions.median=20m",
            "crash.at=150s",
            "crash.functions=1",
            "anycalls.count=400",
            "anycalls.start=70s",
            "anycalls.interval=1s",
            "lookups.count=400",
            "lookups.start=70s",
            "lookups.interval=1s",
            "settle=4m",
            "core.refresh_period=60s",
            "expect.placement_hostless_fraction_max=0.02",
            "expect.placement_repair_seconds_p95_max=120",
        ],
    ),
    (
        "filling",
        &[
            "peers=60",
            "owners=8",
            "functions.count=150",
            "host.room=40",
            "host.room_min=12",
            "functions.start=40s",
            "functions.interval=100ms",
            "core.refresh_period=10s",
            "core.loads_min=16",
            "core.renew_period=2m",
            "core.host_life=5m",
            "arrivals.at=70s",
            "arrivals.count=2",
            "crash.at=80s",
            "duration=8m",
            "expect.placement_use_max_over_mean_max=1.6",
        ],
    ),
    (
        "full",
        &[
            "peers=60",
            "owners=8",
            "functions.count=150",
            "host.room=12",
            "host.room_min=4",
            "functions.start=40s",
            "functions.interval=100ms",
            "core.refresh_period=10s",
            "core.loads_min=16",
            "duration=2m",
        ],
    ),
    (
        "quorum",
        &[
            "peers=30",
            "host.hosts=20",
            "functions.replicas=[20, 20]",
            "manycalls.items=2000",
            "adversaries.wrong=0.3",
        ],
    ),
    (
        "lookup/coordinates",
        &["peers=200", "lookups.count=150", "network.model=coordinates", "network.access_max=10ms"],
    ),
    (
        "homes",
        &[
            "peers=120",
            "owners=5",
            "core.k=8",
            "functions.count=8",
            "lookups.count=100",
            "anycalls.count=200",
            "connections.most=20",
            "nat.share=0.4",
            "lookups.start=10s",
            "anycalls.start=10s",
            "expect.lookup_succeeded_min=0.95",
        ],
    ),
    (
        "anycall/storm",
        &[
            "peers=60",
            "owners=5",
            "functions.count=8",
            "anycalls.count=600",
            "crash.at=33s",
            "partition.at=35s",
            "partition.until=38s",
            "partition.shares=[0.2, 0.3]",
            "partition.times=4",
            "partition.every=6s",
            "expect.anycall_succeeded_min=0.9",
        ],
    ),
    ("lookup/transit-stub", &["peers=200", "lookups.count=150", "network.model=transit-stub"]),
    (
        "lookup/scale-free",
        &["peers=200", "lookups.count=150", "network.model=scale-free", "topology.routers=100"],
    ),
    (
        "lookup/small-world",
        &["peers=200", "lookups.count=150", "network.model=small-world", "topology.routers=100"],
    ),
    (
        "lookup/jitter",
        &["peers=200", "lookups.count=150", "network.jitter=0.5", "network.jitter_law=exponential"],
    ),
    (
        "anycall/partition",
        &[
            "peers=60",
            "owners=5",
            "functions.count=8",
            "anycalls.count=800",
            "anycalls.interval=40ms",
            "crash.at=33s",
            "partition.at=35s",
            "partition.until=65s",
            "expect.anycall_succeeded_min=0.9",
        ],
    ),
    ("joining", &["peers=80", "joining.over=4m", "lookups.start=5m", "lookups.count=150"]),
    (
        "sessions",
        &[
            "peers=100",
            "core.k=8",
            "sessions.end=20m",
            "lookups.count=200",
            "lookups.interval=6s",
            "core.refresh_period=3m",
            "expect.lookup_succeeded_min=0.97",
        ],
    ),
    (
        "sessions/returns",
        &[
            "peers=100",
            "core.k=8",
            "sessions.law=log-normal",
            "sessions.sigma=1.0",
            "sessions.median=20m",
            "sessions.returns=0.7",
            "sessions.downtime=2m",
            "sessions.end=10m",
            "lookups.count=100",
            "lookups.interval=6s",
            "core.refresh_period=3m",
            "expect.lookup_succeeded_min=0.95",
        ],
    ),
    (
        "partition",
        &[
            "peers=60",
            "owners=6",
            "functions.count=15",
            "functions.start=5s",
            "partition.at=60s",
            "partition.until=180s",
            "anycalls.count=100",
            "anycalls.start=30s",
            "anycalls.interval=1s",
            "lookups.count=100",
            "lookups.start=180s",
            "lookups.interval=500ms",
            "duration=6m",
            "core.refresh_period=30s",
        ],
    ),
];

/// A built-in scenario with some keys set.
pub(crate) fn scenario(name: &str, sets: &[&str]) -> Scenario {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Scenario::load(name, &sets).unwrap_or_else(|bad| panic!("{bad}"))
}

/// One of the [`SMALL`] ones.
pub(crate) fn small(name: &str) -> Scenario {
    let (_, sets) = SMALL.iter().find(|(small, _)| *small == name).expect("there is one");
    let built_in = name.split('/').next().expect("a name has a first part");
    scenario(built_in, sets)
}

/// Runs one of the [`SMALL`] ones.
pub(crate) fn run_small(name: &str, seed: u64) -> Report {
    report::run(&small(name), seed)
}

/// The command that runs one of the [`SMALL`] ones.
#[cfg(not(feature = "planted"))]
pub(crate) fn command(name: &str, seed: u64) -> String {
    let (_, sets) = SMALL.iter().find(|(small, _)| *small == name).expect("there is one");
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let built_in = name.split('/').next().expect("a name has a first part");
    peerless_sim::cli::command(built_in, seed, small(name).peers, &sets)
}

/// A scenario from its text.
pub(crate) fn parse(text: &str) -> Scenario {
    Scenario::parse("small", "small.toml", text, &[]).unwrap_or_else(|bad| panic!("{bad}"))
}

/// How a transcript comes about.
type Transcript = fn() -> String;

/// Every transcript by its name.
pub(crate) const TRANSCRIPTS: [(&str, Transcript); 13] = [
    ("lookup_hop_by_hop", lookup_hop_by_hop),
    ("join_and_tables_shape", join_and_tables_shape),
    ("dead_peers_leave_the_table", dead_peers_leave_the_table),
    ("offer_declined_and_passed_on", offer_declined_and_passed_on),
    ("anycall_moves_to_second_host", anycall_moves_to_second_host),
    ("manycall_whose_host_dies", manycall_whose_host_dies),
    ("repair_by_rank", repair_by_rank),
    ("removal_and_a_host_that_was_away", removal_and_a_host_that_was_away),
    ("calls_beyond_slots", calls_beyond_slots),
    ("calls_spread_over_hosts", calls_spread_over_hosts),
    ("call_cancelled", call_cancelled),
    ("hosts_found_after_an_hour", hosts_found_after_an_hour),
    ("owners_nodes_compare", owners_nodes_compare),
];

fn lookup_hop_by_hop() -> String {
    let scenario = parse(
        "peers = 12\n[lookups]\ncount = 3\n[core]\nk = 2\nalpha = 1\nrefresh_period = \"0s\"\n\
         notes = true",
    );
    trace::trace(scenario, 35, 1).expect("there is such a lookup")
}

fn watch(world: &mut World, interest: Interest) {
    let mut words = Words::default();
    for (n, name) in world.functions().into_iter().enumerate() {
        let letter = char::from(b'f' + n as u8);
        words.names.insert(name, letter.to_string());
    }
    world.recorder = Some(Recorder::new(interest, words));
}

fn told(world: &mut World) -> String {
    world.recorder.take().map_or(String::new(), |recorder| recorder.text().to_owned())
}

fn join_and_tables_shape() -> String {
    let scenario = parse("peers = 12\n[core]\nk = 2\nalpha = 2\nrefresh_period = \"0s\"");
    let mut world = World::new(scenario, 1);
    let mut text = String::from("world 12 peers, k 2, α 2\n");
    text.push_str(&trace::table(&world, 3));
    let peer = world.add();
    let target = Some(peerless_core::Target::Peer(Index(peer)));
    watch(&mut world, Interest { target, ..Interest::default() });
    let met =
        peerless_core::Input::Met { peer: Index(3), serves: true, group: None, relayed: false };
    world.tell_now(peer, met);
    world.run_until(START + Span::secs(5));
    text.push_str(&told(&mut world));
    text.push_str(&trace::table(&world, peer));
    text.push_str(&trace::table(&world, 3));
    text
}

fn dead_peers_leave_the_table() -> String {
    let scenario = parse("peers = 10\n[core]\nk = 3\nrefresh_period = \"30s\"");
    let mut world = World::new(scenario, 1);
    let mut text = trace::table(&world, 2);
    // In the first one's bucket others are known to take its place; nobody can take the last one's,
    // so that it leaves only by eviction.
    let victims = [world.table(2)[0].0, world.table(2).last().expect("it knows someone").0];
    for victim in victims {
        world.remove(victim, Silence::Machine);
        let _ = writeln!(text, "{victim} is gone");
    }
    // Whoever does not answer two searches for it in a row leaves.
    for n in 1..=3 {
        for victim in victims {
            let target = peerless_core::Target::Peer(Index(victim));
            world.user(2, peerless_core::Request::Lookup(target));
        }
        world.run_until(START + Span::secs(40 * n));
    }
    text.push_str(&trace::table(&world, 2));
    text
}

const FUNCTIONS: &str = "[functions]\nstart = \"1s\"\nspread = \"constant\"\n";
const SMALL_CORE: &str = "[core]\nk = 4\nalpha = 2\nrefresh_period = \"0s\"\nnotes = true\n";

fn offer_declined_and_passed_on() -> String {
    let scenario = parse(&format!(
        "peers = 7\nowners = 1\n{FUNCTIONS}count = 6\ninterval = \"5s\"\nreplicas = [1, 1]\n\
         service = \"20ms\"\n[host]\nroom = 1\n{SMALL_CORE}"
    ));
    trace::trace(scenario, 1, 5).expect("there is such a deployment")
}

fn anycall_moves_to_second_host() -> String {
    let scenario = parse(&format!(
        "peers = 8\nowners = 1\n{FUNCTIONS}replicas = [2, 2]\nservice = \"20ms\"\n{SMALL_CORE}"
    ));
    let mut world = World::new(scenario, 1);
    world.run_until(START + Span::secs(8));
    let hosts = world.hosts_of(0);
    let caller = (0..8).find(|peer| !hosts.contains(peer)).expect("six do not host it");
    let mut text = format!("f is hosted by {hosts:?}\n");
    // The caller knows both hosts; the first that it tries has died since.
    call(&mut world, caller);
    world.run_until(START + Span::secs(10));
    for host in hosts.into_iter().take(1) {
        world.remove(host, Silence::Machine);
        let _ = writeln!(text, "{host} is gone");
    }
    for _ in 0..3 {
        let now = world.now();
        let ticket = world.next_ticket();
        let request = Some((caller, ticket));
        watch(&mut world, Interest { request, from: now, ..Interest::default() });
        call(&mut world, caller);
        world.run_until(now + Span::secs(8));
        text.push_str(&told(&mut world));
    }
    text
}

fn call(world: &mut World, caller: u32) {
    let function = world.functions()[0];
    let deadline = world.now() + Span::secs(30);
    let request =
        peerless_core::Request::Call { function, deadline, kept: true, idempotent: false };
    world.user(caller, request);
}

fn manycall_whose_host_dies() -> String {
    let scenario = parse(&format!(
        "peers = 8\nowners = 1\n{FUNCTIONS}replicas = [2, 2]\nservice = \"1s\"\n\
         [host]\nslots = 1\nqueue = 1\n[manycalls]\nitems = 6\nstart = \"10s\"\n\
         [network]\nkeep_alive = \"2s\"\n{SMALL_CORE}"
    ));
    let mut world = World::new(scenario, 1);
    world.run_until(START + Span::secs(10));
    let ticket =
        peerless_sim::tickets::operation(&world.scenario().clone(), 1).expect("the manycall");
    let request = Some((0, ticket.ticket));
    watch(&mut world, Interest { request, from: START + Span::secs(10), ..Interest::default() });
    world.run_until(START + Span::ms(11_500));
    let host = world.hosts_of(0).into_iter().find(|host| *host != 0).expect("two host it");
    world.remove(host, Silence::Machine);
    world.run_until(START + Span::secs(30));
    told(&mut world)
}

fn repair_by_rank() -> String {
    let scenario = parse(&format!(
        "peers = 9\nowners = 1\n{FUNCTIONS}replicas = [3, 3]\nservice = \"20ms\"\n{SMALL_CORE}"
    ));
    let mut world = World::new(scenario, 1);
    world.run_until(START + Span::secs(10));
    let hosts = world.hosts_of(0);
    let function = Some(world.functions()[0]);
    let mut text = format!("f is hosted by {hosts:?}\n");
    let from = world.now();
    watch(&mut world, Interest { function, probes: true, from, ..Interest::default() });
    let victim = hosts.into_iter().find(|host| *host != 0).expect("three host it");
    world.remove(victim, Silence::Machine);
    world.run_until(START + Span::secs(80));
    text.push_str(&told(&mut world));
    let _ = writeln!(text, "f is hosted by {:?}", world.hosts_of(0));
    text
}

fn removal_and_a_host_that_was_away() -> String {
    let scenario = parse(&format!(
        "peers = 8\nowners = 1\n{FUNCTIONS}replicas = [2, 2]\nservice = \"20ms\"\n{SMALL_CORE}"
    ));
    let mut world = World::new(scenario, 1);
    world.run_until(START + Span::secs(10));
    let hosts = world.hosts_of(0);
    let mut text = format!("f is hosted by {hosts:?}\n");
    let away = hosts.into_iter().find(|host| *host != 0).expect("two host it");
    let (function, from) = (Some(world.functions()[0]), world.now());
    world.remove(away, Silence::Machine);
    let request = Some((0, world.next_ticket()));
    watch(&mut world, Interest { request, function, from, ..Interest::default() });
    let mut tombstone = world.record_of(0, 0);
    tombstone.version += 60_000;
    tombstone.spec = None;
    world.user(0, peerless_core::Request::Remove(std::sync::Arc::new(tombstone)));
    world.run_until(START + Span::secs(20));
    world.restart(away);
    let bootstrap = (0..8).find(|peer| world.is_up(*peer) && *peer != away).expect("seven are up");
    world.tell_now(
        away,
        peerless_core::Input::Met {
            peer: Index(bootstrap),
            serves: true,
            group: None,
            relayed: false,
        },
    );
    world.run_until(START + Span::secs(40));
    text.push_str(&told(&mut world));
    let _ = writeln!(text, "f is hosted by {:?}", world.hosts_of(0));
    text
}

fn calls_beyond_slots() -> String {
    let scenario = parse(&format!(
        "peers = 6\nowners = 1\n{FUNCTIONS}replicas = [1, 1]\nservice = \"1s\"\n\
         [host]\nslots = 1\nqueue = 1\n{SMALL_CORE}"
    ));
    let mut world = World::new(scenario, 1);
    world.run_until(START + Span::secs(10));
    let (function, from) = (Some(world.functions()[0]), world.now());
    let hosts = world.hosts_of(0);
    let caller = (0..6).find(|peer| !hosts.contains(peer)).expect("five do not host it");
    let mut text = format!("f is hosted by {hosts:?}\n");
    // Whose calls are shown is the third one's: one runs, one waits, one is too many.
    call(&mut world, caller);
    world.run_until(START + Span::ms(10_300));
    call(&mut world, caller);
    let request = Some((caller, world.next_ticket()));
    watch(&mut world, Interest { request, function, from, ..Interest::default() });
    call(&mut world, caller);
    world.run_until(START + Span::secs(20));
    text.push_str(&told(&mut world));
    text
}

fn calls_spread_over_hosts() -> String {
    let scenario = parse(&format!(
        "peers = 8\nowners = 1\n{FUNCTIONS}replicas = [3, 3]\nservice = \"1s\"\n{SMALL_CORE}"
    ));
    let mut world = World::new(scenario, 1);
    world.run_until(START + Span::secs(10));
    let hosts = world.hosts_of(0);
    let mut text = format!("f is hosted by {hosts:?}\n");
    let caller = (0..8).find(|peer| !hosts.contains(peer)).expect("five do not host it");
    call(&mut world, caller);
    world.run_until(START + Span::secs(15));
    let from = world.now();
    watch(&mut world, Interest { requests_of: Some(caller), from, ..Interest::default() });
    for n in 0..9 {
        world.run_until(from + Span::ms(10 * n));
        call(&mut world, caller);
    }
    world.run_until(from + Span::secs(5));
    let all = told(&mut world);
    let called = all.lines().filter(|line| line.contains("calls ") || line.contains("done"));
    text.extend(called.map(|line| format!("{line}\n")));
    text
}

fn call_cancelled() -> String {
    let scenario = parse(&format!(
        "peers = 6\nowners = 1\n{FUNCTIONS}replicas = [1, 1]\nservice = \"20s\"\n{SMALL_CORE}"
    ));
    let mut world = World::new(scenario, 1);
    world.run_until(START + Span::secs(10));
    let hosts = world.hosts_of(0);
    let caller = (0..6).find(|peer| !hosts.contains(peer)).expect("five do not host it");
    let from = world.now();
    watch(&mut world, Interest { requests_of: Some(caller), from, ..Interest::default() });
    let ticket = world.next_ticket();
    call(&mut world, caller);
    world.run_until(START + Span::secs(12));
    world.user(caller, peerless_core::Request::Cancel(ticket));
    world.run_until(START + Span::secs(60));
    told(&mut world)
}

fn hosts_found_after_an_hour() -> String {
    let scenario = parse(&format!(
        "peers = 8\nowners = 1\n{FUNCTIONS}replicas = [2, 2]\n\
         [core]\nk = 4\nalpha = 2\nrefresh_period = \"10m\"\nnotes = true"
    ));
    let mut world = World::new(scenario, 1);
    world.run_until(START + Span::minutes(60));
    let hosts = world.hosts_of(0);
    let mut text = format!("f is hosted by {hosts:?}\n");
    let asker = (0..8).find(|peer| !hosts.contains(peer)).expect("six do not host it");
    let from = world.now();
    watch(&mut world, Interest { requests_of: Some(asker), from, ..Interest::default() });
    let name = world.functions()[0];
    world.user(asker, peerless_core::Request::Hosts(name));
    world.run_until(from + Span::secs(10));
    text.push_str(&told(&mut world));
    text
}

fn owners_nodes_compare() -> String {
    let scenario = parse(&format!(
        "peers = 8\nowners = 2\nowner_keys = 1\n{FUNCTIONS}replicas = [2, 2]\n\
         [core]\nk = 4\nalpha = 2\nrefresh_period = \"10m\"\nnotes = true"
    ));
    let mut world = World::new(scenario, 1);
    // One of the owner's two nodes is away while the other deploys.
    let deployed_by_other = |world: &World| {
        let hosts = world.hosts_of(0);
        format!("f is hosted by {hosts:?}\n")
    };
    world.run_until(START + Span::ms(900));
    let away = 1;
    world.remove(away, Silence::Machine);
    world.run_until(START + Span::secs(10));
    let mut text = deployed_by_other(&world);
    let from = world.now();
    watch(
        &mut world,
        Interest { requests_of: Some(away), sync: true, from, ..Interest::default() },
    );
    world.restart(away);
    world.tell_now(
        away,
        peerless_core::Input::Met { peer: Index(3), serves: true, group: None, relayed: false },
    );
    world.run_until(START + Span::secs(100));
    world.user(away, peerless_core::Request::List);
    text.push_str(&told(&mut world));
    text
}
