//! Many calls: windows over hosts, and hosts that die.

use std::sync::Arc;

use peerless_core::{Quorum, Record, Span};

use crate::world::{World, function, host, name, record, small};

/// Two hosts of one and of two slots: each has so many calls under way as its slots and queue bear.
pub fn with_windows() -> String {
    let mut world = World::new(small());
    let setup = |peer| if peer == 5 { host(2, 2, 4) } else { host(1, 1, 4) };
    world.converged_as(&[0, 1, 4, 5, 8, 9], setup);
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.many(9, f, 12, 3);
    world.pass(Span::secs(3));
    world.rest()
}

/// A host dies with items in flight: they are run elsewhere, and each has one result.
pub fn host_dies() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5, 8, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.many(9, f, 8, 3);
    world.pass(Span::ms(150));
    world.crash(4);
    world.pass(Span::secs(3));
    world.rest()
}

/// The only host is not reached, and comes back: the next search is told of it again.
pub fn host_returns() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5, 8, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    world.crash(5);
    world.many(9, f, 2, 3);
    world.pass(Span::ms(700));
    world.restart(5);
    world.meet(5, 4);
    world.pass(Span::secs(12));
    world.rest()
}

/// A host dies that runs a function which may not be run twice: what it had is not run again, and
/// is reported as unknown.
pub fn runs_once() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5, 8, 9], &host(1, 1, 4));
    let mut once = function(name('f', 5), 1, (2, 2));
    once.spec.as_mut().expect("it can run").idempotent = Some(false);
    world.given(0, &once.into());
    world.many(9, name('f', 5), 8, 3);
    world.pass(Span::ms(150));
    world.crash(4);
    world.pass(Span::secs(3));
    world.rest()
}

/// At a job's deadline what runs is aborted: what may be run twice has failed; of anything else
/// nobody knows whether it was run. What was not begun has failed either way.
pub fn deadline() -> String {
    let mut world = World::new(small());
    let setup = |peer| if peer == 5 { host(1, 1, 4) } else { host(0, 0, 0) };
    world.converged_as(&[0, 1, 4, 5, 8, 9], setup);
    world.service = Span::secs(2);
    for (letter, twice) in [('f', true), ('g', false)] {
        let mut record = function(name(letter, 5), 1, (1, 1));
        record.spec.as_mut().expect("it can run").idempotent = Some(twice);
        let record: Arc<Record> = Arc::new(record);
        world.given(0, &record);
        world.many_until(9, record.function, 4, Span::secs(3));
        world.pass(Span::secs(5));
    }
    world.rest()
}

/// Items that never left are no failures of theirs, even where none may be tried twice. When no host
/// can be reached for a minute, they fail.
pub fn not_sent() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5, 8, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.quietly(|world| {
        world.call(9, f, Span::secs(5));
        world.pass(Span::secs(1));
    });
    world.crash(5);
    world.many(9, f, 3, 0);
    world.pass(Span::secs(5));
    world.crash(4);
    world.quietly(|world| {
        world.many(9, f, 3, 0);
        world.pass(Span::secs(60));
    });
    world.say("a minute passes without a host");
    world.pass(Span::secs(5));
    world.rest()
}

/// One host is twenty times as slow as the others: near the end these repeat what it runs, and each
/// item has one result. What must not be run twice is waited for.
pub fn straggler() -> String {
    let mut world = World::new(small());
    let setup = |peer| if peer < 8 { host(1, 1, 4) } else { host(0, 0, 0) };
    world.converged_as(&[0, 1, 4, 5, 8, 9], setup);
    world.slow.insert(5, Span::secs(2));
    for (letter, twice) in [('f', true), ('g', false)] {
        let mut record = function(name(letter, 5), 1, (2, 2));
        record.spec.as_mut().expect("it can run").idempotent = Some(twice);
        let record: Arc<Record> = Arc::new(record);
        world.given(0, &record);
        world.many(9, record.function, 6, 3);
        world.pass(Span::secs(5));
    }
    world.rest()
}

/// One of three hosts gives wrong answers: where the first two differ a third decides. When two are
/// gone, no two can agree.
pub fn quorum() -> String {
    let mut world = of_three();
    let f = name('f', 5);
    world.wrong.insert(5);
    world.many_of(9, f, 3, two_of_three());
    world.pass(Span::secs(3));
    world.crash(4);
    world.crash(1);
    world.many_of(9, f, 1, two_of_three());
    world.pass(Span::secs(6));
    world.rest()
}

/// Of hosts of one address group each item asks only one. Two groups are too few for three voices.
pub fn quorum_of_groups() -> String {
    let mut world = of_three();
    let f = name('f', 5);
    world.meets_from(9, 4, Some(7));
    world.meets_from(9, 5, Some(7));
    world.many_of(9, f, 2, two_of_three());
    world.pass(Span::secs(3));
    world.many_of(9, f, 1, Quorum::new(3, 3).expect("it can be"));
    world.pass(Span::secs(3));
    world.rest()
}

/// The second of two voices takes long: a third host is asked, and its answer completes the quorum.
pub fn quorum_straggler() -> String {
    let mut world = of_three();
    let f = name('f', 5);
    world.slow.insert(5, Span::secs(30));
    world.many_of(9, f, 3, two_of_three());
    world.pass(Span::secs(10));
    world.rest()
}

fn two_of_three() -> Quorum {
    Quorum::new(2, 3).expect("it can be")
}

/// Peer 9 knows a function that three peers host.
fn of_three() -> World {
    let mut world = World::new(small());
    let setup = |peer| if peer < 8 { host(2, 2, 4) } else { host(0, 0, 0) };
    world.converged_as(&[0, 1, 4, 5, 8, 9], setup);
    world.given(0, &record(name('f', 5), 1, 3));
    world
}
