//! The configuration file: every key, what it may be, and where in the file it stands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use peerless_core::{Config, Span};
use serde::Deserialize;
use toml::Spanned;

use super::{Limits, Wrong};
use crate::clock::span;
use crate::units::{parse_duration, parse_size, show_duration, show_size};
use crate::wire::peer::RECORDS_MAX;

/// The file as it is written; every key is a flag's name with underscores, or in a section.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the keys")]
pub(super) struct File {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) owner_key: Option<PathBuf>,
    pub(super) network: Network,
    pub(super) listen: Option<Spanned<Vec<String>>>,
    pub(super) bootstrap: Option<Spanned<Vec<String>>>,
    pub(super) http: Option<Spanned<String>>,
    pub(super) runtime: Option<Spanned<Vec<crate::cli::RuntimeName>>>,
    pub(super) slots: Option<Spanned<u16>>,
    pub(super) queue: Option<Spanned<u16>>,
    pub(super) accept: Option<Spanned<String>>,
    pub(super) label: Option<Spanned<Vec<String>>>,
    pub(super) journal: Option<PathBuf>,
    pub(super) basic_auth_user_file: Option<PathBuf>,
    pub(super) basic_auth_password_file: Option<PathBuf>,
    pub(super) insecure_http: Option<bool>,
    pub(super) core: Core,
    pub(super) api: Api,
    pub(super) wasm: Wasm,
    /// Where all this stands.
    #[serde(skip)]
    pub(super) text: Text,
}

/// A file's text, for the places of its values.
#[derive(Default)]
pub(super) struct Text {
    path: PathBuf,
    text: String,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, Wrong> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Wrong(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(path, text)
    }

    /// The settings that `text` says; it is called `path` in complaints.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, Wrong> {
        let text = Text { path: path.to_owned(), text };
        let file: Result<Self, _> = toml::from_str(&text.text);
        let mut file = file.map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().lines().collect::<Vec<_>>().join(" ");
            if message.starts_with("unknown field") {
                return Wrong(format!("{}{message}", text.place(at)));
            }
            Wrong(format!("{}{}: {message}", text.place(at), text.key(at)))
        })?;
        file.text = text;
        Ok(file)
    }
}

impl Text {
    /// `FILE:LINE: `.
    pub(super) fn place(&self, at: usize) -> String {
        let line = 1 + self.text[..at].matches('\n').count();
        format!("{}:{line}: ", self.path.display())
    }

    /// The key to whose value `at` belongs, as `section.key`.
    fn key(&self, at: usize) -> String {
        let line_end = self.text[at..].find('\n').map_or(self.text.len(), |end| at + end);
        let (mut key, mut section) = (None, None);
        for line in self.text[..line_end].lines().rev().map(str::trim) {
            match line.split_once('=') {
                Some((before, _)) if key.is_none() && !line.starts_with('#') => {
                    key = Some(before.trim());
                }
                _ if line.starts_with('[') && line.ends_with(']') && key.is_some() => {
                    section = Some(line.trim_matches(['[', ']']).trim());
                    break;
                }
                _ => {}
            }
        }
        let key = key.unwrap_or("the file");
        section.map_or_else(|| key.to_owned(), |section| format!("{section}.{key}"))
    }

    /// A value that must lie between two others.
    pub(super) fn within<T: Shown>(
        &self,
        value: Option<Spanned<T>>,
        least: &T,
        most: &T,
    ) -> Result<Option<T>, Wrong> {
        let Some(value) = value else {
            return Ok(None);
        };
        let at = value.span().start;
        let value = value.into_inner();
        if (least..=most).contains(&&value) {
            return Ok(Some(value));
        }
        let (place, key) = (self.place(at), self.key(at));
        let (value, least, most) = (value.show(), least.show(), most.show());
        Err(Wrong(format!("{place}{key}: {value} is not within {least}..={most}")))
    }
}

/// A value as a person writes it.
pub(super) trait Shown: PartialOrd {
    fn show(&self) -> String;
}

macro_rules! shown_numbers {
    ($($number:ty)*) => {
        $(impl Shown for $number {
            fn show(&self) -> String {
                self.to_string()
            }
        })*
    };
}

shown_numbers!(u8 u16 u32 usize);

/// A duration in the file.
#[derive(PartialEq, PartialOrd)]
pub(super) struct Lasting(pub(super) Duration);

impl Lasting {
    /// One of the bounds below.
    fn bound(text: &str) -> Self {
        Self(parse_duration(text).expect("bounds are durations"))
    }
}

impl Shown for Lasting {
    fn show(&self) -> String {
        show_duration(self.0)
    }
}

impl<'de> Deserialize<'de> for Lasting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A size in the file.
#[derive(PartialEq, PartialOrd)]
pub(super) struct Size(u64);

impl Shown for Size {
    fn show(&self) -> String {
        show_size(self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_size(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

macro_rules! core_keys {
    (
        numbers { $($number:ident: $type:ty = $least:literal..=$most:expr),* $(,)? }
        durations { $($length:ident = $shortest:literal..=$longest:literal),* $(,)? }
        switches { $($switch:ident),* $(,)? }
    ) => {
        /// Section `[core]`: the limits of the protocols, which should agree in a network.
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct Core {
            $($number: Option<Spanned<$type>>,)*
            $($length: Option<Spanned<Lasting>>,)*
            $($switch: Option<bool>,)*
        }

        impl Core {
            pub(super) fn apply(self, config: &mut Config, text: &Text) -> Result<(), Wrong> {
                $(set(&mut config.$number, text.within(self.$number, &$least, &$most)?);)*
                $({
                    let bounds = (Lasting::bound($shortest), Lasting::bound($longest));
                    let value = text.within(self.$length, &bounds.0, &bounds.1)?;
                    set(&mut config.$length, value.map(|Lasting(length)| -> Span { span(length) }));
                })*
                $(set(&mut config.$switch, self.$switch);)*
                // What each may be was looked at above; this is what they may be together.
                config.check().map_err(|(key, expected)| {
                    let file = text.path.display();
                    Wrong(format!("{file}: core.{key}: with the others set so, it is {expected}"))
                })
            }
        }
    };
}

// What repeats has a shortest period, so that it cannot fill all of the time; what a message or an
// answer carries is bounded by their sizes.
core_keys! {
    numbers {
        k: u16 = 1..=64,
        alpha: u16 = 1..=64,
        alpha_near: u16 = 1..=64,
        group_max: u16 = 1..=65535,
        misses_max: u8 = 1..=255,
        store_paths: u16 = 1..=16,
        user_paths: u16 = 1..=16,
        hosts_max: u16 = 1..=128,
        records_max: u32 = 1..=16_777_216,
        known_max: u16 = 1..=65535,
        offers_max: u16 = 1..=4096,
        loads_min: u16 = 1..=64,
        busier_permille: u32 = 1000..=1_000_000,
        busier_max: u16 = 1..=4096,
        probes_missed_max: u8 = 1..=255,
        siblings_max: u16 = 1..=4096,
        sync_have_max: u16 = 1..=512,
        sync_records_max: u16 = 1..=RECORDS_MAX as u16,
        call_retries: u8 = 0..=255,
        standings_max: u16 = 1..=65535,
        asks_max: u32 = 1..=16_777_216,
        items_ahead_max: u32 = 1..=16_777_216,
    }
    durations {
        reply_timeout = "1ms"..="60s",
        search_timeout = "10ms"..="10m",
        refresh_period = "0s"..="24h",
        renew_period = "100ms"..="24h",
        host_life = "100ms"..="48h",
        known_life = "0s"..="1h",
        reserve_life = "100ms"..="10m",
        install_timeout = "100ms"..="1h",
        deploy_grace = "0s"..="10m",
        place_timeout = "100ms"..="10m",
        probe_period = "10ms"..="1h",
        rank_delay = "0s"..="1h",
        repair_backoff = "10ms"..="1h",
        retire_after = "0s"..="24h",
        guard_period = "10ms"..="24h",
        sync_period = "10ms"..="24h",
        host_pause = "0s"..="1h",
        hostless_max = "0s"..="24h",
        rehost_period = "10ms"..="1h",
    }
    switches { repair, notes }
}

/// Section `[network]`, or its name alone: `network = "main"`.
#[derive(Default)]
pub(super) struct Network {
    pub(super) name: Option<String>,
    pub(super) connections_max: Option<Spanned<usize>>,
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Section {
            name: Option<String>,
            connections_max: Option<Spanned<usize>>,
        }
        struct NameOrSection;
        impl<'de> serde::de::Visitor<'de> for NameOrSection {
            type Value = Network;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the network's name, or a section with name and connections_max")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Network, E> {
                Ok(Network { name: Some(name.to_owned()), connections_max: None })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Network, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                let Section { name, connections_max } = Section::deserialize(map)?;
                Ok(Network { name, connections_max })
            }
        }
        deserializer.deserialize_any(NameOrSection)
    }
}

/// Section `[api]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Api {
    connections_max: Option<Spanned<usize>>,
    idle: Option<Spanned<Lasting>>,
    body_idle: Option<Spanned<Lasting>>,
    json_max: Option<Spanned<Size>>,
    body_max: Option<Spanned<Size>>,
    call_timeout_max: Option<Spanned<Lasting>>,
}

impl Api {
    pub(super) fn apply(self, limits: &mut Limits, text: &Text) -> Result<(), Wrong> {
        let connections = text.within(self.connections_max, &1, &65_536)?;
        set(&mut limits.http_connections_max, connections);
        let lasting = |value, longest| {
            let value = text.within(value, &Lasting::bound("10ms"), &Lasting::bound(longest))?;
            Ok(value.map(|Lasting(length)| length))
        };
        set(&mut limits.http_idle, lasting(self.idle, "1h")?);
        set(&mut limits.body_idle, lasting(self.body_idle, "1h")?);
        set(&mut limits.call_timeout_max, lasting(self.call_timeout_max, "24h")?);
        let json = text.within(self.json_max, &Size(1 << 10), &Size(256 << 20))?;
        set(&mut limits.json_bytes_max, json.map(|Size(size)| size));
        let body = text.within(self.body_max, &Size(0), &Size(1 << 50))?;
        limits.body_bytes_max = body.map(|Size(size)| size);
        Ok(())
    }
}

/// Section `[wasm]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the keys")]
pub(super) struct Wasm {
    functions_max: Option<Spanned<u16>>,
    memory_max: Option<Spanned<Size>>,
    output_max: Option<Spanned<Size>>,
    module_max: Option<Spanned<Size>>,
    modules_max: Option<Spanned<Size>>,
}

impl Wasm {
    pub(super) fn apply(self, limits: &mut Limits, text: &Text) -> Result<(), Wrong> {
        set(&mut limits.functions_max, text.within(self.functions_max, &1, &4096)?);
        let size = |value, least, most| {
            let value = text.within(value, &Size(least), &Size(most))?;
            Ok(value.map(|Size(size)| size))
        };
        set(&mut limits.memory_max, size(self.memory_max, 64 << 10, 4 << 30)?);
        set(&mut limits.output_bytes_max, size(self.output_max, 1, 1 << 50)?);
        set(&mut limits.module_bytes_max, size(self.module_max, 1 << 10, 1 << 30)?);
        set(&mut limits.modules_bytes_max, size(self.modules_max, 1 << 10, 1 << 50)?);
        Ok(())
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
