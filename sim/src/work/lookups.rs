//! `[lookups]`: random peers look up random keys.

use peerless_core::{Event, Request, Span, Target, Ticket, Time};

use super::{Doing, Plan};
use crate::chance::Concern;
use crate::peer::Index;
use crate::scenario::section;
use crate::tickets::{KIND_SHIFT, LOOKUP};
use crate::world::World;

section! {
    /// Lookups of random keys by random peers.
    "lookups" => pub struct Lookups {
        /// How many lookups.
        count: u32 = 10_000,
        /// From one lookup to the next.
        interval: Span = Span::ms(1),
        /// When the first lookup begins.
        start: Span = Span::ZERO,
    }
}

/// One of so many lookups is counted beside the core, which costs a fifth of the lookup itself.
const WATCHED_EACH: u32 = 8;

impl World {
    pub(super) fn begin_lookup(&mut self, n: u32) {
        let Some(work) = self.scenario.lookups.clone() else { return };
        let ticket = LOOKUP << KIND_SHIFT | u64::from(n);
        if n + 1 < work.count {
            self.plan_work(self.now + work.interval, Plan::Lookup(n + 1));
        }
        let Some(asker) = self.draw_peer(Concern::Asker, ticket) else { return };
        let target = Target::Name(self.chance.name(Concern::Target, u64::from(n), 0));
        let doing = Doing::Lookup { target: target.key().0[0] };
        if n.is_multiple_of(WATCHED_EACH) {
            self.chains.begin(asker, ticket, target, self.table(asker));
        }
        self.ask(asker, ticket, doing, Request::Lookup(target));
    }

    pub(super) fn end_lookup(
        &mut self,
        asker: u32,
        ticket: Ticket,
        target: u64,
        start: Time,
        event: &Event<Index>,
    ) {
        self.end_chain(asker, ticket, event);
        let lookups = &mut self.work.lookups;
        lookups.count += 1;
        let Event::Found { peers, cost } = event else { return };
        let answer: Vec<u32> = peers.iter().map(|(peer, _)| peer.0).collect();
        let k = usize::from(self.config.k);
        let verdict = self.oracle.judge(target, k, asker, (start.0, self.now.0), &answer);
        lookups.succeeded += u64::from(verdict.succeeded);
        lookups.exact += u64::from(verdict.exact);
        lookups.timeouts += u64::from(cost.timeouts);
        let closest = peers.iter().find(|(peer, _)| Some(peer.0) == verdict.closest);
        if let Some((_, hops)) = closest {
            lookups.hops.push(u64::from(*hops));
        }
        lookups.rounds.push(u64::from(cost.rounds));
        lookups.rpcs.push(u64::from(cost.rpcs));
        lookups.latency.push(self.now.since(start).0);
    }

    /// Holds what a lookup says that it took against what was seen, where it was watched.
    pub(super) fn end_chain(&mut self, asker: u32, ticket: Ticket, event: &Event<Index>) {
        let found = match event {
            Event::Found { peers, cost } => Some((&peers[..], *cost)),
            _ => None,
        };
        if let Some(differs) = self.chains.end(asker, ticket, found) {
            let what = format_args!("cost: a lookup says: {differs}");
            self.laws.violations.add(self.now, Some(asker), what);
        }
    }
}
