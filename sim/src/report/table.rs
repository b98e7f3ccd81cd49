//! The report for people.

use std::fmt::Write as _;

use super::{PartingSide, Report};

impl Report {
    /// The report for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, figure: String| {
            let _ = writeln!(text, "{what:<34} {figure}");
        };
        line("scenario", format!("{} (seed {}, {} peers)", self.scenario, self.seed, self.peers));
        line("digest", self.digest.clone());
        line("virtual time", format!("{:.1} s", self.virtual_seconds));
        line(
            "real time",
            format!(
                "{:.2} s set-up, then {:.2} s ({:.2} s of processor)",
                self.setup_seconds, self.wall_seconds, self.cpu_seconds
            ),
        );
        line(
            "events",
            format!("{} ({:.0} a processor second)", self.events, self.events_per_cpu_second),
        );
        line("messages", format!("{} ({} bytes)", self.messages, self.bytes));
        line("memory at most", format!("{:.0} MiB", self.peak_rss_bytes as f64 / 1_048_576.0));
        if let Some(replaced) = self.replaced {
            line("peers replaced", format!("{replaced}"));
        }
        if let (Some(departed), Some(returned)) = (self.departed, self.returned) {
            line("sessions ended, of which came back", format!("{departed}, {returned}"));
        }
        if let Some(crashed) = self.crashed {
            line("hosts crashed", format!("{crashed}"));
        }
        if let Some(drained) = self.drained {
            line("hosts that left for good", format!("{drained}"));
        }
        if let Some(it) = &self.links {
            let (mean, max) = (it.up_ms_mean, it.up_ms_max);
            line("on a link upwards", format!("mean {mean:.2}, most {max:.1} ms"));
            let (mean, max) = (it.down_ms_mean, it.down_ms_max);
            line("waiting for a link downwards", format!("mean {mean:.2}, most {max:.1} ms"));
            line("  links upwards busy", it.up_busy_percent.words(" %"));
            line("  links downwards busy", it.down_busy_percent.words(" %"));
        }
        if let Some(it) = &self.connections {
            line("connections made", format!("{}, {} of them relayed", it.made, it.relayed));
            line("  closed to make room", format!("{}", it.closed));
            line("  at the end", it.kept.words(""));
            if it.hidden > 0 {
                line("  machines behind NAT", format!("{}", it.hidden));
                line("  of which could not be dialled", format!("{} times", it.unreached));
            }
        }
        if let Some(it) = &self.joining {
            line("peers joined", format!("{}", it.peers));
            line("  entries in their tables", format!("{}", it.table_entries));
            let ratio = it.table_entries as f64 / it.table_entries_converged.max(1) as f64;
            line("  over those of a converged start", format!("{ratio:.4}"));
        }
        if let Some(it) = &self.lookup {
            line("lookups", format!("{}", it.count));
            line("  right at some instant", share(it.succeeded, it.count));
            line("  right at their end", share(it.exact, it.count));
            line("  hops", it.hops.words(""));
            line("  rounds", it.rounds.words(""));
            line("  requests", it.rpcs.words(""));
            line("  latency", it.latency_ms.words(" ms"));
            line("  requests not answered", format!("{}", it.timeouts));
            if let Some(eclipsed) = it.eclipsed {
                line("  of which found nobody honest", share(eclipsed, it.count));
            }
            if let Some(missing) = &it.missing {
                line("  honest ones lacking", missing.words(""));
            }
        }
        if let Some(it) = &self.placement {
            line("functions", format!("{} of {} placed", it.placed, it.functions));
            if let Some(replaced) = it.replaced {
                line("  deployed again", format!("{replaced}"));
            }
            line("  hosts wanted each", format!("{}", it.wanted));
            line("  hosts living", it.live.words(""));
            line("  hosts at most", format!("{}", it.peak));
            line("  hosts near their function", format!("{:.4}", it.near));
            if let Some(ratio) = it.installs_over_lost {
                line("  hosts gained for each lost", format!("{ratio:.3}"));
            }
            line("  short of hosts at the end", format!("{}", it.short));
            line("  deploying", it.deploy_ms.words(" ms"));
            line("  shortages made up", format!("{}", it.repairs));
            let p95 = it.repair_seconds_p95;
            line("  repair", format!("{}, p95 {p95:.1}", it.repair_seconds.words(" s")));
            line("  time without any host", format!("{:.6}", it.hostless_fraction));
            line("  longest", format!("{:.1} s, {} in all", it.hostless_seconds_max, it.hostless));
            line("  most on one peer over mean", format!("{:.2}", it.load_max_over_mean));
            line("  most of its room over mean", format!("{:.2}", it.use_max_over_mean));
            if let Some(offers) = it.offers_a_host {
                line("  offers for each host", format!("{offers:.2}"));
            }
            if let Some(offers) = it.offers_a_loss {
                line("  offers for each lost", format!("{offers:.2}"));
            }
            if let Some(least) = it.newcomer_use_min {
                line("  least of a newcomer's over mean", format!("{least:.2}"));
            }
            line(
                "  handed on, of these to newcomers",
                format!("{}, {}", it.moved, it.moved_on_join),
            );
            line("  moved on leaves", format!("{}", it.moved_on_leave));
        }
        if let Some(it) = &self.partition {
            for (name, side) in ["smaller part", "larger part"].iter().zip(&it.sides) {
                let PartingSide { missing, installs, short, hostless, codeless, .. } = side;
                let hosts = format!("{missing} hosts missing, {installs} gained");
                line(name, hosts);
                let rest =
                    format!("{short}, of which {hostless} without any, {codeless} without code");
                line("  short at the end", rest);
                line("  repair", side.repair_seconds.words(" s"));
            }
            line("last failure after the end", format!("{:.1} s", it.healed_seconds));
        }
        if let Some(it) = &self.anycall {
            line("anycalls", format!("{}", it.count));
            line("  answered", share(it.succeeded, it.count));
            line("  made while a host lived", share(it.while_hosted_succeeded, it.while_hosted));
            line("  refused, failed, orphaned", {
                format!("{}, {}, {}", it.refused, it.failed, it.orphaned)
            });
            if it.wrong > 0 {
                line("  answered wrongly", share(it.wrong, it.count));
            }
            line("  runs", format!("{}", it.executions));
            line("  attempts", it.attempts.words(""));
            line("  latency", it.latency_ms.words(" ms"));
            if it.refused > 0 {
                line("  latency of refusals", it.refusal_latency_ms.words(" ms"));
            }
            if let Some(goodput) = it.goodput_min {
                line("  goodput, in any ten seconds", format!("{goodput:.4} of capacity"));
            }
            for (why, count) in &it.failures {
                line("  failed", format!("{count} × {why}"));
            }
        }
        if let Some(it) = &self.manycall {
            line("manycalls", format!("{} of {} items in all", it.jobs, it.items));
            line("  succeeded, failed, unknown", {
                format!("{}, {}, {}", it.succeeded, it.failed, it.unknown)
            });
            if let (Some(wrong), Some(expected), Some(deviation)) =
                (it.wrong, it.wrong_expected, it.wrong_deviation)
            {
                let wrong = share(wrong, it.items);
                line("  answered wrongly", {
                    format!(
                        "{wrong}; by the law {expected:.0}, {deviation:.2} standard errors away"
                    )
                });
            }
            line("  lost, doubled", format!("{}, {}", it.lost, it.doubled));
            line("  attempts, runs, repeats", {
                format!("{}, {}, {}", it.attempts, it.executions, it.hedged)
            });
            line("  makespan", it.makespan_ms.words(" ms"));
            line("  ideal makespan", it.ideal_makespan_ms.words(" ms"));
            line("  efficiency", format!("{:.3}", it.efficiency));
        }
        if let Some(it) = &self.placement {
            for failure in &it.failures {
                line("  not placed", failure.clone());
            }
        }
        line("violations", format!("{}", self.violations_count));
        for broken in self.violations.iter().take(20) {
            let peer = broken.peer.map_or(String::new(), |peer| format!(" peer {peer}:"));
            let _ = writeln!(text, "  {:.3} s:{peer} {}", broken.seconds, broken.what);
        }
        text
    }
}

impl Report {
    /// The key figures of each kind of work, on one line.
    pub fn figures(&self) -> String {
        let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
        let mut figures = Vec::new();
        if let Some(it) = &self.lookup {
            let right = percent(it.succeeded, it.count);
            let (hops, rpcs) = (it.hops.mean, it.rpcs.mean);
            figures.push(format!("lookups {right:.2} %, {hops:.2} hops, {rpcs:.1} requests"));
        }
        if let Some(it) = &self.placement {
            let placed = format!("placed {} of {}", it.placed, it.functions);
            figures.push(match it.repairs {
                0 => placed,
                _ => format!("{placed}, repair p95 {:.1} s", it.repair_seconds_p95),
            });
        }
        if let Some(it) = &self.anycall {
            let answered = percent(it.succeeded, it.count);
            figures.push(format!("anycalls {answered:.2} %, p99 {:.0} ms", it.latency_ms.p99));
        }
        if let Some(it) = &self.manycall {
            let items = format!("items {} of {}", it.succeeded, it.items);
            figures.push(format!("{items}, efficiency {:.3}", it.efficiency));
        }
        figures.join("; ")
    }
}

fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{part} of {whole} ({percent:.2} %)")
}
