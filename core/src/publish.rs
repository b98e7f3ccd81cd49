//! Telling the holders: the k peers closest to a name keep its record and its hosts.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Name, Peer, Target};
use crate::machine::{AfterKeep, Core, Work};
use crate::message::{Decline, Query, Tag};
use crate::planted::{self, Bug};
use crate::queries::Purpose;
use crate::record::Record;
use crate::search::{Kind, Outcome, Then};
use crate::time::Time;
use crate::turn::{Event, Failure, Item, Ticket, Turn};

/// Something being told to the holders.
#[derive(Debug)]
pub(crate) struct Publish<P> {
    what: What,
    /// Holders told.
    told: usize,
    /// Of these, those that have not answered.
    waiting: usize,
    /// Of these, those that keep it.
    kept: usize,
    /// Whether none of those told at first kept it.
    again: bool,
    then: AfterPublish<P>,
}

/// What holders are told.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// I host this name.
    Provide(Name, Option<Arc<Record>>),
    /// I host this name no longer.
    Withdraw(Name),
    /// Keep this record, mostly a tombstone; its hosts hear of it too.
    Store(Arc<Record>),
}

/// What follows when enough holders keep it, or none does.
#[derive(Clone, Debug)]
pub(crate) enum AfterPublish<P> {
    Nothing,
    /// The placers hear that the function is served.
    Placed {
        version: u64,
        placers: Vec<P>,
    },
    /// The user hears that it is removed.
    Removed(Ticket),
    /// The owner's other nodes are there to be found.
    Siblings,
}

impl What {
    fn name(&self) -> Name {
        match self {
            Self::Provide(name, _) | Self::Withdraw(name) => *name,
            Self::Store(record) => record.function,
        }
    }

    fn query<P>(&self) -> Query<P> {
        match self {
            Self::Provide(name, record) => Query::Provide(*name, record.clone()),
            Self::Withdraw(name) => Query::Withdraw(*name),
            Self::Store(record) => Query::Store(record.clone()),
        }
    }
}

impl<P: Peer> Core<P> {
    pub(crate) fn publish(&mut self, what: What, then: AfterPublish<P>, turn: &mut Turn<'_, P>) {
        let target = Target::Name(what.name());
        let ticket = match then {
            AfterPublish::Removed(ticket) => Some(ticket),
            _ => None,
        };
        let (told, waiting, kept, again) = (0, 0, 0, false);
        let tag = self
            .publishes
            .insert(self.incarnation, Publish { what, told, waiting, kept, again, then });
        // Unless the user has cancelled it meanwhile: then it ends without another word.
        if let Some(work) = ticket.and_then(|ticket| self.asks.get_mut(&ticket)) {
            *work = Work::Publish(tag);
        }
        self.search(target, Kind::Hosts, Then::Publish(tag), turn);
    }

    pub(crate) fn publish_targets(
        &mut self,
        tag: Tag,
        outcome: &Outcome<P>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(publish) = self.publishes.get(tag) else {
            return;
        };
        let what = publish.what.clone();
        if let Some(record) = &outcome.record {
            self.learn_if_concerned(record, turn);
        }
        let Some(what) = self.still_true(what, outcome.record.as_ref()) else {
            return self.publish_on(tag, turn);
        };
        let mut holders: Vec<P> = outcome.closest.iter().map(|(peer, _)| *peer).collect();
        let position = P::position(&what.name());
        let mine = self.me.key().distance(position);
        let k = usize::from(turn.config.k);
        let close = holders.len() < k || holders.iter().any(|p| p.key().distance(position) > mine);
        if matches!(what, What::Store(_)) {
            holders.extend(outcome.hosts.iter().filter(|host| **host != self.me));
            holders.sort_unstable();
            holders.dedup();
        }
        if matches!(what, What::Store(_)) && !holders.is_empty() {
            self.records.told(what.name(), turn.now);
        }
        if let Some(publish) = self.publishes.get_mut(tag) {
            publish.what = what.clone();
            (publish.told, publish.waiting, publish.kept) = (holders.len(), holders.len(), 0);
        }
        if close && let What::Provide(name, record) = &what {
            self.provide_here(*name, record.as_ref(), turn);
        }
        for holder in holders {
            self.query(holder, what.query(), Purpose::Publish(tag), turn);
        }
        self.publish_on(tag, turn);
    }

    /// What there is to tell after the search for the holders, during which this peer may have
    /// given the function up or `found` that there is a newer version or a tombstone: then they are
    /// told of that.
    fn still_true(&self, what: What, found: Option<&Arc<Record>>) -> Option<What> {
        let hosts = |name| self.hosting.get(name).filter(|hosting| !hosting.is_leaving());
        let record = match &what {
            What::Provide(_, None) => return Some(what),
            What::Withdraw(name) => return hosts(name).is_none().then_some(what),
            What::Provide(_, Some(record)) | What::Store(record) => record,
        };
        if planted::is(Bug::PublishesStale) {
            return Some(what);
        }
        let name = record.function;
        let hosted = hosts(&name).map(|hosting| &hosting.record);
        let told = hosted.filter(|_| matches!(what, What::Provide(..))).unwrap_or(record);
        let mut newest = told;
        for known in self.records.get(name).into_iter().chain(found) {
            if known.supersedes(newest) {
                newest = known;
            }
        }
        match what {
            _ if newest.supersedes(told) => Some(What::Store(newest.clone())),
            What::Provide(..) => hosted.map(|hosted| What::Provide(name, Some(hosted.clone()))),
            What::Store(_) | What::Withdraw(_) => Some(what),
        }
    }

    /// This peer is itself one of the holders.
    fn provide_here(&mut self, name: Name, record: Option<&Arc<Record>>, turn: &mut Turn<'_, P>) {
        if let Some(record) = record {
            self.learn_and_keep(record, self.me, turn);
        }
        self.note_provider(name, self.me, turn);
    }

    pub(crate) fn publish_answered(
        &mut self,
        tag: Tag,
        from: P,
        kept: bool,
        newer: Option<Arc<Record>>,
        hosts: &[P],
        turn: &mut Turn<'_, P>,
    ) {
        // It may be the last word of one after three quarters had kept it.
        if let Some(newer) = newer
            && self.is_concerned(&newer)
            && self.learn_and_keep(&newer, from, turn)
        {
            // Those that kept the older one hear of it too.
            self.publish(What::Store(newer), AfterPublish::Nothing, turn);
        }
        let Some(publish) = self.publishes.get_mut(tag) else {
            return;
        };
        publish.waiting = publish.waiting.saturating_sub(1);
        publish.kept += usize::from(kept);
        let name = publish.what.name();
        let serves = matches!(publish.what, What::Provide(_, Some(_)));
        if serves {
            for host in hosts {
                self.meet_mate(name, *host, turn);
            }
        }
        self.publish_on(tag, turn);
    }

    /// Ends a publication when three quarters keep it, or all have answered. If none keeps it, it
    /// is tried once more.
    fn publish_on(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(publish) = self.publishes.get_mut(tag) else {
            return;
        };
        if publish.waiting > 0 && publish.kept * 4 < publish.told * 3 {
            return;
        }
        let lost = publish.kept == 0 && (publish.told > 0 || publish.again);
        let lost = lost && !planted::is(Bug::NeedsNoHolder);
        if lost && !publish.again {
            publish.again = true;
            (publish.told, publish.waiting) = (0, 0);
            let target = Target::Name(publish.what.name());
            return self.search(target, Kind::Hosts, Then::Publish(tag), turn);
        }
        let Publish { what, then, kept, .. } =
            self.publishes.remove(tag).expect("it was just found");
        let name = what.name();
        if kept == 0 && matches!(what, What::Store(_)) {
            self.records.untold(name, turn.now);
        }
        match then {
            AfterPublish::Nothing if matches!(what, What::Provide(_, Some(_))) => {
                self.hand_on(name, turn);
            }
            AfterPublish::Nothing => {}
            AfterPublish::Placed { version, placers } => {
                let serves = self.serves(name, version);
                let failure = match (serves, lost) {
                    (false, _) => Some(Decline::Superseded),
                    (true, true) => Some(Decline::NoHolder),
                    (true, false) => None,
                };
                for placer in placers {
                    self.report(placer, name, version, failure, turn);
                }
            }
            AfterPublish::Removed(ticket) => {
                let known = self.records.get(name).filter(|record| record.spec.is_some());
                let event = match known {
                    Some(record) => Event::Failed(Failure::Superseded { version: record.version }),
                    None if lost => Event::Failed(Failure::NoHolder),
                    None => Event::Removed,
                };
                self.conclude(ticket, event, turn);
            }
            AfterPublish::Siblings => {
                if lost {
                    // It is told again with the next comparison.
                    self.lately.owner_told_at = Time(0);
                }
                self.seek_siblings(turn);
            }
        }
    }

    /// Tells the holders of some tombstones again, those first that nobody spoke of for longest:
    /// holders come and go, and the removed version must not come back.
    pub(crate) fn repeat_tombstones(&mut self, turn: &mut Turn<'_, P>) {
        for record in self.records.tombstones_due(turn.now) {
            self.publish(What::Store(record), AfterPublish::Nothing, turn);
        }
    }

    fn is_concerned(&self, record: &Record) -> bool {
        let name = record.function;
        self.owns(record.owner)
            || self.hosting.contains_key(&name)
            || self.records.get(name).is_some()
    }

    /// Takes over a record that concerns this peer: of its owner, hosted here, or kept already.
    pub(crate) fn learn_if_concerned(&mut self, record: &Arc<Record>, turn: &mut Turn<'_, P>) {
        if self.is_concerned(record) {
            self.learn_and_keep(record, self.me, turn);
        }
    }

    /// A tombstone is kept here: now it goes to the holders and the hosts.
    pub(crate) fn spread_tombstone(
        &mut self,
        ticket: Ticket,
        function: Name,
        turn: &mut Turn<'_, P>,
    ) {
        if let Some(record) = self.records.get(function).cloned() {
            self.publish(What::Store(record), AfterPublish::Removed(ticket), turn);
        } else {
            // It has expired while it was being kept.
            self.conclude(ticket, Event::Removed, turn);
        }
    }

    /// Keeps a record, and deploys or removes by it, as its owner asked.
    pub(crate) fn keep_for(
        &mut self,
        ticket: Ticket,
        record: Arc<Record>,
        after: AfterKeep<P>,
        turn: &mut Turn<'_, P>,
    ) {
        self.asks.insert(ticket, Work::Keep);
        self.keep(Item::Record(record), after, turn);
    }
}
