//! As many hosts as there is work for.

use std::sync::Arc;

use peerless_core::{Config, Request, Span};

use crate::world::{World, function, host, name, small};

/// Two hosts, of which four are allowed, are busy for three periods: the closer one has a third one
/// installed, and a fourth one, since they still are. When no call comes any more the lease lapses,
/// and the farthest two leave, one after the other.
pub fn autoscaling() -> String {
    let (probe_period, retire_after) = (Span::secs(10), Span::secs(15));
    let config = Config { k: 4, probe_period, retire_after, ..small() };
    let mut world = World::new(config);
    world.converged(&[0, 1, 4, 5, 6, 7], &host(1, 8, 4));
    world.service = Span::secs(8);
    let f = name('f', 5);
    world.given(0, &Arc::new(function(f, 1, (2, 4))));
    world.say("calls come for two minutes, more than two hosts can run");
    world.only_notes(|world| {
        for _ in 0..12 {
            world.quietly(|world| {
                for peer in [0, 0, 0, 1, 1, 1] {
                    world.call(peer, f, Span::secs(60));
                }
            });
            world.pass(Span::secs(10));
        }
    });
    world.show_hosts(f);
    world.say("no call comes any more");
    world.only_notes(|world| world.pass(Span::minutes(6)));
    world.ask(0, Request::Hosts(f));
    world.deliver();
    world.show_hosts(f);
    world.rest()
}
