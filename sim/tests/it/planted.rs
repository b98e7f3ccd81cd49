//! Every planted bug is noticed: by a scenario that fails, or a transcript that changes. And each
//! scenario and transcript notices at least one.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Parser;
use peerless_core::planted::{self, Bug};
use peerless_sim::cli::{Cli, Fault};
use peerless_sim::fuzz;

use crate::support;

/// A bug is active in the whole process: only one test at a time plants any.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of the small worlds the first, one for each rule, have to notice planted bugs. The others differ in
/// their networks.
fn judging() -> &'static [(&'static str, &'static [&'static str])] {
    &support::SMALL[..10]
}

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
    judging().iter().filter_map(|(name, _)| why(name)).collect()
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
    let _alone = alone();
    let honest: Vec<String> = support::TRANSCRIPTS.iter().map(|(_, make)| make()).collect();
    assert_eq!((failing(), changing(&honest)), (vec![], vec![]), "without a bug");
    let mut noticed = Vec::new();
    let mut missed = Vec::new();
    let mut text = String::new();
    // Where all are honest some cannot show; the core's transcripts notice them.
    for bug in Bug::ALL.into_iter().filter(|bug| !bug.needs_a_transcript()) {
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
    let scenarios = judging().iter().map(|(name, _)| *name);
    let transcripts = support::TRANSCRIPTS.iter().map(|(name, _)| *name);
    for name in scenarios.chain(transcripts) {
        assert!(noticed.contains(&name), "{name} notices no bug");
    }
}

/// Bugs of order and timing that fuzzing finds within so many seeds, where only a rare turn shows them.
const FUZZED: [Bug; 7] = [
    Bug::IgnoresTombstone,
    Bug::AnswersTwice,
    Bug::AcknowledgesEarly,
    Bug::CancelRunsOn,
    Bug::NeverCompares,
    Bug::RunsAgain,
    Bug::NeverUpdates,
];
const SEEDS_MAX: u64 = 120;
/// A case that is made small has at most so many operations.
const STEPS_MAX: usize = 20;

#[test]
fn fuzzing_finds_bugs_and_makes_them_small() {
    let _alone = alone();
    // Panics of the broken cores are told with the case.
    std::panic::set_hook(Box::new(|_| {}));
    let mut text = String::new();
    for bug in FUZZED {
        planted::set(bug as u32);
        let _ = writeln!(text, "{bug:?}\n{}", broken_case(bug, 0..SEEDS_MAX));
    }
    planted::set(0);
    drop(std::panic::take_hook());
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("fuzzed_bugs", text) });
}

/// The bugs of order and timing, each with the first seed whose case it breaks, of 2,000.
const OF_ORDER: [(Bug, Option<u64>); 12] = [
    (Bug::EndsInFlight, Some(0)),
    (Bug::FailedHoldsPlace, Some(12)),
    (Bug::RepairsOnce, Some(545)),
    (Bug::RanksOffByOne, None),
    (Bug::AbortsOnlyFirst, Some(191)),
    (Bug::OutlivesDeadline, Some(0)),
    (Bug::ForgetsTheOther, Some(316)),
    (Bug::CreditsEarly, Some(0)),
    (Bug::FreesEarly, Some(0)),
    (Bug::RespondsToGone, Some(0)),
    (Bug::CountsStragglers, Some(0)),
    (Bug::RetiresOutOfTurn, Some(0)),
];

#[test]
fn fuzzing_finds_bugs_of_order_and_timing() {
    let _alone = alone();
    assert!(OF_ORDER.map(|(bug, _)| bug) == Bug::OF_ORDER);
    std::panic::set_hook(Box::new(|_| {}));
    let mut text = String::new();
    let mut lawful = 0;
    for (bug, seed) in OF_ORDER {
        let Some(seed) = seed else {
            let _ = writeln!(text, "{bug:?}\nnot found\n");
            continue;
        };
        planted::set(bug as u32);
        let case = broken_case(bug, seed..seed + 1);
        lawful += usize::from(!case.contains(": panic: "));
        let _ = writeln!(text, "{bug:?}\n{case}");
    }
    planted::set(0);
    drop(std::panic::take_hook());
    insta::with_settings!({
        snapshot_path => "../../../snapshots/sim", prepend_module_to_snapshot => false
    }, { insta::assert_snapshot!("fuzzed_order", text) });
    assert_eq!(lawful, 11, "what laws and oracle find");
}

/// The first broken case under the active bug, made small; its command plays it again.
fn broken_case(bug: Bug, mut seeds: std::ops::Range<u64>) -> String {
    let named = |seed| fuzz::Named {
        scenario: None,
        seed,
        preset: fuzz::Preset::Lite,
        only: None,
        off: std::collections::BTreeSet::new(),
        peers: None,
    };
    let found = seeds.find_map(|seed| {
        let case = fuzz::draw(&named(seed)).expect("it can be drawn");
        fuzz::play(&case).violation.map(|violation| (case, violation))
    });
    let (case, violation) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
    let broken = fuzz::shrink(case, violation, 600.0);
    let text = broken.text();
    let steps = broken.case.schedule.len();
    assert!(steps <= STEPS_MAX, "{bug:?} takes {steps} operations:\n{text}");
    // The command that it prints plays that case, and it breaks in the same way.
    let command = broken.case.named.command();
    let cli = Cli::try_parse_from(command.split(' ')).expect("it is a command");
    let mut out = Vec::new();
    let fault = cli.run(&mut out);
    assert!(matches!(fault, Err(Fault::Failed(_))), "{command}: {fault:?}");
    let said = String::from_utf8(out).expect("it prints text");
    assert!(said.starts_with(&text), "{command}\n{said}\ninstead of\n{text}");
    text
}
