//! Holds a report against what its scenario expects.

use crate::report::Report;
use crate::scenario::section;
use crate::world::World;

section! {
    /// What must come of a run; each is checked where it is given, and a breach is a violation.
    "expect" => pub struct Expect {
        /// Least share of lookups that were right at some instant.
        lookup_succeeded_min: Option<f64> = None,
        /// Least share of lookups that were right at their end.
        lookup_exact_min: Option<f64> = None,
        /// Most by which the mean of hops exceeds 1 + max(0, (log2(N/k) − 1 − g)/(g + ½)).
        lookup_hops_above_formula_max: Option<f64> = None,
        /// Most requests a lookup, on average, up to 10,000 peers; 1.6 more for every tenfold.
        lookup_rpcs_mean_max: Option<f64> = None,
        /// Least share of the functions that were placed at all.
        placement_placed_min: Option<f64> = None,
        /// Most seconds until a shortage of hosts was made up, at the 95th percentile.
        placement_repair_seconds_p95_max: Option<f64> = None,
        /// Most shortages that were not made up by the end.
        placement_short_max: Option<f64> = None,
        /// Fewest hosts of any function at the end.
        placement_live_min: Option<f64> = None,
        /// Most functions on one peer over the mean.
        placement_load_max_over_mean_max: Option<f64> = None,
        /// Least share of the anycalls made while a host lived that succeeded.
        anycall_succeeded_min: Option<f64> = None,
        /// Most milliseconds of an anycall at the 99th percentile.
        anycall_latency_ms_p99_max: Option<f64> = None,
        /// Most items of manycalls that failed.
        manycall_failed_max: Option<f64> = None,
        /// Least ratio of the ideal to the true makespan.
        manycall_efficiency_min: Option<f64> = None,
    }
}

/// The mean of hops in full tables: the round in which the closest peer is first heard of.
pub fn hops_formula(peers: f64, k: u16) -> f64 {
    let harmonic: f64 = (1..=k).map(|n| 1.0 / f64::from(n)).sum();
    let gain = harmonic / std::f64::consts::LN_2;
    let bits = libm::log2(peers / f64::from(k)) - 1.0 - gain;
    1.0 + bits.max(0.0) / (gain + 0.5)
}

/// Which expectations are not met, in words.
pub fn breaches(world: &World, report: &Report) -> Vec<String> {
    let expect = &world.scenario.expect;
    let mut breaches = Vec::new();
    let mut least = |key: &str, is: f64, min: Option<f64>| {
        if let Some(min) = min
            && (is < min || is.is_nan())
        {
            breaches.push(format!("{key}: {is:.4} where at least {min} is expected"));
        }
    };
    let mut above = Vec::new();
    let mut most = |key: &str, is: f64, max: Option<f64>| {
        if let Some(max) = max
            && (is > max || is.is_nan())
        {
            above.push(format!("{key}: {is:.4} where at most {max} is expected"));
        }
    };
    if let Some(it) = &report.lookup {
        let share = |part: u64| part as f64 / it.count as f64;
        least("lookup_succeeded_min", share(it.succeeded), expect.lookup_succeeded_min);
        least("lookup_exact_min", share(it.exact), expect.lookup_exact_min);
        let formula = hops_formula(f64::from(report.peers), world.config.k);
        let over = it.hops.mean - formula;
        most("lookup_hops_above_formula_max", over, expect.lookup_hops_above_formula_max);
        // Full tables cost 1.6 requests more for every tenfold of peers.
        let tenfolds = libm::log10(f64::from(report.peers) / 1e4).max(0.0);
        let rpcs = expect.lookup_rpcs_mean_max.map(|max| max + 1.6 * tenfolds);
        most("lookup_rpcs_mean_max", it.rpcs.mean, rpcs);
    }
    if let Some(it) = &report.placement {
        let placed = it.placed as f64 / it.functions as f64;
        least("placement_placed_min", placed, expect.placement_placed_min);
        least("placement_live_min", it.live_min as f64, expect.placement_live_min);
        let p95 = expect.placement_repair_seconds_p95_max;
        most("placement_repair_seconds_p95_max", it.repair_seconds_p95, p95);
        most("placement_short_max", it.short as f64, expect.placement_short_max);
        let load = expect.placement_load_max_over_mean_max;
        most("placement_load_max_over_mean_max", it.load_max_over_mean, load);
    }
    if let Some(it) = &report.anycall {
        let succeeded = it.while_hosted_succeeded as f64 / it.while_hosted as f64;
        least("anycall_succeeded_min", succeeded, expect.anycall_succeeded_min);
        let p99 = expect.anycall_latency_ms_p99_max;
        most("anycall_latency_ms_p99_max", it.latency_ms.p99, p99);
    }
    if let Some(it) = &report.manycall {
        let failed = (it.failed + it.unknown) as f64;
        most("manycall_failed_max", failed, expect.manycall_failed_max);
        least("manycall_efficiency_min", it.efficiency, expect.manycall_efficiency_min);
        if it.lost > 0 || it.doubled > 0 {
            let (lost, doubled) = (it.lost, it.doubled);
            above.push(format!("manycall: {lost} items lost, {doubled} results doubled"));
        }
    }
    breaches.append(&mut above);
    breaches
}
