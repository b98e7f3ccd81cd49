//! Every planted bug is noticed, and every transcript can fail.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::panic::{catch_unwind, set_hook};

use peerless_core::planted::{Bug, set};

use super::{ALL, Play};

/// What a transcript says, or the law that was broken while it was played.
fn played(play: Play) -> Result<String, String> {
    catch_unwind(play).map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        said.lines().next().unwrap_or_default().to_owned()
    })
}

/// One test, since which bug is planted is a matter of the whole process.
#[test]
fn every_planted_bug_is_noticed() {
    set(0);
    let sound: Vec<String> = ALL.iter().map(|(_, play)| played(*play).expect("sound")).collect();
    for ((name, _), text) in ALL.iter().zip(&sound) {
        crate::check(name, text);
    }
    set_hook(Box::new(|_| {}));
    let mut table = String::new();
    let mut changed = BTreeSet::new();
    let mut unnoticed = Vec::new();
    for bug in Bug::ALL {
        set(bug as u32);
        writeln!(table, "{:2} {bug:?}", bug as u32).expect("text takes lines");
        let mut noticed = false;
        for ((name, play), sound) in ALL.iter().zip(&sound) {
            let how = match played(*play) {
                Ok(text) if text == *sound => continue,
                Ok(_) => String::new(),
                Err(law) => format!(": {law}"),
            };
            noticed = true;
            changed.insert(*name);
            writeln!(table, "     {name}{how}").expect("text takes lines");
        }
        if !noticed {
            unnoticed.push(bug);
        }
    }
    set(0);
    drop(std::panic::take_hook());
    let sure: Vec<&str> =
        ALL.iter().map(|(name, _)| *name).filter(|n| !changed.contains(n)).collect();
    assert!(unnoticed.is_empty(), "nothing notices {unnoticed:?}");
    assert!(sure.is_empty(), "no planted bug changes {sure:?}");
    crate::check("planted_bugs", &table);
}
