//! A Peerless node: everything that is not decided but done.

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

pub mod id;
pub mod journal;
pub mod keys;
pub mod record;
pub mod wire;

mod bytes32;
mod cli;
mod client;
mod clock;
mod demo;
mod modules;
mod proto;
mod settings;
mod store;
mod units;

/// Carries out what was typed.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Client(command) => client::run(command, cli.json),
        Command::Demo(args) => demo::run(args, cli.json),
        Command::Up(_) => unimplemented!("the daemon's entry stands here"),
    }
}
