//! What went on over virtual time, as the mean of a size's runs.

use super::figures::{bytes_unit, seconds_unit};
use super::group::{Group, Size};
use super::plot::{Axis, Plot};
use crate::report::Report;
use crate::series::{BUCKETS_MAX, Series};

/// One kind of counts of the runs of a size, bucket by bucket.
struct Counts {
    bucket_seconds: f64,
    /// Sums over the runs, as sure as these are many.
    sums: Vec<f64>,
    /// How long all runs together were in each bucket.
    lasted: Vec<f64>,
    /// How many of the runs' buckets lie in each.
    parts: Vec<f64>,
}

impl Counts {
    /// Lays the runs' series over each other, in the widest buckets that any of them has.
    fn of(size: &Size, counts: impl Fn(&Series) -> &[u64]) -> Self {
        let runs: Vec<(&Report, &Series)> = size
            .reports()
            .filter_map(|report| Some((report, report.series.as_ref()?)))
            .filter(|(_, one)| one.bucket_seconds > 0.0 && one.bucket_seconds.is_finite())
            .collect();
        let bucket_seconds = runs.iter().map(|(_, one)| one.bucket_seconds).fold(0.0, f64::max);
        let mut all = Self { bucket_seconds, sums: vec![], lasted: vec![], parts: vec![] };
        for (report, one) in runs {
            let width = one.bucket_seconds;
            // A run writes no more than these.
            for (at, count) in counts(one).iter().enumerate().take(2 * BUCKETS_MAX) {
                let bucket = (at as f64 * (width / bucket_seconds)) as usize;
                for column in [&mut all.sums, &mut all.lasted, &mut all.parts] {
                    column.resize(column.len().max(bucket + 1), 0.0);
                }
                all.sums[bucket] += *count as f64;
                let left = report.virtual_seconds - at as f64 * width;
                all.lasted[bucket] += left.clamp(0.0, width);
                all.parts[bucket] += 1.0;
            }
        }
        all
    }

    fn middle(&self, bucket: usize) -> f64 {
        (bucket as f64 + 0.5) * self.bucket_seconds
    }

    /// (When, how many a second.) A bucket that was hardly begun tells nothing.
    fn rates(&self) -> Vec<(f64, f64)> {
        let buckets = self.sums.iter().zip(&self.lasted).enumerate();
        let told = buckets.filter(|(_, (_, lasted))| **lasted > self.bucket_seconds / 4.0);
        told.map(|(at, (sum, lasted))| (self.middle(at), sum / lasted)).collect()
    }

    /// (When, how many there were.)
    fn levels(&self) -> Vec<(f64, f64)> {
        let buckets = self.sums.iter().zip(&self.parts).enumerate();
        buckets.map(|(at, (sum, parts))| (self.middle(at), sum / parts)).collect()
    }

    /// (When, which share of all in percent was done until then.)
    fn cumulated(&self) -> Vec<(f64, f64)> {
        let all: f64 = self.sums.iter().sum();
        if all <= 0.0 {
            return Vec::new();
        }
        let mut sum = 0.0;
        let mut points = vec![(0.0, 0.0)];
        points.extend(self.sums.iter().enumerate().map(|(at, count)| {
            sum += count;
            ((at as f64 + 1.0) * self.bucket_seconds, 100.0 * sum / all)
        }));
        points
    }

    /// (When, which share of `all` in percent these are), where there were any.
    fn shares(&self, all: &Self) -> Vec<(f64, f64)> {
        let buckets = self.sums.iter().zip(&all.sums).enumerate();
        let told = buckets.filter(|(_, (_, all))| **all > 0.0);
        told.map(|(at, (part, all))| (self.middle(at), 100.0 * part / all)).collect()
    }
}

/// The axis of time for a group, and how many seconds its unit has.
fn time_axis(group: &Group) -> (Axis, f64) {
    let longest = group.reports().map(|report| report.virtual_seconds).fold(0.0, f64::max);
    let (size, unit) = seconds_unit(longest);
    (Axis::new(&format!("virtual time, {unit}")), size)
}

fn scaled(points: Vec<(f64, f64)>, x: f64, y: f64) -> Vec<(f64, f64)> {
    points.into_iter().map(|(at, value)| (at / x, value / y)).collect()
}

/// Success over time, traffic, and what else went on.
pub(super) fn plots(group: &Group) -> Vec<Plot> {
    let (time, unit) = time_axis(group);
    let lines = |title: &str, y: Axis, points: &dyn Fn(&Size) -> Vec<(f64, f64)>| {
        let mut plot = Plot::new(title, time.clone(), y);
        for size in &group.sizes {
            plot.line(&size.name(), size.colour, scaled(points(size), unit, 1.0));
        }
        plot
    };
    let percent = || Axis::free("succeeded, %").up_to(100.0).with(99.0, 100.0);
    let mut plots = vec![
        lines("Lookups that succeeded, over time", percent(), &|size| {
            let all = Counts::of(size, |series| &series.lookups);
            Counts::of(size, |series| &series.lookups_succeeded).shares(&all)
        }),
        lines("Anycalls that succeeded, over time", percent(), &|size| {
            let all = Counts::of(size, |series| &series.anycalls);
            Counts::of(size, |series| &series.anycalls_succeeded).shares(&all)
        }),
        lines("Items of manycalls done, over time", Axis::new("items done, %"), &|size| {
            Counts::of(size, |series| &series.items).cumulated()
        }),
        lines("Hosts of all functions, over time", Axis::new("hosts living"), &|size| {
            Counts::of(size, |series| &series.hosts).levels()
        }),
    ];
    let is_steady = group.reports().all(|report| {
        let peers = report.series.as_ref().map(|series| &series.peers[..]);
        peers.is_none_or(|peers| peers.iter().all(|one| *one == u64::from(report.peers)))
    });
    if !is_steady {
        plots.push(lines("Peers, over time", Axis::free("peers there").whole(), &|size| {
            Counts::of(size, |series| &series.peers).levels()
        }));
    }
    plots.push(lines("Messages, over time", Axis::new("messages a second"), &|size| {
        Counts::of(size, |series| &series.messages).rates()
    }));
    plots.push(lines("Connections made, over time", Axis::new("connections a second"), &|size| {
        Counts::of(size, |series| &series.connections).rates()
    }));
    plots.push(bytes(group, time.clone(), unit));
    plots
}

fn bytes(group: &Group, time: Axis, unit: f64) -> Plot {
    let rates = group.sizes.iter().map(|size| Counts::of(size, |series| &series.bytes).rates());
    let rates: Vec<Vec<(f64, f64)>> = rates.collect();
    let most = rates.iter().flatten().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let (size_of, named) = bytes_unit(most);
    let mut plot = Plot::new("Traffic, over time", time, Axis::new(&format!("{named} a second")));
    for (size, points) in group.sizes.iter().zip(rates) {
        plot.line(&size.name(), size.colour, scaled(points, unit, size_of));
    }
    plot.note("Between peers, without the bodies of calls.".to_owned());
    plot
}
