//! Narrow links, connections that take time, and machines that nobody can dial.

use peerless_core::{Span, Time};
use peerless_sim::chance::Chance;
use peerless_sim::network::{Class, Line, Lines, Pipe, Way};
use peerless_sim::report::{self, Report};
use peerless_sim::world::World;

use crate::support;

/// Two peers that know each other, one way of 25 ms between them, and three lookups.
fn two(keys: &str) -> Report {
    let text = "peers = 2\n[lookups]\ncount = 3\ninterval = \"1s\"\n[core]\n\
                refresh_period = \"0s\"\n";
    let report = report::run(&support::parse(&format!("{text}{keys}")), 1);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    report
}

fn latencies(report: &Report) -> (f64, f64) {
    let latency = report.lookup.as_ref().expect("it looks things up").latency_ms;
    (latency.p50, latency.max)
}

#[test]
fn what_is_sent_takes_the_link_one_after_the_other() {
    let mut pipe = Pipe::default();
    let at = |ms: u64| Time(ms * 1_000_000);
    assert_eq!(pipe.pass(Class::Calls, at(0), Span::ms(100)), at(100));
    assert_eq!(pipe.pass(Class::Calls, at(10), Span::ms(100)), at(200));
    assert_eq!(pipe.pass(Class::Messages, at(20), Span::ms(5)), at(25), "a call gives way");
    assert_eq!(pipe.pass(Class::Calls, at(30), Span::ms(100)), at(305), "and is the later for it");
    assert_eq!(pipe.pass(Class::Code, at(40), Span::ms(100)), at(405), "code waits for all");
    assert_eq!(pipe.pass(Class::Messages, at(900), Span::ms(5)), at(905), "an idle link is free");
    assert_eq!(pipe.used, Span::ms(410));
}

/// A query has 42 bytes and its answer 20; of equal links the second one takes what comes as it comes.
#[test]
fn a_message_takes_as_long_as_its_bytes() {
    assert_eq!(latencies(&two("")), (50.0, 50.0));
    let even = "[links]\nup = [\"1000B\"]\ndown = [\"1000B\"]";
    assert_eq!(latencies(&two(even)), (112.0, 112.0));
    let wide = "[links]\nup = [\"1000B\"]\ndown = [\"1GiB\"]";
    assert_eq!(latencies(&two(wide)), (112.0, 112.0), "it comes no faster than it leaves");
    let narrow = "[links]\nup = [\"2000B\"]\ndown = [\"1000B\"]";
    assert_eq!(latencies(&two(narrow)), (112.0, 112.0), "nor faster than it is taken");
    let links = two(even).links.expect("links are narrow");
    assert_eq!((links.up_ms_mean, links.up_ms_max), (31.0, 42.0));
    assert_eq!((links.down_ms_mean, links.down_ms_max), (0.0, 0.0));
}

/// Three calls at once of one host, whose answers of a MiB leave it one after the other.
#[test]
fn answers_share_their_hosts_link() {
    let calls = |links: &str| {
        let text = "peers = 2\nowners = 1\nsettle = \"20s\"\n[host]\nhosts = 1\nslots = 8\n\
                    [functions]\nreplicas = [1, 1]\nservice = \"10ms\"\nspread = \"constant\"\n\
                    [anycalls]\n\
                    flows = [{ rate = 1000, from = \"20s\", until = \"20003ms\", through = 0 }]\n\
                    [core]\nrefresh_period = \"0s\"\n";
        let report = report::run(&support::parse(&format!("{text}{links}")), 1);
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        let calls = report.anycall.expect("there are calls");
        assert_eq!((calls.count, calls.succeeded), (3, 3));
        calls.latency_ms
    };
    assert!(calls("").max < 200.0);
    let latency = calls("[links]\nup = [\"1MiB\"]\ndown = [\"100MiB\"]\nresponse = \"1MiB\"");
    assert!((1000.0..1300.0).contains(&latency.p50) || (2000.0..2300.0).contains(&latency.p50));
    assert!((3000.0..3300.0).contains(&latency.max), "{latency:?}");
}

#[test]
fn code_takes_both_links() {
    let deploying = |links: &str| {
        let text = "peers = 2\nowners = 1\n[host]\nhosts = 1\n[functions]\nreplicas = [1, 1]\n\
                    size = \"1MiB\"\n[core]\nrefresh_period = \"0s\"\n";
        let report = report::run(&support::parse(&format!("{text}{links}")), 1);
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        report.placement.expect("there is a function").deploy_ms.max
    };
    let plain = deploying("[network]\nbandwidth = \"1GiB\"");
    let slow = deploying("[links]\nup = [\"256KiB\"]\ndown = [\"1MiB\"]");
    assert!((3900.0..4200.0).contains(&(slow - plain)), "{slow} ms where it was {plain}");
}

#[test]
fn the_first_message_pays_for_the_handshake() {
    assert_eq!(latencies(&two("[connections]\nquic = 0.0")), (50.0, 250.0), "four round trips");
    assert_eq!(latencies(&two("[connections]\nquic = 1.0")), (50.0, 100.0), "one");
    let connections = two("[connections]").connections.expect("they are counted");
    assert_eq!((connections.made, connections.closed, connections.kept.max), (1, 0, 1.0));
}

#[test]
fn who_was_not_used_for_longest_is_let_go() {
    let mut lines = Lines::default();
    let line = Line { ready: Time(7), way: Way::Direct };
    assert_eq!(lines.open(1, line, 3), None);
    assert_eq!(lines.open(2, line, 3), None);
    assert_eq!(lines.open(3, line, 3), None);
    assert_eq!(lines.used(1), Some(line));
    assert_eq!(lines.open(3, line, 3), None, "in place of the one before");
    assert_eq!(lines.open(4, line, 3), Some(2));
    assert_eq!((lines.len(), lines.used(2)), (3, None));
    assert!(lines.close(1) && !lines.close(1));
    assert_eq!(lines.open(5, line, 3), None);
    assert_eq!(lines.peers().collect::<Vec<_>>(), [3, 4, 5]);
}

fn looked_up(keys: &str) -> Report {
    let text = "peers = 100\n[lookups]\ncount = 150\n[core]\nk = 4\nrefresh_period = \"0s\"\n\
                reply_timeout = \"3s\"\n";
    let report = report::run(&support::parse(&format!("{text}{keys}")), 1);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    let lookup = report.lookup.as_ref().expect("it looks things up");
    assert_eq!((lookup.count, lookup.exact), (150, 150));
    report
}

#[test]
fn fewer_connections_are_made_oftener() {
    let made = |most: u32| {
        let report = looked_up(&format!("[connections]\nmost = {most}"));
        let connections = report.connections.expect("they are counted");
        assert!(connections.kept.max <= f64::from(most), "{most}: {:?}", connections.kept);
        (connections.made, connections.closed)
    };
    let ((many, none), (few, some)) = (made(100), made(5));
    assert_eq!(none, 0);
    assert!(few > many && some > many / 2, "{few} and {many} made, {some} closed");
}

#[test]
fn nobody_finds_who_is_behind_nat() {
    let text = "peers = 200\n[connections]\n[nat]\nshare = 0.4\nrelayed = 0.5\n[lookups]\n\
                count = 60\n[core]\nk = 4\nrefresh_period = \"20s\"";
    let scenario = support::parse(text);
    let nat = scenario.nat.clone().expect("the section stands");
    let hidden = |peer: u32| nat.hides(peer, &Chance::new(1));
    let behind = (0..200).filter(|peer| hidden(*peer)).count();
    assert!((60..100).contains(&behind) && !hidden(0), "{behind} of 200");
    let mut world = World::new(scenario, 1);
    world.run();
    for peer in 0..200 {
        let table = world.table(peer);
        assert!(table.len() > 10, "{peer} knows but {}", table.len());
        assert!(!table.iter().any(|other| hidden(other.0)), "{peer} knows one behind NAT");
    }
    let lookups = &world.work().lookups;
    assert_eq!((lookups.count, lookups.exact), (60, 60));
}

/// Hosts behind NAT have a place in no table; with a relay they are called, and without they call.
#[test]
fn who_is_behind_nat_calls_others() {
    let calls = |relayed: f64| {
        let text = format!(
            "peers = 60\nowners = 10\n[connections]\n[nat]\nshare = 0.5\nrelayed = {relayed}\n\
             [functions]\ncount = 10\n[anycalls]\ncount = 300\nstart = \"20s\"\n\
             [core]\nk = 8\nrefresh_period = \"20s\""
        );
        let report = report::run(&support::parse(&text), 1);
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        let calls = report.anycall.expect("there are calls");
        assert_eq!((calls.count, calls.succeeded), (300, 300), "{relayed}: {:?}", calls.failures);
        report.connections.expect("they are counted")
    };
    let (none, all) = (calls(0.0), calls(1.0));
    assert_eq!((none.relayed, all.unreached), (0, 0));
    assert!(none.hidden > 20 && none.hidden == all.hidden, "{}", none.hidden);
}
