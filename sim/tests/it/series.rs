//! How a run went over time, and how its samples are spread, by hand.

use peerless_core::Span;
use peerless_sim::report::Histogram;
use peerless_sim::series::{BUCKETS_MAX, Sample, Sampler};
use peerless_sim::world::START;

use crate::support;

/// Whatever is counted is in exactly one bucket.
#[test]
fn the_buckets_of_a_run_add_up() {
    for name in ["lookup", "churn", "anycall", "manycall"] {
        let report = support::run_small(name, 1);
        let series = report.series.expect("every run has a series");
        let buckets = series.messages.len();
        assert!((BUCKETS_MAX / 2..=BUCKETS_MAX).contains(&buckets), "{name}: {buckets}");
        let (last, end) = ((buckets - 1) as f64 * series.bucket_seconds, report.virtual_seconds);
        assert!(last <= end && end <= last + series.bucket_seconds, "{name}: {last} {end}");
        let sum = |counts: &[u64]| counts.iter().sum::<u64>();
        assert_eq!((sum(&series.messages), sum(&series.bytes)), (report.messages, report.bytes));
        assert_eq!(series.peers.len(), buckets);
        if let Some(lookup) = &report.lookup {
            assert_eq!(sum(&series.lookups), lookup.count);
            assert_eq!(sum(&series.lookups_succeeded), lookup.succeeded);
            assert_eq!(lookup.distributions.rounds.total(), lookup.count);
        }
        if let Some(calls) = &report.anycall {
            assert_eq!(sum(&series.anycalls), calls.count);
            assert_eq!(sum(&series.anycalls_succeeded), calls.succeeded);
            assert_eq!(calls.latency_distribution_ms.total(), calls.count);
        }
        if let Some(many) = &report.manycall {
            assert_eq!(sum(&series.items), many.items);
            assert_eq!(many.timeline.len() as u64, many.jobs);
        }
        if let Some(placement) = &report.placement {
            let live = placement.live.mean * placement.functions as f64;
            let hosts = series.hosts.last().copied().expect("there is a bucket");
            assert_eq!(hosts, live.round() as u64, "{name}");
        }
    }
}

/// A bucket holds what happens at its end; nothing of any length is too long.
#[test]
fn buckets_grow_with_the_time() {
    let mut sampler = Sampler::default();
    assert!(!sampler.is_due(START + Span::ms(1)) && sampler.is_due(START + Span(1_000_001)));
    let year = START + Span::secs(365 * 24 * 3600);
    sampler.take(year, Sample::default());
    assert!(!sampler.is_due(year));
    let never = peerless_core::Time::NEVER;
    sampler.take(never, Sample::default());
    assert!(!sampler.is_due(never));
}

#[test]
fn histograms_can_be_added() {
    let few = Histogram::of(&[0, 1, 1, 255], 1, 1.0);
    assert_eq!((few.width, few.counts.len(), few.total()), (1.0, 256, 4));
    let wide = Histogram::of(&[0, 1, 1, 256], 1, 1.0);
    assert_eq!((wide.width, wide.counts.len()), (2.0, 129));
    assert_eq!((wide.counts[0], wide.counts[128]), (3, 1));
    let sum = few.plus(&wide);
    assert_eq!((sum.width, sum.counts.len(), sum.total()), (2.0, 129, 8));
    assert_eq!((sum.counts[0], sum.counts[127], sum.counts[128]), (6, 1, 1));
    assert_eq!(Histogram::default().plus(&few), few);
    assert_eq!(few.plus(&Histogram::default()), few);
    let coarse = Histogram { width: 1.0, counts: vec![1, 2, 3, 4, 5] }.coarser(2);
    assert_eq!(coarse, Histogram { width: 3.0, counts: vec![6, 9] });
    assert_eq!(Histogram::of(&[], 1, 1.0), Histogram::default());
}
