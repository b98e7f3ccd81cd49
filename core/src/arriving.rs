//! A host's side of placement: from an offer to a function that can be called here.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Accept;
use crate::key::{Name, Peer};
use crate::machine::{AfterKeep, Core};
use crate::message::{Decline, Query, Tag};
use crate::places::PLACERS_MAX;
use crate::planted::{self, Bug};
use crate::queries::Purpose;
use crate::record::Record;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Effect, Got, Item, ItemKey, Turn};

/// How long sources that were all busy are left alone.
const BUSY_PAUSE: Span = Span::ms(500);
/// Shares of fewer functions are rounded up.
const FEW: u64 = 8;

/// A function that was confirmed here, but can't be called yet.
#[derive(Debug)]
pub(crate) struct Arriving<P> {
    pub(crate) record: Arc<Record>,
    pub(crate) stage: Stage,
    /// What the host is doing for it.
    pub(crate) work: Option<Tag>,
    /// Who wants to hear when it is served.
    pub(crate) placers: Vec<P>,
    pub(crate) mates: Vec<P>,
    /// Who may have the code and was not asked for it yet, the likeliest first.
    sources: VecDeque<P>,
    /// Who is being asked.
    asked: Option<P>,
    /// Who was asked and had too much to do.
    busy: VecDeque<P>,
    /// When they are asked again.
    again_at: Time,
    pub(crate) until: Time,
    /// Whether it was hosted before a restart, so that this is still kept.
    pub(crate) restored: bool,
    /// Searches by which it could not be confirmed that it should be hosted again.
    pub(crate) unconfirmed: u8,
}

/// How far it has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Hosted before a restart; whether it still should be is being asked.
    Settling,
    /// The code is on its way.
    Fetching,
    /// The runtime makes it ready.
    Installing,
    /// That it is hosted here is being kept.
    Keeping,
}

/// A fetch or an install that the host is busy with, wanted or not any more.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Works {
    function: Name,
    version: u64,
    installs: bool,
}

impl<P> Arriving<P> {
    pub(crate) const fn new(record: Arc<Record>, placers: Vec<P>, mates: Vec<P>) -> Self {
        Self {
            record,
            stage: Stage::Settling,
            work: None,
            placers,
            mates,
            sources: VecDeque::new(),
            asked: None,
            busy: VecDeque::new(),
            again_at: Time::NEVER,
            until: Time::NEVER,
            restored: false,
            unconfirmed: 0,
        }
    }
}

impl<P: Peer> Core<P> {
    /// Answers an offer; accepting promises a place.
    pub(crate) fn consider(
        &mut self,
        from: P,
        record: Arc<Record>,
        waive: bool,
        turn: &mut Turn<'_, P>,
    ) -> Option<Decline> {
        if let Some(hosting) = self.hosting.get(&record.function)
            && hosting.record.version == record.version
        {
            return hosting.is_leaving().then_some(Decline::Full);
        }
        let decline = self.objection(&record, waive, turn);
        if decline.is_some() {
            return decline;
        }
        let until = turn.now + turn.config.reserve_life;
        // This node's own user may fill it.
        let room = if from == self.me { u16::MAX } else { self.setup.room };
        let decline = self.places.promise(from, record, until, room);
        self.watch_places();
        decline
    }

    fn watch_places(&mut self) {
        if let Some(due) = self.places.deadline() {
            self.timers.add(due, Timer::Places);
        }
    }

    pub(crate) fn places_due(&mut self, turn: &Turn<'_, P>) {
        self.places.lapse(turn.now);
        self.watch_places();
    }

    fn objection(&self, record: &Record, waive: bool, turn: &Turn<'_, P>) -> Option<Decline> {
        if planted::is(Bug::NeverDecline) {
            return None;
        }
        let function = record.function;
        if record.spec.is_none() || !record.lives(turn.now) || self.is_superseded(record) {
            return Some(Decline::Superseded);
        }
        let unfit = self.unfit(record);
        if unfit.is_some() {
            return unfit;
        }
        if self.drains {
            return Some(Decline::Full);
        }
        if self.hosting.contains_key(&function)
            || self.arriving.contains_key(&function)
            || self.places.has(function)
        {
            return None;
        }
        let load = self.load();
        if load.hosted >= load.room {
            return Some(Decline::Full);
        }
        let compares = !waive && record.is_for_any();
        (compares && self.is_busier(turn)).then_some(Decline::Busier)
    }

    /// Whether a newer version, or a tombstone, is known, served or on its way.
    fn is_superseded(&self, record: &Record) -> bool {
        let function = record.function;
        let known = self.records.get(function).into_iter();
        let hosted = self.hosting.get(&function).map(|hosting| &hosting.record);
        let arriving = self.arriving.get(&function).map(|arriving| &arriving.record);
        known.chain(hosted).chain(arriving).any(|other| other.supersedes(record))
    }

    /// Why this node is not one to host a function, however much room it has: asked of an offer, of
    /// an update, and again after a restart.
    pub(crate) fn unfit(&self, record: &Record) -> Option<Decline> {
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
        let lacks =
            |spec: &crate::record::Spec| spec.constraints.iter().any(|c| !labels.contains(c));
        record.spec.as_ref().is_some_and(lacks).then_some(Decline::Constraint)
    }

    /// Whether one more function would make this host fuller than its share: consistent hashing
    /// with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018), the mean estimated from what
    /// others said.
    fn is_busier(&self, turn: &Turn<'_, P>) -> bool {
        let share = self.share(turn);
        share > 0 && u64::from(self.load().hosted) + 1 > share
    }

    /// How many functions this host takes without being asked twice; 0: it knows too little of others.
    pub(crate) fn share(&self, turn: &Turn<'_, P>) -> u64 {
        let Some(per_million) = self.mean_use(turn.config.busier_permille, turn) else {
            return 0;
        };
        let millionths = per_million * u64::from(self.setup.room);
        // To the nearest, since rounded up all would take more than their shares; but a share of a few
        // functions is rounded up, lest all be full together.
        let most = (millionths + 500_000) / 1_000_000;
        if most < FEW { millionths.div_ceil(1_000_000).max(1) } else { most }
    }

    /// The placer wants it: the code is fetched. False if it holds no place for it.
    pub(crate) fn confirmed(
        &mut self,
        from: P,
        function: Name,
        version: u64,
        sources: Vec<P>,
        mut mates: Vec<P>,
        turn: &mut Turn<'_, P>,
    ) -> bool {
        if let Some(hosting) = self.hosting.get(&function)
            && hosting.record.version == version
        {
            let (serves, kept) = (!hosting.is_leaving(), hosting.kept);
            if planted::is(Bug::BelievesStrangers) {
                for mate in mates {
                    self.meet_mate(function, mate, turn);
                }
            }
            // Who hosts it besides, this host knows better than who confirms it.
            if serves && !kept {
                // The placer asks again, if it hears nothing.
                self.keep_hosting(function, turn);
            } else if serves {
                self.report(from, function, version, None, turn);
            }
            return serves;
        }
        let promised = self.places.take(function, from, version);
        if let Some(arriving) = self.arriving.get_mut(&function)
            && arriving.record.version == version
        {
            let known = arriving.placers.contains(&from);
            if promised.is_some() && !known && arriving.placers.len() < PLACERS_MAX {
                arriving.placers.push(from);
            }
            return known || promised.is_some();
        }
        let Some(record) = promised.filter(|record| !self.is_superseded(record)) else {
            return false;
        };
        // What is on its way is older.
        let restored = self.arriving.get(&function).is_some_and(|arriving| arriving.restored);
        self.fail_arrival(function, Decline::Superseded, turn);
        mates.truncate(usize::from(turn.config.hosts_max));
        let mut arriving = Arriving::new(record, alloc::vec![from], mates);
        arriving.restored = restored;
        self.arriving.insert(function, arriving);
        self.fetch(function, sources, turn);
        true
    }

    /// The place is not needed. False if there was none.
    pub(crate) fn released(&mut self, from: P, function: Name, version: u64) -> bool {
        self.places.take(function, from, version).is_some()
    }

    /// Gets the code of what arrives: from the first of these that gives it.
    pub(crate) fn fetch(&mut self, function: Name, from: Vec<P>, turn: &mut Turn<'_, P>) {
        let arriving = self.arriving.get_mut(&function).expect("only what arrives is fetched");
        arriving.stage = Stage::Fetching;
        arriving.until = turn.now + turn.config.install_timeout;
        self.timers.add(arriving.until, Timer::Arrival(function));
        let others = from.into_iter().filter(|peer| *peer != self.me);
        arriving.sources = others.take(usize::from(turn.config.hosts_max)).collect();
        arriving.busy.clear();
        arriving.again_at = Time::NEVER;
        self.fetch_on(function, turn);
    }

    /// Asks the next source, if there is one: else it may still be that the code is here.
    fn fetch_on(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let arriving = self.arriving.get_mut(&function).expect("only what arrives is fetched");
        let spec = arriving.record.spec.as_ref().expect("a tombstone does not arrive");
        let version = arriving.record.version;
        let tag = self.works.insert(self.incarnation, Works { function, version, installs: false });
        arriving.work = Some(tag);
        let from = arriving.sources.pop_front();
        arriving.asked = from;
        turn.push(Effect::Fetch { tag, digest: spec.digest, size: spec.size, from });
    }

    /// The tag of a fetch that no arrival waits for.
    pub(crate) fn fetch_work(&mut self, function: Name, version: u64) -> Tag {
        self.works.insert(self.incarnation, Works { function, version, installs: false })
    }

    fn work_done(&mut self, tag: Tag, installs: bool) -> Option<Works> {
        self.works.get(tag).filter(|works| works.installs == installs)?;
        self.works.remove(tag)
    }

    pub(crate) fn fetched(&mut self, tag: Tag, got: Got, turn: &mut Turn<'_, P>) {
        let Some(Works { function, version, .. }) = self.work_done(tag, false) else {
            return;
        };
        self.code_fetched(function, got);
        let arriving = self.arriving.get_mut(&function).filter(|a| a.work == Some(tag));
        let Some(arriving) = arriving.filter(|a| a.stage == Stage::Fetching) else {
            return;
        };
        arriving.work = None;
        let asked = arriving.asked.take();
        arriving.busy.extend(asked.filter(|_| got == Got::Busy));
        if got == Got::Code {
            let tag =
                self.works.insert(self.incarnation, Works { function, version, installs: true });
            arriving.stage = Stage::Installing;
            arriving.work = Some(tag);
            turn.push(Effect::Install { tag, record: arriving.record.clone() });
        } else if !arriving.sources.is_empty() {
            self.fetch_on(function, turn);
        } else if !arriving.busy.is_empty() && !planted::is(Bug::BusyIsGone) {
            arriving.again_at = turn.now + BUSY_PAUSE;
            self.timers.add(arriving.again_at, Timer::Arrival(function));
        } else {
            self.fail_arrival(function, Decline::Fetch, turn);
        }
    }

    pub(crate) fn installed(&mut self, tag: Tag, ok: bool, turn: &mut Turn<'_, P>) {
        let Some(Works { function, version, .. }) = self.work_done(tag, true) else {
            return;
        };
        let wanted = self.arriving.get_mut(&function).filter(|a| a.record.version == version);
        match wanted {
            // Or by an install that was given up, when it was wanted again: that one does as well.
            Some(arriving)
                if ok && matches!(arriving.stage, Stage::Fetching | Stage::Installing) =>
            {
                arriving.stage = Stage::Keeping;
                let item = Item::Hosting(arriving.record.clone());
                self.keep(item, AfterKeep::Hosted { function, version }, turn);
            }
            Some(arriving) if !ok && arriving.work == Some(tag) => {
                self.fail_arrival(function, Decline::Install, turn);
            }
            _ if ok => self.uninstall(function, version, turn),
            _ => {}
        }
    }

    /// Uninstalls a version that is neither served nor on its way.
    fn uninstall(&mut self, function: Name, version: u64, turn: &mut Turn<'_, P>) {
        let hosted = self.hosting.get(&function).map(|hosting| hosting.record.version);
        // What has yet to learn whether it still should is installed anew if so.
        let arriving = self.arriving.get(&function).filter(|a| a.stage != Stage::Settling);
        let arriving = arriving.map(|arriving| arriving.record.version);
        let needed = hosted == Some(version) || arriving == Some(version);
        if !needed || planted::is(Bug::UninstallsServed) {
            turn.push(Effect::Uninstall { function, version });
        }
    }

    /// It is kept that a version is hosted here, or could not be: if that is still wanted, it is
    /// served.
    pub(crate) fn hosting_kept(
        &mut self,
        function: Name,
        version: u64,
        ok: bool,
        turn: &mut Turn<'_, P>,
    ) {
        let arriving = self.arriving.get(&function);
        let wanted = arriving.filter(|arriving| arriving.record.version == version);
        if wanted.is_some_and(|arriving| arriving.stage == Stage::Settling) {
            // It was kept too late: whether it still should be served is being asked again.
        } else if wanted.is_some() {
            if ok {
                let arrived = self.arriving.remove(&function).expect("it was just found");
                return self.serve(arrived, turn);
            }
            self.fail_arrival(function, Decline::Store, turn);
        } else if ok && arriving.is_none_or(|arriving| arriving.stage != Stage::Keeping) {
            // It took the place of what is served, if anything is.
            match self.hosting.get(&function) {
                Some(hosting) if planted::is(Bug::ForgetsServed) || hosting.is_leaving() => {
                    turn.push(Effect::Forget(ItemKey::Hosting(function)));
                }
                Some(_) => {
                    turn.push(Effect::Forget(ItemKey::Hosting(function)));
                    self.keep_hosting(function, turn);
                }
                None => turn.push(Effect::Forget(ItemKey::Hosting(function))),
            }
        }
        self.uninstall(function, version, turn);
    }

    /// Keeps what is served, whose place in the store another version took, or may have taken.
    pub(crate) fn keep_hosting(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let Some(hosting) = self.hosting.get_mut(&function) else {
            return;
        };
        hosting.kept = false;
        let record = hosting.record.clone();
        let version = record.version;
        self.keep(Item::Hosting(record), AfterKeep::Rehosted { function, version }, turn);
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

    /// Gives up what is on its way, if anything is.
    pub(crate) fn fail_arrival(&mut self, function: Name, why: Decline, turn: &mut Turn<'_, P>) {
        let Some(arriving) = self.arriving.remove(&function) else {
            return;
        };
        let version = arriving.record.version;
        for placer in arriving.placers {
            self.report(placer, function, version, Some(why), turn);
        }
        if why == Decline::Superseded {
            return;
        }
        if arriving.restored {
            self.settle_later(function, arriving.record, turn);
        } else {
            self.update_later(function, turn);
        }
    }

    /// Asks those again that were busy.
    fn fetch_again(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let arriving = self.arriving.get_mut(&function).expect("only what arrives is fetched");
        arriving.again_at = Time::NEVER;
        arriving.sources = core::mem::take(&mut arriving.busy);
        self.fetch_on(function, turn);
    }

    pub(crate) fn arrival_due(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let Some(arriving) = self.arriving.get(&function) else {
            return;
        };
        if arriving.until > turn.now {
            if arriving.stage == Stage::Fetching && arriving.again_at <= turn.now {
                self.fetch_again(function, turn);
            }
            return;
        }
        match arriving.stage {
            Stage::Settling => self.ask_whether_to_serve(function, turn),
            Stage::Fetching | Stage::Installing | Stage::Keeping => {
                self.fail_arrival(function, Decline::Silent, turn);
            }
        }
    }
}
