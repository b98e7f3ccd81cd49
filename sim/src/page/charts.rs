//! The plots of a scenario that are not over time.

use super::figures::{count, figure, fixed, seconds, seconds_unit, share};
use super::group::{Group, Size};
use super::plot::{Axis, Plot};
use crate::expect::hops_formula;
use crate::report::{Histogram, Lookup, LookupDistributions, Manycall, Report};

/// The formula's k: the scenarios' standard.
const K: u16 = 20;

/// Manycalls in a timeline at most: more are no longer told apart.
const TIMELINE_MAX: usize = 40;

/// Bars in one plot at most.
const BARS_MAX: usize = 40;

/// The plots of a scenario, as far as there is something to see in them.
pub(super) fn plots(group: &Group) -> Vec<Plot> {
    let mut plots = vec![
        frequency(group, "Hops to the closest peer", "hops", |it| &it.hops),
        frequency(group, "Rounds of a lookup", "rounds", |it| &it.rounds),
        frequency(group, "Requests of a lookup", "requests", |it| &it.rpcs),
        latency(group, "lookup", |it| Some(&it.lookup.as_ref()?.distributions.latency_ms)),
        hops_over_size(group),
        cost_over_size(group),
        latency(group, "anycall", |it| Some(&it.anycall.as_ref()?.latency_distribution_ms)),
    ];
    plots.extend(success(group));
    plots.push(functions_on_peers(group));
    plots.push(calls_on_hosts(group));
    plots.push(links_busy(group));
    plots.push(efficiency(group));
    plots.push(makespan(group));
    plots.push(timeline(group));
    plots
}

/// How often each whole number was measured, in percent of all.
fn frequency(
    group: &Group,
    title: &str,
    what: &str,
    histogram: fn(&LookupDistributions) -> &Histogram,
) -> Plot {
    let x = Axis::free(what).about_whole();
    let mut plot = Plot::new(title, x, Axis::new("lookups, %"));
    for size in &group.sizes {
        let sum = size.histogram(|report| {
            report.lookup.as_ref().map(|lookup| histogram(&lookup.distributions).clone())
        });
        let total = sum.total() as f64;
        let empty = sum.counts.iter().take_while(|count| **count == 0).count();
        let bins = sum.counts.iter().chain([&0]).enumerate().skip(empty.saturating_sub(1));
        // A bin of several numbers stands at their middle.
        let middle = (sum.width - 1.0) / 2.0;
        let points: Vec<(f64, f64)> = bins
            .map(|(at, count)| (at as f64 * sum.width + middle, 100.0 * *count as f64 / total))
            .collect();
        let dots = points
            .iter()
            .filter(|(_, share)| *share > 0.0)
            .map(|(at, share)| (*at, *share, format!("{}: {} %", figure(*at), figure(*share))));
        let dots = dots.collect();
        plot.line(&size.name(), size.colour, points);
        plot.dots(&size.name(), size.colour, dots);
    }
    plot
}

/// How many of all took no longer than so long.
fn latency(group: &Group, of: &str, histogram: fn(&Report) -> Option<&Histogram>) -> Plot {
    let x = Axis::new("latency, ms");
    let y = Axis::new(&format!("{of}s, %"));
    let mut plot = Plot::new(&format!("Latency: {of}s that took no longer"), x, y);
    for size in &group.sizes {
        let sum = size.histogram(|report| histogram(report).cloned());
        let total = sum.total() as f64;
        let mut so_far = 0u64;
        let ends = sum.counts.iter().enumerate().map(|(at, count)| {
            so_far = so_far.saturating_add(*count);
            ((at as f64 + 1.0) * sum.width, 100.0 * so_far as f64 / total)
        });
        let mut points = vec![(0.0, 0.0)];
        points.extend(ends);
        if total > 0.0 {
            plot.line(&size.name(), size.colour, points);
        }
    }
    plot
}

fn log_axis(group: &Group) -> Axis {
    let marks = group.sizes.iter().map(|size| {
        let bits = libm::log2(f64::from(size.peers.max(1)));
        (bits, count(size.peers.into()))
    });
    Axis::free("peers (axis: log2 N)").marked(marks.collect())
}

fn bits(size: &Size) -> f64 {
    libm::log2(f64::from(size.peers.max(1)))
}

/// Each size's runs as dots over its logarithm.
fn dots_over_size(
    plot: &mut Plot,
    group: &Group,
    name: &str,
    colour: usize,
    of: fn(&Lookup) -> f64,
) {
    let dots = group.reports().filter_map(|report| {
        let value = of(report.lookup.as_ref()?);
        let at = libm::log2(f64::from(report.peers.max(1)));
        Some((at, value, format!("seed {}: {}", report.seed, figure(value))))
    });
    plot.dots(name, colour, dots.collect());
}

/// Only several sizes make a curve.
fn is_curve(group: &Group) -> bool {
    group.sizes.len() > 1 && group.reports().any(|report| report.lookup.is_some())
}

fn hops_over_size(group: &Group) -> Plot {
    let title = "Hops and rounds of a lookup, by size";
    let mut plot = Plot::new(title, log_axis(group), Axis::new("mean"));
    let (Some(first), Some(last)) = (group.sizes.first(), group.sizes.last()) else { return plot };
    if !is_curve(group) {
        return plot;
    }
    let formula = (0..=60).map(|n| {
        let at = bits(first) + (bits(last) - bits(first)) * f64::from(n) / 60.0;
        (at, hops_formula(libm::exp2(at), K))
    });
    plot.dashes("hops by the formula", 7, formula.collect());
    dots_over_size(&mut plot, group, "hops to the closest", 0, |it| it.hops.mean);
    dots_over_size(&mut plot, group, "rounds", 1, |it| it.rounds.mean);
    plot.note("Formula: 1 + max(0, (log2(N/k) − 1 − g)/(g + ½)), g = H_k/ln 2, k = 20.".to_owned());
    plot
}

fn cost_over_size(group: &Group) -> Plot {
    let y = Axis::new("requests, mean");
    let mut plot = Plot::new("Cost of a lookup, by size", log_axis(group), y);
    if !is_curve(group) {
        return plot;
    }
    let means: Vec<(f64, f64)> = group
        .sizes
        .iter()
        .filter_map(|size| {
            let mean = size.mean(|report| Some(report.lookup.as_ref()?.rpcs.mean))?;
            Some((bits(size), mean))
        })
        .collect();
    if let Some((base, slope)) = fit(&means) {
        let line = means.iter().map(|(at, _)| (*at, base + slope * at)).collect();
        plot.dashes("straight line", 7, line);
        let (base, slope) = (fixed(base, 2), fixed(slope, 2));
        plot.note(format!("Straight line: requests = {base} + {slope} · log2 N."));
    }
    dots_over_size(&mut plot, group, "measured, a dot a run", 0, |it| it.rpcs.mean);
    plot
}

/// The straight line of least squares.
fn fit(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    let (sx, sy) = points.iter().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let (mx, my) = (sx / n, sy / n);
    let (sxx, sxy) = points.iter().fold((0.0, 0.0), |(sxx, sxy), (x, y)| {
        (sxx + (x - mx) * (x - mx), sxy + (x - mx) * (y - my))
    });
    (sxx > 0.0).then(|| (my - sxy / sxx * mx, sxy / sxx))
}

/// One dot a run over its seed.
fn over_seeds(
    group: &Group,
    title: &str,
    y: Axis,
    of: &dyn Fn(&Report) -> Option<(f64, String)>,
) -> Plot {
    let mut plot = Plot::new(title, Axis::free("seed").whole(), y);
    for size in &group.sizes {
        // Sizes stand side by side.
        let aside = (size.colour as f64 - (group.sizes.len() as f64 - 1.0) / 2.0) * 0.1;
        let aside = aside.clamp(-0.4, 0.4);
        let dots = size.reports().filter_map(|report| {
            let (value, says) = of(report)?;
            Some((report.seed as f64 + aside, value, format!("seed {}: {says}", report.seed)))
        });
        plot.dots(&size.name(), size.colour, dots.collect());
    }
    plot
}

fn success(group: &Group) -> [Plot; 3] {
    let percent = || Axis::free("succeeded, %").up_to(100.0).with(99.0, 100.0);
    let of = |part: u64, all: u64| {
        (all > 0).then(|| (100.0 * part as f64 / all as f64, share(part, all)))
    };
    [
        over_seeds(group, "Lookups that succeeded, by seed", percent(), &|report| {
            report.lookup.as_ref().and_then(|it| of(it.succeeded, it.count))
        }),
        over_seeds(group, "Anycalls that succeeded, by seed", percent(), &|report| {
            report.anycall.as_ref().and_then(|it| of(it.succeeded, it.count))
        }),
        over_seeds(group, "Items that succeeded, by seed", percent(), &|report| {
            report.manycall.as_ref().and_then(|it| of(it.succeeded, it.items))
        }),
    ]
}

/// Bars of a histogram of whole numbers, and what its mean is.
fn bars(group: &Group, mut plot: Plot, of: fn(&Report) -> Option<&Histogram>) -> Plot {
    let mut words = Vec::new();
    for size in &group.sizes {
        let sum = size.histogram(|report| of(report).cloned());
        let total = sum.total() as f64;
        let shown = sum.coarser(BARS_MAX);
        let bars = shown.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let bars = bars.map(|(at, count)| {
            let from = at as f64 * shown.width - 0.5;
            (from, from + shown.width, 100.0 * *count as f64 / total)
        });
        plot.bars(&size.name(), size.colour, bars.collect());
        let middle = (sum.width - 1.0) / 2.0;
        let weighed = sum.counts.iter().enumerate();
        let weighed = weighed.map(|(at, n)| (at as f64 * sum.width + middle) * *n as f64);
        let mean = weighed.sum::<f64>() / total;
        if total > 0.0 {
            words.push(format!("{}: mean {}", size.name(), figure(mean)));
        }
    }
    plot.note(words.join("; "));
    plot
}

fn functions_on_peers(group: &Group) -> Plot {
    let (x, y) = (Axis::new("functions on a peer").about_whole(), Axis::new("peers, %"));
    let plot = Plot::new("Load: functions on a peer, at the end", x, y);
    bars(group, plot, |report| Some(&report.placement.as_ref()?.functions_on_peers))
}

fn calls_on_hosts(group: &Group) -> Plot {
    let (x, y) = (Axis::new("calls").about_whole(), Axis::new("hosts, %"));
    let plot = Plot::new("Load: calls that came to a host", x, y);
    bars(group, plot, |report| {
        let is_called = report.anycall.is_some() || report.manycall.is_some();
        report.placement.as_ref().filter(|_| is_called).map(|it| &it.calls_on_hosts)
    })
}

fn links_busy(group: &Group) -> Plot {
    let (x, y) = (Axis::new("busy, % of the time").about_whole(), Axis::new("machines, %"));
    let plot = Plot::new("Load: links upwards", x, y);
    let mut plot =
        bars(group, plot, |report| Some(&report.links.as_ref()?.up_busy_distribution_percent));
    // Whole percents tell no mean.
    let mean = |size: &Size| {
        let mean = size.mean(|report| Some(report.links.as_ref()?.up_busy_percent.mean))?;
        Some(format!("{}: mean {}", size.name(), figure(mean)))
    };
    let means: Vec<String> = group.sizes.iter().filter_map(mean).collect();
    plot.note(means.join("; "));
    plot
}

fn efficiency(group: &Group) -> Plot {
    let y = Axis::new("ideal over true makespan").with(0.0, 1.0);
    over_seeds(group, "Efficiency of manycalls, by seed", y, &|report| {
        let efficiency = report.manycall.as_ref()?.efficiency;
        Some((efficiency, fixed(efficiency, 3)))
    })
}

fn makespan(group: &Group) -> Plot {
    let jobs = || group.reports().filter_map(|report| Some((report, report.manycall.as_ref()?)));
    let longest = jobs().map(|(_, it)| it.makespan_ms.mean / 1e3).fold(0.0, f64::max);
    let (unit, named) = seconds_unit(longest);
    let y = Axis::new(&format!("mean, {named}"));
    let mut plot = Plot::new("Makespan of manycalls, by seed", Axis::free("seed").whole(), y);
    let dots = |of: fn(&Manycall) -> f64| {
        let dots = jobs().map(move |(report, it)| {
            let took = of(it) / 1e3;
            (report.seed as f64, took / unit, format!("seed {}: {}", report.seed, seconds(took)))
        });
        dots.collect()
    };
    plot.dots("true", 0, dots(|it| it.makespan_ms.mean));
    plot.dots("ideal", 1, dots(|it| it.ideal_makespan_ms.mean));
    plot
}

fn timeline(group: &Group) -> Plot {
    let runs = group.sizes.iter().flat_map(|size| size.reports().map(move |it| (size, it)));
    let jobs: Vec<_> = runs
        .flat_map(|(size, report)| {
            let jobs = report.manycall.iter().flat_map(|it| &it.timeline);
            jobs.map(move |job| (size, report.seed, *job))
        })
        .collect();
    let ends = jobs.iter().map(|(_, _, job)| job.start_seconds + job.seconds);
    let (unit, named) = seconds_unit(ends.fold(0.0, f64::max));
    let x = Axis::new(&format!("virtual time, {named}"));
    let y = Axis::new("manycall, in order of end").whole().with(0.0, 2.0);
    let mut plot = Plot::new("When manycalls were under way", x, y);
    for size in &group.sizes {
        let shown = jobs.iter().take(TIMELINE_MAX).enumerate();
        let spans =
            shown.filter(|(_, (of, ..))| of.peers == size.peers).map(|(at, (_, seed, job))| {
                let (from, to) = (job.start_seconds, job.start_seconds + job.seconds);
                let done = share(job.succeeded, job.items);
                let says = format!(
                    "seed {seed}: {} items, {done} in {}",
                    count(job.items),
                    seconds(job.seconds)
                );
                (from / unit, to / unit, at as f64 + 1.0, says)
            });
        plot.spans(&size.name(), size.colour, spans.collect());
    }
    if jobs.len() > TIMELINE_MAX {
        plot.note(format!("The first {TIMELINE_MAX} of {}.", count(jobs.len() as u64)));
    }
    plot
}
