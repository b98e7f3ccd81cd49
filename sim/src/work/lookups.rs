//! `[lookups]`: random peers look up random keys.

use peerless_core::{Event, Name, Request, Span, Target, Ticket, Time};

use super::{Doing, Plan};
use crate::chance::{Concern, Share};
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
        /// Share of the lookups that are for the key that sybils surround.
        eclipsed: Share = Share::NONE,
        /// When the first lookup begins.
        start: Span = Span::ZERO,
    }
}

/// One of so many lookups is counted beside the core, which costs a fifth of the lookup itself.
const WATCHED_EACH: u32 = 8;

impl World {
    /// What the lookup of this number is for.
    pub(super) fn looked_up(&self, n: u64) -> Name {
        let eclipsed = self.scenario.lookups.as_ref().map_or(Share::NONE, |work| work.eclipsed);
        if !eclipsed.is_zero() && eclipsed.takes(self.chance.bits(Concern::Target, n, 1, 0)) {
            return self.eclipsed();
        }
        self.chance.name(Concern::Target, n, 0)
    }

    pub(super) fn begin_lookup(&mut self, n: u32) {
        let Some(work) = self.scenario.lookups.clone() else { return };
        let ticket = LOOKUP << KIND_SHIFT | u64::from(n);
        if n + 1 < work.count {
            self.plan_work(self.now + work.interval, Plan::Lookup(n + 1));
        }
        let Some(asker) = self.draw_peer(Concern::Asker, ticket) else { return };
        let target = Target::Name(self.looked_up(n.into()));
        let doing = Doing::Lookup { target: target.key().0[0] };
        // Of two lookups for one key at the same peer none could say which request is whose.
        if n.is_multiple_of(WATCHED_EACH) && target != Target::Name(self.eclipsed()) {
            let paths = self.config.user_paths;
            self.chains.begin(asker, ticket, target, self.table(asker), paths);
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
        let (succeeded, exact) = if self.scenario.has_liars() {
            let honest = |peer| !self.is_liar(peer);
            let during = (start.0, self.now.0);
            let (least, at_end) = self.oracle.lacks(target, k, asker, during, &answer, honest);
            self.work.lookups.missing.push(least as u64);
            self.work.lookups.eclipsed += u64::from(least >= k);
            (least == 0, at_end == 0)
        } else {
            (verdict.succeeded, verdict.exact)
        };
        let lookups = &mut self.work.lookups;
        lookups.succeeded += u64::from(succeeded);
        lookups.exact += u64::from(exact);
        lookups.timeouts += u64::from(cost.timeouts);
        if !verdict.succeeded {
            self.went_wrong(start);
        }
        let lookups = &mut self.work.lookups;
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
