//! Telling the holders: the k peers closest to a name keep its record and its hosts.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Name, Peer, Target};
use crate::machine::{AfterKeep, Core, Purpose, Work};
use crate::message::{Decline, Query, Tag};
use crate::record::Record;
use crate::search::{Kind, Outcome, Then};
use crate::turn::{Event, Item, Ticket, Turn};

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
    then: AfterPublish<P>,
}

/// What holders are told.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// I host this name.
    Provide(Name, Option<Arc<Record>>),
    /// I host this name no longer.
    Withdraw(Name),
    /// Keep this tombstone; so do its hosts.
    Store(Arc<Record>),
}

/// What follows when enough holders keep it.
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
        let tag = self.publishes.insert(Publish { what, told: 0, waiting: 0, kept: 0, then });
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
        let Some(publish) = self.publishes.get_mut(tag) else {
            return;
        };
        let what = publish.what.clone();
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
        if let Some(record) = &outcome.record {
            self.learn_if_concerned(record, turn);
        }
        if let What::Provide(name, Some(record)) = &what
            && !self.serves(*name, record.version)
        {
            // Its end was just learnt, or came during the search: there is nothing to tell.
            return self.publish_on(tag, turn);
        }
        let Some(publish) = self.publishes.get_mut(tag) else {
            return;
        };
        publish.told = holders.len();
        publish.waiting = holders.len();
        if close && let What::Provide(name, record) = &what {
            self.provide_here(*name, record.as_ref(), turn);
        }
        for holder in holders {
            self.query(holder, what.query(), Purpose::Publish(tag), turn);
        }
        self.publish_on(tag, turn);
    }

    /// This peer is itself one of the holders.
    fn provide_here(&mut self, name: Name, record: Option<&Arc<Record>>, turn: &mut Turn<'_, P>) {
        if let Some(record) = record {
            self.learn_and_keep(record, self.me, turn);
        }
        self.provide_myself(name, turn);
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
        if let Some(newer) = newer
            && newer.function == name
        {
            self.learn_and_keep(&newer, from, turn);
        }
        self.publish_on(tag, turn);
    }

    /// Ends a publication when three quarters keep it, or all have answered.
    fn publish_on(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(publish) = self.publishes.get(tag) else {
            return;
        };
        if publish.waiting > 0 && publish.kept * 4 < publish.told * 3 {
            return;
        }
        let Publish { what, then, .. } = self.publishes.remove(tag).expect("it was just found");
        match then {
            AfterPublish::Nothing => {}
            AfterPublish::Placed { version, placers } => {
                let ended = !self.serves(what.name(), version);
                let failure = ended.then_some(Decline::Superseded);
                for placer in placers {
                    self.report(placer, what.name(), version, failure, turn);
                }
            }
            AfterPublish::Removed(ticket) => self.conclude(ticket, Event::Removed, turn),
            AfterPublish::Siblings => self.seek_siblings(turn),
        }
    }

    /// Takes over a record that concerns this peer: of its owner, hosted here, or kept already.
    pub(crate) fn learn_if_concerned(&mut self, record: &Arc<Record>, turn: &mut Turn<'_, P>) {
        let name = record.function;
        let concerned = self.owns(record.owner)
            || self.hosting.contains_key(&name)
            || self.records.get(name).is_some();
        if concerned {
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
