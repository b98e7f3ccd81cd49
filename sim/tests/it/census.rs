//! Who hosts what, and what a coming or a going moved.

use peerless_core::Name;
use peerless_sim::census::Census;

use crate::support;

const NAME: Name = Name([7; 32]);
const OTHER: Name = Name([8; 32]);

/// Two functions that want one host each, on peers 1 and 2.
fn placed() -> Census {
    let mut census = Census::default();
    census.expect(NAME, 1);
    census.expect(OTHER, 1);
    census.installed(10, 1, &NAME, 1);
    census.installed(10, 2, &OTHER, 1);
    census
}

fn moved(census: &Census) -> (u64, u64) {
    (census.moved_on_join, census.moved_on_leave)
}

#[test]
fn an_updated_host_stays_a_host() {
    let mut census = placed();
    census.installed(20, 1, &NAME, 2);
    census.uninstalled(21, 1, &NAME, 1);
    assert!(census.does_host(1, 0), "it serves version 2");
    assert_eq!(census.functions[0].log, [(10, 1)], "and was a host all the time");
    census.uninstalled(30, 1, &NAME, 1);
    assert!(census.does_host(1, 0), "version 1 was gone before");
    census.uninstalled(40, 1, &NAME, 2);
    assert!(!census.does_host(1, 0));
    assert_eq!(moved(&census), (0, 0), "nobody came or went");
}

#[test]
fn a_repair_of_what_the_leaver_hosted_is_no_move() {
    let mut census = placed();
    census.left(20, 1);
    census.installed(30, 3, &NAME, 1);
    assert_eq!(moved(&census), (0, 0));
    assert_eq!(census.installs_over_lost(), Some(1.0));
    census.installed(40, 3, &OTHER, 1);
    assert_eq!(moved(&census), (0, 1), "peer 1 never hosted the other");
    assert_eq!(census.installs_over_lost(), Some(2.0));
}

#[test]
fn only_what_a_newcomer_took_over_moved_on_its_join() {
    let mut census = placed();
    census.installed(15, 4, &NAME, 1);
    census.joined(9);
    census.uninstalled(20, 4, &NAME, 1);
    assert_eq!(moved(&census), (0, 0), "a surplus that retires");
    census.installed(30, 9, &NAME, 1);
    assert_eq!(moved(&census), (0, 0), "nobody has given it up yet");
    census.uninstalled(40, 1, &NAME, 1);
    assert_eq!(moved(&census), (1, 0));
    assert_eq!(census.installs_over_lost(), None, "nobody was lost");
}

#[test]
fn who_went_is_reported() {
    let churn = support::run_small("churn", 1);
    assert!(churn.replaced.is_some_and(|replaced| replaced > 10), "{:?}", churn.replaced);
    assert_eq!(churn.crashed, None);
    assert!(churn.table().contains("peers replaced"));
    let manycall = support::run_small("manycall", 1);
    assert_eq!((manycall.replaced, manycall.crashed), (None, Some(2)));
    assert!(manycall.table().contains("hosts crashed"));
}
