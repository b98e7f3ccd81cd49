//! The page around the plots: what was run, figure by figure.

use std::fmt::Write as _;

use super::figures::{bytes, count, escaped, figure, fixed, seconds, share};
use super::group::{Group, Size};
use super::{Skipped, charts, time};
use crate::report::{Report, Spread};

/// Violations that are told of one run.
const TOLD_MAX: usize = 20;

/// The page's looks, by light and by night.
const STYLE: &str = include_str!("page.css");

/// The page of all groups.
pub(super) fn page(groups: &[Group], skipped: &[Skipped]) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Simulated networks</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Simulated networks</h1>\n"
    );
    summary(&mut html, groups);
    not_read(&mut html, skipped);
    for (at, group) in groups.iter().enumerate() {
        section(&mut html, at, group);
    }
    all_runs(&mut html, groups);
    html.push_str("</body>\n</html>\n");
    html
}

fn plural(n: u64, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {one}{s}", count(n))
}

fn summary(html: &mut String, groups: &[Group]) {
    let reports = || groups.iter().flat_map(Group::reports);
    let broken: u64 = reports().map(violations).fold(0, u64::saturating_add);
    let (class, verdict) = match broken {
        0 => ("good", "no violation".to_owned()),
        n => ("bad", plural(n, "violation")),
    };
    let runs = plural(reports().count() as u64, "run");
    let scenarios = plural(groups.len() as u64, "scenario");
    let events = count(reports().map(|report| report.events).fold(0, u64::saturating_add));
    let cpu: f64 = reports().map(|report| report.cpu_seconds).sum();
    let _ = writeln!(
        html,
        "<p>{runs} of {scenarios}, {events} events in {} of processor time: \
         <strong class=\"{class}\">{verdict}</strong>.</p>",
        escaped(&seconds(cpu))
    );
    html.push_str("<nav>");
    for (at, group) in groups.iter().enumerate() {
        let _ = write!(html, "<a href=\"#s{at}\">{}</a> ", escaped(group.scenario));
    }
    html.push_str("<a href=\"#runs\">all runs</a></nav>\n");
}

fn not_read(html: &mut String, skipped: &[Skipped]) {
    if skipped.is_empty() {
        return;
    }
    html.push_str("<div class=\"skipped\"><p>Left out, for these are no runs:</p>\n<ul>\n");
    for Skipped { file, why } in skipped {
        let _ = writeln!(html, "<li><code>{}</code>: {}</li>", escaped(file), escaped(why));
    }
    html.push_str("</ul></div>\n");
}

fn section(html: &mut String, at: usize, group: &Group) {
    let _ = writeln!(html, "<section id=\"s{at}\">\n<h2>{}</h2>", escaped(group.scenario));
    figures(html, group);
    html.push_str("<div class=\"plots\">\n");
    for plot in charts::plots(group).into_iter().chain(time::plots(group)) {
        if !plot.is_empty() {
            html.push_str(&plot.html());
        }
    }
    html.push_str("</div>\n</section>\n");
}

/// How many of how many.
type Part = (u64, u64);
type Figure = (&'static str, fn(&Report) -> Option<Part>);

/// What a section tells in figures, a row each.
const FIGURES: &[Figure] = &[
    ("lookups right at some instant", |report| {
        report.lookup.as_ref().map(|it| (it.succeeded, it.count))
    }),
    ("lookups right at their end", |report| report.lookup.as_ref().map(|it| (it.exact, it.count))),
    ("anycalls answered", |report| report.anycall.as_ref().map(|it| (it.succeeded, it.count))),
    ("anycalls answered while a host lived", |report| {
        let it = report.anycall.as_ref()?;
        Some((it.while_hosted_succeeded, it.while_hosted))
    }),
    ("items done", |report| report.manycall.as_ref().map(|it| (it.succeeded, it.items))),
    ("functions placed", |report| report.placement.as_ref().map(|it| (it.placed, it.functions))),
];

type Distribution = (&'static str, fn(f64) -> String, fn(&Report) -> Option<&Spread>);

fn ms(value: f64) -> String {
    seconds(value / 1e3)
}

/// What a section tells as mean, percentiles and most, a row each.
const SPREADS: &[Distribution] = &[
    ("hops", figure, |report| Some(&report.lookup.as_ref()?.hops)),
    ("rounds", figure, |report| Some(&report.lookup.as_ref()?.rounds)),
    ("requests a lookup", figure, |report| Some(&report.lookup.as_ref()?.rpcs)),
    ("latency of a lookup", ms, |report| Some(&report.lookup.as_ref()?.latency_ms)),
    ("latency of an anycall", ms, |report| Some(&report.anycall.as_ref()?.latency_ms)),
    ("attempts an anycall", figure, |report| Some(&report.anycall.as_ref()?.attempts)),
    ("makespan", ms, |report| Some(&report.manycall.as_ref()?.makespan_ms)),
    ("ideal makespan", ms, |report| Some(&report.manycall.as_ref()?.ideal_makespan_ms)),
    ("deploying", ms, |report| {
        Some(&report.placement.as_ref()?.deploy_ms).filter(|took| took.max > 0.0)
    }),
    ("hosts a function", figure, |report| Some(&report.placement.as_ref()?.live)),
    ("connections a machine", figure, |report| Some(&report.connections.as_ref()?.kept)),
    ("links upwards busy, %", figure, |report| Some(&report.links.as_ref()?.up_busy_percent)),
    ("links downwards busy, %", figure, |report| Some(&report.links.as_ref()?.down_busy_percent)),
    ("repair", seconds, |report| {
        let placement = report.placement.as_ref().filter(|placement| placement.repairs > 0)?;
        Some(&placement.repair_seconds)
    }),
];

/// The figures of each size: from the worst to the best of its runs, or the mean over them.
fn figures(html: &mut String, group: &Group) {
    html.push_str(
        "<div class=\"wide\"><table>\n<thead><tr><th>figure</th><th>peers</th><th>mean</th>\
         <th>p50</th><th>p90</th><th>p99</th><th>most</th></tr></thead>\n<tbody>\n",
    );
    for (what, of) in FIGURES {
        for size in &group.sizes {
            let parts: Vec<Part> =
                size.reports().filter_map(of).filter(|part| part.1 > 0).collect();
            let by_share = |a: &&Part, b: &&Part| {
                let cross = |part: &Part, whole: &Part| u128::from(part.0) * u128::from(whole.1);
                cross(a, b).cmp(&cross(b, a))
            };
            let (worst, best) = (parts.iter().min_by(by_share), parts.iter().max_by(by_share));
            if let (Some(worst), Some(best)) = (worst, best) {
                let (worst, best) = (share(worst.0, worst.1), share(best.0, best.1));
                let range = if worst == best { worst } else { format!("{worst} to {best}") };
                let peers = count(size.peers.into());
                let _ = writeln!(
                    html,
                    "<tr><th>{what}</th><td>{peers}</td><td colspan=\"5\" class=\"all\">{range}</td></tr>"
                );
            }
        }
    }
    for size in &group.sizes {
        let efficiency = size.mean(|report| Some(report.manycall.as_ref()?.efficiency));
        if let Some(efficiency) = efficiency {
            let peers = count(size.peers.into());
            let _ = writeln!(
                html,
                "<tr><th>efficiency of manycalls</th><td>{peers}</td>\
                 <td colspan=\"5\" class=\"all\">{}</td></tr>",
                fixed(efficiency, 3)
            );
        }
    }
    for spread in SPREADS {
        for size in &group.sizes {
            spread_row(html, spread, size);
        }
    }
    html.push_str("</tbody></table></div>\n");
    if group.reports().count() > group.sizes.len() {
        html.push_str(
            "<p class=\"note\">Of several runs of one size: from the worst to the best share; means \
             of the runs' means and percentiles; the most of any run.</p>\n",
        );
    }
}

fn spread_row(html: &mut String, (what, words, of): &Distribution, size: &Size) {
    let columns: [fn(&Spread) -> f64; 4] = [|it| it.mean, |it| it.p50, |it| it.p90, |it| it.p99];
    let Some(max) = size.reports().filter_map(of).map(|it| it.max).reduce(f64::max) else { return };
    let peers = count(size.peers.into());
    let _ = write!(html, "<tr><th>{what}</th><td>{peers}</td>");
    for mean in columns.into_iter().filter_map(|column| size.mean(|it| of(it).map(column))) {
        let _ = write!(html, "<td>{}</td>", words(mean));
    }
    let _ = writeln!(html, "<td>{}</td></tr>", words(max));
}

fn all_runs(html: &mut String, groups: &[Group]) {
    html.push_str(
        "<section id=\"runs\">\n<h2>All runs</h2>\n<div class=\"wide\"><table>\n<thead><tr>\
         <th>scenario</th><th>peers</th><th>seed</th><th>digest</th><th>violations</th>\
         <th>virtual time</th><th>processor</th><th>events</th><th>events a processor second</th>\
         <th>messages</th><th>traffic</th><th>memory</th></tr></thead>\n<tbody>\n",
    );
    for report in groups.iter().flat_map(Group::reports) {
        let broken = violations(report);
        let class = if broken == 0 { "good" } else { "bad" };
        let cells = [
            count(report.events),
            figure(report.events_per_cpu_second.round()),
            count(report.messages),
            bytes(report.bytes as f64),
            bytes(report.peak_rss_bytes as f64),
        ];
        let _ = write!(
            html,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td><code>{}</code></td>\
             <td class=\"{class}\">{}</td><td>{}</td><td>{} s</td>",
            escaped(&report.scenario),
            count(report.peers.into()),
            report.seed,
            escaped(&report.digest),
            count(broken),
            seconds(report.virtual_seconds),
            fixed(report.cpu_seconds, 2)
        );
        for cell in cells {
            let _ = write!(html, "<td>{cell}</td>");
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n<p class=\"note\">Memory is the most that the process held until the run's end, with what ran beside it.</p>\n");
    for report in groups.iter().flat_map(Group::reports) {
        broken(html, report);
    }
    html.push_str("</section>\n");
}

fn violations(report: &Report) -> u64 {
    report.violations_count.max(report.violations.len() as u64)
}

fn broken(html: &mut String, report: &Report) {
    let all = violations(report);
    if all == 0 {
        return;
    }
    let _ = writeln!(
        html,
        "<h3>{}, {} peers, seed {}: {}</h3>\n<ul>",
        escaped(&report.scenario),
        count(report.peers.into()),
        report.seed,
        plural(all, "violation")
    );
    for one in report.violations.iter().take(TOLD_MAX) {
        let peer = one.peer.map_or(String::new(), |peer| format!(" peer {peer}:"));
        let at = fixed(one.seconds, 3);
        let _ = writeln!(html, "<li>{at} s:{peer} {}</li>", escaped(&one.what));
    }
    let more = all.saturating_sub(TOLD_MAX as u64);
    if more > 0 {
        let _ = writeln!(html, "<li>and {} more</li>", count(more));
    }
    html.push_str("</ul>\n");
}
