//! A host alone on a bench: places, installs that overtake each other, updates, leaving.

use std::sync::Arc;

use peerless_core::{Config, Input, Query, Request, Span, Spec};

use crate::world::{Bench, P, World, host, name, record, small};

/// A place belongs to the placer that was promised it: another can neither confirm nor release it,
/// nor put an older version in its stead; and one alone can't hold all the room.
pub fn places() -> String {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    let (f, v2) = (name('f', 5), record(name('f', 5), 2, 1));
    bench.asks(1, Query::Offer { record: v2.clone(), waive: false });
    bench.confirms(9, &v2);
    bench.asks(9, Query::Release { function: f, version: 2 });
    bench.asks(9, Query::Offer { record: record(f, 1, 1), waive: false });
    bench.asks(1, Query::Offer { record: record(f, 1, 1), waive: false });
    for name in [name('g', 5), name('h', 5), name('g', 5)] {
        bench.asks(1, Query::Offer { record: record(name, 1, 1), waive: false });
    }
    bench.confirms(1, &v2);
    bench.pass(Span::secs(31));
    bench.confirms(1, &record(name('g', 5), 1, 1));
    bench.rest()
}

/// Installs that were given up end late, and what is kept overtakes what is served.
pub fn installs() -> String {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    let v = |version| record(name('f', 5), version, 1);
    // It takes too long; wanted again, the first install does as well as the second.
    bench.placed(1, &v(1));
    bench.ends(0, true);
    bench.pass(Span::secs(150));
    bench.placed(1, &v(1));
    bench.ends(1, true);
    bench.ends(0, true);
    bench.kept();
    bench.ends(0, true);
    // An update is overtaken by the next one while it is being kept.
    bench.asks(1, Query::Store(v(2)));
    bench.ends(0, true);
    bench.ends(0, true);
    bench.asks(1, Query::Store(v(3)));
    bench.ends(0, true);
    bench.ends(0, true);
    while !bench.keeps.is_empty() {
        bench.kept();
    }
    // An update takes too long to be kept: what is served is kept again.
    bench.asks(1, Query::Store(v(4)));
    bench.ends(0, true);
    bench.ends(0, true);
    bench.pass(Span::secs(150));
    while !bench.keeps.is_empty() {
        bench.kept();
    }
    bench.rest()
}

/// One source does not have the code, the other gives as much as it can to others: that one is asked
/// again after a while.
pub fn sources() -> String {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    let f = record(name('f', 5), 1, 1);
    bench.asks(1, Query::Offer { record: f.clone(), waive: false });
    let (function, version) = (f.function, f.version);
    let (sources, mates) = (vec![P(1), P(7)], Vec::new());
    bench.asks(1, Query::Confirm { function, version, sources, mates });
    bench.source_is_busy();
    bench.ends(0, false);
    bench.pass(Span::ms(499));
    bench.pass(Span::ms(1));
    bench.ends(0, true);
    bench.rest()
}

/// Two functions with the same code: that it can't be fetched for one of them is no word on the
/// other.
pub fn same_code() -> String {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    let g = record(name('g', 5), 1, 1);
    let spec = record(name('f', 5), 1, 1).spec.clone().expect("it can run");
    let digest = g.spec.as_ref().expect("it can run").digest;
    let mut f = (*record(name('f', 5), 1, 1)).clone();
    f.spec = Some(Spec { digest, ..spec });
    bench.placed(1, &Arc::new(f));
    bench.placed(2, &g);
    bench.ends(0, false);
    bench.ends(0, true);
    bench.rest()
}

/// A host that can't install an update serves the old version, tries again, and later each time.
pub fn update() -> String {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    bench.placed(1, &record(name('f', 5), 1, 1));
    bench.all_ends();
    bench.asks(1, Query::Store(record(name('f', 5), 2, 1)));
    bench.kept();
    bench.ends(0, false);
    bench.asks(2, Query::Hosts(name('f', 5)));
    bench.pass(Span::secs(30));
    bench.ends(0, true);
    bench.ends(0, false);
    bench.pass(Span::secs(30));
    bench.pass(Span::secs(30));
    bench.all_ends();
    bench.asks(2, Query::Hosts(name('f', 5)));
    bench.rest()
}

/// An update asks for a label that this host lacks: it stops serving, and finishes what runs.
pub fn leaving() -> String {
    let mut bench = Bench::new(5, host(1, 1, 4), small());
    let f = name('f', 5);
    bench.placed(1, &record(f, 1, 1));
    bench.all_ends();
    let arrived = |call| {
        let (from, left) = (P(1), Span::secs(9));
        Input::Arrived { call, from, function: f, left }
    };
    bench.tell("call 1 arrives", arrived(1));
    let mut picky = (*record(f, 2, 1)).clone();
    picky.spec.as_mut().expect("it can run").constraints = Box::new([name('l', 3)]);
    bench.asks(1, Query::Store(picky.into()));
    bench.kept();
    bench.asks(2, Query::Hosts(f));
    bench.asks(2, Query::Probe(vec![(f, 1)]));
    bench.tell("call 2 arrives", arrived(2));
    bench.run_ends();
    bench.run_ends();
    bench.tell("call 3 arrives", arrived(3));
    bench.rest()
}

/// A stranger says who else hosts a function: it is not believed. One that says so of itself is
/// asked.
pub fn strangers() -> String {
    let mut bench =
        Bench::new(5, host(1, 1, 4), Config { probe_period: Span::secs(10), ..small() });
    let f = record(name('f', 5), 1, 2);
    bench.placed(1, &f);
    bench.all_ends();
    let (function, version) = (f.function, f.version);
    let (sources, mates) = (Vec::new(), (6..14).map(P).collect());
    bench.asks(9, Query::Confirm { function, version, sources, mates });
    for peer in [2, 3, 6, 7, 8] {
        bench.asks(peer, Query::Probe(vec![(function, version)]));
    }
    bench.pass(Span::secs(9));
    bench.rest()
}

/// A restarted host hears from too few of the holders: it asks again before it serves.
pub fn unconfirmed() -> String {
    let mut world = World::new(Config { k: 3, ..small() });
    world.converged(&[0, 4, 6, 7], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 1));
    for peer in [4, 6, 7] {
        world.crash(peer);
    }
    world.restart(4);
    world.quietly(|world| {
        world.meet(4, 0);
        world.pass(Span::secs(15));
    });
    world.show_hosts(f);
    world.restart(6);
    world.restart(7);
    world.meet(6, 0);
    world.meet(7, 0);
    world.quietly(|world| world.pass(Span::secs(30)));
    world.show_hosts(f);
    world.rest()
}

/// Most of a host's fellows fall silent at once: it takes itself for cut off, and repairs nothing
/// until half of them answer again. A machine that stood still does the same.
pub fn suspicion() -> String {
    let config = Config { k: 16, probe_period: Span::secs(10), ..small() };
    let mut world = World::new(config);
    let all: Vec<u8> = (0..12).collect();
    world.converged(&all, &host(1, 1, 4));
    let f = name('f', 5);
    world.quietly(|world| {
        world.deploy(0, &record(f, 1, 10));
        world.pass(Span::secs(45));
    });
    world.show_hosts(f);
    let hosts = world.hosts(f);
    for peer in &hosts[..6] {
        world.crash(peer.0);
    }
    world.only_notes(|world| world.pass(Span::secs(60)));
    for peer in &hosts[..5] {
        world.restart(peer.0);
    }
    world.only_notes(|world| {
        for peer in &hosts[..5] {
            world.meet(peer.0, hosts[6].0);
        }
        world.pass(Span::secs(60));
    });
    world.show_hosts(f);
    world.rest()
}

/// There are more hosts than wanted: one retires, the farthest, then another. The holders name
/// them no longer.
pub fn retiring() -> String {
    let (probe_period, retire_after) = (Span::secs(10), Span::secs(15));
    let config = Config { k: 4, probe_period, retire_after, ..small() };
    let mut world = World::new(config);
    world.converged(&[0, 1, 4, 5, 6, 7], &host(1, 1, 4));
    let f = name('f', 5);
    world.given(0, &record(f, 1, 3));
    world.given(0, &record(f, 2, 1));
    world.show_hosts(f);
    world.only_notes(|world| world.pass(Span::minutes(5)));
    world.ask(0, Request::Hosts(f));
    world.deliver();
    world.rest()
}

/// A host that several functions shared dies: those left repair two at a time, the function with
/// the fewest hosts first.
pub fn repairs() -> String {
    let config = Config { k: 4, probe_period: Span::secs(10), ..small() };
    let mut world = World::new(config);
    world.converged(&[0, 1, 4, 5, 6, 7], &host(1, 1, 8));
    world.given(0, &record(name('e', 5), 1, 3));
    for letter in ['f', 'g', 'h'] {
        world.given(0, &record(name(letter, 5), 1, 2));
    }
    world.quietly(|world| world.pass(Span::secs(30)));
    world.crash(4);
    world.only_notes(|world| world.pass(Span::secs(60)));
    world.rest()
}
