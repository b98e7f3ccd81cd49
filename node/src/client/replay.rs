//! `replay`: steps a recorded node through the core again.

use super::failure::{FAILED, Failure};
use super::output::{Output, count};
use crate::cli::ReplayArgs;
use crate::journal::{self, ReplayError, Replayed};

pub(super) fn replay(args: &ReplayArgs, output: Output) -> Result<(), Failure> {
    let replayed = journal::replay(&args.journal).map_err(|error| match error {
        ReplayError::File { .. } | ReplayError::Form { .. } => Failure::usage(error.to_string()),
    })?;
    let value = serde_json::to_value(&replayed).expect("a replay's result is plain data");
    output.print(&value, || text(&replayed))?;
    if replayed.equal { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

fn text(replayed: &Replayed) -> String {
    let steps = count(replayed.inputs as usize, "input");
    let effects = count(replayed.effects as usize, "effect");
    let torn = if replayed.torn { "; the file breaks off there" } else { "" };
    match &replayed.differs_at {
        None => format!("{steps}, {effects}: all equal{torn}"),
        Some(differs) => format!(
            "{steps} went equally; input {} at {} ns differs\n  told   {}\n  wants  {}",
            differs.input,
            differs.time_ns,
            differs.told,
            differs.effects.join("\n         ")
        ),
    }
}
