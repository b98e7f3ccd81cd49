//! A host that leaves for good.

use peerless_core::{Request, Span};

use crate::world::{World, host, name, record, small};

/// One of two hosts leaves while it runs a call: another peer hosts the function first, what runs
/// ends, and who still calls it goes elsewhere.
pub fn leaving() -> String {
    let mut world = World::new(small());
    world.converged(&[0, 1, 4, 5, 8, 9], &host(1, 1, 4));
    world.service = Span::secs(2);
    let f = name('f', 5);
    world.given(0, &record(f, 1, 2));
    world.call(9, f, Span::secs(9));
    world.pass(Span::ms(100));
    world.ask(4, Request::Drain);
    world.pass(Span::secs(5));
    world.ask(5, Request::Drain);
    world.pass(Span::secs(9));
    world.rest()
}
