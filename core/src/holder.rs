//! A holder: what this peer does with records and announcements of others, and what it answers.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Name, Peer, Target};
use crate::machine::{AfterKeep, Core};
use crate::message::{Answer, Tag};
use crate::planted::{self, Bug};
use crate::providers::Bounds;
use crate::record::Record;
use crate::records::distance;
use crate::time::Span;
use crate::timers::Timer;
use crate::turn::{Effect, Item, ItemKey, Turn};

/// How far in the future a version may lie: more is a clock's fault, or an attack.
const AHEAD_MAX: Span = Span::secs(24 * 60 * 60);
/// How far in the future a record may expire: 90 days from its signing, and a day for clocks.
const LIFE_MAX: Span = Span::secs(91 * 24 * 60 * 60);
/// How often what has expired is dropped.
const SWEEP_PERIOD: Span = Span::minutes(5);
/// One owner may have one part in so many of the records kept here, one peer bring as many, and
/// one peer provide as many names.
const QUOTA_PART: usize = 8;
/// Providers, of all names together, for each record that there is room for.
const PROVIDERS_A_RECORD: usize = 4;

/// What came of a record that was heard of.
#[derive(Debug)]
pub(crate) enum Learned {
    /// It is new here, and has to be kept.
    New,
    /// It was here, and is kept.
    Same,
    /// It was here, but has to be kept before anyone may be told so.
    Unkept,
    /// This one stands against it.
    Superseded(Arc<Record>),
    /// There is no place for it, or it is not valid.
    Rejected,
}

impl<P: Peer> Core<P> {
    /// Answers `Find`.
    pub(crate) fn found(&self, target: Target<P>, from: P, turn: &Turn<'_, P>) -> Answer<P> {
        let k = usize::from(turn.config.k);
        let closer = self.table.closest(self.me.key(), target.key(), k, Some(from));
        Answer::Found { closer, hosts: Vec::new(), record: None, load: self.load() }
    }

    /// Answers `Hosts`.
    pub(crate) fn found_hosts(&self, name: Name, from: P, turn: &Turn<'_, P>) -> Answer<P> {
        let (hosts, record) = self.kept_of(name, from, turn);
        let k = usize::from(turn.config.k);
        let closer = self.table.closest(self.me.key(), P::position(&name), k, Some(from));
        Answer::Found { closer, hosts, record, load: self.load() }
    }

    /// The hosts and the record of a name, as far as they are known here; `asker` is left out.
    pub(crate) fn kept_of(
        &self,
        name: Name,
        asker: P,
        turn: &Turn<'_, P>,
    ) -> (Vec<P>, Option<Arc<Record>>) {
        let mut record = self.records.get(name).filter(|record| record.lives(turn.now));
        let most = usize::from(turn.config.hosts_max);
        let mut hosts = self.listed(name, asker, turn);
        if let Some(hosting) = self.hosting.get(&name) {
            if record.is_none_or(|known| hosting.record.supersedes(known)) {
                record = Some(&hosting.record);
            }
            // Under its record stands who serves that version, or has said so to its holders.
            let newest = record.is_some_and(|record| record.version == hosting.record.version);
            if !newest || hosting.is_leaving() {
                hosts.retain(|host| *host != self.me);
            } else if !hosts.contains(&self.me) {
                hosts.insert(0, self.me);
                hosts.truncate(most);
            }
        }
        if record.is_some_and(|record| record.spec.is_none()) {
            hosts.clear();
        }
        (hosts, record.cloned())
    }

    /// The hosts of a name that an answer lists: those that said so on their own connections, few of
    /// one address group.
    fn listed(&self, name: Name, asker: P, turn: &Turn<'_, P>) -> Vec<P> {
        let all = self.providers.of(name, asker, turn.now);
        let most = usize::from(turn.config.hosts_max);
        if self.groups.is_empty() || planted::is(Bug::ListsCrowds) {
            return all.take(most).collect();
        }
        let mut few = self.groups.few_of_each(all, turn.config.group_max);
        few.truncate(most);
        few
    }

    /// A peer says that it hosts a name.
    pub(crate) fn provide(
        &mut self,
        from: P,
        tag: Tag,
        name: Name,
        record: Option<Arc<Record>>,
        turn: &mut Turn<'_, P>,
    ) -> Option<Answer<P>> {
        let known = record.or_else(|| self.records.get(name).cloned());
        let learned = match &known {
            Some(record) if record.function != name => Learned::Rejected,
            Some(record) if record.spec.is_none() => Learned::Superseded(record.clone()),
            Some(record) => self.learn(record, from, turn),
            None => Learned::Same,
        };
        match learned {
            Learned::New | Learned::Same | Learned::Unkept => {
                let hosts = self.listed(name, from, turn);
                let noted = self.note_provider(name, from, turn);
                self.start_sweeping(turn);
                match (learned, known) {
                    (Learned::New | Learned::Unkept, Some(record)) => {
                        let after = AfterKeep::Answer { to: from, tag, hosts, noted };
                        self.keep(Item::Record(record), after, turn);
                        None
                    }
                    _ => Some(Answer::Stored { kept: noted, newer: None, hosts }),
                }
            }
            Learned::Superseded(newer) => {
                self.providers.drop_one(name, from);
                Some(Answer::Stored { kept: false, newer: Some(newer), hosts: Vec::new() })
            }
            Learned::Rejected => {
                Some(Answer::Stored { kept: false, newer: None, hosts: Vec::new() })
            }
        }
    }

    /// A peer wants a record kept.
    pub(crate) fn store(
        &mut self,
        from: P,
        tag: Tag,
        record: Arc<Record>,
        turn: &mut Turn<'_, P>,
    ) -> Option<Answer<P>> {
        let learned = self.learn(&record, from, turn);
        if !matches!(learned, Learned::Superseded(_) | Learned::Rejected) {
            // Whoever says this says it to all the holders.
            self.records.told(record.function, turn.now);
        }
        let (kept, newer) = match learned {
            Learned::New | Learned::Unkept => {
                let after = AfterKeep::Answer { to: from, tag, hosts: Vec::new(), noted: true };
                self.keep(Item::Record(record), after, turn);
                return None;
            }
            Learned::Same => (true, None),
            Learned::Superseded(newer) => (false, Some(newer)),
            Learned::Rejected => (false, None),
        };
        Some(Answer::Stored { kept, newer, hosts: Vec::new() })
    }

    /// Takes over a record, if it is newer than what is known here, and follows from it what
    /// follows: a removed function is served no longer, a newer version is fetched. Whoever calls
    /// this keeps a new one.
    pub(crate) fn learn(
        &mut self,
        record: &Arc<Record>,
        from: P,
        turn: &mut Turn<'_, P>,
    ) -> Learned {
        let ahead = record.version > (turn.now + AHEAD_MAX).unix_ms();
        let endless = record.expires > turn.now + LIFE_MAX;
        if !record.lives(turn.now) || ahead || endless || record.bytes.len() > Record::BYTES_MAX {
            return Learned::Rejected;
        }
        let strange = from != self.me && !self.owns(record.owner);
        match self.records.get(record.function).cloned() {
            Some(known) if known.supersedes(record) => return Learned::Superseded(known),
            Some(known) if !record.supersedes(&known) => {
                let unkept =
                    self.records.is_unkept(record.function) && !planted::is(Bug::AcknowledgesEarly);
                return if unkept { Learned::Unkept } else { Learned::Same };
            }
            // Nothing gives way for what may not be brought.
            _ if strange && !self.records.may_bring(from, turn.now) => return Learned::Rejected,
            Some(_) => {}
            None if self.owns(record.owner) || self.make_room(record, from, turn) => {}
            None => return Learned::Rejected,
        }
        if strange {
            self.records.brings(from, turn.now);
        }
        self.insert_record(record.clone(), from);
        self.records.mark_unkept(record.function);
        self.known.forget(record.function);
        if record.spec.is_none() && !planted::is(Bug::IgnoresTombstone) {
            self.providers.drop_all(record.function);
        }
        self.superseded(record, from, turn);
        if self.owns(record.owner) {
            self.push_to_siblings(record, from, turn);
        }
        self.start_sweeping(turn);
        Learned::New
    }

    /// [`Core::learn`], and keeps it where nothing else waits for that. Whether it was new.
    pub(crate) fn learn_and_keep(
        &mut self,
        record: &Arc<Record>,
        from: P,
        turn: &mut Turn<'_, P>,
    ) -> bool {
        let new = matches!(self.learn(record, from, turn), Learned::New);
        if new {
            self.keep(Item::Record(record.clone()), AfterKeep::Nothing, turn);
        }
        new
    }

    pub(crate) fn insert_record(&mut self, record: Arc<Record>, from: P) {
        let from = (!self.owns(record.owner)).then_some(from);
        self.records.insert(self.me.key(), record, from);
    }

    /// Whether another owner's record, whose name is new here, has a place: within its owner's
    /// quota and that of the peer that brings it. Where all places are taken the farthest gives
    /// way, unless this one is farther; what is hosted here stays.
    fn make_room(&mut self, record: &Record, from: P, turn: &mut Turn<'_, P>) -> bool {
        if self.hosting.contains_key(&record.function) {
            return true;
        }
        let most = turn.config.records_max as usize;
        let quota = quota(most);
        let (of_owner, brought, others) = self.records.counts(record.owner, from);
        let unbounded = planted::is(Bug::KeepsForAnyone);
        if (of_owner >= quota || brought >= quota && from != self.me) && !unbounded {
            return false;
        }
        if others < most {
            return true;
        }
        let distance = distance::<P>(self.me.key(), record.function);
        let hosted = |name| self.hosting.contains_key(&name);
        match self.records.farthest(self.me.key(), hosted) {
            Some((farther, name)) if farther > distance && !unbounded => {
                self.records.remove(name);
                turn.push(Effect::Forget(ItemKey::Record(name)));
                true
            }
            _ => false,
        }
    }

    /// A peer, perhaps this one, provides a name. Whether it is noted.
    pub(crate) fn note_provider(&mut self, name: Name, peer: P, turn: &mut Turn<'_, P>) -> bool {
        self.start_sweeping(turn);
        let known = self.records.get(name).is_some() || self.hosting.contains_key(&name);
        let mine = || self.setup.owner.is_some_and(|owner| P::owner_name(&owner) == name);
        let worth = (!known && !mine(), distance::<P>(self.me.key(), name), name);
        let most = turn.config.records_max as usize;
        let of_name = usize::from(turn.config.hosts_max);
        let bounds = Bounds { entries: most * PROVIDERS_A_RECORD, of_peer: quota(most), of_name };
        let until = turn.now + turn.config.host_life;
        let bounds = (bounds, &*self.groups);
        let noted = self.providers.add(self.me, peer, worth, (turn.now, until), bounds);
        self.start_guarding(turn);
        self.seen_to_serve(name, turn);
        noted
    }

    pub(crate) fn start_sweeping(&mut self, turn: &Turn<'_, P>) {
        if !self.records.sweeping {
            self.records.sweeping = true;
            self.timers.add(turn.now + SWEEP_PERIOD, Timer::Sweep);
        }
    }

    /// Drops what has expired.
    pub(crate) fn sweep(&mut self, turn: &mut Turn<'_, P>) {
        let now = turn.now;
        for name in self.records.drop_expired(now) {
            turn.push(Effect::Forget(ItemKey::Record(name)));
        }
        let expired = self.hosting.iter().filter(|(_, hosting)| !hosting.record.lives(now));
        let expired: Vec<Name> = expired.map(|(name, _)| *name).collect();
        for function in expired {
            self.give_up(function, turn);
        }
        self.providers.sweep(now);
        self.repeat_tombstones(turn);
        self.renew_records(turn);
        self.records.sweeping = false;
        let idle = self.records.is_empty() && self.providers.is_empty();
        if !(idle && self.hosting.is_empty()) {
            self.start_sweeping(turn);
        }
    }
}

/// What one owner or peer may take of so many places.
fn quota(most: usize) -> usize {
    most.div_ceil(QUOTA_PART)
}
