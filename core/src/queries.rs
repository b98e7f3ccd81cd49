//! Queries, and their answers: to what others ask, and from those that were asked.

use crate::key::Peer;
use crate::machine::Core;
use crate::message::{Answer, Decline, Message, Query, Tag};
use crate::timers::Timer;
use crate::turn::Turn;

/// A query under way.
#[derive(Debug)]
pub(crate) struct Asked<P> {
    pub(crate) peer: P,
    pub(crate) purpose: Purpose,
}

/// What a query was asked for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// One step of a search.
    Search(Tag),
    /// To see whether a peer answers, so that it can enter the table.
    Check,
    /// To see whether one that left the table is there again.
    Regain,
    /// To have something stored.
    Publish(Tag),
    /// To offer a function.
    Offer(Tag),
    /// To confirm it.
    Confirm(Tag),
    /// To tell something whose answer changes nothing.
    Tell,
    /// To see whether fellow hosts live.
    Probe(Tag),
    /// To see whether hosts live whose record is kept here.
    Guard(Tag),
    /// To see whether the hosts that were found live, for a user.
    Census(Tag),
    /// To compare the owner's sets.
    Compare,
    /// To bring a sibling records; what it says to that changes nothing.
    Push,
}

impl<P: Peer> Core<P> {
    pub(crate) fn asked(&mut self, from: P, tag: Tag, query: Query<P>, turn: &mut Turn<'_, P>) {
        self.check_asker(from, turn);
        let answer = match query {
            Query::Find(target) => Some(self.found(target, from, turn)),
            Query::Hosts(name) => Some(self.found_hosts(name, from, turn)),
            Query::Provide(name, record) => self.provide(from, tag, name, record, turn),
            Query::Withdraw(name) => Some(Answer::Noted(self.providers.drop_one(name, from))),
            Query::Store(record) => self.store(from, tag, record, turn),
            Query::Offer { record, waive } => {
                let decline = self.consider(from, record, waive, turn);
                Some(Answer::Offered { decline, load: self.load() })
            }
            Query::Confirm { function, version, sources, mates } => {
                let known = self.confirmed(from, function, version, sources, mates, turn);
                Some(Answer::Noted(known))
            }
            Query::Release { function, version } => {
                Some(Answer::Noted(self.released(from, function, version)))
            }
            Query::Placed { function, version, failure } => {
                Some(Answer::Noted(self.placed(from, function, version, failure, turn)))
            }
            Query::Probe(versions) => Some(self.probed(from, &versions, turn)),
            Query::Sync { owner, records, have, range } => {
                let range = range.map(|range| *range);
                Some(self.synced(from, owner, &records, have, range, turn))
            }
        };
        if let Some(answer) = answer {
            turn.send(from, Message::Answer(tag, answer));
        }
    }

    /// Sends a query; its answer, or its absence, comes to the rule that `purpose` names.
    pub(crate) fn query(
        &mut self,
        peer: P,
        query: Query<P>,
        purpose: Purpose,
        turn: &mut Turn<'_, P>,
    ) {
        debug_assert!(peer != self.me, "a core does not send to itself");
        let tag = self.queries.insert(self.incarnation, Asked { peer, purpose });
        self.timers.add(turn.now + turn.config.reply_timeout, Timer::Query(tag));
        turn.send(peer, Message::Query(tag, query));
    }

    pub(crate) fn answered(
        &mut self,
        from: P,
        tag: Tag,
        answer: Answer<P>,
        turn: &mut Turn<'_, P>,
    ) {
        // A stale answer, or one by another peer than was asked, is that peer's fault: dropped.
        if self.queries.get(tag).is_none_or(|asked| asked.peer != from) {
            return;
        }
        let purpose = self.queries.remove(tag).expect("it was just found").purpose;
        if purpose == Purpose::Regain {
            return self.regained(from, turn);
        }
        self.known_to_live(from, turn);
        if let Answer::Found { load, .. }
        | Answer::Offered { load, .. }
        | Answer::Probed { load, .. } = &answer
        {
            self.hear_load(from, *load);
        }
        match (purpose, answer) {
            (Purpose::Search(search), Answer::Found { closer, hosts, record, .. }) => {
                self.search_answered(search, from, &closer, &hosts, record, turn);
            }
            (Purpose::Publish(publish), Answer::Stored { kept, newer, hosts }) => {
                self.publish_answered(publish, from, kept, newer, &hosts, turn);
            }
            // Withdrawn, or never known there: either way it is done.
            (Purpose::Publish(publish), Answer::Noted(_)) => {
                self.publish_answered(publish, from, true, None, &[], turn);
            }
            (Purpose::Offer(placement), Answer::Offered { decline, .. }) => {
                self.offer_answered(placement, from, decline, turn);
            }
            (Purpose::Confirm(placement), Answer::Noted(known)) => {
                self.confirm_answered(placement, from, known, turn);
            }
            (Purpose::Probe(probe), Answer::Probed { serving, load }) => {
                self.probe_answered(probe, from, &serving, load, turn);
            }
            (Purpose::Guard(probe), Answer::Probed { serving, .. }) => {
                self.guard_answered(probe, from, &serving, turn);
            }
            (Purpose::Census(census), Answer::Probed { serving, load }) => {
                self.counted(census, from, &serving, Some(load), turn);
            }
            (Purpose::Compare, Answer::Synced { records, want, more }) => {
                self.compared(from, &records, want, more, turn);
            }
            (Purpose::Push, Answer::Synced { .. }) => self.sibling_answered(from, false),
            (Purpose::Check, Answer::Found { .. }) => self.checked(from, true),
            (Purpose::Tell, _) => {}
            // An answer of another kind is none.
            (purpose, _) => self.without_answer(from, purpose, turn),
        }
    }

    pub(crate) fn unanswered(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(Asked { peer, purpose }) = self.queries.remove(tag) else {
            return;
        };
        self.missed(peer, turn);
        if !self.loads.is_empty() {
            // Who cannot be reached takes nothing: its load says nothing of the mean.
            self.loads.retain(|(other, _)| *other != peer);
        }
        self.without_answer(peer, purpose, turn);
    }

    fn without_answer(&mut self, peer: P, purpose: Purpose, turn: &mut Turn<'_, P>) {
        match purpose {
            Purpose::Search(search) => self.search_failed(search, peer, turn),
            Purpose::Publish(publish) => {
                self.publish_answered(publish, peer, false, None, &[], turn);
            }
            Purpose::Offer(placement) => {
                let silent = Some(Decline::Silent);
                self.offer_answered(placement, peer, silent, turn);
            }
            Purpose::Confirm(placement) => self.confirm_missed(placement, peer, turn),
            Purpose::Probe(probe) => self.probe_missed(probe, peer, turn),
            Purpose::Guard(probe) => self.guard_missed(probe, peer, turn),
            Purpose::Census(census) => self.counted(census, peer, &[], None, turn),
            Purpose::Check => self.checked(peer, false),
            Purpose::Compare | Purpose::Push => self.sibling_missed(peer, turn),
            Purpose::Regain | Purpose::Tell => {}
        }
    }
}
