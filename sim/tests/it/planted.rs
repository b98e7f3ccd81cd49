//! Every planted bug is noticed: by a scenario that fails, or a transcript that changes. And each
//! scenario and transcript notices at least one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use peerless_core::planted::{self, Bug};

use crate::support;

/// What a world comes to under the active bug; `None` where an invariant of the core breaks.
fn under<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// The scenarios that fail under the active bug.
fn failing() -> Vec<&'static str> {
    let fails = |name: &str| match under(|| support::run_small(name, 1)) {
        Some(report) => !report.violations.is_empty(),
        None => true,
    };
    support::SMALL.iter().map(|(name, _)| *name).filter(|name| fails(name)).collect()
}

/// The transcripts that change under the active bug.
fn changing(honest: &[String]) -> Vec<&'static str> {
    let all = support::TRANSCRIPTS.iter().zip(honest);
    let changes = all.filter(|((_, make), honest)| under(make).as_ref() != Some(*honest));
    changes.map(|((name, _), _)| *name).collect()
}

#[test]
fn every_bug_is_noticed() {
    let honest: Vec<String> = support::TRANSCRIPTS.iter().map(|(_, make)| make()).collect();
    assert_eq!((failing(), changing(&honest)), (vec![], vec![]), "without a bug");
    let mut noticed = Vec::new();
    let mut missed = Vec::new();
    let mut text = String::new();
    for bug in Bug::ALL {
        planted::set(bug as u32);
        let (fails, changes) = (failing(), changing(&honest));
        let line =
            format!("{bug:?}\n  fails: {}\n  changes: {}\n", fails.join(" "), changes.join(" "));
        text.push_str(&line);
        if fails.is_empty() && changes.is_empty() {
            missed.push(bug);
        }
        noticed.extend(fails);
        noticed.extend(changes);
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
