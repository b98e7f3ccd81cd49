//! The holders of a record are the last ranks of repair: they ask after the function's hosts, keep
//! its code while hosts are lacking, and place it anew when none is left.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::idle::Empty;
use crate::key::{Digest, Name, Peer, Target};
use crate::machine::Core;
use crate::message::{Query, Tag};
use crate::note::Note;
use crate::planted::{self, Bug};
use crate::probing::{Asked, PROBED_MAX, Suspicion};
use crate::providers::Standing;
use crate::queries::Purpose;
use crate::record::Record;
use crate::repair::INSTALLS_MAX;
use crate::search::{Kind, Outcome, Then};
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Effect, Got, Turn};

/// Holders that keep the code of a function while hosts are lacking: the closest so many.
const KEEPERS: u16 = 2;
/// Modules that are kept so at once.
const CODES_MAX: usize = 16;
/// Bytes that they have together.
const CODES_BYTES_MAX: u64 = 256 << 20;
/// How often a holder puts off placing a function since somebody named a host that it did not know:
/// a liar always can.
const CALLED_OFF_MAX: u8 = 3;

/// What a holder does about the functions whose records it keeps.
#[derive(Debug)]
pub(crate) struct Guard<P> {
    /// Whether hosts are asked after, and how often that was done.
    is_on: bool,
    rounds: u32,
    /// Whether what is seen of them may be one's own fault.
    suspicion: Suspicion,
    /// Functions that lack hosts.
    pub(crate) watches: BTreeMap<Name, Watch<P>>,
}

impl<P: Peer> Guard<P> {
    const fn new() -> Self {
        Self { is_on: false, rounds: 0, suspicion: Suspicion::new(), watches: BTreeMap::new() }
    }
}

impl<P: Peer> Empty for Guard<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

/// A function that lacks hosts, as one of its holders sees it.
#[derive(Debug)]
pub(crate) struct Watch<P> {
    /// When its hosts are asked after again, or it is placed anew; `NEVER`: with all others.
    due: Time,
    /// Once all known hosts are dead: from when on this holder places it anew.
    acts_at: Time,
    /// Hosts that it is placing.
    pub(crate) installs: u16,
    /// Hosts that somebody named and that did not say that they serve it.
    refuted: Vec<P>,
    /// How often it was put off for such.
    called_off: u8,
    code: Option<Code>,
}

/// Code that is kept while hosts are lacking: each fetch keeps it for the time of an install.
#[derive(Copy, Clone, Debug)]
struct Code {
    digest: Digest,
    size: u64,
    asked_at: Time,
    here: bool,
}

impl<P> Watch<P> {
    const fn new() -> Self {
        Self {
            due: Time::NEVER,
            acts_at: Time::NEVER,
            installs: 0,
            refuted: Vec::new(),
            called_off: 0,
            code: None,
        }
    }
}

impl<P: Peer> Core<P> {
    pub(crate) fn start_guarding(&mut self, turn: &Turn<'_, P>) {
        if turn.config.repair && !core::mem::replace(&mut self.guard.is_on, true) {
            // Not in step with other holders.
            let period = turn.config.guard_period.0;
            let first = Span(period - self.me.key().0[0].rotate_left(32) % period);
            self.timers.add(turn.now + first, Timer::Guard);
        }
    }

    /// Asks after the hosts of the records whose turn it is, in as few messages as they fit into.
    pub(crate) fn guard_round(&mut self, turn: &mut Turn<'_, P>) {
        let over: Vec<Name> = self.guard.watches.keys().copied().collect();
        for function in over {
            if self.guarded(function, turn).is_none() {
                self.unwatch(function);
            }
        }
        self.guard.is_on = !self.providers.is_empty() || !self.guard.watches.is_empty();
        if !self.guard.is_on {
            self.guard.release();
            return;
        }
        self.timers.add(turn.now + turn.config.guard_period, Timer::Guard);
        self.guard.rounds = self.guard.rounds.wrapping_add(1);
        let due: Vec<Name> =
            self.providers.names().filter(|name| self.is_due(*name, turn)).collect();
        let mut pairs: BTreeMap<P, Vec<Name>> = BTreeMap::new();
        for function in due {
            for host in self.providers.of(function, self.me, turn.now) {
                pairs.entry(host).or_default().push(function);
            }
        }
        self.guard.suspicion.begin(pairs.len());
        self.guard.suspicion.clear();
        for (host, functions) in pairs {
            for (at, page) in functions.chunks(PROBED_MAX).enumerate() {
                self.ask_after(host, page, at == 0, turn);
            }
        }
    }

    fn ask_after(&mut self, host: P, functions: &[Name], first: bool, turn: &mut Turn<'_, P>) {
        // Version 0: the asker does not host it itself.
        let versions: Vec<(Name, u64)> = functions.iter().map(|name| (*name, 0)).collect();
        let tag = self.probes.insert(self.incarnation, Asked { versions: versions.clone(), first });
        self.query(host, Query::Probe(versions), Purpose::Guard(tag), turn);
    }

    /// The record of a function whose hosts are to be asked after: it is not hosted here.
    fn guarded(&self, function: Name, turn: &Turn<'_, P>) -> Option<&Arc<Record>> {
        let here = self.hosting.contains_key(&function) || self.arriving.contains_key(&function);
        let record = self.records.get(function).filter(|_| !here)?;
        (record.spec.is_some() && record.lives(turn.now)).then_some(record)
    }

    /// How many holders are closer to a function than this one, known hosts aside; `None`: it is not
    /// among the k closest.
    fn holder_rank(&self, function: Name, turn: &Turn<'_, P>) -> Option<u16> {
        let position = P::position(&function);
        let mine = self.me.key().distance(position);
        let k = usize::from(turn.config.k);
        let mut closer = self.table.closest(self.me.key(), position, k, None);
        closer.retain(|peer| peer.key().distance(position) < mine);
        if closer.len() >= k {
            return None;
        }
        for host in self.providers.of(function, self.me, turn.now) {
            closer.retain(|peer| *peer != host);
        }
        Some(closer.len() as u16)
    }

    /// Whether this round is one of those in which this holder asks: the closest does so in every
    /// one, the next in every other, and so on.
    fn is_due(&self, function: Name, turn: &Turn<'_, P>) -> bool {
        self.guarded(function, turn).is_some()
            && self.holder_rank(function, turn).is_some_and(|rank| {
                let shifted = self.guard.rounds.wrapping_add(u32::from(function.0[0]));
                shifted.is_multiple_of(u32::from(rank) + 1)
            })
    }

    /// A host said which of those that it was asked after it serves, of whatever version.
    pub(crate) fn guard_answered(
        &mut self,
        tag: Tag,
        from: P,
        serving: &[(Name, u64)],
        turn: &mut Turn<'_, P>,
    ) {
        let Some(asked) = self.probes.remove(tag) else {
            return;
        };
        self.guard.suspicion.hear(&asked);
        self.guard.suspicion.clear();
        for (function, _) in asked.versions {
            let serves = serving.iter().any(|(name, _)| *name == function);
            self.hear_of_host(function, from, serves, turn);
        }
    }

    pub(crate) fn guard_missed(&mut self, tag: Tag, peer: P, turn: &mut Turn<'_, P>) {
        let Some(asked) = self.probes.remove(tag) else {
            return;
        };
        if let Some((failed, asked)) = self.guard.suspicion.miss(&asked)
            && self.guard.suspicion.suspect()
        {
            turn.note(|| Note::Suspects { failed, asked });
        }
        if self.guard.suspicion.is_on() {
            return;
        }
        for (function, _) in asked.versions {
            self.hear_of_host(function, peer, false, turn);
        }
    }

    fn hear_of_host(&mut self, function: Name, host: P, serves: bool, turn: &mut Turn<'_, P>) {
        if self.providers.asked(function, host, serves) {
            return self.appraise_hosts(function, turn);
        }
        if serves && self.guarded(function, turn).is_some() {
            // It is its own word.
            self.note_provider(function, host, turn);
        } else if let Some(watch) = self.watch(function)
            && watch.refuted.len() < usize::from(turn.config.hosts_max)
        {
            watch.refuted.push(host);
        }
    }

    /// A peer said that it hosts a name.
    pub(crate) fn seen_to_serve(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        if self.guard.watches.contains_key(&function) {
            self.appraise_hosts(function, turn);
        }
    }

    fn standing(&self, function: Name, turn: &Turn<'_, P>) -> Standing {
        let missed_max = turn.config.probes_missed_max;
        let most = if planted::is(Bug::GuardsInHaste) { 1 } else { missed_max };
        self.providers.standing(function, most, turn.now)
    }

    /// Judges by what is known of its hosts whether a function has to be watched.
    fn appraise_hosts(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let Some(record) = self.guarded(function, turn) else {
            return self.unwatch(function);
        };
        let wanted = record.wanted_least();
        let Standing { live, dead, all } = self.standing(function, turn);
        let rank = self.holder_rank(function, turn);
        let Some(rank) = rank.filter(|_| live < wanted && !planted::is(Bug::NeverGuards)) else {
            return self.unwatch(function);
        };
        if live == 0 {
            let watch = self.guard.watches.entry(function).or_insert(Watch::new());
            if dead < all {
                watch.acts_at = Time::NEVER;
            } else if watch.acts_at == Time::NEVER && watch.installs == 0 {
                watch.acts_at = turn.now + turn.config.rank_delay.times(u64::from(rank));
            }
            if watch.due == Time::NEVER {
                self.watch_at(function, turn.now + turn.config.probe_period);
            }
            return;
        }
        if let Some(watch) = self.watch(function) {
            (watch.due, watch.acts_at, watch.called_off) = (Time::NEVER, Time::NEVER, 0);
            watch.refuted.clear();
        }
        if rank < KEEPERS {
            self.keep_code(function, turn);
        }
    }

    fn watch(&mut self, function: Name) -> Option<&mut Watch<P>> {
        if !self.guard.watches.contains_key(&function) {
            return None;
        }
        self.guard.watches.get_mut(&function)
    }

    fn unwatch(&mut self, function: Name) {
        // What it is placing comes to its end.
        if self.guard.watches.get(&function).is_some_and(|watch| watch.installs == 0) {
            self.guard.watches.remove(&function);
        }
    }

    fn watch_at(&mut self, function: Name, at: Time) {
        if let Some(watch) = self.watch(function) {
            watch.due = at;
            self.timers.add(at, Timer::Watch(function));
        }
    }

    /// The hosts that this peer knew may have answered while it stood still.
    pub(crate) fn stop_watching(&mut self) {
        if self.guard.is_on {
            self.guard.suspicion.forget();
            self.guard.watches.values_mut().for_each(|watch| watch.acts_at = Time::NEVER);
        }
    }

    pub(crate) fn watch_due(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let due = self.guard.watches.get(&function).map(|watch| (watch.due, watch.acts_at));
        let Some((_, acts_at)) = due.filter(|(due, _)| *due <= turn.now) else {
            return;
        };
        if self.guarded(function, turn).is_none() {
            return self.unwatch(function);
        }
        self.watch_at(function, turn.now + turn.config.probe_period);
        if acts_at <= turn.now {
            return self.install_next(turn);
        }
        let hosts: Vec<P> = self.providers.of(function, self.me, turn.now).collect();
        for host in hosts {
            self.ask_after(host, &[function], false, turn);
        }
    }

    /// Places anew what is due, those first that wait for longest, as far as installs are free.
    pub(crate) fn heal_lost(&mut self, turn: &mut Turn<'_, P>) {
        while !self.guard.suspicion.is_on() && !self.suspicion.is_on() {
            let due =
                self.guard.watches.iter().filter(|(_, w)| w.acts_at <= turn.now && w.installs == 0);
            let first = due.min_by_key(|(name, watch)| (watch.acts_at, **name));
            let Some(function) = first.map(|(name, _)| *name) else {
                return;
            };
            let Some(record) = self.guarded(function, turn).cloned() else {
                self.unwatch(function);
                continue;
            };
            let wanted = record.wanted_least();
            let installs = INSTALLS_MAX.saturating_sub(self.installs_under_way()).min(wanted);
            if installs == 0 {
                return;
            }
            let rank = self.holder_rank(function, turn).unwrap_or(turn.config.k);
            turn.note(|| Note::Repair { function, rank, live: 0, wanted });
            let watch = self.guard.watches.get_mut(&function).expect("it was just found");
            watch.acts_at = Time::NEVER;
            watch.installs = installs;
            if watch.code.is_some_and(|code| code.here) {
                self.guard_sourced(function, Vec::new(), turn);
            } else {
                // Who else has the code: whoever holds the owner's key may.
                let target = Target::Name(P::owner_name(&record.owner));
                self.search(target, Kind::Hosts, Then::Guard(function), turn);
            }
        }
    }

    /// The owner's nodes were found, which may have the code.
    pub(crate) fn guard_sourced(
        &mut self,
        function: Name,
        sources: Vec<P>,
        turn: &mut Turn<'_, P>,
    ) {
        let record = self.guarded(function, turn).cloned();
        let live = self.standing(function, turn).live > 0;
        let Some(watch) = self.watch(function) else {
            return;
        };
        let Some(record) = record.filter(|_| !live) else {
            watch.installs = 0;
            self.appraise_hosts(function, turn);
            return self.waiting_go_on(turn);
        };
        let gives = watch.code.is_some_and(|code| code.here);
        let (installs, mut dead) = (watch.installs, watch.refuted.clone());
        dead.extend(self.providers.of(function, self.me, turn.now));
        self.place_anew(record, installs, dead, (sources, gives), turn);
    }

    /// Whether a function is not placed anew after all: somebody named hosts that this holder did
    /// not know, which are asked first, or so few of the closest peers answered that this one may
    /// be cut off from the rest.
    pub(crate) fn doubts_loss(
        &mut self,
        function: Name,
        unknown: &[P],
        outcome: &Outcome<P>,
        turn: &mut Turn<'_, P>,
    ) -> bool {
        let (answered, of) = outcome.standing;
        let Some(watch) = self.watch(function) else {
            return true;
        };
        let pause = if of == 0 || answered * 2 < of {
            turn.config.repair_backoff
        } else if !unknown.is_empty() && watch.called_off < CALLED_OFF_MAX {
            watch.called_off += 1;
            turn.config.reply_timeout + Span(1)
        } else {
            return false;
        };
        watch.installs = 0;
        watch.acts_at = turn.now + pause;
        self.watch_at(function, turn.now + pause);
        for host in unknown {
            self.ask_after(*host, &[function], false, turn);
        }
        true
    }

    /// A placing ended: these serve the function now.
    pub(crate) fn placed_anew(&mut self, function: Name, placed: &[P], turn: &mut Turn<'_, P>) {
        if let Some(watch) = self.watch(function) {
            watch.installs = 0;
            if placed.is_empty() {
                watch.acts_at = turn.now + turn.config.repair_backoff;
                let at = watch.acts_at;
                self.watch_at(function, at);
            }
        }
        for host in placed {
            self.note_provider(function, *host, turn);
        }
        self.waiting_go_on(turn);
    }

    /// This holder's installs ended: what it repairs as a host may have waited for them, too.
    pub(crate) fn waiting_go_on(&mut self, turn: &mut Turn<'_, P>) {
        if planted::is(Bug::HostsWaitForever) {
            self.heal_lost(turn);
        } else {
            self.install_next(turn);
        }
    }

    /// Fetches the code of a function that lacks hosts, or keeps it for longer, within the quota and
    /// where this node's operator would let it be run.
    fn keep_code(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let Some(record) = self.guarded(function, turn).filter(|r| self.unfit(r).is_none()) else {
            return;
        };
        let (version, spec) = (record.version, record.spec.as_ref().expect("it has hosts"));
        let (digest, size) = (spec.digest, spec.size);
        let host = self.providers.of(function, self.me, turn.now).next();
        let others = self.guard.watches.iter().filter(|(name, _)| **name != function);
        let sizes = others.filter_map(|(_, watch)| watch.code.map(|code| code.size));
        let (codes, bytes) = sizes.fold((0, 0_u64), |(n, all), size| (n + 1, all + size));
        if codes >= CODES_MAX || bytes.saturating_add(size) > CODES_BYTES_MAX {
            return;
        }
        let watch = self.guard.watches.entry(function).or_insert(Watch::new());
        let known = watch.code.filter(|code| code.digest == digest);
        if known.is_some_and(|code| turn.now.since(code.asked_at) < turn.config.guard_period) {
            return;
        }
        let here = known.is_some_and(|code| code.here);
        watch.code = Some(Code { digest, size, asked_at: turn.now, here });
        let tag = self.fetch_work(function, version);
        turn.push(Effect::Fetch { tag, digest, size, from: host });
    }

    /// Some fetch of a function's code ended: if it is here, it is here for this too.
    pub(crate) fn code_fetched(&mut self, function: Name, got: Got) {
        if let Some(watch) = self.watch(function)
            && let Some(code) = &mut watch.code
        {
            code.here = got == Got::Code;
        }
    }
}
