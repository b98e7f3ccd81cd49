//! A host's side of placement: from an offer to a function that can be called here, and back.

use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Accept;
use crate::key::{Digest, Name, Peer, Target};
use crate::machine::{AfterKeep, Core, Purpose};
use crate::message::{Decline, Query};
use crate::planted::{self, Bug};
use crate::publish::{AfterPublish, What};
use crate::record::Record;
use crate::repair::Mate;
use crate::search::{Kind, Outcome, Then};
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Effect, Item, ItemKey, Turn};

/// Placers that wait for the same function to be served.
const PLACERS_MAX: usize = 8;
/// How long a restarted host waits to meet anybody before it serves what it hosted.
const SETTLE_ALONE: Span = Span::secs(5);

/// A function that can be called here.
#[derive(Debug)]
pub(crate) struct Hosting<P> {
    pub(crate) record: Arc<Record>,
    /// The other hosts, as far as they are known.
    pub(crate) mates: Vec<Mate<P>>,
    /// When to look whether hosts are lacking, or too many.
    pub(crate) heal_at: Time,
    /// Whether this host is placing replacements.
    pub(crate) healing: bool,
    /// When the holders are told again.
    renew_at: Time,
}

/// A function that has a place here, but can't be called yet.
#[derive(Debug)]
pub(crate) struct Arriving<P> {
    pub(crate) record: Arc<Record>,
    stage: Stage,
    /// Who wants to hear when it is served.
    placers: Vec<P>,
    mates: Vec<P>,
    until: Time,
}

/// How far it has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// Accepted, not confirmed.
    Reserved,
    /// Hosted before a restart; whether it still should be is being asked.
    Settling,
    /// The code is on its way.
    Fetching,
    /// The runtime makes it ready.
    Installing,
    /// That it is hosted here is being kept.
    Keeping,
}

impl<P: Peer> Core<P> {
    /// Answers an offer; accepting reserves a place.
    pub(crate) fn consider(
        &mut self,
        from: P,
        record: Arc<Record>,
        waive: bool,
        turn: &mut Turn<'_, P>,
    ) -> Option<Decline> {
        let function = record.function;
        let served = self.hosting.get(&function).map(|hosting| hosting.record.version);
        if served == Some(record.version) {
            return None;
        }
        let decline = self.objection(&record, waive, turn);
        if decline.is_some() {
            return decline;
        }
        let until = turn.now + turn.config.reserve_life;
        let placers = alloc::vec![from];
        let new = Arriving { record, stage: Stage::Reserved, placers, mates: Vec::new(), until };
        match self.arriving.entry(function) {
            // It is on its way already, for another placer.
            Entry::Occupied(entry) if entry.get().stage != Stage::Reserved => {
                if entry.get().record.version != new.record.version {
                    return Some(Decline::Full);
                }
                return None;
            }
            Entry::Occupied(mut entry) => drop(entry.insert(new)),
            Entry::Vacant(entry) => drop(entry.insert(new)),
        }
        self.timers.add(until, Timer::Arrival(function));
        None
    }

    fn objection(&self, record: &Record, waive: bool, turn: &Turn<'_, P>) -> Option<Decline> {
        if planted::is(Bug::NeverDecline) {
            return None;
        }
        let spec = record.spec.as_ref();
        let known = self.records.get(record.function);
        let hosted = self.hosting.get(&record.function).map(|hosting| &hosting.record);
        if spec.is_none()
            || !record.lives(turn.now)
            || known.into_iter().chain(hosted).any(|other| other.supersedes(record))
        {
            return Some(Decline::Superseded);
        }
        let accepted = self.owns(record.owner)
            || match &self.setup.accept {
                Accept::Owner => false,
                Accept::Anyone => true,
                Accept::These(owners) => owners.contains(&record.owner),
            };
        if !accepted {
            return Some(Decline::Policy);
        }
        if self.setup.slots == 0 {
            return Some(Decline::Runtime);
        }
        let labels = &self.setup.labels;
        if spec.is_some_and(|spec| spec.constraints.iter().any(|c| !labels.contains(c))) {
            return Some(Decline::Constraint);
        }
        if hosted.is_some() || self.arriving.contains_key(&record.function) {
            return None;
        }
        let load = self.load();
        if load.hosted >= load.room {
            return Some(Decline::Full);
        }
        (!waive && self.is_busier(turn)).then_some(Decline::Busier)
    }

    /// Whether one more function would make this host fuller than its share: consistent hashing
    /// with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018), the mean estimated from what
    /// others said.
    fn is_busier(&self, turn: &Turn<'_, P>) -> bool {
        if self.loads.len() < usize::from(turn.config.loads_min) {
            return false;
        }
        let load = self.load();
        let sum: u64 = self.loads.iter().map(|(_, used)| u64::from(*used)).sum();
        let per_million = sum * u64::from(turn.config.busier_permille) / self.loads.len() as u64;
        let most = (per_million * u64::from(load.room)).div_ceil(1_000_000).max(1);
        u64::from(load.hosted) + 1 > most
    }

    /// The placer wants it: the code is fetched. False if there is no such reservation.
    pub(crate) fn confirmed(
        &mut self,
        from: P,
        function: Name,
        version: u64,
        sources: Vec<P>,
        mates: Vec<P>,
        turn: &mut Turn<'_, P>,
    ) -> bool {
        if self.serves(function, version) {
            for mate in mates {
                self.meet_mate(function, mate, turn);
            }
            self.report(from, function, version, None, turn);
            return true;
        }
        let Some(arriving) = self.arriving.get_mut(&function) else {
            return false;
        };
        if arriving.record.version != version {
            return false;
        }
        if !arriving.placers.contains(&from) && arriving.placers.len() < PLACERS_MAX {
            arriving.placers.push(from);
        }
        if arriving.stage == Stage::Reserved {
            arriving.mates = mates;
            arriving.mates.truncate(usize::from(turn.config.hosts_max));
            self.fetch(function, sources, turn);
        }
        true
    }

    fn fetch(&mut self, function: Name, mut from: Vec<P>, turn: &mut Turn<'_, P>) {
        let arriving = self.arriving.get_mut(&function).expect("only what arrives is fetched");
        let spec = arriving.record.spec.as_ref().expect("a tombstone does not arrive");
        arriving.stage = Stage::Fetching;
        arriving.until = turn.now + turn.config.install_timeout;
        self.timers.add(arriving.until, Timer::Arrival(function));
        from.retain(|peer| *peer != self.me);
        from.truncate(usize::from(turn.config.hosts_max));
        turn.push(Effect::Fetch { digest: spec.digest, size: spec.size, from });
    }

    /// The place is not needed. False if there was none.
    pub(crate) fn released(&mut self, from: P, function: Name, version: u64) -> bool {
        let reserved = self.arriving.get(&function).is_some_and(|arriving| {
            arriving.stage == Stage::Reserved
                && arriving.record.version == version
                && arriving.placers.contains(&from)
        });
        if reserved {
            self.arriving.remove(&function);
        }
        reserved
    }

    pub(crate) fn fetched(&mut self, digest: Digest, ok: bool, turn: &mut Turn<'_, P>) {
        let of_it = |a: &Arriving<P>| {
            let spec = a.record.spec.as_ref();
            a.stage == Stage::Fetching && spec.is_some_and(|spec| spec.digest == digest)
        };
        let all = self.arriving.iter().filter(|(_, a)| of_it(a));
        let functions: Vec<Name> = all.map(|(name, _)| *name).collect();
        for function in functions {
            if ok {
                let arriving = self.arriving.get_mut(&function).expect("it was just found");
                arriving.stage = Stage::Installing;
                turn.push(Effect::Install(arriving.record.clone()));
            } else {
                self.fail_arrival(function, Decline::Fetch, turn);
            }
        }
    }

    pub(crate) fn installed(
        &mut self,
        function: Name,
        version: u64,
        ok: bool,
        turn: &mut Turn<'_, P>,
    ) {
        let arriving = self.arriving.get_mut(&function);
        let wanted = arriving.filter(|a| a.record.version == version);
        match wanted {
            Some(arriving) if arriving.stage == Stage::Installing => {
                if ok {
                    arriving.stage = Stage::Keeping;
                    let item = Item::Hosting(arriving.record.clone());
                    self.keep(item, AfterKeep::Hosted { function, version }, turn);
                } else {
                    self.fail_arrival(function, Decline::Install, turn);
                }
            }
            // It was given up meanwhile.
            _ if ok => turn.push(Effect::Uninstall { function, version }),
            _ => {}
        }
    }

    /// It is kept that the function is hosted here: it is served, and the holders hear of it.
    pub(crate) fn hosted(
        &mut self,
        function: Name,
        version: u64,
        ok: bool,
        turn: &mut Turn<'_, P>,
    ) {
        let arrived = self.arriving.get(&function).is_some_and(|a| a.record.version == version);
        if !arrived {
            turn.push(Effect::Uninstall { function, version });
            turn.push(Effect::Forget(ItemKey::Hosting(function)));
            return;
        }
        if !ok {
            turn.push(Effect::Uninstall { function, version });
            self.fail_arrival(function, Decline::Store, turn);
            return;
        }
        let Arriving { record, placers, mates, .. } =
            self.arriving.remove(&function).expect("it was just found");
        let mates = mates.into_iter().filter(|mate| *mate != self.me).map(Mate::new).collect();
        let (heal_at, renew_at) = (Time::NEVER, Time::NEVER);
        let new = Hosting { record: record.clone(), mates, heal_at, healing: false, renew_at };
        let old = self.hosting.insert(function, new);
        if let Some(old) = old
            && old.record.version != version
        {
            let version = old.record.version;
            turn.push(Effect::Uninstall { function, version });
        }
        self.known.forget(function);
        let then = AfterPublish::Placed { version, placers };
        self.publish(What::Provide(function, Some(record)), then, turn);
        self.renew_later(function, turn);
        self.start_sweeping(turn);
        self.start_probing(turn);
        self.look_after(function, turn);
    }

    fn renew_later(&mut self, function: Name, turn: &Turn<'_, P>) {
        let period = turn.config.renew_period;
        let jitter = Span(self.random.below(period.0 / 8));
        let at = turn.now + Span(period.0 - jitter.0);
        if let Some(hosting) = self.hosting.get_mut(&function) {
            hosting.renew_at = at;
            self.timers.add(at, Timer::Renew(function));
        }
    }

    /// Tells the holders in a network that was just joined of all that is hosted here.
    pub(crate) fn announce_hosted(&mut self, turn: &mut Turn<'_, P>) {
        let functions: Vec<Name> = self.hosting.keys().copied().collect();
        for function in functions {
            if let Some(hosting) = self.hosting.get_mut(&function) {
                hosting.renew_at = turn.now;
            }
            self.renew(function, turn);
        }
    }

    /// Tells the holders again, before they take this host for gone.
    pub(crate) fn renew(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        if planted::is(Bug::NeverRenew) {
            return;
        }
        let Some(hosting) = self.hosting.get(&function) else {
            return;
        };
        // A deadline left over from an earlier version is none.
        if hosting.renew_at > turn.now {
            return;
        }
        let what = What::Provide(function, Some(hosting.record.clone()));
        self.publish(what, AfterPublish::Nothing, turn);
        self.renew_later(function, turn);
    }

    /// Tells a placer what came of what it confirmed.
    pub(crate) fn report(
        &mut self,
        placer: P,
        function: Name,
        version: u64,
        failure: Option<Decline>,
        turn: &mut Turn<'_, P>,
    ) {
        if placer == self.me {
            self.placed(self.me, function, version, failure, turn);
        } else {
            self.query(placer, Query::Placed { function, version, failure }, Purpose::Tell, turn);
        }
    }

    fn fail_arrival(&mut self, function: Name, why: Decline, turn: &mut Turn<'_, P>) {
        let Some(arriving) = self.arriving.remove(&function) else {
            return;
        };
        for placer in arriving.placers {
            self.report(placer, function, arriving.record.version, Some(why), turn);
        }
    }

    pub(crate) fn arrival_due(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let Some(arriving) = self.arriving.get(&function) else {
            return;
        };
        if arriving.until > turn.now {
            return;
        }
        match arriving.stage {
            Stage::Reserved => drop(self.arriving.remove(&function)),
            Stage::Settling => self.ask_whether_to_serve(function, turn),
            Stage::Fetching | Stage::Installing | Stage::Keeping => {
                self.fail_arrival(function, Decline::Silent, turn);
            }
        }
    }

    /// It was hosted here before this node restarted: it is served again once the holders confirm
    /// that it still should be, or nobody is there to ask.
    pub(crate) fn hosted_before(&mut self, record: Arc<Record>, turn: &mut Turn<'_, P>) {
        let function = record.function;
        if record.spec.is_none() || !record.lives(turn.now) {
            turn.push(Effect::Forget(ItemKey::Hosting(function)));
            return;
        }
        let until = turn.now + SETTLE_ALONE;
        let (stage, placers, mates) = (Stage::Settling, Vec::new(), Vec::new());
        self.arriving.insert(function, Arriving { record, stage, placers, mates, until });
        self.timers.add(until, Timer::Arrival(function));
    }

    /// The network was joined: what was hosted before can be asked for.
    pub(crate) fn settle_all(&mut self, turn: &mut Turn<'_, P>) {
        let settling = self.arriving.iter().filter(|(_, a)| a.stage == Stage::Settling);
        let functions: Vec<Name> = settling.map(|(name, _)| *name).collect();
        for function in functions {
            self.ask_whether_to_serve(function, turn);
        }
    }

    fn ask_whether_to_serve(&mut self, function: Name, turn: &mut Turn<'_, P>) {
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
        let known = self.records.get(function).cloned();
        for record in outcome.record.into_iter().chain(known) {
            if record.supersedes(&arriving.record) {
                arriving.record = record;
            }
        }
        if arriving.record.spec.is_none() && !planted::is(Bug::IgnoresTombstone) {
            let record = arriving.record.clone();
            self.arriving.remove(&function);
            turn.push(Effect::Forget(ItemKey::Hosting(function)));
            self.learn_and_keep(&record, self.me, turn);
            return;
        }
        arriving.mates.clone_from(&outcome.hosts);
        if arriving.record.spec.is_some() {
            self.fetch(function, outcome.hosts, turn);
        }
    }

    /// A record was learnt that may end or replace what is hosted or on its way here.
    pub(crate) fn superseded(&mut self, record: &Arc<Record>, from: P, turn: &mut Turn<'_, P>) {
        let function = record.function;
        let stale = |a: &Arriving<P>| a.stage != Stage::Settling && record.supersedes(&a.record);
        if self.arriving.get(&function).is_some_and(stale) {
            self.fail_arrival(function, Decline::Superseded, turn);
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
        // Updated elsewhere: the old version serves until the new one is here. A place that is only
        // reserved for it is used, whether the placer will confirm it or not.
        let placers = match self.arriving.get(&function) {
            Some(arriving) if arriving.stage == Stage::Reserved => arriving.placers.clone(),
            Some(_) => return,
            None => Vec::new(),
        };
        let mates: Vec<P> = hosting.mates.iter().map(|mate| mate.peer).collect();
        let mut sources = mates.clone();
        sources.insert(0, from);
        let (stage, until) = (Stage::Reserved, Time::NEVER);
        let arriving = Arriving { record: record.clone(), stage, placers, mates, until };
        self.arriving.insert(function, arriving);
        self.fetch(function, sources, turn);
    }

    /// Whether this version can be called here.
    pub(crate) fn serves(&self, function: Name, version: u64) -> bool {
        self.hosting.get(&function).is_some_and(|hosting| hosting.record.version == version)
    }

    /// Stops serving a function.
    pub(crate) fn give_up(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        if let Some(hosting) = self.hosting.remove(&function) {
            self.providers.drop_one(function, self.me);
            let version = hosting.record.version;
            turn.push(Effect::Uninstall { function, version });
            turn.push(Effect::Forget(ItemKey::Hosting(function)));
        }
    }
}
