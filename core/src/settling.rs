//! What was hosted before a restart, and what is hosted in a version that is no longer the newest:
//! both ask the holders what stands.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::arriving::{Arriving, Stage};
use crate::key::{Name, Peer, Target};
use crate::machine::Core;
use crate::message::Decline;
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::search::{Kind, Outcome, Then};
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Effect, Failure, ItemKey, Turn};

/// How long a restarted host waits to meet anybody before it serves what it hosted.
const SETTLE_ALONE: Span = Span::secs(5);
/// How long it waits before it asks again, where too few of the holders answered.
const SETTLE_AGAIN: Span = Span::secs(10);
/// How often, until it takes those who do answer for all there are.
const SETTLES_MAX: u8 = 6;
/// Times that an update which fails is put off for twice as long as before.
const UPDATE_DOUBLINGS: u8 = 5;

impl<P: Peer> Core<P> {
    /// It was hosted here before this node restarted: it is served again once the holders confirm
    /// that it still should be, or nobody is there to ask.
    pub(crate) fn hosted_before(&mut self, record: Arc<Record>, turn: &mut Turn<'_, P>) {
        let function = record.function;
        if record.spec.is_none() || !record.lives(turn.now) || self.unfit(&record).is_some() {
            turn.push(Effect::Forget(ItemKey::Hosting(function)));
            return;
        }
        self.settle_at(function, record, turn.now + SETTLE_ALONE);
    }

    fn settle_at(&mut self, function: Name, record: Arc<Record>, until: Time) {
        let mut arriving = Arriving::new(record, Vec::new(), Vec::new());
        (arriving.until, arriving.restored) = (until, true);
        self.arriving.insert(function, arriving);
        self.timers.add(until, Timer::Arrival(function));
    }

    /// It could not be made ready: it is tried again later.
    pub(crate) fn settle_later(&mut self, function: Name, record: Arc<Record>, turn: &Turn<'_, P>) {
        self.settle_at(function, record, turn.now + turn.config.repair_backoff);
    }

    /// The network was joined: what was hosted before can be asked for.
    pub(crate) fn settle_all(&mut self, turn: &mut Turn<'_, P>) {
        let settling = self.arriving.iter().filter(|(_, a)| a.stage == Stage::Settling);
        let functions: Vec<Name> = settling.map(|(name, _)| *name).collect();
        for function in functions {
            self.ask_whether_to_serve(function, turn);
        }
    }

    pub(crate) fn ask_whether_to_serve(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        if let Some(arriving) = self.arriving.get_mut(&function) {
            arriving.until = Time::NEVER;
            if planted::is(Bug::ServesUnasked) {
                return self.fetch(function, Vec::new(), turn);
            }
            self.search(Target::Name(function), Kind::Hosts, Then::Settle(function), turn);
        }
    }

    pub(crate) fn settle(&mut self, function: Name, outcome: Outcome<P>, turn: &mut Turn<'_, P>) {
        let Some(arriving) = self.arriving.get_mut(&function) else {
            return;
        };
        if arriving.stage != Stage::Settling {
            return;
        }
        // Ignorance is not absence. Where there is nobody to ask there is nobody to mislead either,
        // and whoever is met later says what stands.
        let ignorant = outcome.absence() != Failure::Unknown && arriving.unconfirmed < SETTLES_MAX;
        let known = self.records.get(function).cloned();
        for record in outcome.record.into_iter().chain(known) {
            if record.supersedes(&arriving.record) {
                arriving.record = record;
            }
        }
        arriving.mates.clone_from(&outcome.hosts);
        let record = arriving.record.clone();
        let removed = record.spec.is_none() && !planted::is(Bug::IgnoresTombstone);
        if removed || self.unfit(&record).is_some() {
            self.arriving.remove(&function);
            turn.push(Effect::Forget(ItemKey::Hosting(function)));
            self.learn_and_keep(&record, self.me, turn);
        } else if ignorant && !planted::is(Bug::ServesUnconfirmed) {
            let arriving = self.arriving.get_mut(&function).expect("it was just found");
            arriving.unconfirmed += 1;
            arriving.until = turn.now + SETTLE_AGAIN;
            self.timers.add(arriving.until, Timer::Arrival(function));
        } else if record.spec.is_some() {
            self.fetch(function, outcome.hosts, turn);
        }
    }

    /// A record was learnt that may end or replace what is hosted or on its way here.
    pub(crate) fn superseded(&mut self, record: &Arc<Record>, from: P, turn: &mut Turn<'_, P>) {
        let function = record.function;
        let stale = |a: &&Arriving<P>| a.stage != Stage::Settling && record.supersedes(&a.record);
        if let Some(Arriving { restored, .. }) = self.arriving.get(&function).filter(stale) {
            let restored = *restored;
            self.fail_arrival(function, Decline::Superseded, turn);
            match record.spec {
                Some(_) if restored => {
                    self.settle_at(function, record.clone(), turn.now + SETTLE_AGAIN);
                }
                None if restored => turn.push(Effect::Forget(ItemKey::Hosting(function))),
                _ => {}
            }
        }
        let Some(hosting) = self.hosting.get(&function) else {
            return;
        };
        if !record.supersedes(&hosting.record) {
            return;
        }
        if record.spec.is_none() {
            if !planted::is(Bug::IgnoresTombstone) {
                self.give_up(function, turn);
            }
            return;
        }
        self.update(record, alloc::vec![from], turn);
    }

    /// Gets a newer version of what is hosted here. The old one serves until the new one is here.
    fn update(&mut self, record: &Arc<Record>, mut sources: Vec<P>, turn: &mut Turn<'_, P>) {
        let function = record.function;
        let Some(hosting) = self.hosting.get(&function).filter(|hosting| !hosting.is_leaving())
        else {
            return;
        };
        let mates = hosting.mates.iter().filter(|mate| mate.is_trusted(turn.now));
        let mates: Vec<P> = mates.map(|mate| mate.peer).collect();
        if self.unfit(record).is_some() {
            return self.retire(function, turn);
        }
        if self.arriving.contains_key(&function) {
            return;
        }
        sources.extend(
            mates.iter().filter(|mate| !sources.contains(mate)).copied().collect::<Vec<P>>(),
        );
        self.arriving.insert(function, Arriving::new(record.clone(), Vec::new(), mates));
        self.fetch(function, sources, turn);
    }

    /// The newer version of what is hosted here, if one is known.
    fn outdated(&self, function: Name) -> Option<&Arc<Record>> {
        let hosting = self.hosting.get(&function).filter(|hosting| !hosting.is_leaving())?;
        let known = self.records.get(function)?;
        (known.spec.is_some() && known.supersedes(&hosting.record)).then_some(known)
    }

    /// An update failed, if it was one: it is tried again later, and later each time.
    pub(crate) fn update_later(&mut self, function: Name, turn: &Turn<'_, P>) {
        if self.outdated(function).is_none() || planted::is(Bug::NeverUpdates) {
            return;
        }
        let hosting = self.hosting.get_mut(&function).expect("it was just found");
        let doublings = hosting.updates_failed.min(UPDATE_DOUBLINGS);
        hosting.updates_failed = hosting.updates_failed.saturating_add(1);
        hosting.update_at = turn.now + turn.config.repair_backoff.times(1 << doublings);
        self.timers.add(hosting.update_at, Timer::Update(function));
    }

    /// Looks for the newest version and for who has it.
    pub(crate) fn update_due(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let due = self.hosting.get(&function).is_some_and(|h| h.update_at <= turn.now);
        if !due || self.arriving.contains_key(&function) || self.outdated(function).is_none() {
            return;
        }
        self.search(Target::Name(function), Kind::Hosts, Then::Update(function), turn);
    }

    pub(crate) fn update_found(
        &mut self,
        function: Name,
        outcome: Outcome<P>,
        turn: &mut Turn<'_, P>,
    ) {
        if let Some(record) = &outcome.record {
            self.learn_if_concerned(record, turn);
        }
        if let Some(record) = self.outdated(function).cloned() {
            self.update(&record, outcome.hosts, turn);
        }
    }
}
