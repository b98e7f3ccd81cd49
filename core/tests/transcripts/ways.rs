//! Ways into the network, and back into it.

use peerless_core::{Config, Request, Setup, Span, Target};

use crate::world::{P, World, small};

/// As in a real network: who loses somebody looks for them again.
fn seeking() -> World {
    World::new(Config { refresh_period: Span::minutes(60 * 24), ..small() })
}

/// A contact without room is dialled again, later every time; one that is not there is not.
pub fn turned_away() -> String {
    let mut world = seeking();
    world.start(0, Setup::default());
    world.start(4, Setup::default());
    world.full.insert(0, 2);
    world.ask(4, Request::Meet(0));
    world.pass(Span::secs(2));
    world.show_table(4);
    world.ask(4, Request::Meet(9));
    world.pass(Span::secs(2));
    world.full.insert(0, 6);
    world.ask(4, Request::Meet(0));
    world.pass(Span::secs(10));
    world.rest()
}

/// Who is cut off from everybody asks and dials on, and is back when that ends.
pub fn alone() -> String {
    let mut world = seeking();
    world.converged(&[0, 4], &Setup::default());
    world.start(8, Setup::default());
    world.quietly(|world| {
        world.ask(8, Request::Meet(0));
        world.pass(Span::secs(10));
    });
    world.say("p8 is cut off");
    world.apart.insert(8);
    for _ in 0..2 {
        world.ask(8, Request::Lookup(Target::Peer(P(4))));
        world.ask(4, Request::Lookup(Target::Peer(P(8))));
        world.pass(Span::secs(2));
    }
    for peer in [8, 4] {
        world.show_table(peer);
    }
    world.pass(Span::secs(16));
    world.say("it is not any more");
    world.apart.clear();
    world.pass(Span::secs(30));
    for peer in [8, 4] {
        world.show_table(peer);
    }
    world.rest()
}

/// Two halves that lost each other find together again, though nobody is alone.
pub fn partition() -> String {
    let mut world = seeking();
    world.converged(&[0, 1, 8, 9], &Setup::default());
    world.say("a partition");
    world.apart.extend([8, 9]);
    world.quietly(|world| {
        for _ in 0..2 {
            for peer in [0, 1, 8, 9] {
                for other in [0, 1, 8, 9] {
                    let target = Target::Peer(P(other));
                    world.ask(peer, Request::Lookup(target));
                }
            }
            world.pass(Span::secs(1));
        }
    });
    for peer in [0, 9] {
        world.show_table(peer);
    }
    world.apart.clear();
    world.say("it heals");
    world.pass(Span::minutes(2));
    for peer in [0, 9] {
        world.show_table(peer);
    }
    world.rest()
}

/// One that does not come back is asked more and more seldom, and at last forgotten.
pub fn gone_for_good() -> String {
    let mut world = seeking();
    world.converged(&[0, 1, 8], &Setup::default());
    world.crash(8);
    for _ in 0..2 {
        world.ask(0, Request::Lookup(Target::Peer(P(8))));
        world.pass(Span::secs(3));
    }
    world.pass(Span::minutes(60));
    world.show_table(0);
    world.rest()
}
