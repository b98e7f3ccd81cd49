//! Peers that make up what they answer, and how little that does.

use peerless_core::{Answer, Config, Load, Owner, Query, Record, Request, Setup, Span};

use crate::world::{OWNER, P, World, function, host, name, record, small, tombstone};

fn found(hosts: Vec<P>) -> Answer<P> {
    Answer::Found { closer: Vec::new(), hosts, record: None, load: Load::default() }
}

/// A stranger says that it holds the owner's key, and from then on that it wants everything, again
/// and again: it gets what the comparison offered it, once.
pub fn sibling() -> String {
    let sync_period = Span::secs(60);
    let mut world = World::new(Config { k: 3, sync_period, sync_records_max: 2, ..small() });
    world.converged_as(&[0, 1, 2, 5], |peer| match peer {
        2 => Setup { owner: Some(OWNER), ..host(1, 1, 4) },
        _ => host(1, 1, 4),
    });
    world.quietly(|world| world.pass(Span::secs(1)));
    world.given(2, &record(name('f', 5), 1, 1));
    world.given(2, &record(name('g', 1), 1, 1));
    world.lies(9, |query| match query {
        Query::Sync { .. } => {
            let want = [name('f', 5), name('g', 1), name('h', 2)].repeat(2);
            Some(Answer::Synced { records: Vec::new(), want, more: true })
        }
        _ => Some(found(Vec::new())),
    });
    let nothing = (Vec::new(), Vec::new());
    let query = Query::Sync { owner: OWNER, records: nothing.0, have: nothing.1, range: None };
    world.query(9, 2, query);
    world.pass(Span::secs(63));
    world.rest()
}

/// Strangers fill a peer's places for records, one of them with more than its part; a record that
/// belongs here takes the place of the one that belongs the farthest from here.
pub fn storing() -> String {
    let mut world = World::new(Config { records_max: 4, ..small() });
    world.converged(&[1, 5], &host(1, 1, 4));
    let of = |letter, place, owner| {
        let function = function(name(letter, place), 1, (1, 1));
        Query::Store(Record { owner: Owner([owner; 32]), ..function }.into())
    };
    for stranger in [8, 9, 12, 13] {
        world.query(stranger, 1, of('s', stranger, stranger));
        world.query(stranger, 1, of('t', stranger, stranger + 16));
    }
    world.query(10, 1, of('u', 10, 8));
    world.pass(Span::secs(2));
    world.query(14, 1, of('f', 0, 14));
    world.query(15, 1, Query::Hosts(name('f', 0)));
    world.pass(Span::secs(2));
    world.rest()
}

/// A holder that never heard of a function names a crowd of hosts of it: the function finds its
/// places all the same.
pub fn hosts() -> String {
    let mut world = World::new(Config { k: 3, offers_max: 9, hosts_max: 24, ..small() });
    world.converged(&[0, 4, 5, 6, 7], &host(1, 1, 4));
    world.crash(5);
    world.lies(5, |query| match query {
        Query::Hosts(_) => Some(found((8..16).chain([1, 2, 3]).map(P).collect())),
        Query::Provide(..) => Some(Answer::Stored { kept: true, newer: None, hosts: Vec::new() }),
        _ => None,
    });
    world.deploy(0, &record(name('f', 5), 1, 2));
    world.pass(Span::secs(10));
    world.rest()
}

/// Three liars name each other, and say that they keep whatever they are told.
fn lead_astray(world: &mut World) {
    for liar in [9, 13, 15] {
        world.lies(liar, |query| match query {
            Query::Find(_) | Query::Hosts(_) => {
                let (closer, hosts, load) = (vec![P(13), P(15)], Vec::new(), Load::default());
                Some(Answer::Found { closer, hosts, record: None, load })
            }
            Query::Store(_) => Some(Answer::Stored { kept: true, newer: None, hosts: Vec::new() }),
            _ => None,
        });
    }
}

/// Who is asked first lies, and names liars that are closer than anybody: on one path the tombstone
/// goes to them alone, on two disjoint ones an honest holder keeps it.
pub fn paths() -> String {
    let mut text = String::new();
    for store_paths in [1, 2] {
        let mut world = World::new(Config { alpha: 1, store_paths, ..small() });
        world.converged(&[0, 8, 12, 14], &host(1, 1, 4));
        world.knows(0, &[8, 9]);
        lead_astray(&mut world);
        world.say(&format!("paths for storing: {store_paths}"));
        world.ask(0, Request::Remove(tombstone(name('f', 13), 2).into()));
        world.pass(Span::secs(10));
        text.push_str(&world.rest());
    }
    text
}

/// A caller's search is led astray: what one path did not find is searched for over several before
/// it counts as unknown.
pub fn second_look() -> String {
    let mut text = String::new();
    for store_paths in [1, 2] {
        let mut world = World::new(Config { alpha: 1, store_paths, ..small() });
        world.converged(&[0, 8, 12, 14], &host(1, 1, 4));
        world.given(8, &record(name('f', 13), 1, 1));
        world.knows(0, &[8, 9]);
        lead_astray(&mut world);
        world.say(&format!("paths of a second look: {store_paths}"));
        world.call(0, name('f', 13), Span::secs(10));
        world.pass(Span::secs(12));
        text.push_str(&world.rest());
    }
    text
}

/// Who has many names at few addresses gets few places in a bucket, and few among the hosts that are
/// listed; who has no address group is kept out by none. One that moves to a crowded address leaves.
pub fn groups() -> String {
    let mut world = World::new(Config { k: 6, ..small() });
    world.start(0, host(1, 1, 4));
    for peer in 8..16 {
        world.lies(peer, |_| Some(found(Vec::new())));
    }
    for (peer, group) in [(8, 1), (9, 1), (10, 1), (11, 2)] {
        world.meets_from(0, peer, Some(group));
    }
    for peer in [12, 13, 14] {
        world.meets_from(0, peer, None);
    }
    world.quietly(World::deliver);
    world.show_table(0);
    world.meets_from(0, 11, Some(1));
    world.show_table(0);
    for peer in [10, 8, 9, 11, 12, 13, 14] {
        world.query(peer, 0, Query::Provide(name('f', 1), None));
    }
    world.query(15, 0, Query::Hosts(name('f', 1)));
    world.pass(Span::secs(10));
    world.rest()
}

/// Of those that are closest most are of one address group: a tombstone goes to two of them and to
/// others that are farther.
pub fn crowd() -> String {
    let mut world = World::new(Config { k: 3, alpha: 1, store_paths: 2, ..small() });
    world.converged(&[0, 8, 9], &host(1, 1, 4));
    for peer in 12..16 {
        world.meets_from(0, peer, Some(1));
    }
    world.quietly(World::deliver);
    for peer in 12..16 {
        world.lies(peer, |query| match query {
            Query::Find(_) | Query::Hosts(_) => {
                let (closer, hosts, load) =
                    ((12..16).map(P).collect(), Vec::new(), Load::default());
                Some(Answer::Found { closer, hosts, record: None, load })
            }
            Query::Store(_) => Some(Answer::Stored { kept: true, newer: None, hosts: Vec::new() }),
            _ => None,
        });
    }
    for peer in [8, 9] {
        world.meets_from(0, peer, Some(u64::from(peer)));
    }
    world.ask(0, Request::Remove(tombstone(name('f', 13), 2).into()));
    world.pass(Span::secs(10));
    world.rest()
}

/// Holders that answer, but keep nothing: it is tried again, and then neither the deployment nor
/// the removal counts as done.
pub fn holders() -> String {
    let mut world = World::new(small());
    world.converged_as(&[0, 4, 5, 7], |peer| match peer {
        5 => host(1, 1, 4),
        _ => Setup::default(),
    });
    for peer in [4, 7] {
        world.crash(peer);
        world.lies(peer, |query| match query {
            Query::Find(_) | Query::Hosts(_) => Some(found(Vec::new())),
            Query::Provide(..) | Query::Store(_) => {
                Some(Answer::Stored { kept: false, newer: None, hosts: Vec::new() })
            }
            _ => None,
        });
    }
    world.deploy(0, &record(name('f', 5), 1, 1));
    world.pass(Span::secs(10));
    world.ask(5, Request::Remove(tombstone(name('g', 6), 2).into()));
    world.pass(Span::secs(10));
    world.rest()
}
