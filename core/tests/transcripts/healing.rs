//! Holders of a record as the last ranks of repair.

use peerless_core::{Answer, Config, Load, Query, Setup, Span};

use crate::world::{OWNER, P, World, host, name, record, small};

fn guarded() -> Config {
    let (guard_period, probe_period) = (Span::secs(20), Span::secs(10));
    Config { k: 4, guard_period, probe_period, ..small() }
}

/// One of two hosts dies, and the closest holders keep the code; the other one dies before it has
/// repaired. A holder finds that none is left, and places the function anew.
pub fn holders_heal() -> String {
    let mut world = World::new(guarded());
    world.converged(&[0, 1, 4, 5, 6, 7], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.crash(5);
    world.pass(Span::secs(24));
    world.crash(0);
    world.crash(4);
    world.quietly(|world| world.pass(Span::secs(20)));
    world.pass(Span::secs(36));
    world.show_hosts(f);
    world.rest()
}

/// A holder is about to have a function that lost all its hosts placed twice, and meanwhile finds that
/// another one, which it hosts itself, lacks a host. So few of the closest answer that the first is
/// put off: now it is the other's turn.
pub fn holders_also_host() -> String {
    let mut world = World::new(guarded());
    world.converged(&[0, 1, 2, 3, 4, 5, 6, 7], &host(1, 1, 4));
    world.given(0, &record(name('f', 5), 1, 2));
    world.given(0, &record(name('g', 7), 1, 2));
    world.crash(5);
    world.crash(4);
    world.quietly(|world| world.pass(Span::secs(13)));
    world.crash(6);
    world.pass(Span::secs(42));
    world.show_hosts(name('g', 7));
    world.rest()
}

/// The only host dies, and with it the code, but for the owner's node. A liar names another host,
/// which is asked first; and who is no host for long comes last in what holders answer.
pub fn holders_ask_first() -> String {
    let mut world = World::new(guarded());
    world.converged_as(&[0, 1, 4, 5, 6, 7], |peer| match peer {
        0 => Setup { owner: Some(OWNER), ..host(1, 1, 4) },
        _ => host(1, 1, 4),
    });
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    world.crash(7);
    world.lies(7, |query| {
        matches!(query, Query::Hosts(_)).then(|| {
            let (closer, hosts, record) = (Vec::new(), vec![P(9)], None);
            Answer::Found { closer, hosts, record, load: Load::default() }
        })
    });
    world.crash(5);
    world.quietly(|world| world.pass(Span::secs(30)));
    world.pass(Span::secs(40));
    world.show_hosts(f);
    world.rest()
}

/// A newcomer is closer to a function than its host, and emptier than most: nothing moves when it
/// joins, but when the host renews its record it hands the function on, and leaves last.
pub fn handing_on() -> String {
    let renew_period = Span::minutes(4);
    let config = Config { k: 4, loads_min: 3, renew_period, ..small() };
    let mut world = World::new(config);
    world.converged(&[0, 1, 4, 6, 7], &host(1, 1, 4));
    let f = name('f', 5);
    for function in [f, name('g', 6), name('h', 7), name('i', 1)] {
        world.given(0, &record(function, 1, 1));
    }
    world.start(5, host(1, 1, 4));
    world.quietly(|world| {
        world.meet(5, 0);
        world.pass(Span::secs(20));
    });
    world.say("p5 has joined");
    world.show_hosts(f);
    world.pass(Span::minutes(4));
    world.show_hosts(f);
    world.rest()
}
