//! What a node is told: flags before environment before file, checked once.

mod file;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use peerless_core::{Accept, Config};
use peerless_net::Multiaddr;
use toml::Spanned;

use crate::cli::UpArgs;
use crate::keys;
use crate::record;
use file::{File, Text};

/// The most calls that run at once: each has address space of its own for its memory.
const SLOTS_MAX: u16 = 4096;

/// The commented file that `peerless up --print-config` prints.
pub(crate) const EXAMPLE: &str = include_str!("peerless.toml");

/// Everything that `up` was told, with what it leaves out filled in.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) owner_key: PathBuf,
    pub(crate) network: String,
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) bootstrap: Vec<Multiaddr>,
    pub(crate) http: SocketAddr,
    pub(crate) slots: u16,
    pub(crate) queue: u16,
    pub(crate) accept: Accept,
    pub(crate) labels: Vec<String>,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) core: Config,
    pub(crate) connections_max: usize,
    pub(crate) limits: Limits,
}

/// What `/system` and its like ask for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

/// The limits of this machine: sections `[api]` and `[wasm]`.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections to the HTTP API at once.
    pub(crate) http_connections_max: usize,
    /// A request's head, and until the next request on a kept connection.
    pub(crate) http_idle: Duration,
    /// How long a client may send nothing of a request's body.
    pub(crate) body_idle: Duration,
    /// A manycall's JSON document.
    pub(crate) json_bytes_max: u64,
    /// A body of `/function`; `None`: any.
    pub(crate) body_bytes_max: Option<u64>,
    /// The longest deadline of a call.
    pub(crate) call_timeout_max: Duration,
    /// Functions installed at once.
    pub(crate) functions_max: u16,
    /// Memory of one call.
    pub(crate) memory_max: u64,
    /// What one call may answer.
    pub(crate) output_bytes_max: u64,
    /// Size of one module.
    pub(crate) module_bytes_max: u64,
    /// Size of all modules.
    pub(crate) modules_bytes_max: u64,
}

impl Limits {
    fn standard() -> Self {
        Self {
            http_connections_max: 1024,
            http_idle: Duration::from_secs(30),
            body_idle: Duration::from_secs(30),
            json_bytes_max: 64 << 20,
            body_bytes_max: None,
            call_timeout_max: Duration::from_hours(1),
            functions_max: 64,
            memory_max: 1 << 30,
            output_bytes_max: 4 << 30,
            module_bytes_max: 32 << 20,
            modules_bytes_max: 4 << 30,
        }
    }
}

/// A file, key or flag that is wrong: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Wrong(pub(crate) String);

impl Settings {
    /// Flags (which hold the environment, too), then the file, then the defaults.
    pub(crate) fn read(args: UpArgs) -> Result<Self, Wrong> {
        let file = args.config.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let text = &file.text;
        let data_dir = args.data_dir.or(file.data_dir).map_or_else(default_data_dir, Ok)?;
        let owner_key =
            args.owner_key.or(file.owner_key).unwrap_or_else(|| data_dir.join("owner.key"));
        let listen = addresses("listen", &list(args.listen, file.listen, text), &LISTENING)?
            .unwrap_or_else(|| vec!["/ip4/0.0.0.0/tcp/4001".parse().expect("an address")]);
        let bootstrap = list(args.bootstrap, file.bootstrap, text);
        let bootstrap = addresses("bootstrap", &bootstrap, &DIALLED)?.unwrap_or_default();
        let http = one(args.http, file.http, text, || "127.0.0.1:8080".into());
        let insecure = args.insecure_http.or(file.insecure_http).unwrap_or(false);
        let http = http_address(&http, insecure)?;
        let labels = list(args.label, file.label, text);
        if labels.value.len() > record::LABELS_MAX {
            let (n, most) = (labels.value.len(), record::LABELS_MAX);
            return Err(labels.wrong(&format!("label: there are {n}, expected at most {most}")));
        }
        for label in &labels.value {
            if !record::is_label(label) {
                return Err(labels.wrong(&format!("label: {label:?} is not KEY=VALUE")));
            }
        }
        if args.runtime.is_empty()
            && let Some(runtime) = &file.runtime
            && runtime.get_ref().is_empty()
        {
            let place = text.place(runtime.span().start);
            return Err(Wrong(format!("{place}runtime: [] names none; expected [\"wasm\"]")));
        }
        let accept = one(args.accept, file.accept, text, || "owner".into());
        let accept = parse_accept(&accept)?;
        let credentials = credentials(
            args.basic_auth_user_file.or(file.basic_auth_user_file),
            args.basic_auth_password_file.or(file.basic_auth_password_file),
        )?;
        let slots = one(args.slots, file.slots, text, default_slots);
        if slots.value > SLOTS_MAX {
            let why = format!("slots: {} is not within 0..={SLOTS_MAX}", slots.value);
            return Err(slots.wrong(&why));
        }
        let slots = slots.value;
        let queue = one(args.queue, file.queue, text, || slots.saturating_mul(4)).value;
        let mut core = Config::standard();
        core.notes = true;
        file.core.apply(&mut core, text)?;
        let mut limits = Limits::standard();
        file.api.apply(&mut limits, text)?;
        file.wasm.apply(&mut limits, text)?;
        let connections_max = text.within(file.network.connections_max, &1, &65_536)?;
        core.call_timeout_max = crate::clock::span(limits.call_timeout_max);
        Ok(Self {
            owner_key,
            network: args.network.or(file.network.name).unwrap_or_else(|| "main".into()),
            listen,
            bootstrap,
            http,
            slots,
            queue,
            accept,
            labels: labels.value,
            journal: args.journal.or(file.journal),
            credentials,
            core,
            connections_max: connections_max.unwrap_or(256),
            limits,
            data_dir,
        })
    }
}

/// A value, and where it was given.
struct Given<T> {
    value: T,
    /// `FILE:LINE: `, or nothing for a flag, a variable or a default.
    place: String,
}

impl<T> Given<T> {
    fn wrong(&self, why: &str) -> Wrong {
        Wrong(format!("{}{why}", self.place))
    }

    fn filed(value: Spanned<T>, text: &Text) -> Self {
        let place = text.place(value.span().start);
        Self { value: value.into_inner(), place }
    }
}

/// A flag's value, else the file's, else another.
fn one<T>(
    flag: Option<T>,
    filed: Option<Spanned<T>>,
    text: &Text,
    default: impl FnOnce() -> T,
) -> Given<T> {
    match (flag, filed) {
        (None, Some(filed)) => Given::filed(filed, text),
        (flag, _) => Given { value: flag.unwrap_or_else(default), place: String::new() },
    }
}

/// A flag's values, else the file's, else none.
fn list<T>(flags: Vec<T>, filed: Option<Spanned<Vec<T>>>, text: &Text) -> Given<Vec<T>> {
    one((!flags.is_empty()).then_some(flags), filed, text, Vec::new)
}

fn http_address(given: &Given<String>, insecure: bool) -> Result<SocketAddr, Wrong> {
    let text = &given.value;
    let http = text.parse::<SocketAddr>().map_err(|_| {
        given.wrong(&format!("http: {text:?} is not ADDRESS:PORT, such as 127.0.0.1:8080"))
    })?;
    if !http.ip().is_loopback() && !insecure {
        return Err(given.wrong(&format!(
            "http: {http} can be reached from other machines, without TLS; \
             add --insecure-http if that is meant"
        )));
    }
    Ok(http)
}

fn default_slots() -> u16 {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    u16::try_from(cores * 2).unwrap_or(u16::MAX).max(4)
}

/// Where keys and store are unless it is said.
pub(crate) fn default_data_dir() -> Result<PathBuf, Wrong> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = from("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| from("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    base.map(|base| base.join("peerless"))
        .ok_or_else(|| Wrong("data-dir: neither XDG_DATA_HOME nor HOME is set; name one".into()))
}

/// What an address begins with, and whether it may name a peer.
struct Kind {
    hosts: &'static [&'static str],
    peer: bool,
    example: &'static str,
}

const LISTENING: Kind =
    Kind { hosts: &["ip4", "ip6"], peer: false, example: "/ip4/0.0.0.0/tcp/4001" };
const DIALLED: Kind = Kind {
    hosts: &["ip4", "ip6", "dns", "dns4", "dns6"],
    peer: true,
    example: "/ip4/192.0.2.1/tcp/4001/p2p/12D3…",
};

impl Kind {
    /// Whether this version of Peerless can use an address.
    fn fits(&self, address: &Multiaddr) -> bool {
        let text = address.to_string();
        match text.split('/').skip(1).collect::<Vec<_>>()[..] {
            [host, _, "tcp", _] => self.hosts.contains(&host),
            [host, _, "tcp", _, "p2p", _] => self.peer && self.hosts.contains(&host),
            _ => false,
        }
    }
}

fn addresses(
    key: &str,
    given: &Given<Vec<String>>,
    kind: &Kind,
) -> Result<Option<Vec<Multiaddr>>, Wrong> {
    let example = kind.example;
    let parse = |text: &String| {
        let address: Multiaddr = text.parse().map_err(|error| {
            given.wrong(&format!("{key}: {text:?} is not a multiaddr such as {example}: {error}"))
        })?;
        if !kind.fits(&address) {
            let why = format!("{key}: {text:?} is not supported; expected one such as {example}");
            return Err(given.wrong(&why));
        }
        Ok(address)
    };
    let parsed = given.value.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok((!parsed.is_empty()).then_some(parsed))
}

fn parse_accept(given: &Given<String>) -> Result<Accept, Wrong> {
    match given.value.as_str() {
        "owner" => Ok(Accept::Owner),
        "anyone" => Ok(Accept::Anyone),
        list => {
            let owner = |text: &str| {
                keys::parse_owner(text.trim()).ok_or_else(|| {
                    let expected = "expected owner, anyone or owners (k51…)";
                    given.wrong(&format!("accept: {text:?} is none; {expected}"))
                })
            };
            list.split(',').map(owner).collect::<Result<_, _>>().map(Accept::These)
        }
    }
}

fn credentials(
    user: Option<PathBuf>,
    password: Option<PathBuf>,
) -> Result<Option<Credentials>, Wrong> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Wrong(format!("cannot read {}: {error}", path.display())))?;
        let line = text.trim_end_matches(['\r', '\n']).to_owned();
        if line.is_empty() || line.contains('\n') {
            return Err(Wrong(format!("{} must hold one line", path.display())));
        }
        Ok(line)
    };
    match (user, password) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => {
            Ok(Some(Credentials { user: read(&user)?, password: read(&password)? }))
        }
        _ => Err(Wrong("basic-auth-user-file and basic-auth-password-file go together".into())),
    }
}

/// For tests that feed it bytes: reads them as a configuration, or says in one line why they are none.
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(wrong) = file::File::parse(Path::new("peerless.toml"), text.to_owned()) {
        let said = wrong.to_string();
        assert!(said.starts_with("peerless.toml:"), "{said}");
    }
}

#[cfg(test)]
mod tests {
    use peerless_core::Span;

    use super::*;
    use crate::cli::{self, Command};

    fn read(flags: &[&str], file: &str) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peerless.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let line = ["peerless", "up", "--data-dir", "/d", "--config", path];
        let cli = cli::parse(line.iter().chain(flags)).map_err(|error| error.to_string())?;
        let Command::Up(args) = cli.command else { panic!("it is up") };
        Settings::read(args.node).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn a_flag_stands_before_the_file_and_the_file_before_the_default() {
        let settings = read(&["--slots", "3"], "slots = 5\nqueue = 7").unwrap();
        assert_eq!((settings.slots, settings.queue), (3, 7));
        assert_eq!(settings.network, "main");
        assert_eq!(settings.owner_key, Path::new("/d/owner.key"));
    }

    #[test]
    fn the_core_s_limits_can_be_set() {
        let settings = read(&[], "[core]\nk = 4\nrepair = false\nprobe_period = \"1s\"").unwrap();
        assert_eq!((settings.core.k, settings.core.repair), (4, false));
        assert_eq!(settings.core.probe_period, Span::secs(1));
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line() {
        let error = read(&[], "slots = 4\n\n[core]\nkay = 4\n").unwrap_err();
        assert!(error.contains("peerless.toml:4: unknown field `kay`, expected"), "{error}");
        for (file, words) in [
            ("slots = \"many\"", ":1: slots: invalid type: string \"many\", expected u16"),
            ("http = \"here\"", ":1: http: \"here\" is not ADDRESS:PORT"),
            ("http = \"0.0.0.0:1\"", ":1: http: 0.0.0.0:1 can be reached from other machines"),
            ("\n\nlabel = [\n\"gpu\",\n]", ":3: label: \"gpu\" is not KEY=VALUE"),
            ("accept = \"me\"", ":1: accept: \"me\" is none; expected owner, anyone or owners"),
            ("runtime = []", ":1: runtime: [] names none; expected [\"wasm\"]"),
            ("slots = 5000", ":1: slots: 5000 is not within 0..=4096"),
            ("listen = [\"/ip4/0.0.0.0/udp/1/quic-v1\"]", ":1: listen: \"/ip4/0.0.0.0/udp/1/quic"),
            ("[core]\nreply_timeout = \"soon\"", ":2: core.reply_timeout: \"soon\" is not a dur"),
            (
                "[core]\nreply_timeout = \"90s\"",
                ":2: core.reply_timeout: 90s is not within 1ms..=60s",
            ),
            ("[core]\nk = 1000", ":2: core.k: 1000 is not within 1..=64"),
            (
                "[core]\nprobe_period = \"0s\"",
                ":2: core.probe_period: 0s is not within 10ms..=3600s",
            ),
            ("[core]\nsync_period = \"0s\"", ":2: core.sync_period: 0s"),
            ("[core]\nrehost_period = \"0s\"", ":2: core.rehost_period: 0s"),
            ("[core]\nrenew_period = \"0s\"", ":2: core.renew_period: 0s"),
            ("[network]\nconnections_max = 0", ":2: network.connections_max: 0 is not within 1..="),
            (
                "[wasm]\nmemory_max = \"1B\"",
                ":2: wasm.memory_max: 1 B is not within 64.0 KiB..=4.0 GiB",
            ),
            (
                "# one\n[api]\nconnections_max = 0",
                ":3: api.connections_max: 0 is not within 1..=65536",
            ),
            (
                "[api]\nconnections_max = 9223372036854775807",
                ":2: api.connections_max: 9223372036854775807",
            ),
            ("[api]\njson_max = \"1TB\"", ":2: api.json_max: \"1TB\" is not a size"),
        ] {
            let error = read(&[], file).unwrap_err();
            assert!(error.contains(&format!("peerless.toml{words}")), "{file}: {error}");
        }
    }

    #[test]
    fn a_switch_can_be_turned_off_again() {
        let loud = "http = \"0.0.0.0:1\"\ninsecure_http = true";
        assert!(read(&[], loud).is_ok());
        assert!(read(&["--insecure-http=false"], loud).unwrap_err().contains("--insecure-http"));
        let quiet = "http = \"0.0.0.0:1\"\ninsecure_http = false";
        for yes in ["--insecure-http", "--insecure-http=1", "--insecure-http=true"] {
            assert!(read(&[yes], quiet).is_ok(), "{yes}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        for (flags, word) in [
            (&["--bootstrap", "nowhere"][..], "bootstrap: \"nowhere\""),
            (&["--listen", "/ip4/127.0.0.1/udp/1/quic-v1"], "quic-v1\" is not supported"),
            (&["--listen", "/dns/localhost/tcp/1"], "localhost/tcp/1\" is not supported"),
            (&["--slots", "5000"], "slots: 5000"),
            (&["--http", "here"], "http: \"here\""),
            (&["--http", "0.0.0.0:80"], "--insecure-http"),
            (&["--label", "gpu"], "label: \"gpu\""),
            (&["--accept", "me"], "accept: \"me\""),
        ] {
            let error = read(flags, "").unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_example_is_the_defaults() {
        let bare: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        let settings = read(&[], &bare).unwrap();
        let plain = read(&[], "").unwrap();
        assert_eq!(settings.core, plain.core);
        assert_eq!(format!("{:?}", settings.limits), format!("{:?}", plain.limits));
        assert_eq!(settings.connections_max, plain.connections_max);
    }
}
