//! A Peerless node: everything that is not decided but done.
//!
//! ```text
//! main → cli (what was typed) → settings (what it means) → up (a node) | client | demo
//! daemon    the loop around the core; every effect has one arm there
//! peers     Send ⇄ Heard, Failed, Unreached, Met          wire, proto, record, id, keys: as bytes
//! contacts  Dial ⇄ Dialled: the addresses behind the core's numbers
//! calls     Dispatch, Abort ⇄ Head, Ended: calls for our users
//! serve     Refuse, Run, Respond, Cancel ⇄ Arrived, Gone, RanHead, RanEnd: calls of others
//! functions Install, Uninstall ⇄ Installed                fetch  Fetch ⇄ Fetched     modules  files
//! store     Keep, Forget ⇄ Kept, NotKept, Restored        journal  every input, for `replay`
//! asks      Tell, Want ⇄ Ask, Items, Taken                api  the HTTP that they come from
//! renewal   Renew: the owner's records signed again
//! notes     Note                                          clock  the only file that reads one
//! ```
//!
//! The node decides nothing: it holds no retry, no choice of host, no attempt counter and no protocol
//! timer. A rule that creeps in here belongs into the core.

pub mod fuzz;
pub mod id;
pub mod journal;
pub mod keys;
pub mod record;
pub mod wire;

mod api;
mod asks;
mod budget;
mod bytes32;
mod calls;
mod cli;
mod client;
mod clock;
mod contacts;
mod daemon;
mod demo;
mod fetch;
mod functions;
mod headers;
mod modules;
mod node;
mod notes;
mod peers;
mod proto;
mod quota;
mod renewal;
mod serve;
mod settings;
mod store;
mod units;
mod up;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{Command, UpCommand};
use crate::settings::Settings;

/// Bad usage, input or configuration.
const EXIT_USAGE: u8 = 2;
/// It failed.
const EXIT_FAILED: u8 = 1;

/// The program: parses the command line, runs the command, says how it ended.
pub fn run() -> ExitCode {
    let cli = cli::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    log_to_stderr();
    #[cfg(feature = "planted")]
    plant();
    match cli.command {
        Command::Up(args) => up(args, cli.json),
        Command::Demo(args) => demo::run(args, cli.json),
        Command::Completions(args) => {
            say(String::from_utf8_lossy(&cli::completions(args.shell)).trim_end());
            ExitCode::SUCCESS
        }
        Command::Client(command) => client::run(command, cli.json),
    }
}

fn up(args: UpCommand, json: bool) -> ExitCode {
    if args.print_config {
        say(settings::EXAMPLE.trim_end());
        return ExitCode::SUCCESS;
    }
    let settings = match Settings::read(args.node) {
        Ok(settings) => settings,
        Err(wrong) => return complain(EXIT_USAGE, &wrong.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(EXIT_FAILED, &format!("cannot start: {error}")),
    };
    let ended = runtime.block_on(up::up(settings, json));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(exit_of(&error), &one_line(&error)),
    }
}

/// A key file or network's name that is wrong is bad input; all else failed.
fn exit_of(error: &anyhow::Error) -> u8 {
    let bad_start = |error: &peerless_net::StartError| {
        matches!(error, peerless_net::StartError::Name(_) | peerless_net::StartError::Key)
    };
    let bad_key = |error: &keys::KeyError| {
        matches!(error, keys::KeyError::Form { .. } | keys::KeyError::Open { .. })
    };
    let bad_input =
        error.downcast_ref().is_some_and(bad_start) || error.downcast_ref().is_some_and(bad_key);
    if bad_input { EXIT_USAGE } else { EXIT_FAILED }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().collect::<Vec<_>>().join(" ")
}

/// One clear line.
fn complain(code: u8, why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(code)
}

/// Prints a line for the user; nobody reading is no error.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
    let _ = out.flush();
}

/// What to log: `PEERLESS_LOG`, as `RUST_LOG` elsewhere.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let wanted = std::env::var("PEERLESS_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = wanted.and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("warn"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi);
    log.with_writer(std::io::stderr).init();
}

/// Breaks one rule of the core, for the tests that must then fail.
#[cfg(feature = "planted")]
fn plant() {
    let number = std::env::var("PEERLESS_PLANTED").ok().and_then(|text| text.parse().ok());
    peerless_core::planted::set(number.unwrap_or(0));
}
