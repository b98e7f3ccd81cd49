//! `peerless-sim`: parse, run, exit.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use peerless_sim::cli::{Cli, Fault};

fn main() -> ExitCode {
    let (status, message) = match Cli::parse().run(&mut stdout().lock()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Fault::Usage(message)) => (2, message),
        Err(Fault::Failed(message)) => (1, message),
    };
    // Nobody is left to be told if standard error is closed.
    let _ = writeln!(stderr(), "peerless-sim: {message}");
    ExitCode::from(status)
}
