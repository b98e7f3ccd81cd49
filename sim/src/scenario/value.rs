//! The types that a key can have: how each is written, what is expected of it, and how it is shown.

use std::borrow::Cow;
use std::fmt::{self, Display};

use peerless_core::Span;
use toml::Spanned;
use toml::de::DeValue;

use crate::chance::Share;

/// A value as it was written.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// In quotes, or what is no TOML value by itself in a `--set`.
    Text(String),
    /// Of at most 64 bits.
    Integer(i64),
    /// Finite or not.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// In brackets.
    List(Vec<Value>),
    /// In braces, inside of a list.
    Table(Vec<(String, Value)>),
    /// What no key can have, by its kind.
    Other(&'static str),
}

impl Value {
    /// Of a parsed file.
    pub(super) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix())
                .map_or(Self::Other("an integer beyond 64 bits"), Self::Integer),
            DeValue::Float(x) => x.as_str().parse().map_or(Self::Other("a float"), Self::Float),
            DeValue::Boolean(b) => Self::Bool(*b),
            DeValue::Array(values) => {
                Self::List(values.iter().map(|value| Self::of(value.get_ref())).collect())
            }
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(table) => {
                let entry = |(key, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                    (key.get_ref().to_string(), Self::of(value.get_ref()))
                };
                Self::Table(table.iter().map(entry).collect())
            }
        }
    }

    /// A number with its unit, such as 25 and `ms`.
    fn measure(&self) -> Option<(u64, &str)> {
        let Self::Text(text) = self else { return None };
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        Some((number.parse().ok()?, unit))
    }
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
            Self::Table(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                write!(f, "{{ {} }}", entries.join(", "))
            }
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// A type that a key can have.
pub trait Readable: Sized {
    /// What is expected, in words.
    const EXPECTED: &'static str;
    /// Reads it; `None` if it is of another type or impossible.
    fn read(value: &Value) -> Option<Self>;
    /// How it would be written in a file.
    fn show(&self) -> String;
}

macro_rules! integers {
    ($($type:ty, $expected:literal;)*) => {
        $(impl Readable for $type {
            const EXPECTED: &'static str = $expected;
            fn read(value: &Value) -> Option<Self> {
                match value {
                    Value::Integer(n) => Self::try_from(*n).ok(),
                    _ => None,
                }
            }
            fn show(&self) -> String {
                self.to_string()
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
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Readable for f64 {
    const EXPECTED: &'static str = "a number that is not negative";
    fn read(value: &Value) -> Option<Self> {
        let number = match value {
            Value::Float(x) => *x,
            Value::Integer(n) => *n as Self,
            _ => return None,
        };
        (number.is_finite() && number >= 0.0).then_some(number)
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Readable for Share {
    const EXPECTED: &'static str = "a number from 0 to 1";
    fn read(value: &Value) -> Option<Self> {
        f64::read(value).and_then(Self::new)
    }
    fn show(&self) -> String {
        // A share is a multiple of 2⁻³²: nine places tell any two apart.
        let text = format!("{:.9}", self.part());
        let text = text.trim_end_matches('0');
        format!("{text}{}", if text.ends_with('.') { "0" } else { "" })
    }
}

impl Readable for String {
    const EXPECTED: &'static str = "a text in quotes";
    fn read(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

/// How a number is shown in the largest of these units in which it is whole.
fn in_units(number: u64, units: &[(u64, &str)]) -> String {
    let (size, unit) = units
        .iter()
        .find(|(size, _)| number.is_multiple_of(*size) && number >= *size)
        .or(units.last())
        .expect("there is at least one unit");
    format!("\"{}{unit}\"", number / size)
}

/// More than a year, within which no world comes to its end, and sums of a few can't overflow.
const SPAN_MAX: Span = Span::minutes(10_000 * 60);

const TIMES: [(u64, &str); 6] = [
    (3_600_000_000_000, "h"),
    (60_000_000_000, "m"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
];

impl Readable for Span {
    const EXPECTED: &'static str =
        "a duration such as \"10s\", \"250ms\" or \"5m\", of at most \"10000h\"";
    fn read(value: &Value) -> Option<Self> {
        let (number, unit) = value.measure()?;
        let unit = if unit == "µs" { "us" } else { unit };
        let (size, _) = TIMES.iter().find(|(_, name)| *name == unit)?;
        number.checked_mul(*size).map(Self).filter(|span| *span <= SPAN_MAX)
    }
    fn show(&self) -> String {
        if *self == Self::ZERO { "\"0s\"".to_owned() } else { in_units(self.0, &TIMES) }
    }
}

/// A size in bytes, such as `"64MiB"`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

const SIZES: [(u64, &str); 4] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

impl Readable for Size {
    const EXPECTED: &'static str =
        "a size such as \"512B\", \"100KiB\" or \"64MiB\", of at most \"1024GiB\"";
    fn read(value: &Value) -> Option<Self> {
        let (number, unit) = value.measure()?;
        let (size, _) = SIZES.iter().find(|(_, name)| *name == unit)?;
        number.checked_mul(*size).map(Self).filter(|size| size.0 <= 1 << 40)
    }
    fn show(&self) -> String {
        in_units(self.0, &SIZES)
    }
}

impl Readable for (u16, u16) {
    const EXPECTED: &'static str = "two integers, fewest and most, such as [3, 5]";
    fn read(value: &Value) -> Option<Self> {
        let Value::List(values) = value else { return None };
        let [least, most] = values.as_slice() else { return None };
        let (least, most) = (u16::read(least)?, u16::read(most)?);
        (least <= most).then_some((least, most))
    }
    fn show(&self) -> String {
        format!("[{}, {}]", self.0, self.1)
    }
}

/// Makes lists of a type readable.
macro_rules! listed {
    ($($Type:ty, $expected:literal;)*) => {
        $(impl $crate::scenario::Readable for Vec<$Type> {
            const EXPECTED: &'static str = $expected;
            fn read(value: &$crate::scenario::Value) -> Option<Self> {
                let $crate::scenario::Value::List(values) = value else { return None };
                values.iter().map(<$Type>::read).collect()
            }
            fn show(&self) -> String {
                let values: Vec<String> = self.iter().map(<$Type>::show).collect();
                format!("[{}]", values.join(", "))
            }
        })*
    };
}

pub(crate) use listed;

listed! {
    u16, "a list of integers from 0 to 65535, such as [2, 4]";
    Span, "a list of durations, such as [\"8ms\", \"16ms\"]";
    Share, "a list of numbers from 0 to 1, such as [0.25, 0.5]";
    Size, "a list of sizes, such as [\"512KiB\", \"1MiB\"]";
}

/// A key that need not be given.
impl<T: Readable> Readable for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn read(value: &Value) -> Option<Self> {
        T::read(value).map(Some)
    }
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "unset".to_owned(), T::show)
    }
}

/// Makes an enum readable as one of a few words.
macro_rules! worded {
    ($Type:ident: $first:literal => $First:ident $(, $word:literal => $Variant:ident)* $(,)?) => {
        impl $crate::scenario::Readable for $Type {
            const EXPECTED: &'static str =
                concat!("\"", $first, "\"" $(, " or \"", $word, "\"")*);
            fn read(value: &$crate::scenario::Value) -> Option<Self> {
                let $crate::scenario::Value::Text(text) = value else { return None };
                match text.as_str() {
                    $first => Some(Self::$First),
                    $($word => Some(Self::$Variant),)*
                    _ => None,
                }
            }
            fn show(&self) -> String {
                let word = match self {
                    Self::$First => $first,
                    $(Self::$Variant => $word,)*
                };
                format!("{word:?}")
            }
        }
    };
}

pub(crate) use worded;
