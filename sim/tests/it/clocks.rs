//! Clocks that are wrong: what they show, and what a network makes of them.

use peerless_core::{Span, Time};
use peerless_sim::chance::Chance;
use peerless_sim::faults::Clock;
use peerless_sim::report::{self, Report};
use peerless_sim::world::START;
use proptest::prelude::*;

use crate::support;

proptest! {
    #[test]
    fn a_clock_shows_what_it_reaches(
        ahead in -40_000_000_000_000_000_i64..40_000_000_000_000_000,
        fast_ppm in -500_000_i64..500_000,
        after in 0_u64..40_000_000_000_000_000,
        later in 0_u64..10_000_000,
    ) {
        let clock = Clock { ahead, fast_ppm };
        let time = START + Span(after);
        prop_assert!(clock.shows(time) <= clock.shows(time + Span(later)), "it never goes back");
        let shown = clock.shows(time);
        let reached = clock.reaches(shown);
        prop_assert!(clock.shows(reached) >= shown && reached <= time);
        let wake = shown + Span(later);
        prop_assert!(clock.shows(clock.reaches(wake)) >= wake, "no wake comes early");
        prop_assert!(clock.shows(clock.reaches(wake)).since(wake) < Span(10));
    }
}

#[test]
fn a_clock_reaches_no_end() {
    for fast_ppm in [-500_000, 0, 500_000] {
        let clock = Clock { ahead: -7, fast_ppm };
        assert_eq!(clock.reaches(Time::NEVER), Time::NEVER);
        assert!(clock.reaches(Time(u64::MAX - 2)) > START);
    }
}

#[test]
fn clocks_are_wrong_as_a_scenario_says() {
    let text = "[clocks]\nwrong = 0.3\noffset_max = \"10m\"\ndrift_ppm_max = 200";
    let clocks = support::parse(text).clocks.expect("the section stands");
    let chance = Chance::new(5);
    let all: Vec<Clock> = (0..2000).map(|peer| clocks.of(peer, &chance)).collect();
    let wrong: Vec<&Clock> = all.iter().filter(|it| (it.ahead, it.fast_ppm) != (0, 0)).collect();
    assert!((520..680).contains(&wrong.len()), "{} of 2000", wrong.len());
    let ten_minutes = Span::minutes(10).0.cast_signed();
    assert!(wrong.iter().all(|it| it.ahead.abs() <= ten_minutes && it.fast_ppm.abs() <= 200));
    let behind = wrong.iter().filter(|it| it.ahead < 0).count();
    assert!(behind.abs_diff(wrong.len() / 2) < 60, "{behind} of {} are behind", wrong.len());
    assert!(wrong.iter().any(|it| it.ahead.abs() > ten_minutes * 9 / 10), "up to the most");
}

fn deployed_and_called(clocks: &str) -> Report {
    let text = "peers = 60\nowners = 20\n[functions]\ncount = 20\nservice = \"20ms\"\n\
                redeployed = [\"20s\"]\n[anycalls]\ncount = 300\nstart = \"10s\"\n[core]\nk = 8\n\
                refresh_period = \"20s\"\n";
    let report = report::run(&support::parse(&format!("{text}{clocks}")), 1);
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    report
}

/// Whoever signs, keeps, hosts and calls has another time than the rest.
#[test]
fn clocks_ten_minutes_off_harm_nobody() {
    let right = deployed_and_called("");
    let wrong = deployed_and_called("[clocks]\noffset_max = \"10m\"\ndrift_ppm_max = 500");
    assert_ne!(right.digest, wrong.digest);
    for report in [&right, &wrong] {
        let (placed, called) = (report.placement.as_ref(), report.anycall.as_ref());
        let (placed, called) = (placed.expect("there are functions"), called.expect("and calls"));
        assert_eq!((placed.placed, placed.replaced), (20, Some(20)));
        assert_eq!((called.count, called.succeeded), (300, 300));
    }
}

/// A version that lies more than a day ahead is a clock's fault, or an attack: nobody keeps it.
#[test]
fn who_is_days_ahead_cannot_deploy() {
    let report = deployed_and_called("[clocks]\nwrong = 0.5\noffset_max = \"240h\"");
    let placed = report.placement.expect("there are functions");
    assert!((8..17).contains(&placed.placed), "{} of 20 placed", placed.placed);
}
