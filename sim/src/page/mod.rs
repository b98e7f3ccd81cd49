//! `report`: one page of all runs in a directory. It needs nothing but itself: no script, no font, no
//! picture from elsewhere; and the same reports give the same bytes.

mod charts;
mod figures;
mod group;
mod html;
mod plot;
mod time;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Error as _};

use self::group::groups;
use crate::report::Report;

/// No report is longer than this many bytes.
const FILE_MAX: u64 = 64 << 20;

/// The version of the reports that is read.
const SCHEMA: u32 = 1;

/// A report that was read.
#[derive(Clone, Debug)]
pub struct Run {
    /// The file's name.
    pub file: String,
    /// What it holds.
    pub report: Report,
}

/// A file that ends in .json and is no report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The file's name.
    pub file: String,
    /// Why it is none.
    pub why: String,
}

/// What was drawn.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The page.
    pub path: PathBuf,
    /// How many runs it shows.
    pub runs: usize,
    /// What it leaves out.
    pub skipped: Vec<Skipped>,
}

/// Draws DIR/report.html from every *.json in DIR.
pub fn write(dir: &Path) -> Result<Drawn, String> {
    let (mut runs, skipped) = read(dir)?;
    let place = dir.display();
    if runs.is_empty() {
        let mut what = format!("{place}: expected the *.json that run --out or sweep --out writes");
        for Skipped { file, why } in &skipped {
            let _ = write!(what, "\n{file}: {why}");
        }
        return Err(what);
    }
    let path = dir.join("report.html");
    let page = render(&mut runs, &skipped);
    fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Drawn { path, runs: runs.len(), skipped })
}

/// The page of these runs.
pub fn render(runs: &mut [Run], skipped: &[Skipped]) -> String {
    runs.sort_by(|a, b| {
        let key = |run: &Run| (run.report.scenario.clone(), run.report.peers, run.report.seed);
        key(a).cmp(&key(b)).then_with(|| a.file.cmp(&b.file))
    });
    html::page(&groups(runs), skipped)
}

fn read(dir: &Path) -> Result<(Vec<Run>, Vec<Skipped>), String> {
    let named = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            files.push(path);
        }
    }
    files.sort();
    let (mut runs, mut skipped) = (Vec::new(), Vec::new());
    for path in files {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match read_one(&path) {
            Ok(report) => runs.push(Run { file, report }),
            Err(why) => skipped.push(Skipped { file, why }),
        }
    }
    Ok((runs, skipped))
}

fn read_one(path: &Path) -> Result<Report, String> {
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is no file".to_owned());
    }
    if about.len() > FILE_MAX {
        return Err(format!("it is longer than {} MiB", FILE_MAX >> 20));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    parse(&bytes).map_err(|error| format!("it is no report of a run: {error}"))
}

/// Reads a report, of whose version it makes sure first.
pub fn parse(bytes: &[u8]) -> Result<Report, serde_json::Error> {
    let value: serde_json::Value = serde_json::from_slice(bytes)?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64);
    if schema != Some(SCHEMA.into()) {
        let is = schema.map_or("none".to_owned(), |schema| schema.to_string());
        let what = format!("expected \"schema\" {SCHEMA}, found {is}");
        return Err(serde_json::Error::custom(what));
    }
    Report::deserialize(value)
}
