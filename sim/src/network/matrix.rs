//! Latencies between sites: measured and read from a file, or computed from a topology.

use std::path::{Path, PathBuf};

use peerless_core::Span;

use super::Settings;
use crate::scenario::{Bad, Keys, worded};

/// The unit of a matrix's numbers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
}

worded!(Unit: "us" => Us, "ms" => Ms);

/// What was measured.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Measured {
    /// There and back, of which one way is half.
    RoundTrip,
    /// From the row's site to the column's.
    OneWay,
}

worded!(Measured: "round-trip" => RoundTrip, "one-way" => OneWay);

/// More sites than these are not held: 16 MB.
pub(super) const SITES_MAX: u32 = 2000;

/// A larger file is no matrix of so many sites.
const FILE_MAX: u64 = 64 << 20;

/// One way from any site to any other; it need not be the same the other way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    sites: u32,
    /// Microseconds, row by row, of at most 71 minutes.
    micros: Vec<u32>,
}

impl Matrix {
    /// A square of microseconds, row by row.
    pub(super) fn new(sites: u32, micros: Vec<u32>) -> Self {
        assert_eq!(micros.len(), sites as usize * sites as usize, "a matrix is square");
        Self { sites, micros }
    }

    /// How many sites it has.
    pub fn sites(&self) -> u32 {
        self.sites
    }

    /// One way from a site to another.
    #[inline]
    pub fn between(&self, from: u32, to: u32) -> Span {
        let micros = self.micros[from as usize * self.sites as usize + to as usize];
        Span(u64::from(micros) * 1000)
    }

    /// Reads the file that a scenario names, if its model asks for one.
    pub(crate) fn load(settings: &Settings, keys: &Keys) -> Result<Option<Self>, Bad> {
        let Some(named) = &settings.matrix else { return Ok(None) };
        let path = beside(keys.file(), named);
        let read = || {
            let length = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
            if length > FILE_MAX {
                return Err(format!("expected at most {FILE_MAX} bytes where there are {length}"));
            }
            std::fs::read_to_string(&path).map_err(|error| error.to_string())
        };
        let text = read().map_err(|why| format!("{}: {why}", path.display()));
        let matrix = text.and_then(|text| {
            Self::parse(&text, settings.matrix_unit, settings.matrix_of)
                .map_err(|why| format!("{}:{why}", path.display()))
        });
        matrix.map(Some).map_err(|why| keys.bad("network.matrix", &why))
    }

    /// Reads rows of numbers, parted by commas or blanks; what follows a `#` is a remark. An error
    /// begins with its line.
    pub fn parse(text: &str, unit: Unit, measured: Measured) -> Result<Self, String> {
        let mut micros = Vec::new();
        let (mut sites, mut rows) = (0, 0);
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            let before = micros.len();
            let words = line.split(|c: char| c == ',' || c.is_whitespace());
            for word in words.filter(|word| !word.is_empty()) {
                micros.push(latency(word, unit, measured).ok_or_else(|| {
                    format!("{number}: expected a latency of at most an hour, not {word:?}")
                })?);
            }
            let row = micros.len() - before;
            if row == 0 {
                continue;
            }
            if rows == 0 {
                sites = row;
            }
            rows += 1;
            if row != sites {
                return Err(format!(
                    "{number}: expected {sites} numbers as in the first row, not {row}"
                ));
            }
            if sites > SITES_MAX as usize || rows > sites {
                let most = sites.min(SITES_MAX as usize);
                return Err(format!("{number}: expected at most {most} rows and columns"));
            }
        }
        if rows != sites || rows == 0 {
            let last = text.lines().count().max(1);
            return Err(format!("{last}: expected as many rows as columns, {sites}, not {rows}"));
        }
        Ok(Self::new(sites as u32, micros))
    }
}

/// A path that a scenario names is relative to the scenario's own file.
pub(crate) fn beside(file: &str, named: &str) -> PathBuf {
    Path::new(file).parent().unwrap_or(Path::new("")).join(named)
}

/// Microseconds, one way.
fn latency(word: &str, unit: Unit, measured: Measured) -> Option<u32> {
    let number: f64 = word.parse().ok()?;
    let micros = number * if unit == Unit::Ms { 1000.0 } else { 1.0 };
    let one_way = if measured == Measured::RoundTrip { micros / 2.0 } else { micros };
    (0.0..=3.6e9).contains(&micros).then(|| one_way.round() as u32)
}
