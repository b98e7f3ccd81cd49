//! What users do: how often, how much of it, and how it is measured.

use peerless_core::Span;
use peerless_sim::chance::{Chance, Concern};
use peerless_sim::scenario::Spread;
use peerless_sim::work::{Goodput, Popularity};
use peerless_sim::world::{START, World};

use crate::support;

fn draws(n: u64) -> impl Iterator<Item = u64> {
    let chance = Chance::new(7);
    (0..n).map(move |n| chance.bits(Concern::Service, n, 0, 0))
}

/// The nth function is called n times as seldom as the first.
#[test]
fn popularity_is_zipfs() {
    let popularity = Popularity::new(100, 1.0);
    let mut counts = [0_u32; 100];
    draws(200_000).for_each(|bits| counts[popularity.draw(bits)] += 1);
    let harmonic: f64 = (1..=100).map(|n| 1.0 / f64::from(n)).sum();
    for n in [1, 2, 5, 20, 100] {
        let expected = 200_000.0 / harmonic / n as f64;
        let is = f64::from(counts[n - 1]);
        let deviation = libm::sqrt(expected);
        assert!((is - expected).abs() < 4.0 * deviation, "{n}: {is} where {expected} is expected");
    }
    assert_eq!(Popularity::new(1, 2.0).draw(u64::MAX), 0);
    assert_eq!(Popularity::new(3, 0.0).draw(u64::MAX), 2);
}

/// Every law has the mean that was asked for; the log-normal one the deviation of its logarithm too.
#[test]
fn services_have_their_mean() {
    let mean = Span::ms(8);
    for spread in [Spread::Constant, Spread::Uniform, Spread::Exponential, Spread::LogNormal] {
        let of = |bits| spread.draw(mean, 0.5, bits).0 as f64;
        let all: Vec<f64> = draws(100_000).map(of).collect();
        let is = all.iter().sum::<f64>() / all.len() as f64;
        assert!((is / mean.0 as f64 - 1.0).abs() < 0.01, "{spread:?}: {is}");
        if spread == Spread::LogNormal {
            let middle = libm::log(mean.0 as f64) - 0.125;
            let squares = all.iter().map(|x| libm::pow(libm::log(*x) - middle, 2.0));
            let deviation = libm::sqrt(squares.sum::<f64>() / all.len() as f64);
            assert!((deviation - 0.5).abs() < 0.005, "{deviation}");
        }
    }
    // No bits make it anything but a time.
    for bits in [0, 1, u64::MAX, 1 << 63, u64::from(u32::MAX)] {
        assert!(Spread::LogNormal.draw(mean, 5.0, bits) < Span::minutes(10_000 * 60));
    }
}

#[test]
fn goodput_is_of_the_worst_ten_seconds() {
    let mut goodput = Goodput::default();
    // One slot is busy from 0 to 30 s, but for the second from 15 s on.
    for tenth in (0..300).filter(|tenth| !(150..160).contains(tenth)) {
        goodput.add(Span::ms(100 * tenth + 50), Span::ms(100));
    }
    let least = |from, until| goodput.least(Span::secs(from), Span::secs(until));
    assert_eq!(least(0, 30), Some(0.9));
    assert_eq!(least(0, 15), Some(1.0));
    assert_eq!(least(16, 30), Some(1.0));
    assert_eq!(least(20, 40), Some(0.0), "nothing is served at the end");
    assert_eq!(least(0, 9), None);
}

fn calls_until(flows: &str, sets: &str, until: Span) -> u64 {
    let scenario = support::parse(&format!(
        "peers = 6\nowners = 1\n[network]\nlatency = \"1ms\"\n[functions]\nservice = \"1ms\"\n\
         [host]\nslots = 64\n\
         [anycalls]\nflows = [{flows}]\n{sets}"
    ));
    let mut world = World::new(scenario, 3);
    world.run_until(START + until);
    world.work().anycalls.count
}

/// Even flows have as many calls as their rates say; Poisson's about as many.
#[test]
fn flows_have_their_rates() {
    let flows = "{ rate = 30, from = \"10s\", until = \"20s\", through = 2 }, \
                 { rate = 70, from = \"20s\", until = \"25s\" }";
    assert_eq!(calls_until(flows, "", Span::secs(20)), 300);
    assert_eq!(calls_until(flows, "", Span::secs(40)), 300 + 350);
    let poisson = calls_until(flows, "arrivals = \"poisson\"", Span::secs(40)) as f64;
    assert!((poisson - 650.0).abs() < 4.0 * libm::sqrt(650.0), "{poisson}");
    let bursts = calls_until(flows, "burst = 10", Span::secs(40));
    assert_eq!(bursts, 650);
}

/// In bursts calls come together, and as much more seldom.
#[test]
fn bursts_come_together() {
    let flow = "{ rate = 10, from = \"10s\", until = \"20s\", through = 2 }";
    let at = |ms| calls_until(flow, "burst = 20", Span::ms(ms));
    assert_eq!([at(9_990), at(11_900), at(13_900), at(30_000)], [0, 20, 40, 100]);
}

/// Unequal machines run what they can: the slots of each are its own.
#[test]
fn machines_can_be_unequal() {
    let scenario = support::parse(
        "peers = 6\nowners = 1\n[functions]\nreplicas = [4, 4]\n\
         [host]\nhosts = 4\nslots_each = [1, 5, 9]",
    );
    let slots: Vec<u16> = (0..6).map(|peer| scenario.slots_of(peer)).collect();
    assert_eq!(slots, [0, 0, 1, 5, 9, 1]);
}

/// A function that is deployed again loses no call, though none may be tried twice.
#[test]
fn deploying_again_loses_no_call() {
    let report = support::run_small("dfaas-all", 2);
    let (calls, functions) = (report.anycall.expect("calls"), report.placement.expect("functions"));
    assert_eq!((functions.placed, functions.replaced), (2, Some(2)));
    assert!(calls.count > 2500, "{}", calls.count);
    assert_eq!(calls.succeeded, calls.count, "{:?}", calls.failures);
    assert_eq!(calls.executions, calls.count);
}

/// A quarter of the machines take five seconds for what others do in 50 ms. Calls that may be run twice
/// do not wait for them: about one in sixty meets three of them, each of which is given up to a second;
/// and few are run twice.
#[test]
fn hedged_calls_do_not_wait_for_slow_hosts() {
    let run = |idempotent: bool| {
        let scenario = support::parse(&format!(
            "peers = 200\nowners = 5\nsettle = \"30s\"\n[network]\nlatency = \"5ms\"\n\
             [functions]\ncount = 10\nreplicas = [4, 4]\nservice = \"50ms\"\n\
             [host]\nslow = 0.25\nslow_factor = 100\n\
             [anycalls]\ncount = 1000\ninterval = \"50ms\"\ndeadline = \"8s\"\n\
             idempotent = {idempotent}"
        ));
        let report = peerless_sim::report::run(&scenario, 3);
        report.anycall.expect("calls")
    };
    let (hedged, waited) = (run(true), run(false));
    assert_eq!(hedged.succeeded, 1000);
    assert!(waited.succeeded < 950, "some wait behind others: {}", waited.succeeded);
    assert!(waited.executions <= 1000, "none may be run twice: {}", waited.executions);
    let p99 = [hedged.latency_ms.p99, waited.latency_ms.p99];
    assert!(p99[0] < 3_500.0 && p99[1] > 5_000.0, "{p99:?}");
    assert!(hedged.executions < 1_500, "{}", hedged.executions);
}
