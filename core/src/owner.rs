//! An owner's nodes keep one set of functions among them: they find each other under the name
//! `owner/OWNER`, push every change, and compare what they have every minute.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::holder::Learned;
use crate::key::{Name, Owner, Peer, Target};
use crate::machine::{AfterKeep, Core};
use crate::message::{Answer, Query};
use crate::planted::{self, Bug};
use crate::publish::{AfterPublish, What};
use crate::queries::Purpose;
use crate::record::{Rank, Record};
use crate::search::{Kind, Then};
use crate::time::Span;
use crate::timers::Timer;
use crate::turn::{Effect, Event, Failure, Item, ItemKey, Ticket, Turn};

/// So long before a record expires one of the owner's nodes signs it again: whichever first draws
/// that it is to do so, in one of [`RENEWAL_ODDS`] sweeps, which is within a day.
const RENEWED_BEFORE: Span = Span::minutes(30 * 24 * 60);
const RENEWAL_ODDS: u64 = 256;
/// And from then on each does.
const RENEWED_SURELY: Span = Span::minutes(10 * 24 * 60);
/// Messages of records in answer to what a sibling wants, in one comparison.
const PUSHES_MAX: usize = 4;

/// Another node that holds this node's owner key, or says so.
#[derive(Debug)]
pub(crate) struct Sibling<P> {
    pub(crate) peer: P,
    trust: Trust,
    /// Comparisons and pushes in a row that it did not answer.
    missed: u8,
    /// What it was told last in the comparison that is under way.
    page: Option<Page>,
}

/// What a sibling has shown; the owner's key it need not have shown.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Trust {
    /// Somebody named it, perhaps itself.
    Named,
    /// It answers.
    Answered,
    /// It delivered a record that was new here.
    Delivered,
}

/// A part of a comparison: all names of this node's set from the first to the last.
#[derive(Debug)]
struct Page {
    first: Name,
    last: Name,
    /// Those there are, ascending.
    offered: Vec<Name>,
}

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
        let records =
            self.setup.owner.into_iter().flat_map(|owner| self.records.of(owner, Name::ENDS));
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
                self.insert_record(record, self.me);
                self.start_sweeping(turn);
            }
            Item::Record(record) => {
                turn.push(Effect::Forget(ItemKey::Record(record.function)));
            }
            Item::Hosting(record) => self.hosted_before(record, turn),
        }
    }

    /// Has those records signed again that would expire: a function lives until its owner removes it.
    pub(crate) fn renew_records(&mut self, turn: &mut Turn<'_, P>) {
        let Some(owner) = self.setup.owner.filter(|_| !planted::is(Bug::LetsExpire)) else {
            return;
        };
        let due = self.records.renewals_due(owner, turn.now + RENEWED_BEFORE, turn.now);
        for record in due {
            let soon = record.expires <= turn.now + RENEWED_SURELY;
            if soon || self.random.below(RENEWAL_ODDS) == 0 {
                self.records.renewing(record.function, turn.now);
                turn.push(Effect::Renew(record));
            }
        }
    }

    /// Lets the owner's other nodes find this one.
    pub(crate) fn announce_owner(&mut self, turn: &mut Turn<'_, P>) {
        if let Some(owner) = self.setup.owner {
            self.lately.owner_told_at = turn.now;
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
                self.compare(*peer, turn);
            }
        }
    }

    /// Anyone can say that it holds the owner's key, so that a newcomer finds a place, but never
    /// that of one which has shown more.
    fn add_sibling(&mut self, peer: P, turn: &Turn<'_, P>) -> bool {
        if peer == self.me || self.siblings.iter().any(|one| one.peer == peer) {
            return false;
        }
        let new = Sibling { peer, trust: Trust::Named, missed: 0, page: None };
        if self.siblings.len() < usize::from(turn.config.siblings_max) {
            self.siblings.push(new);
            return true;
        }
        let least = self.siblings.iter().map(|one| one.trust).min();
        let Some(least) = least.filter(|trust| *trust < Trust::Delivered) else {
            return false;
        };
        let mut weak: Vec<usize> = Vec::new();
        weak.extend((0..self.siblings.len()).filter(|at| self.siblings[*at].trust == least));
        let at = weak[self.random.below(weak.len() as u64) as usize];
        self.siblings[at] = new;
        true
    }

    fn sibling(&mut self, peer: P) -> Option<&mut Sibling<P>> {
        self.siblings.iter_mut().find(|one| one.peer == peer)
    }

    /// A sibling answered; `delivered`: with something that was new here.
    pub(crate) fn sibling_answered(&mut self, peer: P, delivered: bool) {
        if let Some(sibling) = self.sibling(peer) {
            let shown = if delivered { Trust::Delivered } else { Trust::Answered };
            sibling.trust = sibling.trust.max(shown);
            sibling.missed = 0;
        }
    }

    /// A sibling did not answer: after as many times in a row as in the table it is dropped, to be
    /// found again when it does.
    pub(crate) fn sibling_missed(&mut self, peer: P, turn: &Turn<'_, P>) {
        if let Some(sibling) = self.sibling(peer) {
            sibling.page = None;
            sibling.missed = sibling.missed.saturating_add(1);
            if sibling.missed >= turn.config.misses_max {
                self.siblings.retain(|one| one.peer != peer);
            }
        }
    }

    /// Compares the set with every sibling, and looks for new ones.
    pub(crate) fn sync(&mut self, turn: &mut Turn<'_, P>) {
        let period = turn.config.sync_period;
        let jitter = Span(self.random.below(period.0 / 8));
        self.timers.add(turn.now + Span(period.0 - jitter.0), Timer::Sync);
        let siblings: Vec<P> = self.siblings.iter().map(|one| one.peer).collect();
        for peer in siblings {
            self.compare(peer, turn);
        }
        if turn.now.since(self.lately.owner_told_at) >= turn.config.renew_period {
            self.announce_owner(turn);
        } else {
            self.seek_siblings(turn);
        }
    }

    /// Begins a comparison with a sibling, unless one is under way.
    fn compare(&mut self, peer: P, turn: &mut Turn<'_, P>) {
        if self.sibling(peer).is_some_and(|one| one.page.is_none()) {
            self.send_page(peer, Name::ENDS.0, turn);
        }
    }

    /// Tells a sibling what this node has, from the name `first` on, as much as fits.
    fn send_page(&mut self, peer: P, first: Name, turn: &mut Turn<'_, P>) {
        let Some(owner) = self.setup.owner.filter(|_| !planted::is(Bug::NeverCompares)) else {
            return;
        };
        let most = usize::from(turn.config.sync_have_max);
        let records = self.records.of(owner, (first, Name::ENDS.1)).take(most + 1);
        let mut have: Vec<_> = records.map(|r| (r.function, r.rank())).collect();
        let last = if have.len() > most { have[most - 1].0 } else { Name::ENDS.1 };
        have.truncate(most);
        let Some(sibling) = self.sibling(peer) else {
            return;
        };
        let offered = have.iter().map(|(name, _)| *name).collect();
        sibling.page = Some(Page { first, last, offered });
        let range = Some(Box::new((first, last)));
        let query = Query::Sync { owner, records: Vec::new(), have, range };
        self.query(peer, query, Purpose::Compare, turn);
    }

    /// A record is new here: the siblings hear of it at once.
    pub(crate) fn push_to_siblings(
        &mut self,
        record: &Arc<Record>,
        from: P,
        turn: &mut Turn<'_, P>,
    ) {
        let siblings: Vec<P> = self.siblings.iter().map(|one| one.peer).collect();
        for peer in siblings {
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
        self.query(peer, query, Purpose::Push, turn);
    }

    /// Answers a comparison, or takes over what was pushed.
    pub(crate) fn synced(
        &mut self,
        from: P,
        owner: Owner,
        records: &[Arc<Record>],
        mut have: Vec<(Name, Rank)>,
        range: Option<(Name, Name)>,
        turn: &mut Turn<'_, P>,
    ) -> Answer<P> {
        let (mut newer, mut want, mut more) = (Vec::new(), Vec::new(), false);
        if self.owns(owner) {
            let new = self.take_over(owner, records, from, turn);
            self.add_sibling(from, turn);
            if new {
                self.sibling_answered(from, true);
            }
            have.truncate(usize::from(turn.config.sync_have_max));
            have.sort_unstable();
            let most = usize::from(turn.config.sync_records_max);
            let theirs = |name: Name| {
                let at = have.binary_search_by_key(&name, |(name, _)| *name);
                at.ok().map(|at| have[at].1)
            };
            let mine = range.into_iter().flat_map(|range| self.records.of(owner, range));
            // Ends early: of ours, at most as many as `have` names are not newer.
            for record in mine {
                if theirs(record.function).is_none_or(|rank| rank < record.rank()) {
                    if newer.len() == most {
                        more = true;
                        break;
                    }
                    newer.push(record.clone());
                }
            }
            let older = |name| self.records.get(name).map(|record| record.rank());
            let wanted = have.iter().filter(|(name, rank)| older(*name).is_none_or(|r| r < *rank));
            want.extend(wanted.map(|(name, _)| *name).take(PUSHES_MAX * most));
        }
        Answer::Synced { records: newer, want, more }
    }

    /// Takes over the owner's records among these; whether one of them was new.
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

    /// A sibling answered a page. It gets what it wants of what the page offered, within a bound:
    /// more of it goes into the next comparison, or is fetched by the sibling's own.
    pub(crate) fn compared(
        &mut self,
        from: P,
        records: &[Arc<Record>],
        mut want: Vec<Name>,
        more: bool,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(owner) = self.setup.owner else {
            return;
        };
        // One that was dropped meanwhile is no sibling.
        let Some(Page { first, last, offered }) = self.sibling(from).and_then(|s| s.page.take())
        else {
            return;
        };
        let new = self.take_over(owner, records, from, turn);
        self.sibling_answered(from, new);
        let most = usize::from(turn.config.sync_records_max);
        if !planted::is(Bug::HonoursAnyWant) {
            want.sort_unstable();
            want.dedup();
            want.retain(|name| offered.binary_search(name).is_ok());
            want.truncate(PUSHES_MAX * most);
        }
        let wanted = want.iter().filter_map(|name| self.records.get(*name));
        let wanted: Vec<_> = wanted.filter(|record| record.owner == owner).cloned().collect();
        for records in wanted.chunks(most) {
            self.push_records(from, records.to_vec(), turn);
        }
        // Each repetition of a page takes over something, so that this ends.
        if more && new {
            self.send_page(from, first, turn);
        } else if let Some(next) = last.next() {
            self.send_page(from, next, turn);
        }
    }
}
