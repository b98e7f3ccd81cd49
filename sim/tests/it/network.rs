//! Where latencies come from, and what they do to the order of messages.

use std::fmt::Write as _;

use peerless_core::{Span, Time};
use peerless_sim::chance::Chance;
use peerless_sim::network::{Matrix, Measured, Network, Passage, Unit, Verdict};
use peerless_sim::scenario::Scenario;
use peerless_sim::world::START;
use peerless_sim::{report, scenario};

use crate::support;

fn network(keys: &str) -> Network {
    Network::new(&support::parse(&format!("[network]\n{keys}")), Chance::new(3))
}

/// The one-way latencies between so many peers.
fn latencies(network: &Network, peers: u32) -> Vec<Span> {
    let pairs = (0..peers).flat_map(|a| (0..peers).map(move |b| (a, b)));
    pairs.filter(|(a, b)| a != b).map(|(a, b)| network.latency(a, b)).collect()
}

fn mean_ms(latencies: &[Span]) -> f64 {
    latencies.iter().map(|span| span.0 as f64 / 1e6).sum::<f64>() / latencies.len() as f64
}

#[test]
fn every_model_has_the_mean_that_is_said() {
    for model in ["constant", "coordinates", "transit-stub", "scale-free", "small-world"] {
        let network = network(&format!("model = {model:?}\nlatency = \"40ms\""));
        let all = latencies(&network, 300);
        let mean = mean_ms(&all);
        assert!((38.0..42.0).contains(&mean), "{model}: {mean} ms");
        let differ = all.iter().any(|span| *span != all[0]);
        assert_eq!(differ, model != "constant", "{model}");
        for (a, b) in [(1, 2), (7, 150), (299, 3)] {
            assert_eq!(network.latency(a, b), network.latency(b, a), "{model}: there and back");
        }
    }
}

#[test]
fn points_of_a_square_keep_the_inequality_of_triangles() {
    let network = network("model = \"coordinates\"");
    for a in 0..30 {
        for b in 0..30 {
            for c in 0..30 {
                // Each distance is rounded down, and none is below that of a local network.
                let detour = network.latency(a, b) + network.latency(b, c) + Span::ms(1);
                assert!(a == c || network.latency(a, c) <= detour, "{a} {b} {c}");
            }
        }
    }
}

#[test]
fn the_way_to_the_network_is_added_at_both_ends() {
    let with = network("access_max = \"30ms\"");
    let all = latencies(&with, 200);
    assert!(all.iter().all(|span| (25..85).contains(&span.as_ms())));
    let mean = mean_ms(&all);
    assert!((53.0..57.0).contains(&mean), "25 ms and twice 15, but {mean}");
    let apart = |to| with.latency(2, to).0.abs_diff(with.latency(3, to).0);
    assert!(apart(1) > 0 && apart(1) == apart(5), "each has its own");
}

/// Few routers with many links are near to all others: the spread tells the topologies apart.
#[test]
fn topologies_are_what_they_are_called() {
    let spread = |model: &str| {
        let mut all = latencies(&network(&format!("model = {model:?}")), 300);
        all.sort_unstable();
        let at = |share: f64| all[(all.len() as f64 * share) as usize].0 as f64 / 1e6;
        (at(0.1), at(0.9))
    };
    // Within a domain it is near, and between two far.
    let (near, far) = spread("transit-stub");
    assert!(near < 15.0 && far > 33.0, "{near} {far}");
    let (near, far) = spread("scale-free");
    assert!(near > 14.0 && far < 35.0, "{near} {far}");
    // A ring without short cuts is wide; with them it is narrow, beside its mean.
    let hops = |rewired: &str| {
        let scenario = support::parse(&format!(
            "[network]\nmodel = \"small-world\"\n[topology]\nrewired = {rewired}"
        ));
        let network = Network::new(&scenario, Chance::new(3));
        let nearest = latencies(&network, 300).into_iter().filter(|span| span.as_ms() < 5).count();
        nearest as f64 / f64::from(300 * 299)
    };
    let (ring, world) = (hops("0.0"), hops("0.3"));
    assert!(ring > 3.0 * world, "{ring} and {world} of the pairs are near");
}

#[test]
fn a_matrix_is_read_in_any_of_its_forms() {
    let read = |text, unit, of| Matrix::parse(text, unit, of);
    let one = read("0 10\n30 0\n", Unit::Ms, Measured::OneWay).expect("a matrix");
    assert_eq!(
        (one.sites(), one.between(0, 1), one.between(1, 0)),
        (2, Span::ms(10), Span::ms(30))
    );
    let same = "# from, to\n\n 0.0,\t20.0  # the first\r\n60,0";
    assert_eq!(read(same, Unit::Ms, Measured::RoundTrip), Ok(one.clone()));
    assert_eq!(read("0 10000\n30000 0", Unit::Us, Measured::OneWay), Ok(one));
}

#[test]
fn a_bad_matrix_is_named_with_its_line() {
    let wide = format!("{}\n", vec!["1"; 2001].join(" "));
    let cases = [
        ("nothing", ""),
        ("only remarks", "# nothing\n# at all\n"),
        ("a word", "0 1\nLondon 0\n"),
        ("a negative", "0 1\n-1 0\n"),
        ("not a number", "0 NaN\n1 0\n"),
        ("more than an hour", "0 1\n1e9 0\n"),
        ("a short row", "0 1 2\n1 0\n2 1 0\n"),
        ("a long row", "0 1\n1 0 7\n"),
        ("too few rows", "0 1 2\n1 0 3\n"),
        ("too many rows", "0 1\n\n1 0\n\n2 3\n"),
        ("too many columns", &wide),
    ];
    let mut text = String::new();
    for (name, file) in cases {
        let bad = Matrix::parse(file, Unit::Ms, Measured::OneWay).expect_err(name);
        let _ = writeln!(text, "{name}:\n  {bad}");
    }
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("bad_matrices", text) });
}

/// Four cities, round trips in milliseconds.
const CITIES: &str = "0.4 70 160 80\n72 0.5 230 8\n161 229 0.6 220\n80 8 220 0.3\n";

#[test]
fn a_scenario_finds_its_matrix_beside_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("cities.toml");
    let lookups = "peers = 300\n[network]\nmodel = \"matrix\"\nmatrix = \"cities.txt\"\n\
                   [lookups]\ncount = 200\n[core]\nrefresh_period = \"0s\"";
    std::fs::write(&file, lookups).expect("can be written");
    let named = file.to_str().expect("a plain path");
    let missing = Scenario::load(named, &[]).expect_err("there is no matrix yet").to_string();
    assert!(missing.contains("cities.toml:4: network.matrix"), "{missing}");
    std::fs::write(dir.path().join("cities.txt"), "0 1\n1 x\n").expect("can be written");
    let broken = Scenario::load(named, &[]).expect_err("it has a bad line").to_string();
    assert!(broken.contains("cities.txt:2: expected a latency"), "{broken}");
    std::fs::write(dir.path().join("cities.txt"), CITIES).expect("can be written");
    let scenario = Scenario::load(named, &[]).expect("it can be read");
    let network = Network::new(&scenario, Chance::new(1));
    let ways = latencies(&network, 100);
    assert!(ways.contains(&Span::ms(115)) && ways.contains(&Span(114_500_000)), "asymmetric");
    assert!(ways.contains(&Span(200_000)), "two in one city");
    let report = report::run(&scenario, 1);
    let lookup = report.lookup.expect("it looks things up");
    assert_eq!((lookup.count, lookup.exact), (200, 200));
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("matrix_digest", report.digest) });
}

/// When each of many messages from one peer to another comes, that leave a millisecond apart.
fn arrivals(network: &Network) -> Vec<u64> {
    let sent = (0..2000_u64).map(|n| (n, Time(n * 1_000_000)));
    sent.map(|(n, time)| {
        let passage = Passage { from: 1, to: 2, counter: n, time, bytes: 100 };
        match network.judge(&passage) {
            Verdict::Deliver(after) => (time + after).0,
            Verdict::Drop => panic!("nothing is lost here"),
        }
    })
    .collect()
}

#[test]
fn jitter_reorders_any_two() {
    assert!(arrivals(&network("")).is_sorted());
    for (law, mean) in [("uniform", 27.5), ("exponential", 30.0)] {
        let network = network(&format!("jitter = 0.2\njitter_law = {law:?}"));
        let came = arrivals(&network);
        let overtaken = came.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(overtaken > 500, "{law}: {overtaken} of 2000 overtook the one before");
        let took = came.iter().zip(0..).map(|(came, n)| *came as f64 / 1e6 - f64::from(n));
        let took = took.sum::<f64>() / 2000.0;
        assert!((mean - 0.4..mean + 0.4).contains(&took), "{law}: {took} ms on average");
    }
}

#[test]
fn a_topology_that_is_too_large_is_refused() {
    let parse = |text: &str| scenario::Scenario::parse("mine", "mine.toml", text, &[]);
    let large = "[network]\nmodel = \"transit-stub\"\n[topology]\nstub_routers = 4000000000";
    let bad = parse(large).expect_err("it has too many routers").to_string();
    assert!(bad.contains("at most 2000 routers"), "{bad}");
    let most = "[network]\nmodel = \"transit-stub\"\n[topology]\nstubs = 1\nstub_routers = 2\n\
                domains = 1\ntransits = 1";
    let network = Network::new(&parse(most).expect("it is small"), Chance::new(1));
    assert!(latencies(&network, 20).contains(&Span::ms(25)), "the only two routers' way");
}

/// Peers on either side of the partition of this world.
fn sides(network: &Network) -> (Vec<u32>, Vec<u32>) {
    let during = START + Span::secs(70);
    (0..1000).partition(|peer| network.parts(during, *peer, 0) == network.parts(during, 1, 0))
}

#[test]
fn nothing_crosses_a_partition_while_it_lasts() {
    let text = "[partition]\nat = \"1m\"\nuntil = \"2m\"\nshare = 0.3";
    let network = Network::new(&support::parse(text), Chance::new(3));
    let (one, other) = sides(&network);
    let smaller = one.len().min(other.len());
    assert!((260..340).contains(&smaller), "{smaller} of 1000");
    let passes = |seconds: u64, from: u32, to: u32| {
        let time = START + Span::secs(seconds);
        let passage = Passage { from, to, counter: 9, time, bytes: 100 };
        network.judge(&passage) != Verdict::Drop
    };
    for (a, b) in one.iter().zip(&other) {
        assert!(passes(59, *a, *b) && passes(120, *a, *b) && passes(120, *b, *a));
        assert!(!passes(60, *a, *b) && !passes(119, *b, *a));
    }
    assert!(one.windows(2).chain(other.windows(2)).all(|pair| passes(90, pair[0], pair[1])));
}

/// One host, on the other side of a partition that begins during the second of three items.
fn job_across(until: &str) -> report::Manycall {
    let scenario = support::parse(&format!(
        "peers = 3\nowners = 1\nsettle = \"30s\"\n[host]\nhosts = 1\nslots = 1\nqueue = 4\n\
         [functions]\nreplicas = [1, 1]\nservice = \"1s\"\nspread = \"constant\"\n\
         idempotent = \"yes\"\n[manycalls]\nitems = 3\nretries = 20\nstart = \"20s\"\n\
         [core]\nrefresh_period = \"0s\"\n\
         [partition]\nat = \"21500ms\"\nuntil = {until:?}\nshare = 0.5"
    ));
    let is_across = |seed: &u64| {
        let network = Network::new(&scenario, Chance::new(*seed));
        network.parts(START + Span::ms(21_500), 0, 2)
    };
    let seed = (1..100).find(is_across).expect("every other seed parts the two");
    let report = report::run(&scenario, seed);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    report.manycall.expect("there is a manycall")
}

#[test]
fn a_short_partition_stalls_calls_and_a_long_one_breaks_them() {
    let stalled = job_across("24s");
    assert_eq!((stalled.succeeded, stalled.attempts), (3, 3), "nothing broke");
    assert!(
        stalled.makespan_ms.mean > 3900.0,
        "answers came at 24 s: {}",
        stalled.makespan_ms.mean
    );
    let broken = job_across("33s");
    assert_eq!((broken.items, broken.succeeded), (3, 3));
    assert!(broken.attempts > 3, "the calls under way were lost");
    assert!(broken.makespan_ms.mean > 13_000.0, "it went on when the network was whole again");
}

/// In which of so many parts each peer is: those that hear each other at `seconds` are in one.
fn parts(network: &Network, seconds: u64) -> Vec<Vec<u32>> {
    let time = START + Span::secs(seconds);
    let mut parts: Vec<Vec<u32>> = Vec::new();
    for peer in 0..1000 {
        match parts.iter_mut().find(|part| !network.apart(time, part[0], peer)) {
            Some(part) => part.push(peer),
            None => parts.push(vec![peer]),
        }
    }
    parts.sort_by_key(Vec::len);
    parts
}

#[test]
fn a_network_falls_into_parts_of_any_shares_again_and_again() {
    let text = "[partition]\nat = \"10s\"\nuntil = \"13s\"\nshares = [0.1, 0.3]\ntimes = 3\n\
                every = \"5s\"";
    let network = Network::new(&support::parse(text), Chance::new(3));
    for whole in [9, 13, 14, 18, 19, 23, 25, 1000] {
        assert_eq!(parts(&network, whole).len(), 1, "at {whole} s");
    }
    let mut before: Vec<Vec<Vec<u32>>> = Vec::new();
    for apart in [10, 15, 20] {
        let fell = parts(&network, apart);
        let sizes: Vec<usize> = fell.iter().map(Vec::len).collect();
        assert!(sizes.len() == 3 && sizes[0].abs_diff(100) < 40, "at {apart} s: {sizes:?}");
        assert!(sizes[1].abs_diff(300) < 60, "at {apart} s: {sizes:?}");
        assert_eq!(fell, parts(&network, apart + 2), "as long as it lasts");
        assert!(!before.contains(&fell), "into other parts at {apart} s");
        before.push(fell);
    }
}

#[test]
fn a_partition_may_be_of_one_way() {
    let text = "[partition]\nat = \"10s\"\nuntil = \"20s\"\nshare = 0.3\none_way = true";
    let network = Network::new(&support::parse(text), Chance::new(3));
    let parts = parts(&network, 15);
    let (few, many) = (&parts[0], &parts[1]);
    assert!(few.len().abs_diff(300) < 60, "{}", few.len());
    let time = START + Span::secs(15);
    for (a, b) in few.iter().zip(many) {
        assert!(network.parts(time, *a, *b), "what the few say is lost");
        assert!(!network.parts(time, *b, *a), "what the many say is heard");
    }
}

#[test]
fn some_ways_lose_more_than_the_ways_back() {
    let network = network("loss = 0.1\nlossy = 0.2\nlossy_loss = 0.8");
    let lost = |from: u32, to: u32| {
        let sent = (0..300).map(|counter| Passage { from, to, counter, time: START, bytes: 100 });
        sent.filter(|passage| network.judge(passage) == Verdict::Drop).count()
    };
    let (mut bad, mut uneven) = (0, 0);
    for (a, b) in (0..200).map(|n| (n, n + 1000)) {
        let (there, back) = (lost(a, b), lost(b, a));
        assert!((5..60).contains(&there) || (200..280).contains(&there), "{there} of 300");
        bad += usize::from(there > 150) + usize::from(back > 150);
        uneven += usize::from((there > 150) != (back > 150));
    }
    assert!((50..110).contains(&bad), "{bad} of 400 ways");
    assert!(uneven > bad / 2, "{uneven} of {bad} have a better way back");
}
