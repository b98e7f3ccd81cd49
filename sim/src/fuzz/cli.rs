//! What was typed after `fuzz`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use peerless_core::Span;

use super::{Feature, Named, Options, Preset, Report, fuzz};
use crate::cli::Fault;
use crate::scenario::{Readable, Value};
use crate::sweep::Seeds;

/// See [`super`].
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A built-in scenario, or a file that ends in .toml, whose world is perturbed; else worlds are
    /// drawn as well.
    scenario: Option<String>,
    /// The seeds from A up to but not including B.
    #[arg(long, value_name = "A..B")]
    seeds: Seeds,
    /// Begins no more worlds after this much wall time, such as 10m.
    #[arg(long, value_name = "D", value_parser = span)]
    time: Option<Span>,
    /// How worlds are drawn.
    #[arg(long, value_enum, default_value = "lite")]
    preset: Preset,
    /// Worlds that are played at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// At most so many peers at the start.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    peers: Option<u32>,
    /// Without these features.
    #[arg(long, value_enum, value_delimiter = ',')]
    off: Vec<Feature>,
    /// Only these operations of the schedule, by their numbers, or "none".
    #[arg(long, value_name = "N,...", value_parser = numbers)]
    only: Option<Numbers>,
    /// Shows what comes of this operation hop by hop, where there is one seed.
    #[arg(long, value_name = "N")]
    trace: Option<u32>,
    /// Wall time for making a broken case small.
    #[arg(long, value_name = "D", value_parser = span, default_value = "60s")]
    shrink: Span,
    /// Also writes the smallest broken case into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Plants the bug of this number into the core.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "N", default_value_t = 0)]
    planted: u32,
}

/// Numbers of operations.
#[derive(Clone, Debug)]
struct Numbers(BTreeSet<u32>);

fn span(text: &str) -> Result<Span, String> {
    let read = Span::read(&Value::Text(text.to_owned()));
    read.ok_or_else(|| format!("expected {}", Span::EXPECTED))
}

fn numbers(text: &str) -> Result<Numbers, String> {
    if text == "none" {
        return Ok(Numbers(BTreeSet::new()));
    }
    let numbers = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let numbers: Option<BTreeSet<u32>> = numbers;
    let expected = "expected numbers of operations, such as 3,7,12, or none";
    numbers.map(Numbers).ok_or_else(|| expected.into())
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1e9
}

impl Arguments {
    /// Fuzzes, and reports.
    pub(crate) fn run(self, out: &mut impl Write) -> Result<(), Fault> {
        #[cfg(feature = "planted")]
        if self.planted > 0 {
            peerless_core::planted::set(self.planted);
        }
        let (Seeds(seeds), only) = (self.seeds, self.only.map(|Numbers(only)| only));
        let of_one = [("--only", only.is_some()), ("--trace", self.trace.is_some())];
        if let Some((option, _)) = of_one.into_iter().find(|(_, given)| *given)
            && seeds.end - seeds.start > 1
        {
            let what = "expected --seeds of one seed: another one has other operations";
            return Err(Fault::Usage(format!("{option}: {what}")));
        }
        let named = Named {
            scenario: self.scenario,
            seed: seeds.start,
            preset: self.preset,
            only,
            off: self.off.into_iter().collect(),
            peers: self.peers,
        };
        if let Some(operation) = self.trace {
            let case = super::draw(&named)?;
            if case.schedule.iter().all(|step| step.id != operation) {
                let what = format!("--trace {operation}: the schedule is\n{}", case.lines());
                return Err(Fault::Usage(what));
            }
            return Ok(out.write_all(super::trace(&case, operation).as_bytes())?);
        }
        let options = Options {
            named,
            seeds,
            time: self.time.map(seconds),
            threads: self.threads.into(),
            shrink: seconds(self.shrink),
        };
        // A core that panics is a violation, told with the others.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let tally = fuzz(&options);
        std::panic::set_hook(hook);
        let tally = tally?;
        let report = Report::of(&tally);
        let case = tally.smallest.as_ref().map(super::Broken::text);
        if let (Some(dir), Some(broken), Some(text)) = (self.out, &tally.smallest, &case) {
            let path = dir.join(format!("fuzz-{}.txt", broken.case.named.seed));
            std::fs::create_dir_all(&dir)
                .and_then(|()| std::fs::write(&path, text))
                .map_err(|error| Fault::Failed(format!("{}: {error}", path.display())))?;
        }
        if self.json {
            let object = serde_json::to_string(&report).expect("a report is plain data");
            writeln!(out, "{object}")?;
        } else {
            if let Some(text) = &case {
                out.write_all(text.as_bytes())?;
            }
            out.write_all(report.text().as_bytes())?;
        }
        match report.broken.len() {
            0 => Ok(()),
            n => {
                let plural = if n == 1 { "" } else { "s" };
                Err(Fault::Failed(format!("{n} world{plural} of {} broken", report.worlds)))
            }
        }
    }
}
