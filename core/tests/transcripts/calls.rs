//! One call: finding a host, another host, and a host's own queue.

use std::sync::Arc;

use peerless_core::{Config, Owner, Query, Record, Request, Setup, Span};

use crate::world::{OWNER, World, function, host, name, record, small};

/// A node that knows nothing of the function finds its first host and calls it.
pub fn from_nowhere() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 2, 4, 5, 6, 8, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.call(9, f, Span::secs(5));
    world.pass(Span::secs(3));
    world.call(9, name('x', 5), Span::secs(5));
    world.pass(Span::secs(3));
    world.rest()
}

/// The first host is dead: the call moves to the second. When both are, the caller hears it.
pub fn second_host() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 2, 4, 5, 6, 8, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.quietly(|world| {
        world.call(9, f, Span::secs(5));
        world.pass(Span::secs(1));
    });
    world.crash(5);
    for _ in 0..2 {
        world.call(9, f, Span::secs(5));
        world.pass(Span::secs(1));
    }
    world.crash(4);
    world.call(9, f, Span::secs(9));
    world.pass(Span::secs(9));
    world.rest()
}

/// Hosts that never answer: the record's ten seconds are for the call, not for each attempt, and what
/// may be run twice is late like any other.
pub fn deadline() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 2, 4, 5, 6, 8, 9], &host(1, 1, 4));
    world.service = Span::minutes(1);
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    let (function, deadline) = (f, world.now + Span::minutes(60));
    for idempotent in [false, true] {
        world.ask(9, Request::Call { function, deadline, kept: true, idempotent });
        world.pass(Span::secs(15));
    }
    world.rest()
}

/// One host takes five seconds, and the function is given eight. Where it may be run twice, another host
/// is called after one second, and its answer wins; the next call knows who is slow. Where it must not,
/// the first is waited for.
pub fn hedged() -> String {
    let mut world = World::new(small());
    let setup = |peer| if peer < 8 { host(1, 1, 4) } else { host(0, 0, 0) };
    world.converged_as(&[0, 1, 4, 5, 8, 9], setup);
    for (letter, twice) in [('f', true), ('g', false)] {
        world.slow.clear();
        let mut record = function(name(letter, 5), 1, (2, 2));
        record.spec.as_mut().expect("it can run").idempotent = Some(twice);
        let record: Arc<Record> = Arc::new(record);
        world.given(0, &record);
        world.slow.insert(5, Span::secs(5));
        world.slow.insert(4, Span::secs(5));
        world.call(9, record.function, Span::secs(8));
        world.pass(Span::ms(20));
        world.slow.clear();
        world.pass(Span::secs(8));
    }
    world.rest()
}

/// What was never sent has not been tried: the call goes elsewhere though it has no attempt left.
pub fn not_sent() -> String {
    let mut world = World::new(Config { call_retries: 0, ..small() });
    world.converged(&[0, 1, 2, 4, 5, 6, 8, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.quietly(|world| {
        world.call(9, f, Span::secs(5));
        world.pass(Span::secs(1));
    });
    world.crash(5);
    for _ in 0..2 {
        world.call(9, f, Span::secs(5));
        world.pass(Span::secs(1));
    }
    world.rest()
}

/// A host whose slot and queue are taken refuses at once, and the call goes elsewhere.
pub fn refused() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5, 8, 9], &host(1, 0, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    for _ in 0..3 {
        world.call(9, f, Span::secs(5));
        world.deliver();
    }
    world.pass(Span::secs(2));
    world.rest()
}

/// Four hosts of one slot and no queue. A call that the only known one refuses finds the others, and
/// the one that has least to do. When all are taken, its caller hears so after two.
pub fn overload() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5, 6, 7, 8, 9], &host(1, 0, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 4));
    for _ in 0..5 {
        world.call(9, f, Span::secs(5));
        world.pass(Span::ms(15));
    }
    world.pass(Span::secs(2));
    world.rest()
}

/// One slot, a queue of three: calls wait their turn, until it is too late for them. The last place is
/// for a caller that has none waiting.
pub fn queue() -> String {
    let mut world = World::new(small());
    let setup = |peer| if peer == 5 { host(1, 3, 4) } else { Setup::default() };
    world.converged_as(&[0, 1, 5, 8, 9], setup);
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    for deadline in [Span::secs(5), Span::ms(50), Span::secs(5)] {
        world.call(5, f, deadline);
        world.deliver();
    }
    world.pass(Span::ms(50));
    world.call(5, f, Span::secs(5));
    world.call(5, f, Span::secs(5));
    world.call(9, f, Span::secs(5));
    world.pass(Span::secs(1));
    world.rest()
}

/// One slot, a queue of five. Who floods leaves places for another caller; and callers of one owner's
/// functions together leave one for another owner's, whose call is next.
pub fn shares() -> String {
    let mut world = World::new(small());
    let setup = |peer| match peer {
        5 => Setup { owner: Some(OWNER), ..host(1, 5, 4) },
        _ => Setup::default(),
    };
    world.converged_as(&[0, 1, 5, 8, 9], setup);
    let (f, g) = (name('f', 5), name('g', 5));
    world.given(0, &record(f, 1, 1));
    let other = Owner([7; 32]);
    world.given(0, &Arc::new(Record { owner: other, ..function(g, 1, (1, 1)) }));
    for _ in 0..6 {
        world.call(5, f, Span::secs(5));
        world.deliver();
    }
    world.call(9, f, Span::secs(5));
    world.pass(Span::ms(10));
    world.call(8, g, Span::secs(5));
    world.pass(Span::secs(2));
    world.rest()
}

/// Whoever cancels hears so, and what runs for it is stopped.
pub fn cancel() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    let call = world.call(1, f, Span::secs(5));
    world.deliver();
    world.ask(1, Request::Cancel(call));
    world.deliver();
    let many = world.many(1, f, 5, 3);
    world.deliver();
    world.ask(1, Request::Cancel(many));
    world.deliver();
    world.ask(1, Request::Cancel(many));
    world.pass(Span::secs(5));
    world.rest()
}

/// Nobody knows a function: for a second it is not searched for again, unless it is heard of.
pub fn unknown_again() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    world.converged(&[0, 4, 5, 6, 7], &host(1, 1, 4));
    let f = name('f', 5);
    world.call(0, f, Span::secs(9));
    world.deliver();
    world.pass(Span::ms(900));
    world.ask(0, Request::Hosts(f));
    world.many(0, f, 2, 3);
    world.pass(Span::ms(100));
    world.ask(0, Request::Hosts(f));
    world.deliver();
    world.given(5, &record(f, 1, 1));
    world.query(5, 0, Query::Store(record(f, 1, 1)));
    world.deliver();
    world.call(0, f, Span::secs(9));
    world.pass(Span::secs(3));
    world.rest()
}

/// Nobody has heard of a function. With three of the four closest that say so it is unknown; with
/// two nobody knows whether it is.
pub fn unknown() -> String {
    let mut world = World::new(Config { k: 4, misses_max: 9, ..small() });
    world.converged(&[0, 4, 5, 6, 7], &host(1, 1, 4));
    world.crash(5);
    world.ask(0, Request::Hosts(name('f', 5)));
    world.pass(Span::secs(3));
    world.crash(6);
    world.call(0, name('f', 5), Span::secs(9));
    world.pass(Span::secs(5));
    world.rest()
}
