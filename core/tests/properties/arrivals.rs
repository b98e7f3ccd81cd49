//! Works that end when it was given up to wait for them.

use std::sync::Arc;

use peerless_core::{Input, Item, Query, Span};

use crate::world::{Bench, host, name, record, small};

fn until_it_works(bench: &mut Bench) {
    for _ in 0..100 {
        if bench.works.is_empty() {
            bench.pass(Span::secs(1));
        }
    }
    assert!(!bench.works.is_empty(), "nothing was fetched or installed");
}

/// What was hosted before a restart is kept again only when that has been given up: it is not served
/// before it is known whether it still should be.
#[test]
fn what_is_kept_too_late_is_served_when_that_is_confirmed() {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    let f = record(name('f', 5), 1, 1);
    bench.tell("f was hosted", Input::Restored(Item::Hosting(Arc::clone(&f))));
    for _ in 0..2 {
        until_it_works(&mut bench);
        bench.ends(0, true);
        bench.ends(0, true);
        bench.pass(Span::minutes(3));
        bench.kept();
        bench.asks(2, Query::Hosts(f.function));
    }
    until_it_works(&mut bench);
    bench.all_ends();
    bench.asks(2, Query::Hosts(f.function));
    let text = bench.rest();
    let found: Vec<_> = text.lines().filter(|line| line.contains("Found")).collect();
    let no = "  → p2  Found []";
    assert_eq!(found, [no, no, "  → p2  Found [], hosts [p5] of f5 v1"], "{text}");
}

/// An install that was given up ends well after all while the only source has too much to do: the code
/// is here, and not asked for again.
#[test]
fn what_is_installed_is_not_fetched_again() {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    let f = record(name('f', 5), 1, 1);
    bench.placed(1, &f);
    bench.ends(0, true);
    bench.pass(Span::minutes(3));
    bench.placed(1, &f);
    bench.works.swap(0, 1);
    bench.source_is_busy();
    bench.ends(0, true);
    bench.pass(Span::secs(1));
    assert!(bench.works.is_empty(), "{}", bench.rest());
    bench.kept();
    bench.asks(2, Query::Hosts(f.function));
    let text = bench.rest();
    assert!(text.ends_with("  → p2  Found [], hosts [p5] of f5 v1\n"), "{text}");
}
