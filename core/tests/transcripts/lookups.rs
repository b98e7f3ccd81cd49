//! The network itself: lookups, tables, joining.

use peerless_core::{Config, Request, Setup, Span, Target};

use crate::world::{P, World, at, host, name, small};

/// Each round of a lookup, from one table to the next, closer with every answer.
pub fn hop_by_hop() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 2, 4, 6, 7, 8, 9, 12, 13, 14, 15], &Setup::default());
    world.show_table(0);
    world.ask(0, Request::Lookup(at(name('f', 15))));
    for _ in 0..6 {
        world.round();
    }
    world.rest()
}

/// A bucket holds k peers, and the long-lived stay; who does not answer leaves to one that does.
pub fn table() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 8, 9], &Setup::default());
    world.start(12, Setup::default());
    world.quietly(|world| {
        world.meet(12, 0);
        world.pass(Span::secs(10));
    });
    world.say("p12 has joined");
    world.show_table(0);
    world.crash(8);
    for _ in 0..2 {
        world.ask(0, Request::Lookup(at(name('f', 8))));
        world.pass(Span::secs(3));
        world.show_table(0);
    }
    world.crash(1);
    for _ in 0..2 {
        world.ask(0, Request::Lookup(at(name('f', 1))));
        world.pass(Span::secs(5));
        world.show_table(0);
    }
    world.rest()
}

/// A newcomer meets one peer, searches for itself, then fills its buckets.
pub fn joining() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    world.converged(&[0, 1, 4, 5, 8, 9], &Setup::default());
    world.start(7, Setup::default());
    world.meet(7, 8);
    world.pass(Span::secs(6));
    world.show_table(7);
    world.show_table(5);
    world.rest()
}

/// Who asks is hearsay until it has answered; who does not answer is not asked again soon.
pub fn unknown_asker() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1], &Setup::default());
    world.start(4, Setup::default());
    world.knows(4, &[0]);
    world.ask(4, Request::Lookup(at(name('f', 1))));
    world.pass(Span::secs(3));
    world.show_table(0);
    world.start(8, Setup::default());
    world.knows(8, &[0]);
    for _ in 0..2 {
        world.ask(8, Request::Lookup(at(name('f', 0))));
        world.round();
        world.lose_queries(8);
        world.pass(Span::secs(3));
    }
    world.show_table(0);
    world.rest()
}

/// Two requests wait for one dial, which fails: the peer has failed once, and stays in the table
/// until it fails again.
pub fn one_failed_dial() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 4, 5, 8], &host(1, 1, 4));
    world.crash(8);
    for _ in 0..2 {
        world.ask(0, Request::Lookup(Target::Peer(P(8))));
        world.ask(0, Request::Lookup(Target::Peer(P(9))));
        world.refuse_dial(8);
        world.deliver();
        world.show_table(0);
        world.pass(Span::secs(2));
    }
    world.rest()
}
