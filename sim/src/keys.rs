//! Strict reading of scenario files: every key is known, of the right type and possible, or the
//! message names file, line and key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use peerless_core::Span;
use toml::de::{DeTable, DeValue};

use crate::chance::Share;

/// What is wrong with a scenario, ready to be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad(pub String);

impl Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Bad {}

/// A value as it was written.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Value>),
    Other(&'static str),
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(Self::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

struct Entry {
    value: Value,
    /// `None`: by `--set`.
    line: Option<usize>,
}

/// The keys of one scenario, in the form `section.key`.
pub struct Keys {
    file: String,
    entries: BTreeMap<String, Entry>,
    sections: BTreeMap<String, usize>,
    known: BTreeSet<String>,
}

/// A type that a key can have.
pub trait Readable: Sized {
    /// What is expected, in words.
    const EXPECTED: &'static str;
    /// Reads it; `None` if it is of another type or impossible.
    fn read(value: &Given<'_>) -> Option<Self>;
}

/// A value that is being read.
pub struct Given<'a>(&'a Value);

macro_rules! integers {
    ($($type:ty, $expected:literal;)*) => {
        $(impl Readable for $type {
            const EXPECTED: &'static str = $expected;
            fn read(value: &Given<'_>) -> Option<Self> {
                match value.0 {
                    Value::Integer(n) => Self::try_from(*n).ok(),
                    _ => None,
                }
            }
        })*
    };
}

integers! {
    u8, "an integer from 0 to 255";
    u16, "an integer from 0 to 65535";
    u32, "an integer from 0 to 4294967295";
    u64, "an integer that is not negative";
}

impl Readable for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &Given<'_>) -> Option<Self> {
        match value.0 {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }
}

impl Readable for f64 {
    const EXPECTED: &'static str = "a number that is not negative";
    fn read(value: &Given<'_>) -> Option<Self> {
        let number = match value.0 {
            Value::Float(x) => *x,
            Value::Integer(n) => *n as Self,
            _ => return None,
        };
        (number.is_finite() && number >= 0.0).then_some(number)
    }
}

impl Readable for Share {
    const EXPECTED: &'static str = "a number from 0 to 1";
    fn read(value: &Given<'_>) -> Option<Self> {
        f64::read(value).and_then(Self::new)
    }
}

impl Readable for String {
    const EXPECTED: &'static str = "a text in quotes";
    fn read(value: &Given<'_>) -> Option<Self> {
        match value.0 {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl Readable for Span {
    const EXPECTED: &'static str = "a duration such as \"10s\", \"250ms\" or \"5m\"";
    fn read(value: &Given<'_>) -> Option<Self> {
        let Value::Text(text) = value.0 else { return None };
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }
}

impl Readable for (u16, u16) {
    const EXPECTED: &'static str = "two integers, fewest and most, such as [3, 5]";
    fn read(value: &Given<'_>) -> Option<Self> {
        let Value::List(values) = value.0 else { return None };
        let [least, most] = values.as_slice() else { return None };
        let (least, most) = (u16::read(&Given(least))?, u16::read(&Given(most))?);
        (least <= most).then_some((least, most))
    }
}

/// A size in bytes, such as `"64MiB"`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

impl Readable for Size {
    const EXPECTED: &'static str = "a size such as \"512B\", \"100KiB\" or \"64MiB\"";
    fn read(value: &Given<'_>) -> Option<Self> {
        let Value::Text(text) = value.0 else { return None };
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let unit: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }
}

impl Keys {
    /// Reads a file's text and lays `sets`, each `KEY=VALUE`, over it.
    pub fn parse(file: &str, text: &str, sets: &[String]) -> Result<Self, Bad> {
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let message = error.message();
            Bad(format!("{file}:{line}: {message}"))
        })?;
        let mut keys = Self {
            file: file.to_owned(),
            entries: BTreeMap::new(),
            sections: BTreeMap::new(),
            known: BTreeSet::new(),
        };
        keys.flatten("", table.get_ref(), text);
        for set in sets {
            keys.set(set)?;
        }
        Ok(keys)
    }

    fn flatten(&mut self, prefix: &str, table: &DeTable<'_>, text: &str) {
        for (key, value) in table {
            let line = line_of(text, key.span().start);
            let key = format!("{prefix}{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.sections.entry(key.clone()).or_insert(line);
                self.flatten(&format!("{key}."), inner, text);
            } else {
                let value = read_value(value.get_ref());
                self.entries.insert(key, Entry { value, line: Some(line) });
            }
        }
    }

    fn set(&mut self, set: &str) -> Result<(), Bad> {
        let Some((key, raw)) = set.split_once('=') else {
            return Err(Bad(format!("--set {set}: expected KEY=VALUE")));
        };
        let (key, raw) = (key.trim(), raw.trim());
        // What is no TOML value by itself, such as 25ms, is a text.
        let line = format!("value = {raw}");
        let parsed = DeTable::parse(&line).ok().filter(|table| table.get_ref().len() == 1);
        let value = parsed
            .and_then(|table| Some(read_value(table.get_ref().get("value")?.get_ref())))
            .unwrap_or_else(|| Value::Text(raw.to_owned()));
        if let Some((section, _)) = key.rsplit_once('.') {
            self.sections.entry(section.to_owned()).or_insert(0);
        }
        self.entries.insert(key.to_owned(), Entry { value, line: None });
        Ok(())
    }

    /// Whether a section stands in the scenario.
    pub fn has(&mut self, section: &str) -> bool {
        self.known.insert(format!("{section}."));
        self.sections.contains_key(section)
    }

    /// The value of a key, or `standard` where it is not given.
    pub fn get<T: Readable>(&mut self, key: &str, standard: T) -> Result<T, Bad> {
        Ok(self.find(key)?.unwrap_or(standard))
    }

    /// The value of a key, if it is given.
    pub fn find<T: Readable>(&mut self, key: &str) -> Result<Option<T>, Bad> {
        self.known.insert(key.to_owned());
        let Some(entry) = self.entries.get(key) else { return Ok(None) };
        match T::read(&Given(&entry.value)) {
            Some(value) => Ok(Some(value)),
            None => Err(self.bad(key, &format!("expected {}", T::EXPECTED))),
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(
        &mut self,
        key: &str,
        choices: &[(&str, T)],
        standard: T,
    ) -> Result<T, Bad> {
        let Some(word) = self.find::<String>(key)? else { return Ok(standard) };
        let found = choices.iter().find(|(name, _)| *name == word);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
            self.bad(key, &format!("expected {}", names.join(" or ")))
        })
    }

    /// A complaint about a key's value.
    pub fn bad(&self, key: &str, what: &str) -> Bad {
        let Some(entry) = self.entries.get(key) else {
            return Bad(format!("{}: {key}: {what}", self.file));
        };
        Bad(match entry.line {
            Some(line) => format!("{}:{line}: {key} = {}: {what}", self.file, entry.value),
            None => format!("--set {key}={}: {what}", entry.value),
        })
    }

    /// Nothing may be left that nobody asked for.
    pub fn finish(self) -> Result<(), Bad> {
        for (key, entry) in &self.entries {
            if self.known.contains(key) {
                continue;
            }
            let section = key.rsplit_once('.').map_or("", |(section, _)| section);
            let known = self.siblings(section);
            return Err(Bad(match entry.line {
                Some(line) => format!("{}:{line}: unknown key {key}; {known}", self.file),
                None => format!("--set {key}={}: unknown key {key}; {known}", entry.value),
            }));
        }
        for (section, line) in &self.sections {
            if !self.known.contains(&format!("{section}.")) {
                return Err(Bad(format!("{}:{line}: unknown section [{section}]", self.file)));
            }
        }
        Ok(())
    }

    fn siblings(&self, section: &str) -> String {
        let of_section = self.known.iter().filter_map(|key| {
            let (its, name) = key.rsplit_once('.').unwrap_or(("", key));
            (its == section && !name.is_empty()).then_some(name)
        });
        let names: Vec<&str> = of_section.collect();
        match (section, names.is_empty()) {
            (_, true) => format!("there is no section [{section}]"),
            ("", false) => format!("outside of sections there are {}", names.join(", ")),
            (_, false) => format!("[{section}] has {}", names.join(", ")),
        }
    }
}

fn read_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
            .map_or(Value::Other("an integer beyond 64 bits"), Value::Integer),
        DeValue::Float(x) => x.as_str().parse().map_or(Value::Other("a float"), Value::Float),
        DeValue::Boolean(b) => Value::Bool(*b),
        DeValue::Array(values) => {
            Value::List(values.iter().map(|value| read_value(value.get_ref())).collect())
        }
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}
