//! What was typed. What it means is in `settings.rs` and in each command's own file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use peerless_core::Quorum;

use crate::units;

/// Serverless functions on machines that people own.
#[derive(Parser, Debug)]
#[command(name = "peerless", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Print JSON (NDJSON for streams) and nothing else on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a node.
    #[command(
        after_help = "PEERLESS_LOG sets what is logged on standard error: warn (the default), info, debug, peerless_node=debug, …"
    )]
    Up(UpCommand),
    /// Run a whole network on this machine and show what it can do.
    Demo(DemoArgs),
    /// Print a script by which a shell completes this command.
    Completions(CompletionsArgs),
    #[command(flatten)]
    Client(ClientCommand),
}

/// What is asked of a node that runs.
#[derive(Subcommand, Debug)]
pub(crate) enum ClientCommand {
    /// Deploy a function.
    Deploy(DeployArgs),
    /// Call a function.
    Call(CallArgs),
    /// Run a function on many items, over all its hosts.
    Manycall(ManycallArgs),
    /// List this owner's functions.
    List(GatewayArg),
    /// Show a function.
    Describe(NameArgs),
    /// Show who hosts a function.
    Find(NameArgs),
    /// Remove a function.
    Remove(NameArgs),
    /// Set how many hosts a function wants.
    Scale(ScaleArgs),
    /// Show the peers that the node knows.
    Peers(GatewayArg),
    /// Show the node.
    Status(GatewayArg),
    /// Hand over what the node hosts, and wait until it can be stopped without losing a call.
    Drain(GatewayArg),
    /// Show the node's id and owner.
    Id(IdArgs),
    /// Make, show and move keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Step a recorded node through the core again, and compare every effect.
    Replay(ReplayArgs),
}

/// What a command line says, with the environment. A variable that is empty counts as absent.
pub(crate) fn parse(
    line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Cli, clap::Error> {
    let command = without_empty_variables(Cli::command());
    Cli::from_arg_matches(&command.try_get_matches_from(line)?)
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|it| it.is_empty());
    let command = command.mut_args(|arg| {
        let empty = arg.get_env().is_some_and(is_empty);
        if empty { arg.env(None::<&'static str>) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Where a client's node is.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArg {
    /// The node's HTTP API; else PEERLESS_URL, else OPENFAAS_URL, else http://127.0.0.1:8080.
    #[arg(long, short = 'g', value_name = "URL")]
    pub(crate) gateway: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct UpCommand {
    #[command(flatten)]
    pub(crate) node: UpArgs,
    /// Print a commented configuration file with every key, and stop.
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// A node's flags. Each is also a key of the file (with underscores) and a variable.
#[derive(Args, Debug, Default)]
pub(crate) struct UpArgs {
    /// Where key, store and modules are [default: $XDG_DATA_HOME/peerless].
    #[arg(long, env = "PEERLESS_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A TOML file; see --print-config.
    #[arg(long, env = "PEERLESS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The owner's key [default: DATA-DIR/owner.key].
    #[arg(long, env = "PEERLESS_OWNER_KEY", value_name = "FILE")]
    pub(crate) owner_key: Option<PathBuf>,
    /// The network to be in [default: main].
    #[arg(long, env = "PEERLESS_NETWORK", value_name = "NAME")]
    pub(crate) network: Option<String>,
    /// Where to listen for other nodes [default: /ip4/0.0.0.0/tcp/4001].
    #[arg(long, env = "PEERLESS_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,
    /// A node of the network to join.
    #[arg(long, env = "PEERLESS_BOOTSTRAP", value_name = "MULTIADDR", value_delimiter = ',')]
    pub(crate) bootstrap: Vec<String>,
    /// Where to serve the HTTP API [default: 127.0.0.1:8080].
    #[arg(long, env = "PEERLESS_HTTP", value_name = "ADDR")]
    pub(crate) http: Option<String>,
    /// What runs functions [default: wasm].
    #[arg(long, env = "PEERLESS_RUNTIME", value_enum, value_delimiter = ',')]
    pub(crate) runtime: Vec<RuntimeName>,
    /// Calls that run at once; 0 hosts nothing [default: twice the cores, at least 4].
    #[arg(long, env = "PEERLESS_SLOTS", value_name = "N")]
    pub(crate) slots: Option<u16>,
    /// Calls that wait for a slot [default: four times the slots].
    #[arg(long, env = "PEERLESS_QUEUE", value_name = "N")]
    pub(crate) queue: Option<u16>,
    /// Whose functions to host: owner, anyone, or OWNER,… [default: owner].
    #[arg(long, env = "PEERLESS_ACCEPT", value_name = "WHOM")]
    pub(crate) accept: Option<String>,
    /// A label of this node, for functions that ask for it.
    #[arg(long, env = "PEERLESS_LABEL", value_name = "K=V", value_delimiter = ',')]
    pub(crate) label: Vec<String>,
    /// Record every input of the core in a new file in DIR.
    #[arg(long, env = "PEERLESS_JOURNAL", value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// The user that the API asks for; a file with one line.
    #[arg(long, env = "PEERLESS_BASIC_AUTH_USER_FILE", value_name = "FILE")]
    pub(crate) basic_auth_user_file: Option<PathBuf>,
    /// Its password; a file with one line.
    #[arg(long, env = "PEERLESS_BASIC_AUTH_PASSWORD_FILE", value_name = "FILE")]
    pub(crate) basic_auth_password_file: Option<PathBuf>,
    /// Let the API listen beyond loopback.
    #[arg(long, env = "PEERLESS_INSECURE_HTTP", value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub(crate) insecure_http: Option<bool>,
}

/// What runs functions.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuntimeName {
    /// The embedded WebAssembly sandbox.
    Wasm,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    pub(crate) shell: clap_complete::Shell,
}

/// The script for `completions`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "peerless", &mut script);
    script
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// How many nodes, at least 4: the one that deploys, one that only calls, and two hosts.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(4..=64))]
    pub(crate) peers: u16,
    /// Leave the network up and print its gateways.
    #[arg(long)]
    pub(crate) keep: bool,
    /// A configuration file for every node of it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Put this module in the place of the sample `echo` on node 0's disk: a demo that must fail.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) tamper: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct DeployArgs {
    /// A WebAssembly module (FILE.wasm).
    #[arg(value_name = "FILE.wasm")]
    pub(crate) what: String,
    /// The function's name [default: the file's].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Fewest and most hosts [default: 3..5].
    #[arg(long, value_name = "MIN[..MAX]", value_parser = parse_replicas)]
    pub(crate) replicas: Option<(u16, u16)>,
    /// A variable of the function.
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) env: Vec<(String, String)>,
    /// A label of the function.
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) label: Vec<(String, String)>,
    /// An annotation of the function.
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) annotation: Vec<(String, String)>,
    /// Memory of one call [default: 128MiB].
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub(crate) memory: Option<u64>,
    /// A call's deadline [default: 60s].
    #[arg(long, value_name = "D", value_parser = units::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// A label K=V that every host must carry.
    #[arg(long, value_name = "K=V", value_parser = parse_pair)]
    pub(crate) constraint: Vec<(String, String)>,
    /// Whether running it twice does no harm.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) idempotent: Option<bool>,
    #[command(flatten)]
    pub(crate) gateway: GatewayArg,
}

#[derive(Args, Debug)]
pub(crate) struct CallArgs {
    /// The function.
    pub(crate) name: String,
    /// `-`: the body is on standard input.
    #[arg(value_parser = ["-"])]
    pub(crate) stdin: Option<String>,
    /// The body.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["data_file", "stdin"])]
    pub(crate) data: Option<String>,
    /// A file with the body; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "stdin")]
    pub(crate) data_file: Option<PathBuf>,
    /// The method [default: POST with a body, else GET].
    #[arg(long, value_name = "M")]
    pub(crate) method: Option<String>,
    /// What follows the function's name in the URL.
    #[arg(long, value_name = "/P?Q")]
    pub(crate) path: Option<String>,
    /// A header of the request.
    #[arg(long, value_name = "K: V", value_parser = parse_header)]
    pub(crate) header: Vec<(String, String)>,
    /// The call's deadline.
    #[arg(long, value_name = "D", value_parser = units::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) gateway: GatewayArg,
}

#[derive(Args, Debug)]
pub(crate) struct ManycallArgs {
    /// The function.
    pub(crate) name: String,
    /// NDJSON: one item a line; `-` is standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) items: PathBuf,
    /// Where the results go, one a line [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Further attempts of an item after failures of the system [default: 3].
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u8>,
    /// When the whole job is too late.
    #[arg(long, value_name = "D", value_parser = units::parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// An item's answer counts when K hosts, of N that are heard at most, gave the same.
    #[arg(long, value_name = "K/N", value_parser = units::parse_quorum)]
    pub(crate) quorum: Option<Quorum>,
    #[command(flatten)]
    pub(crate) gateway: GatewayArg,
}

#[derive(Args, Debug)]
pub(crate) struct NameArgs {
    /// The function.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) gateway: GatewayArg,
}

#[derive(Args, Debug)]
pub(crate) struct IdArgs {
    /// Read them from the keys in DIR, whether or not a node runs.
    #[arg(long, value_name = "DIR", conflicts_with = "gateway")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) gateway: GatewayArg,
}

#[derive(Args, Debug)]
pub(crate) struct ScaleArgs {
    /// The function.
    pub(crate) name: String,
    /// Hosts wanted.
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(crate::record::REPLICAS_MAX)))]
    pub(crate) replicas: u16,
    #[command(flatten)]
    pub(crate) gateway: GatewayArg,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// A file that `up --journal` wrote.
    pub(crate) journal: PathBuf,
}

/// Which key file.
#[derive(Args, Debug)]
pub(crate) struct KeyFileArgs {
    /// The key file [default: the owner's, DATA-DIR/owner.key].
    #[arg(long, value_name = "FILE", env = "PEERLESS_OWNER_KEY")]
    pub(crate) owner_key: Option<PathBuf>,
    /// Where keys are [default: $XDG_DATA_HOME/peerless].
    #[arg(long, value_name = "DIR", env = "PEERLESS_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Make a new owner key.
    Generate(KeyFileArgs),
    /// Show whose key it is.
    Show(KeyFileArgs),
    /// Print the private key in base64: whoever has it owns the functions.
    Export(KeyFileArgs),
    /// Read a private key in base64 from standard input.
    Import(KeyFileArgs),
}

fn parse_replicas(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("{text:?} is not MIN or MIN..MAX, such as 3..5");
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (min, max) = match text.split_once("..") {
        Some((min, max)) => (number(min)?, number(max)?),
        None => (number(text)?, number(text)?),
    };
    let possible = 1 <= min && min <= max && max <= crate::record::REPLICAS_MAX;
    possible.then_some((min, max)).ok_or_else(wrong)
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once(':').ok_or_else(|| format!("{text:?} is not 'NAME: VALUE'"))?;
    let (key, value) = (key.trim(), value.trim());
    http::HeaderName::try_from(key).map_err(|_| format!("{key:?} is no header's name"))?;
    http::HeaderValue::try_from(value).map_err(|_| format!("{value:?} is no header's value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_shell_has_its_completions() {
        for shell in clap_complete::Shell::value_variants() {
            let script = String::from_utf8(completions(*shell)).unwrap();
            assert!(script.contains("manycall") && script.contains("data-dir"), "{shell}");
        }
    }

    #[test]
    fn replicas_are_a_number_or_a_range() {
        assert_eq!(parse_replicas("3"), Ok((3, 3)));
        assert_eq!(parse_replicas("3..5"), Ok((3, 5)));
        for bad in ["", "0", "5..3", "1..", "x", "1..9999"] {
            assert!(parse_replicas(bad).is_err(), "{bad}");
        }
    }
}
