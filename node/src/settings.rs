//! What a node is told: flags before environment before file, checked once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use peerless_core::{Accept, Config, Span};
use peerless_net::Multiaddr;
use serde::Deserialize;

use crate::cli::UpArgs;
use crate::clock::span;
use crate::keys;
use crate::record;
use crate::units::{parse_duration, parse_size};

/// The commented file that `peerless up --help` speaks of.
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

/// The limits of this machine: sections `[http]` and `[wasm]`.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Connections to the HTTP API at once.
    pub(crate) http_connections_max: usize,
    /// A request's head, and until the next request on a kept connection.
    pub(crate) http_idle: Duration,
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
            http_idle: Duration::from_secs(75),
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
        let data_dir = args.data_dir.or(file.data_dir).map_or_else(default_data_dir, Ok)?;
        let owner_key =
            args.owner_key.or(file.owner_key).unwrap_or_else(|| data_dir.join("owner.key"));
        let listen = addresses("listen", &first(args.listen, file.listen))?
            .unwrap_or_else(|| vec!["/ip4/0.0.0.0/tcp/4001".parse().expect("an address")]);
        let bootstrap = addresses("bootstrap", &first(args.bootstrap, file.bootstrap))?;
        let http = args.http.or(file.http).unwrap_or_else(|| "127.0.0.1:8080".into());
        let http = http.parse::<SocketAddr>().map_err(|_| {
            Wrong(format!("http: {http:?} is not ADDRESS:PORT, such as 127.0.0.1:8080"))
        })?;
        let labels = first(args.label, file.label);
        for label in &labels {
            if !record::is_label(label) {
                return Err(Wrong(format!("label: {label:?} is not KEY=VALUE")));
            }
        }
        let _runtimes = first(args.runtime, file.runtime);
        let accept = args.accept.or(file.accept).unwrap_or_else(|| "owner".into());
        let credentials = credentials(
            args.basic_auth_user_file.or(file.basic_auth_user_file),
            args.basic_auth_password_file.or(file.basic_auth_password_file),
        )?;
        let insecure = args.insecure_http || file.insecure_http.unwrap_or(false);
        if !http.ip().is_loopback() && !insecure {
            return Err(Wrong(format!(
                "http: {http} can be reached from other machines, without TLS; \
                 add --insecure-http if that is meant"
            )));
        }
        let slots = args.slots.or(file.slots).unwrap_or_else(default_slots);
        let mut core = Config::standard();
        core.notes = true;
        file.core.apply(&mut core)?;
        let mut limits = Limits::standard();
        file.http_limits.apply(&mut limits);
        file.wasm.apply(&mut limits);
        core.call_timeout_max = crate::clock::span(limits.call_timeout_max);
        Ok(Self {
            owner_key,
            network: args.network.or(file.network.name).unwrap_or_else(|| "main".into()),
            listen,
            bootstrap: bootstrap.unwrap_or_default(),
            http,
            slots,
            queue: args.queue.or(file.queue).unwrap_or(slots.saturating_mul(4)),
            accept: parse_accept(&accept)?,
            labels,
            journal: args.journal.or(file.journal),
            credentials,
            core,
            connections_max: file.network.connections_max.unwrap_or(256),
            limits,
            data_dir,
        })
    }
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

fn first<T>(flags: Vec<T>, file: Option<Vec<T>>) -> Vec<T> {
    if flags.is_empty() { file.unwrap_or_default() } else { flags }
}

fn addresses(key: &str, texts: &[String]) -> Result<Option<Vec<Multiaddr>>, Wrong> {
    let parse = |text: &String| {
        text.parse().map_err(|error| {
            let example = "/ip4/192.0.2.1/tcp/4001";
            Wrong(format!("{key}: {text:?} is not a multiaddr such as {example}: {error}"))
        })
    };
    let parsed = texts.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok((!parsed.is_empty()).then_some(parsed))
}

fn parse_accept(text: &str) -> Result<Accept, Wrong> {
    match text {
        "owner" => Ok(Accept::Owner),
        "anyone" => Ok(Accept::Anyone),
        list => {
            let owner = |text: &str| {
                keys::parse_owner(text.trim()).ok_or_else(|| {
                    Wrong(format!("accept: {text:?} is neither owner, anyone nor an owner (k51…)"))
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

/// The file as it is written; every key is a flag's name with underscores, or in a section.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the keys")]
struct File {
    data_dir: Option<PathBuf>,
    owner_key: Option<PathBuf>,
    network: NetworkFile,
    listen: Option<Vec<String>>,
    bootstrap: Option<Vec<String>>,
    http: Option<String>,
    runtime: Option<Vec<crate::cli::RuntimeName>>,
    slots: Option<u16>,
    queue: Option<u16>,
    accept: Option<String>,
    label: Option<Vec<String>>,
    journal: Option<PathBuf>,
    basic_auth_user_file: Option<PathBuf>,
    basic_auth_password_file: Option<PathBuf>,
    insecure_http: Option<bool>,
    core: CoreFile,
    #[serde(rename = "api")]
    http_limits: HttpFile,
    wasm: WasmFile,
}

impl File {
    fn read(path: &Path) -> Result<Self, Wrong> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Wrong(format!("cannot read {}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let message = error.message().lines().collect::<Vec<_>>().join(" ");
            Wrong(format!("{}:{line}: {message}", path.display()))
        })
    }
}

/// A duration in the file.
struct Lasting(Span);

impl<'de> Deserialize<'de> for Lasting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(|length| Self(span(length))).map_err(serde::de::Error::custom)
    }
}

/// A size in the file.
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_size(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

macro_rules! core_keys {
    (numbers { $($number:ident: $type:ty),* $(,)? } durations { $($length:ident),* $(,)? }) => {
        /// Section `[core]`: the limits of the protocols, which should agree in a network.
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct CoreFile {
            $($number: Option<$type>,)*
            $($length: Option<Lasting>,)*
        }

        impl CoreFile {
            fn apply(self, config: &mut Config) -> Result<(), Wrong> {
                $(if let Some(value) = self.$number { config.$number = value; })*
                $(if let Some(Lasting(value)) = self.$length { config.$length = value; })*
                config.check().map_err(|(key, expected)| {
                    Wrong(format!("core.{key}: expected {expected}"))
                })
            }
        }
    };
}

core_keys! {
    numbers {
        k: u16, alpha: u16, misses_max: u8, hosts_max: u16, records_max: u32, known_max: u16,
        offers_max: u16, loads_min: u16, busier_permille: u32, busier_max: u16,
        probes_missed_max: u8, repair: bool, siblings_max: u16, sync_have_max: u16,
        sync_records_max: u16, call_retries: u8, asks_max: u32, items_ahead_max: u32, notes: bool,
    }
    durations {
        reply_timeout, search_timeout, refresh_period, renew_period, host_life, known_life,
        reserve_life, install_timeout, deploy_grace, place_timeout, probe_period, rank_delay,
        repair_backoff, retire_after, sync_period, host_pause, hostless_max, rehost_period,
    }
}

/// Section `[network]`, or its name alone: `network = "main"`.
#[derive(Default)]
struct NetworkFile {
    name: Option<String>,
    connections_max: Option<usize>,
}

impl<'de> Deserialize<'de> for NetworkFile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Section {
            name: Option<String>,
            connections_max: Option<usize>,
        }
        struct NameOrSection;
        impl<'de> serde::de::Visitor<'de> for NameOrSection {
            type Value = NetworkFile;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the network's name, or a section with name and connections_max")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<NetworkFile, E> {
                Ok(NetworkFile { name: Some(name.to_owned()), connections_max: None })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<NetworkFile, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                let Section { name, connections_max } = Section::deserialize(map)?;
                Ok(NetworkFile { name, connections_max })
            }
        }
        deserializer.deserialize_any(NameOrSection)
    }
}

/// Section `[api]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpFile {
    connections_max: Option<usize>,
    idle: Option<Lasting>,
    json_max: Option<Size>,
    body_max: Option<Size>,
    call_timeout_max: Option<Lasting>,
}

impl HttpFile {
    fn apply(self, limits: &mut Limits) {
        set(&mut limits.http_connections_max, self.connections_max);
        set(&mut limits.http_idle, self.idle.map(|Lasting(it)| crate::clock::duration(it)));
        set(&mut limits.json_bytes_max, self.json_max.map(|Size(it)| it));
        limits.body_bytes_max = self.body_max.map(|Size(it)| it);
        let longest = self.call_timeout_max.map(|Lasting(it)| crate::clock::duration(it));
        set(&mut limits.call_timeout_max, longest);
    }
}

/// Section `[wasm]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the keys")]
struct WasmFile {
    functions_max: Option<u16>,
    memory_max: Option<Size>,
    output_max: Option<Size>,
    module_max: Option<Size>,
    modules_max: Option<Size>,
}

impl WasmFile {
    fn apply(self, limits: &mut Limits) {
        set(&mut limits.functions_max, self.functions_max);
        set(&mut limits.memory_max, self.memory_max.map(|Size(it)| it));
        set(&mut limits.output_bytes_max, self.output_max.map(|Size(it)| it));
        set(&mut limits.module_bytes_max, self.module_max.map(|Size(it)| it));
        set(&mut limits.modules_bytes_max, self.modules_max.map(|Size(it)| it));
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn read(flags: &[&str], file: &str) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peerless.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let line = ["peerless", "up", "--data-dir", "/d", "--config", path];
        let cli = Cli::try_parse_from(line.iter().chain(flags)).map_err(|e| e.to_string())?;
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
        let error = read(&[], "slots = \"many\"\n").unwrap_err();
        assert!(error.contains("peerless.toml:1: "), "{error}");
        let error = read(&[], "[core]\nreply_timeout = \"soon\"").unwrap_err();
        assert!(error.contains("peerless.toml:2: \"soon\" is not a duration"), "{error}");
        let error = read(&[], "[core]\nk = 1000").unwrap_err();
        assert!(error.contains("core.k: expected from 1 to 64"), "{error}");
    }

    #[test]
    fn bad_values_are_named() {
        for (flags, word) in [
            (&["--bootstrap", "nowhere"][..], "bootstrap: \"nowhere\""),
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
