//! An owner's nodes keep one set of functions among them: they find each other under the name
//! `owner/OWNER`, push every change, and compare what they have every minute.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Name, Owner, Peer, Target};
use crate::machine::{AfterKeep, Core, Purpose};
use crate::message::{Answer, Query};
use crate::planted::{self, Bug};
use crate::publish::{AfterPublish, What};
use crate::record::Record;
use crate::records::Learned;
use crate::search::{Kind, Then};
use crate::time::Span;
use crate::timers::Timer;
use crate::turn::{Effect, Event, Failure, Item, ItemKey, Ticket, Turn};

impl<P: Peer> Core<P> {
    /// A user removes a function: the tombstone is kept here, then by the holders and hosts.
    pub(crate) fn remove(&mut self, ticket: Ticket, record: Arc<Record>, turn: &mut Turn<'_, P>) {
        let function = record.function;
        match self.learn(&record, self.me, turn) {
            Learned::New | Learned::Same | Learned::Unkept => {
                self.keep_for(ticket, record, AfterKeep::Removed { ticket, function }, turn);
            }
            Learned::Superseded(known) => {
                let version = known.version;
                turn.tell(ticket, Event::Failed(Failure::Superseded { version }));
            }
            Learned::Rejected => turn.tell(ticket, Event::Failed(Failure::NotKept)),
        }
    }

    /// The functions of this node's owner.
    pub(crate) fn list(&mut self, ticket: Ticket, turn: &mut Turn<'_, P>) {
        let records = self.setup.owner.into_iter().flat_map(|owner| self.records.of(owner));
        let live = records.filter(|record| record.spec.is_some() && record.lives(turn.now));
        let listed = live.map(|record| (record.clone(), self.hosts_known(record.function, turn)));
        let listed = listed.collect();
        turn.tell(ticket, Event::Listed(listed));
    }

    fn hosts_known(&self, function: Name, turn: &Turn<'_, P>) -> u16 {
        match self.hosting.get(&function) {
            Some(hosting) => hosting.mates.len() as u16 + 1,
            None => self.known.fresh(function, turn).map_or(0, |found| found.hosts.len() as u16),
        }
    }

    /// Something that was kept before a restart.
    pub(crate) fn restored(&mut self, item: Item, turn: &mut Turn<'_, P>) {
        match item {
            Item::Record(record) if record.lives(turn.now) => {
                self.records.insert(record);
                self.start_sweeping(turn);
            }
            Item::Record(record) => {
                turn.push(Effect::Forget(ItemKey::Record(record.function)));
            }
            Item::Hosting(record) => self.hosted_before(record, turn),
        }
    }

    /// Lets the owner's other nodes find this one.
    pub(crate) fn announce_owner(&mut self, turn: &mut Turn<'_, P>) {
        if let Some(owner) = self.setup.owner {
            self.owner_told_at = turn.now;
            let what = What::Provide(P::owner_name(&owner), None);
            self.publish(what, AfterPublish::Siblings, turn);
        }
    }

    pub(crate) fn seek_siblings(&mut self, turn: &mut Turn<'_, P>) {
        if let Some(owner) = self.setup.owner {
            let target = Target::Name(P::owner_name(&owner));
            self.search(target, Kind::Hosts, Then::Siblings, turn);
        }
    }

    pub(crate) fn siblings_found(&mut self, found: &[P], turn: &mut Turn<'_, P>) {
        for peer in found {
            if self.add_sibling(*peer, turn) {
                self.compare(*peer, None, turn);
            }
        }
    }

    fn add_sibling(&mut self, peer: P, turn: &Turn<'_, P>) -> bool {
        let full = self.siblings.len() >= usize::from(turn.config.siblings_max);
        let new = peer != self.me && !full && !self.siblings.contains(&peer);
        if new {
            self.siblings.push(peer);
        }
        new
    }

    /// Compares the set with every sibling, and looks for new ones.
    pub(crate) fn sync(&mut self, turn: &mut Turn<'_, P>) {
        let period = turn.config.sync_period;
        let jitter = Span(self.random.below(period.0 / 8));
        self.timers.add(turn.now + Span(period.0 - jitter.0), Timer::Sync);
        for peer in self.siblings.clone() {
            self.compare(peer, None, turn);
        }
        if turn.now.since(self.owner_told_at) >= turn.config.renew_period {
            self.announce_owner(turn);
        } else {
            self.seek_siblings(turn);
        }
    }

    /// A sibling that does not answer is found again when it does.
    pub(crate) fn lose_sibling(&mut self, peer: P) {
        self.siblings.retain(|other| *other != peer);
    }

    /// Tells a sibling a page of the names and versions that this node has, from `after` on.
    fn compare(&mut self, peer: P, after: Option<Name>, turn: &mut Turn<'_, P>) {
        let Some(owner) = self.setup.owner.filter(|_| !planted::is(Bug::NeverCompares)) else {
            return;
        };
        let records = self.records.of(owner).filter(|r| Some(r.function) >= after);
        let most = usize::from(turn.config.sync_have_max);
        let have: Vec<_> = records.map(|r| (r.function, r.version)).take(most + 1).collect();
        let first = after.map_or(Name([0; 32]), |name| name);
        let last = if have.len() > most { have[most - 1].0 } else { Name([0xff; 32]) };
        let have = have.into_iter().take(most).collect();
        let range = Some((first, last));
        let query = Query::Sync { owner, records: Vec::new(), have, range };
        self.query(peer, query, Purpose::Sync, turn);
        if last != Name([0xff; 32]) {
            self.compare(peer, Some(last), turn);
        }
    }

    /// A record is new here: the siblings hear of it at once.
    pub(crate) fn push_to_siblings(
        &mut self,
        record: &Arc<Record>,
        from: P,
        turn: &mut Turn<'_, P>,
    ) {
        for peer in self.siblings.clone() {
            if peer != from {
                self.push_records(peer, alloc::vec![record.clone()], turn);
            }
        }
    }

    fn push_records(&mut self, peer: P, records: Vec<Arc<Record>>, turn: &mut Turn<'_, P>) {
        let Some(owner) = self.setup.owner else {
            return;
        };
        let query = Query::Sync { owner, records, have: Vec::new(), range: None };
        self.query(peer, query, Purpose::Sync, turn);
    }

    /// Answers a comparison.
    pub(crate) fn synced(
        &mut self,
        from: P,
        owner: Owner,
        records: &[Arc<Record>],
        have: &[(Name, u64)],
        range: Option<(Name, Name)>,
        turn: &mut Turn<'_, P>,
    ) -> Answer<P> {
        let mut newer = Vec::new();
        let mut want = Vec::new();
        let mut more = false;
        if self.owns(owner) {
            self.add_sibling(from, turn);
            self.take_over(owner, records, from, turn);
            let most = usize::from(turn.config.sync_records_max);
            let have = &have[..have.len().min(usize::from(turn.config.sync_have_max))];
            let mine = self.records.of(owner);
            let mine = mine.filter(|r| range.is_some_and(|(a, z)| (a..=z).contains(&r.function)));
            for record in mine {
                let theirs = have.iter().find(|(name, _)| *name == record.function);
                if theirs.is_none_or(|(_, version)| *version < record.version) {
                    more |= newer.len() == most;
                    newer.extend((newer.len() < most).then(|| record.clone()));
                }
            }
            for (name, version) in have {
                if self.records.get(*name).is_none_or(|record| record.version < *version) {
                    want.push(*name);
                }
            }
        }
        Answer::Synced { records: newer, want, more }
    }

    fn take_over(
        &mut self,
        owner: Owner,
        records: &[Arc<Record>],
        from: P,
        turn: &mut Turn<'_, P>,
    ) -> bool {
        let mut new = false;
        for record in records.iter().take(usize::from(turn.config.sync_records_max)) {
            new |= record.owner == owner && self.learn_and_keep(record, from, turn);
        }
        new
    }

    pub(crate) fn sync_answered(
        &mut self,
        from: P,
        records: &[Arc<Record>],
        want: &[Name],
        more: bool,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(owner) = self.setup.owner else {
            return;
        };
        let new = self.take_over(owner, records, from, turn);
        let most = usize::from(turn.config.sync_records_max);
        let wanted: Vec<_> = want
            .iter()
            .take(usize::from(turn.config.sync_have_max))
            .filter_map(|name| self.records.get(*name))
            .filter(|record| record.owner == owner)
            .cloned()
            .collect();
        for page in wanted.chunks(most) {
            self.push_records(from, page.to_vec(), turn);
        }
        // Each round takes over something, so that this ends.
        if more && new {
            self.compare(from, None, turn);
        }
    }
}
