//! What this peer keeps for others: records, and who provides which name. The records of this
//! node's own owner stand among them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Name, Owner, Peer, Target};
use crate::machine::{AfterKeep, Core};
use crate::message::{Answer, Tag};
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Effect, Item, ItemKey, Turn};

/// How far in the future a version may lie: more is a clock's fault, or an attack.
const AHEAD_MAX: Span = Span::secs(24 * 60 * 60);
/// How often what has expired is dropped.
const SWEEP_PERIOD: Span = Span::minutes(5);

/// Records by name, and the peers that said they host a name, each until its announcement lapses.
#[derive(Debug)]
pub(crate) struct Records<P> {
    by_name: BTreeMap<Name, Arc<Record>>,
    /// Of these, those that are not known to be kept through a crash.
    unkept: BTreeSet<Name>,
    providers: BTreeMap<Name, Vec<(P, Time)>>,
    sweeping: bool,
}

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

impl<P: Peer> Records<P> {
    pub(crate) const fn new() -> Self {
        Self {
            by_name: BTreeMap::new(),
            unkept: BTreeSet::new(),
            providers: BTreeMap::new(),
            sweeping: false,
        }
    }

    pub(crate) fn get(&self, name: Name) -> Option<&Arc<Record>> {
        self.by_name.get(&name)
    }

    pub(crate) fn insert(&mut self, record: Arc<Record>) {
        self.by_name.insert(record.function, record);
    }

    /// This version is kept.
    pub(crate) fn kept(&mut self, name: Name, version: u64) {
        if self.by_name.get(&name).is_some_and(|record| record.version == version) {
            self.unkept.remove(&name);
        }
    }

    /// The records of an owner, by name, tombstones among them.
    pub(crate) fn of(&self, owner: Owner) -> impl Iterator<Item = &Arc<Record>> {
        self.by_name.values().filter(move |record| record.owner == owner)
    }

    /// The peers that provide a name, without `except`.
    fn providers(&self, name: Name, except: P, turn: &Turn<'_, P>) -> Vec<P> {
        let all = self.providers.get(&name).into_iter().flatten();
        let live = all.filter(|(peer, until)| *until > turn.now && *peer != except);
        live.map(|(peer, _)| *peer).take(usize::from(turn.config.hosts_max)).collect()
    }

    fn add_provider(&mut self, name: Name, peer: P, turn: &Turn<'_, P>) -> bool {
        let full = self.providers.len() >= turn.config.records_max as usize;
        if full && !self.providers.contains_key(&name) {
            return false;
        }
        let until = turn.now + turn.config.host_life;
        let providers = self.providers.entry(name).or_default();
        providers.retain(|(other, until)| *other != peer && *until > turn.now);
        if providers.len() >= usize::from(turn.config.hosts_max) {
            return false;
        }
        providers.push((peer, until));
        true
    }

    fn drop_providers(&mut self, name: Name) {
        self.providers.remove(&name);
    }

    /// Whether it was one.
    pub(crate) fn drop_provider(&mut self, name: Name, peer: P) -> bool {
        self.providers.get_mut(&name).is_some_and(|providers| {
            let before = providers.len();
            providers.retain(|(other, _)| *other != peer);
            providers.len() < before
        })
    }
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
        let mut hosts = self.records.providers(name, asker, turn);
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
            }
        }
        if record.is_some_and(|record| record.spec.is_none()) {
            hosts.clear();
        }
        (hosts, record.cloned())
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
                let hosts = self.records.providers(name, from, turn);
                let kept = self.records.add_provider(name, from, turn);
                self.start_sweeping(turn);
                match (learned, known) {
                    (Learned::New | Learned::Unkept, Some(record)) => {
                        let after = AfterKeep::Answer { to: from, tag, hosts };
                        self.keep(Item::Record(record), after, turn);
                        None
                    }
                    _ => Some(Answer::Stored { kept, newer: None, hosts }),
                }
            }
            Learned::Superseded(newer) => {
                self.records.drop_provider(name, from);
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
        let (kept, newer) = match self.learn(&record, from, turn) {
            Learned::New | Learned::Unkept => {
                let after = AfterKeep::Answer { to: from, tag, hosts: Vec::new() };
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
        if !record.lives(turn.now) || ahead || record.bytes.len() > Record::BYTES_MAX {
            return Learned::Rejected;
        }
        match self.records.get(record.function) {
            Some(known) if known.supersedes(record) => return Learned::Superseded(known.clone()),
            Some(known) if !record.supersedes(known) => {
                let unkept = self.records.unkept.contains(&record.function)
                    && !planted::is(Bug::AcknowledgesEarly);
                return if unkept { Learned::Unkept } else { Learned::Same };
            }
            Some(_) => {}
            None => {
                let full = self.records.by_name.len() >= turn.config.records_max as usize;
                if full && !self.owns(record.owner) {
                    return Learned::Rejected;
                }
            }
        }
        self.records.insert(record.clone());
        self.records.unkept.insert(record.function);
        self.known.forget(record.function);
        if record.spec.is_none() && !planted::is(Bug::IgnoresTombstone) {
            self.records.drop_providers(record.function);
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

    /// This peer, a holder of the name, hosts it itself.
    pub(crate) fn provide_myself(&mut self, name: Name, turn: &mut Turn<'_, P>) {
        self.records.add_provider(name, self.me, turn);
        self.start_sweeping(turn);
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
        self.records.by_name.retain(|name, record| {
            if !record.lives(now) {
                turn.push(Effect::Forget(ItemKey::Record(*name)));
            }
            record.lives(now)
        });
        let expired = self.hosting.iter().filter(|(_, hosting)| !hosting.record.lives(now));
        let expired: Vec<Name> = expired.map(|(name, _)| *name).collect();
        for function in expired {
            self.give_up(function, turn);
        }
        let by_name = &self.records.by_name;
        self.records.unkept.retain(|name| by_name.contains_key(name));
        self.records.providers.retain(|_, providers| {
            providers.retain(|(_, until)| *until > now);
            !providers.is_empty()
        });
        self.records.sweeping = false;
        let records = &self.records;
        if !(records.by_name.is_empty() && records.providers.is_empty() && self.hosting.is_empty())
        {
            self.start_sweeping(turn);
        }
    }
}
