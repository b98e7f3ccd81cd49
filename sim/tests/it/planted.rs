//! Every planted bug is noticed: by a scenario that fails, or a transcript that changes. And each
//! scenario and transcript notices at least one.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use peerless_core::planted::{self, Bug};

use crate::support;

/// Bugs in what the small worlds here do not come to: the core's own transcripts notice them.
const NOTICED_BY_CORE: [Bug; 13] = [
    Bug::OverwritesNewer,
    Bug::ForgetsSpares,
    Bug::HoldsAll,
    Bug::UninstallsServed,
    Bug::ForgetsServed,
    Bug::NeverUpdates,
    Bug::ServesUnconfirmed,
    Bug::LeavesBusy,
    Bug::BelievesStrangers,
    Bug::NeverSuspectsItself,
    Bug::RepairsAllAtOnce,
    Bug::RetiresAtOnce,
    Bug::LeavesUnsaid,
];

/// What a world comes to under the active bug, or the first line of its panic.
fn under<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        format!("panic: {}", said.lines().next().unwrap_or_default())
    })
}

/// The law that a violation names before its first colon.
fn law(what: &str) -> String {
    what.split(':').next().unwrap_or(what).to_owned()
}

/// The scenarios that fail under the active bug, each with the first law that it finds broken.
fn failing() -> Vec<(&'static str, String)> {
    let why = |name: &'static str| match under(|| support::run_small(name, 1)) {
        Ok(report) => report.violations.first().map(|first| (name, law(&first.what))),
        Err(panic) => Some((name, panic)),
    };
    support::SMALL.iter().filter_map(|(name, _)| why(name)).collect()
}

/// The transcripts that change under the active bug, each with its panic, if it is one.
fn changing(honest: &[String]) -> Vec<(&'static str, String)> {
    let all = support::TRANSCRIPTS.iter().zip(honest);
    let changes = all.filter_map(|((name, make), honest)| match under(make) {
        Ok(text) if text == *honest => None,
        Ok(_) => Some((*name, String::new())),
        Err(panic) => Some((*name, panic)),
    });
    changes.collect()
}

/// One a line, with why.
fn lines(noticed: &[(&str, String)]) -> String {
    let line = |(name, why): &(&str, String)| match why.as_str() {
        "" => format!("    {name}\n"),
        why => format!("    {name}: {why}\n"),
    };
    noticed.iter().map(line).collect()
}

#[test]
fn every_bug_is_noticed() {
    let honest: Vec<String> = support::TRANSCRIPTS.iter().map(|(_, make)| make()).collect();
    assert_eq!((failing(), changing(&honest)), (vec![], vec![]), "without a bug");
    let mut noticed = Vec::new();
    let mut missed = Vec::new();
    let mut text = String::new();
    for bug in Bug::ALL.into_iter().filter(|bug| !NOTICED_BY_CORE.contains(bug)) {
        planted::set(bug as u32);
        let (fails, changes) = (failing(), changing(&honest));
        let (fail, change) = (lines(&fails), lines(&changes));
        let _ = write!(text, "{bug:?}\n  fails:\n{fail}  changes:\n{change}");
        if fails.is_empty() && changes.is_empty() {
            missed.push(bug);
        }
        noticed.extend(fails.into_iter().chain(changes).map(|(name, _)| name));
    }
    planted::set(0);
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("planted_bugs", text) });
    assert!(missed.is_empty(), "not noticed: {missed:?}");
    let scenarios = support::SMALL.iter().map(|(name, _)| *name);
    let transcripts = support::TRANSCRIPTS.iter().map(|(name, _)| *name);
    for name in scenarios.chain(transcripts) {
        assert!(noticed.contains(&name), "{name} notices no bug");
    }
}
