//! Strict reading of scenario files: every key is known, documented, of the right type and possible,
//! or the message names file, line and key.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use toml::de::{DeTable, DeValue};

use super::value::{Readable, Value};

/// What is wrong with a scenario, ready to be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad(pub String);

impl Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Bad {}

/// Where something was written.
#[derive(Clone, Debug)]
enum Place {
    /// In the file, on this line.
    Line(usize),
    /// In this `--set`.
    Set(String),
}

struct Entry {
    value: Value,
    place: Place,
}

/// A key that a scenario can have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// In the form `section.key`.
    pub key: String,
    /// Its value where it is not given, as it would be written.
    pub standard: String,
    /// What it means.
    pub doc: String,
}

/// The keys of one scenario, in the form `section.key`.
pub struct Keys {
    file: String,
    entries: BTreeMap<String, Entry>,
    sections: BTreeMap<String, Place>,
    /// The keys that were asked for.
    known: Vec<Known>,
    /// The sections that were asked for.
    known_sections: Vec<&'static str>,
    /// Every section counts as given, to learn its keys.
    all: bool,
}

/// The settings that one section of a scenario makes.
pub trait Section: Sized {
    /// What stands in the brackets; empty for what stands before all sections.
    const NAME: &'static str;
    /// Reads its keys.
    fn read(keys: &mut Keys) -> Result<Self, Bad>;
}

/// Declares the settings of a section: each key with its meaning, its type and its value where it is
/// not given.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $name:literal => pub struct $Type:ident {
            $($(#[doc = $doc:literal])+ $key:ident: $type:ty = $standard:expr,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $Type {
            $($(#[doc = $doc])+ pub $key: $type,)*
        }

        impl $crate::scenario::Section for $Type {
            const NAME: &'static str = $name;

            fn read(
                keys: &mut $crate::scenario::Keys,
            ) -> Result<Self, $crate::scenario::Bad> {
                Ok(Self {
                    $($key: keys.get($name, stringify!($key), concat!($($doc),+), $standard)?,)*
                })
            }
        }
    };
}

pub(crate) use section;

impl Keys {
    /// Reads a file's text and lays `sets`, each `KEY=VALUE`, over it.
    pub fn parse(file: &str, text: &str, sets: &[String]) -> Result<Self, Bad> {
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let message = error.message();
            Bad(format!("{file}:{line}: {message}"))
        })?;
        let mut keys = Self::empty(file);
        keys.flatten("", table.get_ref(), text);
        for set in sets {
            keys.set(set)?;
        }
        Ok(keys)
    }

    /// The scenario's file, as it was named.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// An empty scenario in which every section stands: read, it knows every key.
    pub(super) fn all() -> Self {
        Self { all: true, ..Self::empty("") }
    }

    fn empty(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            entries: BTreeMap::new(),
            sections: BTreeMap::new(),
            known: Vec::new(),
            known_sections: Vec::new(),
            all: false,
        }
    }

    fn flatten(&mut self, prefix: &str, table: &DeTable<'_>, text: &str) {
        for (key, value) in table {
            let place = Place::Line(line_of(text, key.span().start));
            let key = format!("{prefix}{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.sections.entry(key.clone()).or_insert(place);
                self.flatten(&format!("{key}."), inner, text);
            } else {
                let value = Value::of(value.get_ref());
                self.entries.insert(key, Entry { value, place });
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
            .and_then(|table| Some(Value::of(table.get_ref().get("value")?.get_ref())))
            .unwrap_or_else(|| Value::Text(raw.to_owned()));
        let place = Place::Set(format!("{key}={value}"));
        if let Some((section, _)) = key.rsplit_once('.') {
            self.sections.entry(section.to_owned()).or_insert(place.clone());
        }
        self.entries.insert(key.to_owned(), Entry { value, place });
        Ok(())
    }

    /// A section's settings, with every key at its standard where the section does not stand.
    pub fn section<S: Section>(&mut self) -> Result<S, Bad> {
        self.known_sections.push(S::NAME);
        S::read(self)
    }

    /// A section's settings, if it stands in the scenario.
    pub fn section_if_given<S: Section>(&mut self) -> Result<Option<S>, Bad> {
        self.known_sections.push(S::NAME);
        let given = self.all || self.sections.contains_key(S::NAME);
        given.then(|| S::read(self)).transpose()
    }

    /// The value of a key, or `standard` where it is not given. `doc` says what it means.
    pub fn get<T: Readable>(
        &mut self,
        section: &str,
        key: &str,
        doc: &str,
        standard: T,
    ) -> Result<T, Bad> {
        let key = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        let value = match self.entries.get(&key).map(|entry| T::read(&entry.value)) {
            Some(None) => Err(self.bad(&key, &format!("expected {}", T::EXPECTED))),
            Some(Some(value)) => Ok(Some(value)),
            None => Ok(None),
        };
        self.known.push(Known { key, standard: standard.show(), doc: doc.trim().to_owned() });
        Ok(value?.unwrap_or(standard))
    }

    /// Every key that was asked for, in the order of asking.
    pub(super) fn into_known(self) -> Vec<Known> {
        self.known
    }

    /// Whether a key, or a section, is given.
    pub fn is_given(&self, key: &str) -> bool {
        self.entries.contains_key(key) || self.sections.contains_key(key)
    }

    /// The keys that are given in a section.
    pub(super) fn given_in(&self, section: &str) -> impl Iterator<Item = &str> {
        let of = move |key: &str| key.rsplit_once('.').is_some_and(|(its, _)| its == section);
        self.entries.keys().map(String::as_str).filter(move |key| of(key))
    }

    /// A complaint about a key's value, or about a section. What is not given is complained of where
    /// its section stands.
    pub fn bad(&self, key: &str, what: &str) -> Bad {
        if let Some(Entry { value, place }) = self.entries.get(key) {
            return Bad(match place {
                Place::Line(line) => format!("{}:{line}: {key} = {value}: {what}", self.file),
                Place::Set(set) => format!("--set {set}: {what}"),
            });
        }
        let section = key.rsplit_once('.').map_or(key, |(section, _)| section);
        let name = if section == key { format!("[{section}]") } else { key.to_owned() };
        let standard = self.known.iter().find(|known| known.key == key);
        let name = standard.map_or(name, |known| format!("{key} = {}", known.standard));
        Bad(match self.sections.get(section) {
            Some(Place::Line(line)) => format!("{}:{line}: {name}: {what}", self.file),
            Some(Place::Set(set)) => format!("--set {set}: {name}: {what}"),
            None => format!("{}: {name}: {what}", self.file),
        })
    }

    /// Nothing may be left that nobody asked for.
    pub fn finish(self) -> Result<(), Bad> {
        for (key, Entry { place, .. }) in &self.entries {
            if self.known.iter().any(|known| known.key == *key) {
                continue;
            }
            let section = key.rsplit_once('.').map_or("", |(section, _)| section);
            let known = self.siblings(section);
            return Err(Bad(match place {
                Place::Line(line) => format!("{}:{line}: unknown key {key}; {known}", self.file),
                Place::Set(set) => format!("--set {set}: unknown key {key}; {known}"),
            }));
        }
        for (section, place) in &self.sections {
            if !self.known_sections.contains(&section.as_str()) {
                return Err(Bad(match place {
                    Place::Line(line) => {
                        format!("{}:{line}: unknown section [{section}]", self.file)
                    }
                    Place::Set(set) => format!("--set {set}: unknown section [{section}]"),
                }));
            }
        }
        Ok(())
    }

    fn siblings(&self, section: &str) -> String {
        let of_section = self.known.iter().filter_map(|known| {
            let (its, name) = known.key.rsplit_once('.').unwrap_or(("", &known.key));
            (its == section).then_some(name)
        });
        let mut names: Vec<&str> = of_section.collect();
        names.sort_unstable();
        match (section, names.is_empty()) {
            (_, true) => format!("there is no section [{section}]"),
            ("", false) => format!("outside of sections there are {}", names.join(", ")),
            (_, false) => format!("[{section}] has {}", names.join(", ")),
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}
