//! How long peers stay: laws by their quantiles, traces by their lines.

use std::fmt::Write as _;

use peerless_core::Span;
use peerless_sim::chance::{Chance, Concern};
use peerless_sim::faults::Lengths;
use peerless_sim::report;
use peerless_sim::scenario::Scenario;

use crate::support;

fn lengths(keys: &str) -> Lengths {
    let scenario = support::parse(&format!("[sessions]\n{keys}"));
    scenario.lengths.as_deref().expect("there are sessions").clone()
}

/// The hours of many sessions, ascending: of whole ones, or of what is left of those one falls into.
fn hours(draw: impl Fn(u64) -> Span) -> Vec<f64> {
    let chance = Chance::new(5);
    let bits = (0..200_000).map(|n| chance.bits(Concern::Session, n, 0, 0));
    let mut hours: Vec<f64> = bits.map(|bits| draw(bits).0 as f64 / 3.6e12).collect();
    hours.sort_by(f64::total_cmp);
    hours
}

fn mean(hours: &[f64]) -> f64 {
    hours.iter().sum::<f64>() / hours.len() as f64
}

fn close(is: f64, expected: f64, what: &str) {
    assert!((is / expected - 1.0).abs() < 0.02, "{what}: {is} where {expected} is right");
}

#[test]
fn laws_have_the_median_and_the_mean_that_they_should() {
    let ln_2 = std::f64::consts::LN_2;
    // Of a Weibull law the mean is the scale times Γ(1 + 1/shape): Γ(3) = 2 for 1/2, Γ(2) = 1 for 1.
    // The quantiles end a little before the longest sessions.
    for (keys, expected) in [
        ("shape = 0.5", 2.0 / (ln_2 * ln_2)),
        ("shape = 1.0", 1.0 / ln_2),
        ("law = \"log-normal\"\nsigma = 1.0", libm::exp(0.5)),
    ] {
        let lengths = lengths(keys);
        let all = hours(|bits| lengths.whole(bits));
        close(all[all.len() / 2], 1.0, keys);
        close(mean(&all), expected, keys);
    }
}

#[test]
fn what_is_left_in_the_midst_is_longer() {
    // An exponential law has no memory: what is left is as long as the whole.
    let exponential = lengths("shape = 1.0");
    let left = hours(|bits| exponential.rest(bits));
    close(mean(&left), 1.0 / std::f64::consts::LN_2, "the mean");
    close(left[left.len() / 2], 1.0, "the median");
    // Of sessions of one and of three hours one falls into the long ones three times of four, and
    // in the middle of them: 3/4 · 3/2 + 1/4 · 1/2 hours are left.
    let trace = Lengths::parse("3600\n10800\n").expect("a trace");
    close(mean(&hours(|bits| trace.rest(bits))), 1.25, "two lengths");
}

#[test]
fn a_trace_is_read_and_a_bad_one_named_with_its_line() {
    let trace = Lengths::parse("# seconds\n60\n\n 1.5 # brief\n120\n").expect("a trace");
    assert_eq!(trace.whole(0), Span::ms(1500));
    assert_eq!(trace.whole(u64::MAX), Span::secs(120));
    let mut text = String::new();
    for (name, file) in [
        ("nothing", ""),
        ("a word", "60\nlong\n"),
        ("no time at all", "60\n30\n0\n"),
        ("a negative", "-5\n"),
        ("two on a line", "5 6\n"),
        ("no end", "inf\n"),
    ] {
        let bad = Lengths::parse(file).expect_err(name);
        let _ = writeln!(text, "{name}:\n  {bad}");
    }
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("bad_traces", text) });
}

#[test]
fn who_goes_is_followed_or_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("stays.txt"), "120\n240\n360\n").expect("can be written");
    let file = dir.path().join("stays.toml");
    let text = "peers = 40\n[sessions]\nlaw = \"trace\"\ntrace = \"stays.txt\"\nend = \"10m\"\n\
                returns = 0.5\ndowntime = \"30s\"\n[lookups]\ncount = 60\ninterval = \"10s\"\n\
                [core]\nk = 8\nrefresh_period = \"1m\"";
    std::fs::write(&file, text).expect("can be written");
    let scenario = Scenario::load(file.to_str().expect("a plain path"), &[]).expect("it is right");
    let report = report::run(&scenario, 1);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    let (departed, returned) =
        (report.departed.expect("counted"), report.returned.expect("counted"));
    // Forty peers that stay for four minutes, for ten: a hundred.
    assert!((75..135).contains(&departed), "{departed} went");
    assert!(returned * 3 > departed && returned * 3 < departed * 2, "{returned} of {departed}");
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("trace_digest", report.digest) });
}
