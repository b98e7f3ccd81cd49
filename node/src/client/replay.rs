//! `replay`: steps a recorded node through the core again.

use std::fs;
use std::path::{Path, PathBuf};

use super::failure::{FAILED, Failure};
use super::output::{Output, count};
use crate::cli::ReplayArgs;
use crate::journal::{self, Replayed};

/// What a journal's file is called.
const SUFFIX: &str = "journal";

pub(super) fn replay(args: &ReplayArgs, output: Output) -> Result<(), Failure> {
    let mut equal = true;
    for path in journals(&args.journal)? {
        let replayed = journal::replay(&path).map_err(|error| Failure::usage(error.to_string()))?;
        let mut value = serde_json::to_value(&replayed).expect("a replay's result is plain data");
        value["journal"] = path.display().to_string().into();
        output.print(&value, || text(&path, &replayed))?;
        equal &= replayed.equal;
    }
    if equal { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

/// The file, or all journals of the directory in the order of their starts.
fn journals(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error| Failure::unreadable(path, &error);
    let entries = fs::read_dir(path).map_err(unreadable)?;
    let mut journals = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    journals.retain(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX));
    journals.sort();
    if journals.is_empty() {
        return Err(Failure::usage(format!("{} holds no *.{SUFFIX}", path.display())));
    }
    Ok(journals)
}

fn text(path: &Path, replayed: &Replayed) -> String {
    let path = path.display();
    let steps = count(replayed.inputs as usize, "input");
    let effects = count(replayed.effects as usize, "effect");
    let torn = if replayed.torn { "; the file breaks off there" } else { "" };
    match &replayed.differs_at {
        None => format!("{path}: {steps}, {effects}: all equal{torn}"),
        Some(differs) => format!(
            "{path}: {steps} went equally; input {} at {} ns differs\n  told   {}\n  wants  {}",
            differs.input,
            differs.time_ns,
            differs.told,
            differs.effects.join("\n         ")
        ),
    }
}
