//! The second half of a placement: who accepted is confirmed, and reminded until it reports.

use alloc::vec::Vec;

use crate::key::{Name, Peer};
use crate::machine::Core;
use crate::message::{Decline, Query, Tag};
use crate::planted::{self, Bug};
use crate::queries::Purpose;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::Turn;

/// How often a confirmed peer that has not reported yet is reminded: its report may be lost.
const REMIND_PERIOD: Span = Span::secs(10);
/// Confirmations in a row that a peer may leave unanswered.
const CONFIRMS_MISSED_MAX: u8 = 3;

/// Peers with the code that a confirmed host is told of; the wire takes 128.
const SOURCES_MAX: usize = 32;
/// Other hosts that a confirmed host is told of; it meets the rest by their probes.
const MATES_MAX: usize = 96;

/// A peer that was told to host the function and has not said what came of it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Confirmed<P> {
    pub(super) peer: P,
    /// Confirmations in a row that it did not answer.
    missed: u8,
}

impl<P: Peer> Core<P> {
    /// Confirms the first wanted of those that accepted, and lets the others go; they are the first
    /// to be asked again if a confirmed one fails.
    pub(super) fn confirm(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        let rank = |peer: &P| placement.seen.iter().position(|other| other == peer);
        placement.accepted.sort_by_key(rank);
        let mut chosen = core::mem::take(&mut placement.accepted);
        let wanted = if planted::is(Bug::ConfirmsAll) { chosen.len() } else { placement.wanted };
        let others = chosen.split_off(wanted.min(chosen.len()));
        if chosen.is_empty() {
            return self.conclude_placement(tag, turn);
        }
        if !planted::is(Bug::ForgetsSpares) {
            placement.queue.splice(..0, others.iter().copied());
        }
        placement.confirmed =
            chosen.iter().map(|peer| Confirmed { peer: *peer, missed: 0 }).collect();
        placement.until = turn.now + turn.config.install_timeout;
        placement.remind_at = turn.now + REMIND_PERIOD;
        self.timers.add(placement.until, Timer::Placement(tag));
        self.timers.add(placement.remind_at, Timer::Placement(tag));
        let (function, version) = (placement.record.function, placement.record.version);
        self.let_go(others, function, version, turn);
        for peer in chosen {
            self.confirm_one(tag, peer, turn);
        }
    }

    /// Tells a peer that accepted to host the function, once more where it was told before: who does
    /// already only says so again.
    fn confirm_one(&mut self, tag: Tag, peer: P, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get(tag) else {
            return;
        };
        let (function, version) = (placement.record.function, placement.record.version);
        let confirmed = placement.confirmed.iter().map(|confirmed| confirmed.peer);
        let hosts = placement.mates.iter().copied().chain(placement.placed.iter().copied());
        let mates = hosts.chain(confirmed).filter(|host| *host != peer).take(MATES_MAX);
        let mates: Vec<P> = mates.collect();
        let mut sources = Vec::new();
        let me = [self.me].into_iter().filter(|_| placement.gives);
        let others = placement.mates.iter().chain(&placement.before).copied();
        for source in me.chain(others) {
            if sources.len() < SOURCES_MAX && source != peer && !sources.contains(&source) {
                sources.push(source);
            }
        }
        if peer == self.me {
            let known = self.confirmed(peer, function, version, sources, mates, turn);
            self.confirm_answered(tag, peer, known, turn);
        } else {
            let query = Query::Confirm { function, version, sources, mates };
            self.query(peer, query, Purpose::Confirm(tag), turn);
        }
    }

    pub(crate) fn confirm_answered(
        &mut self,
        tag: Tag,
        from: P,
        known: bool,
        turn: &mut Turn<'_, P>,
    ) {
        if !known {
            return self.resolve(tag, from, Some(Decline::Lapsed), turn);
        }
        if let Some(confirmed) = self.confirmed_by(tag, from) {
            confirmed.missed = 0;
        }
    }

    /// A confirmation or its answer was lost: it is told again.
    pub(crate) fn confirm_missed(&mut self, tag: Tag, peer: P, turn: &mut Turn<'_, P>) {
        let Some(confirmed) = self.confirmed_by(tag, peer) else {
            return;
        };
        confirmed.missed += 1;
        if confirmed.missed < CONFIRMS_MISSED_MAX {
            self.confirm_one(tag, peer, turn);
        } else {
            self.resolve(tag, peer, Some(Decline::Silent), turn);
        }
    }

    fn confirmed_by(&mut self, tag: Tag, peer: P) -> Option<&mut Confirmed<P>> {
        let placement = self.placements.get_mut(tag)?;
        placement.confirmed.iter_mut().find(|confirmed| confirmed.peer == peer)
    }

    /// A confirmed peer serves the function now, or can't.
    pub(crate) fn placed(
        &mut self,
        from: P,
        function: Name,
        version: u64,
        failure: Option<Decline>,
        turn: &mut Turn<'_, P>,
    ) -> bool {
        let concerned = self.placements.iter().find(|(_, placement)| {
            let record = &placement.record;
            record.function == function
                && record.version == version
                && placement.confirmed.iter().any(|confirmed| confirmed.peer == from)
        });
        match concerned.map(|(tag, _)| tag) {
            Some(tag) => {
                self.resolve(tag, from, failure, turn);
                true
            }
            None => false,
        }
    }

    fn resolve(&mut self, tag: Tag, from: P, why: Option<Decline>, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        let at = placement.confirmed.iter().position(|confirmed| confirmed.peer == from);
        let Some(at) = at else {
            return;
        };
        placement.confirmed.remove(at);
        match why {
            None => placement.placed.push(from),
            Some(why) => placement.declined.push((from, why)),
        }
        if placement.confirmed.is_empty() {
            if placement.placed.is_empty() {
                // Those that failed are made up for by others, as long as there are any.
                placement.until = turn.now + turn.config.place_timeout;
                placement.remind_at = Time::NEVER;
                self.timers.add(placement.until, Timer::Placement(tag));
                return self.offer_on(tag, turn);
            }
            return self.conclude_placement(tag, turn);
        }
        if placement.placed.len() == 1 {
            placement.until = turn.now + turn.config.deploy_grace;
            self.timers.add(placement.until, Timer::Placement(tag));
        }
    }

    /// Tells those again that have not reported yet.
    pub(super) fn remind(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        placement.remind_at = turn.now + REMIND_PERIOD;
        self.timers.add(placement.remind_at, Timer::Placement(tag));
        // Who left one unanswered is being told again anyway.
        let heard = placement.confirmed.iter().filter(|confirmed| confirmed.missed == 0);
        let heard: Vec<P> = heard.map(|confirmed| confirmed.peer).collect();
        for peer in heard {
            self.confirm_one(tag, peer, turn);
        }
    }
}
