//! Requests that come from a schedule, not from a section: how they ended is remembered, and items of
//! a manycall come in the shape that the schedule says.

use peerless_core::{Input, Request, Span, Ticket, Time};

use super::{Doing, Open};
use crate::peer::Index;
use crate::world::World;

/// How a manycall's items come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Feed {
    /// How many there are.
    pub items: u64,
    /// At most so many at once.
    pub burst: u32,
    /// From one burst to the next, and before the end is said.
    pub pause: Span,
    /// Whether the end is said by itself, not with the last items.
    pub ends_late: bool,
    /// From a result to its being taken.
    pub takes: Span,
    /// Items that were given.
    given: u64,
    /// Whether the end is said.
    ended: bool,
    /// What was given comes before this instant.
    next: Time,
}

impl Feed {
    /// So many items, in such bursts.
    pub(crate) fn new(items: u64, burst: u32, pause: Span, ends_late: bool) -> Self {
        let (burst, takes) = (burst.max(1), Span::ZERO);
        Self { items, burst, pause, ends_late, takes, given: 0, ended: false, next: Time(0) }
    }
}

impl World {
    /// Asks a peer for something under a ticket of the schedule.
    pub(crate) fn feed(&mut self, peer: u32, ticket: Ticket, request: Request<Index>, feed: Feed) {
        if let Request::Lookup(target) = &request {
            let paths = self.config.user_paths;
            self.chains.begin(peer, ticket, *target, self.table(peer), paths);
        }
        self.ask(peer, ticket, Doing::Fed(feed), request);
    }

    /// A core has room for more items of a scheduled manycall; false if it is none.
    pub(super) fn feed_more(&mut self, peer: u32, ticket: Ticket, n: u32) -> bool {
        let now = self.now;
        let open = self.work.open.get_mut(&(peer, ticket));
        let Some(Open { doing: Doing::Fed(feed), .. }) = open else { return false };
        let mut inputs = Vec::new();
        let mut credit = u64::from(n);
        while !feed.ended && (credit > 0 || feed.given == feed.items) {
            let n = credit.min(u64::from(feed.burst)).min(feed.items - feed.given);
            feed.given += n;
            credit -= n;
            // An end that comes late is said alone: without an item.
            feed.ended = feed.given == feed.items && !(feed.ends_late && n > 0);
            let time = feed.next.max(now);
            feed.next = time + feed.pause;
            inputs.push((time, n as u32, feed.ended));
        }
        for (time, n, ended) in inputs {
            self.tell(peer, time, Input::Items { ticket, n, ended });
        }
        true
    }
}
