//! Hosts that are found by what they carry.

use peerless_core::{Config, Name, Record, Request, Setup, Span};

use crate::world::{World, function, host, name, small};

const GPU: Name = name('g', 9);
const EU: Name = name('e', 2);

fn carries(labels: &[Name]) -> Setup {
    Setup { labels: labels.into(), ..host(1, 1, 4) }
}

fn asks_for(labels: &[Name], replicas: u16) -> Record {
    let mut record = function(name('f', 5), 1, (replicas, replicas));
    record.spec.as_mut().expect("it runs").constraints = labels.into();
    record
}

/// One far from the function carries both of its labels, and is offered it first: those of the rarer
/// label are all there can be. Then it leaves, and is found by neither any more.
pub fn carriers() -> String {
    let mut world = World::new(Config { renew_period: Span::minutes(10), ..small() });
    world.converged(&[0, 1, 4, 5, 6, 7], &host(1, 1, 4));
    for (newcomer, labels) in [(12, [EU].as_slice()), (14, &[EU, GPU])] {
        world.start(newcomer, carries(labels));
        world.only_notes(|world| {
            world.meet(newcomer, 1);
            world.pass(Span::secs(7));
        });
    }
    world.deploy(0, &asks_for(&[EU, GPU], 1).into());
    world.deliver();
    world.pass(Span::secs(3));
    world.ask(14, Request::Drain);
    world.pass(Span::secs(1));
    world.rest()
}

/// What is told of a label lapses, and is told again before.
pub fn renewed() -> String {
    let renew_period = Span::minutes(10);
    let mut world = World::new(Config { renew_period, host_life: Span::minutes(25), ..small() });
    world.converged(&[0, 1, 4, 5, 8, 9], &host(1, 1, 4));
    world.start(2, carries(&[GPU]));
    world.quietly(|world| {
        world.meet(2, 0);
        world.pass(Span::minutes(9));
    });
    world.pass(Span::secs(61));
    world.quietly(|world| world.pass(Span::minutes(20)));
    world.deploy(5, &asks_for(&[GPU], 1).into());
    world.deliver();
    world.pass(Span::secs(3));
    world.rest()
}
