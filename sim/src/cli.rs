//! What was typed, and what is done about it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::fuzz;
use crate::page;
use crate::report::{self, Report};
use crate::scenario::{BUILT_IN, Bad, Known, Scenario};
use crate::sweep::{self, Row, Seeds, Sweep};
use crate::trace;

/// Simulates networks of peerless cores in virtual time, deterministically.
#[derive(Parser, Debug)]
#[command(name = "peerless-sim", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Lists the built-in scenarios.
    List {
        /// Lists every key that a scenario can have, its value where it is not given, and what it
        /// means.
        #[arg(long)]
        keys: bool,
    },
    /// Runs a scenario and reports.
    Run {
        /// A built-in scenario, or a file that ends in .toml.
        scenario: String,
        /// Names everything that is left to chance.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Peers at the start, in place of the scenario's.
        #[arg(long)]
        peers: Option<u32>,
        /// Sets any key of the scenario, such as network.loss=0.05.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Also writes the report into this directory.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Prints the report as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Runs a scenario from many seeds and at many sizes, side by side on all cores.
    Sweep {
        /// A built-in scenario, or a file that ends in .toml.
        scenario: String,
        /// From seed A up to and without B.
        #[arg(long, value_name = "A..B")]
        seeds: Seeds,
        /// Peers at the start, in place of the scenario's: every one of these sizes.
        #[arg(long, value_name = "N", value_delimiter = ',')]
        peers: Vec<u32>,
        /// Sets any key of the scenario, such as network.loss=0.05.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// How many worlds run at once: as many as there are cores, if it is not given.
        #[arg(long, value_name = "N")]
        threads: Option<NonZeroU16>,
        /// Writes each world's report into this directory, as run does.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Prints each report as one JSON object a line, in the order of peers, then seeds.
        #[arg(long)]
        json: bool,
    },
    /// Draws a page of all reports in a directory: DIR/report.html.
    Report {
        /// The directory that run and sweep wrote into.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Draws worlds by seed, has their users ask and their machines fail, and makes what breaks small.
    Fuzz(fuzz::cli::Arguments),
    /// Shows one operation hop by hop.
    Trace {
        /// A built-in scenario, or a file that ends in .toml.
        scenario: String,
        /// Names everything that is left to chance.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Which operation, counted from 0.
        #[arg(long, default_value_t = 0)]
        operation: u64,
        /// Peers at the start, in place of the scenario's.
        #[arg(long)]
        peers: Option<u32>,
        /// Sets any key of the scenario.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Fault {
    /// It was asked for in a way that can't be carried out: status 2.
    Usage(String),
    /// It was carried out and something was wrong: status 1.
    Failed(String),
}

impl From<Bad> for Fault {
    fn from(bad: Bad) -> Self {
        Self::Usage(bad.0)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Cli {
    /// Carries the command out.
    pub fn run(self, out: &mut impl Write) -> Result<(), Fault> {
        match self.command {
            Command::List { keys: false } => list(out),
            Command::List { keys: true } => list_keys(out),
            Command::Run { scenario: named, seed, peers, set, out: dir, json } => {
                let scenario = load(&named, peers, &set)?;
                let report = run(&scenario, seed, dir, json, out)?;
                match report.violations_count {
                    0 => Ok(()),
                    n => {
                        let again = command(&named, seed, scenario.peers, &set);
                        let plural = if n == 1 { "" } else { "s" };
                        let what = format!("{n} violation{plural}; to repeat it:\n{again}");
                        Err(Fault::Failed(what))
                    }
                }
            }
            Command::Sweep { scenario, seeds, peers, set, threads, out: dir, json } => {
                let sizes = sizes(&scenario, peers, &set)?;
                let threads = threads.map_or_else(cores, |threads| threads.get().into());
                let sweep = Sweep { sizes, seeds: seeds.0, threads, dir };
                let rows = run_all(&sweep, json, out)?;
                let bad = rows.iter().filter(|row| row.is_bad);
                let again: Vec<String> =
                    bad.map(|row| command(&scenario, row.seed, row.peers, &set)).collect();
                match again.len() {
                    0 => Ok(()),
                    n => {
                        let of = format!("{n} of {} worlds failed", rows.len());
                        let again = again.join("\n");
                        Err(Fault::Failed(format!("{of}; to repeat them:\n{again}")))
                    }
                }
            }
            Command::Report { dir } => draw(&dir, out),
            Command::Fuzz(arguments) => arguments.run(out),
            Command::Trace { scenario, seed, operation, peers, set } => {
                let scenario = load(&scenario, peers, &set)?;
                let text = trace::trace(scenario, seed, operation).map_err(Fault::Usage)?;
                Ok(out.write_all(text.as_bytes())?)
            }
        }
    }
}

fn load(scenario: &str, peers: Option<u32>, set: &[String]) -> Result<Scenario, Fault> {
    let mut set = set.to_vec();
    set.extend(peers.map(|peers| format!("peers={peers}")));
    Ok(Scenario::load(scenario, &set)?)
}

fn list(out: &mut impl Write) -> Result<(), Fault> {
    for (name, _) in BUILT_IN {
        let scenario = Scenario::load(name, &[])?;
        writeln!(out, "{name:<12} {:>7} peers   {}", scenario.peers, scenario.about)?;
    }
    Ok(())
}

fn list_keys(out: &mut impl Write) -> Result<(), Fault> {
    for Known { key, standard, doc } in Scenario::keys() {
        writeln!(out, "{key:<38} {standard:<14} {doc}")?;
    }
    Ok(())
}

fn run(
    scenario: &Scenario,
    seed: u64,
    dir: Option<PathBuf>,
    json: bool,
    out: &mut impl Write,
) -> Result<Report, Fault> {
    let report = report::run_shown(scenario, seed);
    if let Some(dir) = dir {
        sweep::save(&report, &dir)?;
    }
    if json {
        writeln!(out, "{}", object(&report))?;
    } else {
        out.write_all(report.table().as_bytes())?;
    }
    Ok(report)
}

/// A report as it is printed.
fn object(report: &Report) -> String {
    serde_json::to_string(report).expect("a report is plain data")
}

/// The scenario at every size, smallest first.
fn sizes(named: &str, mut peers: Vec<u32>, set: &[String]) -> Result<Vec<Scenario>, Fault> {
    peers.sort_unstable();
    if let Some([twice, _]) = peers.array_windows().find(|[one, next]| one == next) {
        return Err(Fault::Usage(format!("--peers: {twice} is given twice")));
    }
    if peers.is_empty() {
        return Ok(vec![load(named, None, set)?]);
    }
    peers.into_iter().map(|peers| load(named, Some(peers), set)).collect()
}

/// As many worlds run at once as this machine steps at once.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn run_all(sweep: &Sweep, json: bool, out: &mut impl Write) -> Result<Vec<Row>, Fault> {
    sweep.count().map_err(Fault::Usage)?;
    let dir = &sweep.dir;
    // Better now than when the first world is done.
    std::fs::create_dir_all(dir)
        .map_err(|error| Fault::Usage(format!("--out {}: {error}", dir.display())))?;
    let mut rows = Vec::new();
    let told = sweep.run(|world| {
        rows.push(Row::of(&world));
        match &world.outcome {
            Ok(report) if json => writeln!(out, "{}", object(report)),
            _ => Ok(()),
        }
    });
    told.map_err(Fault::Failed)?;
    if !json {
        out.write_all(sweep::table(&rows).as_bytes())?;
    }
    Ok(rows)
}

fn draw(dir: &Path, out: &mut impl Write) -> Result<(), Fault> {
    let drawn = page::write(dir).map_err(Fault::Failed)?;
    let plural = if drawn.runs == 1 { "" } else { "s" };
    writeln!(out, "{}: {} run{plural}", drawn.path.display(), drawn.runs)?;
    for skipped in &drawn.skipped {
        writeln!(out, "skipped {}: {}", skipped.file, skipped.why)?;
    }
    Ok(())
}

/// The command that runs the same world again, for a POSIX shell.
pub fn command(scenario: &str, seed: u64, peers: u32, sets: &[String]) -> String {
    let mut command =
        format!("peerless-sim run {} --seed {seed} --peers {peers}", quoted(scenario));
    // The peers are said already.
    for set in sets.iter().filter(|set| !set.trim_start().starts_with("peers=")) {
        let _ = write!(command, " --set {}", quoted(set));
    }
    command
}

/// A word as a shell takes it for one.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+=/:,%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
