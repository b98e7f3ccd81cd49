//! Where functions are: deployment, repair, removal, restart, an owner's set.

use peerless_core::{Accept, Config, Query, Request, Setup, Span, Time};

use crate::world::{OWNER, World, function, host, name, record, small, tombstone};

/// Offers in XOR order with two to spare; the first wanted are confirmed, the others released.
pub fn deployment() -> String {
    let mut world = World::new(Config { k: 4, ..small() });
    world.converged(&[0, 1, 4, 5, 6], &host(1, 1, 4));
    world.deploy(0, &record(name('f', 5), 1, 2));
    world.deliver();
    world.pass(Span::secs(3));
    world.rest()
}

/// One accepts only its own owner's functions, one has no room, one no runtime: the function goes to
/// the next ones.
pub fn declined() -> String {
    let mut world = World::new(Config { k: 4, ..small() });
    world.converged_as(&[0, 1, 4, 5, 6, 7], |peer| match peer {
        5 => Setup { accept: Accept::Owner, ..host(1, 1, 4) },
        4 => host(1, 1, 0),
        7 => host(0, 0, 4),
        _ => host(1, 1, 4),
    });
    world.deploy(0, &record(name('f', 5), 1, 1));
    world.deliver();
    world.pass(Span::secs(3));
    world.rest()
}

/// None of the k closest has room: next come the peers of the placer's own table, then the
/// neighbours of the farthest that were seen.
pub fn beyond() -> String {
    let mut world = World::new(small());
    world.converged_as(&[0, 1, 4, 5, 8, 12, 13], |peer| match peer {
        13 => host(1, 1, 1),
        _ => Setup::default(),
    });
    world.show_table(0);
    world.deploy(0, &record(name('f', 5), 1, 1));
    world.deliver();
    world.pass(Span::secs(3));
    world.rest()
}

/// A host that is fuller than its share declines as long as there are others; when all have
/// declined so, they are asked again, and may not say it any more.
pub fn busier() -> String {
    offered(Config { k: 4, loads_min: 2, ..small() })
}

/// The same with so few offers that not all can be asked again: asking again counts as well.
pub fn offers_end() -> String {
    offered(Config { k: 4, loads_min: 2, offers_max: 5, ..small() })
}

fn offered(config: Config) -> String {
    let mut world = World::new(config);
    world.converged_as(&[0, 1, 4, 5], |peer| match peer {
        0 => Setup::default(),
        _ => host(1, 1, 4),
    });
    for name in [name('f', 5), name('g', 5), name('h', 5)] {
        world.given(0, &record(name, 1, 1));
    }
    world.deploy(0, &record(name('i', 5), 1, 3));
    world.deliver();
    world.pass(Span::secs(3));
    world.rest()
}

/// A host dies. The closest of those left finds it out and repairs; the farther one stays quiet.
pub fn repair() -> String {
    let config = Config { k: 4, probe_period: Span::secs(10), ..small() };
    let mut world = World::new(config);
    world.converged(&[0, 1, 4, 5, 6, 7], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 3));
    world.crash(4);
    world.quietly(|world| world.pass(Span::secs(19)));
    world.pass(Span::secs(31));
    world.show_hosts(f);
    world.rest()
}

/// A host tells the holders again before its announcement lapses, so that it is found after that.
pub fn renewal() -> String {
    let renew_period = Span::minutes(10);
    let mut world = World::new(Config { renew_period, host_life: Span::minutes(25), ..small() });
    world.converged(&[0, 1, 4, 5, 6, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    world.pass(Span::minutes(10));
    world.quietly(|world| world.pass(Span::minutes(20)));
    world.ask(9, Request::Hosts(f));
    world.pass(Span::secs(1));
    world.rest()
}

/// A removal is kept by the one who asks for it, then by the holders; the hosts stop.
pub fn removal() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    world.converged(&[0, 1, 4, 5, 6, 8, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.ask(9, Request::Remove(tombstone(f, 2).into()));
    world.deliver();
    world.show_hosts(f);
    world.call(8, f, Span::secs(5));
    world.deliver();
    world.pass(Span::secs(3));
    world.rest()
}

/// A newcomer with the owner's key learns what the owner has, and brings what it has itself.
pub fn owners_set() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    let owner = Setup { owner: Some(OWNER), ..host(1, 1, 4) };
    world.converged(&[0, 1, 5, 14], &host(1, 1, 4));
    world.start(2, owner.clone());
    world.quietly(|world| {
        world.meet(2, 0);
        world.pass(Span::secs(10));
    });
    world.given(2, &record(name('f', 5), 1, 1));
    world.start(3, owner);
    world.given(3, &record(name('g', 3), 1, 1));
    world.meet(3, 1);
    world.pass(Span::secs(10));
    world.ask(2, Request::List);
    world.ask(3, Request::List);
    world.rest()
}

/// A record would expire within ten days: one of its owner's nodes signs it again, the other hears of
/// that, and the hosts go on with the code that they have.
pub fn signed_again() -> String {
    let mut world = World::new(Config { k: 3, sync_period: Span::minutes(5), ..small() });
    let owner = Setup { owner: Some(OWNER), ..host(1, 1, 4) };
    world.converged(&[0, 1, 5, 14], &host(1, 1, 4));
    let mut soon = function(name('f', 5), 1, (1, 1));
    soon.expires = Time(0) + Span::minutes(9 * 24 * 60);
    for sibling in [2, 3] {
        world.start(sibling, owner.clone());
        world.quietly(|world| {
            world.meet(sibling, 0);
            world.pass(Span::secs(100));
        });
    }
    world.given(2, &soon.into());
    world.pass(Span::secs(280));
    world.quietly(|world| world.pass(Span::minutes(12 * 24 * 60)));
    world.ask(3, Request::List);
    world.show_hosts(name('f', 5));
    world.rest()
}

/// A host restarts: it asks the holders before it serves again, and drops what was removed.
pub fn restart() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    world.converged(&[0, 4, 6, 7], &host(1, 1, 4));
    let (f, g) = (name('f', 5), name('g', 4));
    world.given(0, &record(f, 1, 1));
    world.given(0, &record(g, 1, 1));
    world.crash(4);
    world.quietly(|world| {
        world.ask(0, Request::Remove(tombstone(f, 2).into()));
        world.pass(Span::secs(10));
    });
    world.say("meanwhile f5 is removed");
    world.restart(4);
    world.meet(4, 0);
    world.pass(Span::secs(4));
    world.show_hosts(f);
    world.show_hosts(g);
    world.rest()
}

/// A removal overtakes a deployment: the deployment fails, and what is newer stays kept.
pub fn overtaken() -> String {
    let mut world = World::new(Config { k: 4, ..small() });
    world.converged(&[0, 1, 4, 5, 6], &host(1, 1, 4));
    let f = name('f', 5);
    world.deploy(0, &record(f, 1, 2));
    for _ in 0..6 {
        world.round();
    }
    world.crash(4);
    world.deliver();
    world.quietly(|world| world.pass(Span::ms(3200)));
    world.ask(0, Request::Remove(tombstone(f, 2).into()));
    world.pass(Span::secs(5));
    world.show_hosts(f);
    world.rest()
}

/// The peer that was confirmed dies before it hears of it: it is told three times, then those that
/// were let go are asked again.
pub fn second_round() -> String {
    let mut world = World::new(Config { k: 4, ..small() });
    world.converged(&[0, 1, 4, 5, 6], &host(1, 1, 4));
    world.deploy(0, &record(name('f', 5), 1, 1));
    for _ in 0..6 {
        world.round();
    }
    world.crash(5);
    world.pass(Span::secs(10));
    world.rest()
}

/// The word that a function is served is lost: the placer reminds the host, which says it again.
pub fn reminded() -> String {
    let mut world = World::new(Config { k: 4, ..small() });
    world.converged(&[0, 4, 5], &host(1, 1, 4));
    world.deploy(0, &record(name('f', 5), 1, 1));
    while !world.is_on_its_way("Placed") {
        world.step();
    }
    world.lose_queries(0);
    world.pass(Span::secs(11));
    world.rest()
}

/// A function is removed while its host hears nothing; when the host announces itself again it
/// finds the tombstone on its way, and says that instead.
pub fn renewal_of_removed() -> String {
    let renew_period = Span::minutes(4);
    let mut world = World::new(Config { k: 3, renew_period, ..small() });
    world.converged(&[0, 4, 5, 6, 7, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    world.quietly(|world| {
        world.ask(9, Request::Remove(tombstone(f, 2).into()));
        let end = world.now + Span::secs(3);
        while world.letters() > 0 || world.next_due().is_some_and(|at| at < end) {
            world.lose_queries(5);
            if world.letters() > 0 {
                world.round();
            } else {
                world.happen_next();
            }
        }
    });
    world.say("f5 is removed, which its host does not hear");
    world.show_hosts(f);
    world.pass(Span::minutes(4));
    world.show_hosts(f);
    world.rest()
}

/// A node that knows nobody removes a function: once it has met others it tells them, at the next sweep.
pub fn removal_alone() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    world.converged(&[0, 5, 6, 7], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    world.start(9, host(1, 1, 4));
    world.ask(9, Request::Remove(tombstone(f, 2).into()));
    world.quietly(|world| {
        world.pass(Span::secs(3));
        world.meet(9, 6);
        world.pass(Span::minutes(4));
    });
    world.say("p9 meets p6");
    world.pass(Span::minutes(4));
    world.query(15, 5, Query::Hosts(f));
    world.pass(Span::secs(2));
    world.rest()
}

/// A function is removed and deployed again. A host of the first version that is none of the holders, and
/// none of the new hosts, still has the tombstone; it does not take that for the last word.
pub fn deployed_again() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5, 7, 8], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 4));
    world.quietly(|world| {
        world.ask(0, Request::Remove(tombstone(f, 2).into()));
        world.pass(Span::secs(3));
    });
    world.say("f5 is removed");
    world.given(0, &record(f, 3, 1));
    world.call(1, f, Span::secs(5));
    world.deliver();
    world.pass(Span::secs(3));
    world.rest()
}

/// A node that knows nobody removes a function, and a sibling is the first that it tells: it has told no
/// holder yet. It dies; the sibling tells them at its next sweep.
pub fn removal_among_siblings() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    let owner = Setup { owner: Some(OWNER), ..host(1, 1, 4) };
    world.converged(&[0, 5, 6, 7], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    world.start(9, owner.clone());
    world.start(14, owner);
    world.ask(9, Request::Remove(tombstone(f, 2).into()));
    world.deliver();
    world.quietly(|world| {
        world.meet(9, 14);
        world.pass(Span::secs(10));
        world.crash(9);
        world.meet(14, 6);
        world.pass(Span::minutes(4));
    });
    world.say("p9 meets p14 and crashes, p14 meets p6");
    world.show_hosts(f);
    world.pass(Span::minutes(2));
    world.show_hosts(f);
    world.rest()
}

/// A tombstone is told again from time to time, so that those hear of it who came since; of those
/// that hold it one is enough.
pub fn tombstone_told_again() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    world.converged(&[0, 5, 6, 7, 9], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    world.quietly(|world| {
        world.ask(9, Request::Remove(tombstone(f, 2).into()));
        world.pass(Span::secs(3));
        world.start(4, host(1, 1, 4));
        world.meet(4, 6);
        world.pass(Span::minutes(59));
    });
    world.say("f5 is removed, then p4 comes");
    world.pass(Span::minutes(12));
    world.query(15, 4, Query::Hosts(f));
    world.pass(Span::secs(2));
    world.rest()
}
