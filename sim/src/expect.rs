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
        /// Most of the honest among the closest that an answer lacked, on average.
        lookup_missing_mean_max: Option<f64> = None,
        /// Most by which the mean of hops exceeds 1 + max(0, (log2(N/k) − 1 − g)/(g + ½)).
        lookup_hops_above_formula_max: Option<f64> = None,
        /// Most requests a lookup, on average, up to 10,000 peers; 1.6 more for every tenfold.
        lookup_rpcs_mean_max: Option<f64> = None,
        /// Most requests that were not answered a lookup, on average.
        lookup_timeouts_mean_max: Option<f64> = None,
        /// Least ratio of the entries in all tables to those of a converged start.
        table_entries_ratio_min: Option<f64> = None,
        /// Fewest hosts that left for good.
        drained_min: Option<f64> = None,
        /// Least share of the functions that were placed at all.
        placement_placed_min: Option<f64> = None,
        /// Most seconds until a shortage of hosts was made up, at the 95th percentile.
        placement_repair_seconds_p95_max: Option<f64> = None,
        /// Most shortages that were not made up by the end.
        placement_short_max: Option<f64> = None,
        /// Fewest hosts of any function at the end.
        placement_live_min: Option<f64> = None,
        /// Fewest hosts that any function had at its most.
        placement_peak_min: Option<f64> = None,
        /// Most hosts of any function at the end.
        placement_live_max: Option<f64> = None,
        /// Most hosts that any function ever had at once.
        placement_peak_max: Option<f64> = None,
        /// Least share of the hosts at the end that are among the 4·wanted peers closest to their function.
        placement_near_min: Option<f64> = None,
        /// Most hosts that functions got after they had had enough, over those that they lost.
        placement_installs_over_lost_max: Option<f64> = None,
        /// Most functions on one peer over the mean.
        placement_load_max_over_mean_max: Option<f64> = None,
        /// Most use of one peer's room over the use of all room.
        placement_use_max_over_mean_max: Option<f64> = None,
        /// Most offers made for each host that a function got.
        placement_offers_a_host_max: Option<f64> = None,
        /// Most offers made for each host that was lost, from the first on.
        placement_offers_a_loss_max: Option<f64> = None,
        /// Least use of a newcomer's room over the use of all room, at the end.
        placement_newcomer_use_min: Option<f64> = None,
        /// Most hosts that gave way to newcomers.
        placement_moved_on_join_max: Option<f64> = None,
        /// Most hosts that functions got on a leave that took none of theirs.
        placement_moved_on_leave_max: Option<f64> = None,
        /// Most of the functions' time without any host.
        placement_hostless_fraction_max: Option<f64> = None,
        /// Most seconds that any function was without any host.
        placement_hostless_seconds_max: Option<f64> = None,
        /// Most hosts that functions got in a partition, on either side, over those that they lacked there.
        partition_installs_over_missing_max: Option<f64> = None,
        /// Most functions short of hosts on the larger side at the end of a partition, without those
        /// whose code nobody there has.
        partition_short_max: Option<f64> = None,
        /// Most seconds after the end of a partition at which something began that failed.
        partition_healed_seconds_max: Option<f64> = None,
        /// Least share of the anycalls made while a host lived that succeeded.
        anycall_succeeded_min: Option<f64> = None,
        /// Least share of the anycalls that were answered.
        anycall_served_min: Option<f64> = None,
        /// Most milliseconds until any refused anycall's caller knew.
        anycall_refusal_ms_max: Option<f64> = None,
        /// Least service done for anycalls in any ten seconds while they came, over what the hosts could do.
        anycall_goodput_min: Option<f64> = None,
        /// Most milliseconds of an anycall at the 99th percentile.
        anycall_latency_ms_p99_max: Option<f64> = None,
        /// Most items of manycalls that failed.
        manycall_failed_max: Option<f64> = None,
        /// Most standard errors between the items that got a wrong answer and those that should.
        manycall_wrong_deviation_max: Option<f64> = None,
        /// Most runs beyond one for each item, over the items.
        manycall_repeated_max: Option<f64> = None,
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
    let mut breaches = Breaches::default();
    if let Some(it) = &report.lookup {
        let succeeded = ratio(it.succeeded, it.count);
        breaches.least("lookup_succeeded_min", succeeded, expect.lookup_succeeded_min);
        let exact = ratio(it.exact, it.count);
        breaches.least("lookup_exact_min", exact, expect.lookup_exact_min);
        let missing = it.missing.map(|missing| missing.mean);
        breaches.most("lookup_missing_mean_max", missing, expect.lookup_missing_mean_max);
        let lookups = &world.work.lookups;
        let formula = hops_formula(f64::from(report.peers), world.config.k);
        let over = measured(&lookups.hops, it.hops.mean - formula);
        let max = expect.lookup_hops_above_formula_max;
        breaches.most("lookup_hops_above_formula_max", over, max);
        // Full tables cost 1.6 requests more for every tenfold of peers.
        let tenfolds = libm::log10(f64::from(report.peers) / 1e4).max(0.0);
        let max = expect.lookup_rpcs_mean_max.map(|max| max + 1.6 * tenfolds);
        breaches.most("lookup_rpcs_mean_max", measured(&lookups.rpcs, it.rpcs.mean), max);
        let timeouts = ratio(it.timeouts, it.count);
        breaches.most("lookup_timeouts_mean_max", timeouts, expect.lookup_timeouts_mean_max);
    }
    if let Some(it) = &report.joining {
        let ratio = ratio(it.table_entries, it.table_entries_converged);
        breaches.least("table_entries_ratio_min", ratio, expect.table_entries_ratio_min);
    }
    let drained = report.drained.map(|drained| drained as f64);
    breaches.least("drained_min", drained, expect.drained_min);
    if let Some(it) = &report.placement {
        let placed = ratio(it.placed, it.functions);
        breaches.least("placement_placed_min", placed, expect.placement_placed_min);
        let live = Some(it.live_min as f64);
        breaches.least("placement_live_min", live, expect.placement_live_min);
        let p95 = (it.repairs > 0).then_some(it.repair_seconds_p95);
        let max = expect.placement_repair_seconds_p95_max;
        breaches.most("placement_repair_seconds_p95_max", p95, max);
        let short = Some(it.short as f64);
        breaches.most("placement_short_max", short, expect.placement_short_max);
        let most = Some(it.live.max);
        breaches.most("placement_live_max", most, expect.placement_live_max);
        let peak = Some(f64::from(it.peak));
        breaches.least("placement_peak_min", peak, expect.placement_peak_min);
        breaches.most("placement_peak_max", peak, expect.placement_peak_max);
        let near = (it.live.max > 0.0).then_some(it.near);
        breaches.least("placement_near_min", near, expect.placement_near_min);
        let max = expect.placement_installs_over_lost_max;
        breaches.most("placement_installs_over_lost_max", it.installs_over_lost, max);
        let load = (it.live.max > 0.0).then_some(it.load_max_over_mean);
        let max = expect.placement_load_max_over_mean_max;
        breaches.most("placement_load_max_over_mean_max", load, max);
    }
    if let Some(it) = &report.placement {
        let load = (it.live.max > 0.0).then_some(it.use_max_over_mean);
        breaches.most(
            "placement_use_max_over_mean_max",
            load,
            expect.placement_use_max_over_mean_max,
        );
        let max = expect.placement_offers_a_host_max;
        breaches.most("placement_offers_a_host_max", it.offers_a_host, max);
        let max = expect.placement_offers_a_loss_max;
        breaches.most("placement_offers_a_loss_max", it.offers_a_loss, max);
        let min = expect.placement_newcomer_use_min;
        breaches.least("placement_newcomer_use_min", it.newcomer_use_min, min);
        let (joined, left) = (Some(it.moved_on_join as f64), Some(it.moved_on_leave as f64));
        breaches.most("placement_moved_on_join_max", joined, expect.placement_moved_on_join_max);
        breaches.most("placement_moved_on_leave_max", left, expect.placement_moved_on_leave_max);
        let (share, longest) = (Some(it.hostless_fraction), Some(it.hostless_seconds_max));
        let max = expect.placement_hostless_fraction_max;
        breaches.most("placement_hostless_fraction_max", share, max);
        let max = expect.placement_hostless_seconds_max;
        breaches.most("placement_hostless_seconds_max", longest, max);
    }
    if let Some(it) = &report.partition {
        let max = expect.partition_installs_over_missing_max;
        breaches.most("partition_installs_over_missing_max", it.installs_over_missing, max);
        let short = Some((it.sides[1].short - it.sides[1].codeless) as f64);
        breaches.most("partition_short_max", short, expect.partition_short_max);
        let healed = Some(it.healed_seconds);
        breaches.most("partition_healed_seconds_max", healed, expect.partition_healed_seconds_max);
    }
    if let Some(it) = &report.anycall {
        let succeeded = ratio(it.while_hosted_succeeded, it.while_hosted);
        breaches.least("anycall_succeeded_min", succeeded, expect.anycall_succeeded_min);
        let served = ratio(it.succeeded, it.count);
        breaches.least("anycall_served_min", served, expect.anycall_served_min);
        // Where none was refused, none had to wait for it.
        let refusal = Some(it.refusal_latency_ms.max);
        breaches.most("anycall_refusal_ms_max", refusal, expect.anycall_refusal_ms_max);
        breaches.least("anycall_goodput_min", it.goodput_min, expect.anycall_goodput_min);
        let p99 = measured(&world.work.anycalls.latency, it.latency_ms.p99);
        breaches.most("anycall_latency_ms_p99_max", p99, expect.anycall_latency_ms_p99_max);
    }
    if let Some(it) = &report.manycall {
        let failed = (it.jobs > 0).then_some((it.failed + it.unknown) as f64);
        breaches.most("manycall_failed_max", failed, expect.manycall_failed_max);
        let deviation = it.wrong_deviation.filter(|_| it.jobs > 0);
        let max = expect.manycall_wrong_deviation_max;
        breaches.most("manycall_wrong_deviation_max", deviation, max);
        let repeated = ratio(it.executions.saturating_sub(it.items), it.items);
        breaches.most("manycall_repeated_max", repeated, expect.manycall_repeated_max);
        let efficiency = measured(&world.work.manycalls.makespan, it.efficiency);
        breaches.least("manycall_efficiency_min", efficiency, expect.manycall_efficiency_min);
        if it.lost > 0 || it.doubled > 0 {
            let (lost, doubled) = (it.lost, it.doubled);
            breaches.0.push(format!("manycall: {lost} items lost, {doubled} results doubled"));
        }
    }
    breaches.0
}

/// A figure over samples: there is none where there are no samples.
fn measured(samples: &[u64], figure: f64) -> Option<f64> {
    (!samples.is_empty()).then_some(figure)
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then_some(part as f64 / whole as f64)
}

/// Expectations that are not met. What was never measured does not meet any.
#[derive(Default)]
struct Breaches(Vec<String>);

impl Breaches {
    fn least(&mut self, key: &str, is: Option<f64>, min: Option<f64>) {
        if let Some(min) = min
            && is.is_none_or(|is| is < min)
        {
            self.add(key, is, &format!("at least {min}"));
        }
    }

    fn most(&mut self, key: &str, is: Option<f64>, max: Option<f64>) {
        if let Some(max) = max
            && is.is_none_or(|is| is > max)
        {
            self.add(key, is, &format!("at most {max}"));
        }
    }

    fn add(&mut self, key: &str, is: Option<f64>, expected: &str) {
        let is = is.map_or("nothing was measured".to_owned(), |is| format!("{is:.4}"));
        self.0.push(format!("{key}: {is} where {expected} is expected"));
    }
}
