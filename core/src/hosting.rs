//! What can be called here: announced and announced again, and given up in the end.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::arriving::{Arriving, Stage};
use crate::key::{Name, Peer};
use crate::leasing::Lease;
use crate::machine::Core;
use crate::planted::{self, Bug};
use crate::probing::Mate;
use crate::publish::{AfterPublish, What};
use crate::record::Record;
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Effect, ItemKey, Turn};

/// A function that can be called here.
#[derive(Debug)]
pub(crate) struct Hosting<P> {
    pub(crate) record: Arc<Record>,
    /// Whether that it is hosted here is known to be kept: until it is, no placer is told so.
    pub(crate) kept: bool,
    /// The other hosts, as far as they are known.
    pub(crate) mates: Vec<Mate<P>>,
    /// When to look whether hosts are lacking, or too many; past: it waits for its turn.
    pub(crate) heal_at: Time,
    /// Replacements that this host is placing.
    pub(crate) healing: u16,
    /// How many hosts are wanted for a time, if that is more than the owner wants at least.
    pub(crate) lease: Lease,
    /// When the holders are told again.
    renew_at: Time,
    /// When a newer version is asked for again.
    pub(crate) update_at: Time,
    /// Updates in a row that failed.
    pub(crate) updates_failed: u8,
    /// Once it is being given up: when that ends, whatever still runs.
    leaves_at: Option<Time>,
}

impl<P> Hosting<P> {
    fn new(record: Arc<Record>, mates: Vec<Mate<P>>) -> Self {
        Self {
            record,
            kept: true,
            mates,
            heal_at: Time::NEVER,
            healing: 0,
            lease: Lease::NONE,
            renew_at: Time::NEVER,
            update_at: Time::NEVER,
            updates_failed: 0,
            leaves_at: None,
        }
    }

    /// Whether it is being given up: it still runs what comes, and says to nobody that it does.
    pub(crate) const fn is_leaving(&self) -> bool {
        self.leaves_at.is_some()
    }
}

impl<P: Peer> Core<P> {
    /// A function is here and kept: it is served, and the holders hear of it.
    pub(crate) fn serve(&mut self, arrived: Arriving<P>, turn: &mut Turn<'_, P>) {
        let Arriving { record, placers, mut mates, restored, .. } = arrived;
        let (function, version) = (record.function, record.version);
        mates.retain(|mate| *mate != self.me);
        // A placer says whom it told to host the function at the same time; what holders said when
        // this one asked whether it still should is hearsay.
        let hearsay = restored && placers.is_empty();
        let expected = if hearsay { Span::ZERO } else { turn.config.install_timeout };
        mates.truncate(usize::from(if hearsay { turn.config.k } else { turn.config.hosts_max }));
        let until = turn.now + expected;
        let told = if hearsay { Lease::NONE } else { Lease::told(mates.len(), turn) };
        let mates = mates.into_iter().map(|mate| Mate::expected(mate, until)).collect();
        // A newer version is as busy as the one before.
        let lease = self.hosting.get(&function).map_or(told, |old| old.lease);
        let new = Hosting { lease, ..Hosting::new(record.clone(), mates) };
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
        // What was heard of while this one was on its way.
        self.update_later(function, turn);
        // It was promised a place before this node was to leave.
        if self.drains {
            self.retire(function, turn);
        }
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
        let Some(hosting) = self.hosting.get(&function).filter(|hosting| !hosting.is_leaving())
        else {
            return;
        };
        // A deadline left over from an earlier version is none.
        if hosting.renew_at > turn.now {
            return;
        }
        let (record, kept) = (hosting.record.clone(), hosting.kept);
        if !kept {
            self.keep_hosting(function, turn);
        }
        self.publish(What::Provide(function, Some(record)), AfterPublish::Nothing, turn);
        self.renew_later(function, turn);
    }

    /// Stops serving a function without losing a call: the holders hear that it is so, but what still
    /// comes is run until nothing of it runs or waits, or a call's longest time is over.
    pub(crate) fn retire(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let Some(hosting) = self.hosting.get_mut(&function).filter(|h| !h.is_leaving()) else {
            return;
        };
        let until = turn.now + hosting.record.timeout(turn.config.call_timeout_max);
        hosting.leaves_at = Some(until);
        self.timers.add(until, Timer::Leave(function));
        self.providers.drop_one(function, self.me);
        if !planted::is(Bug::LeavesUnsaid) {
            self.publish(What::Withdraw(function), AfterPublish::Nothing, turn);
        }
        self.leave_if_idle(function, turn);
    }

    /// A run of it ended, or all have had their time.
    pub(crate) fn leave_if_idle(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let leaves_at = self.hosting.get(&function).and_then(|hosting| hosting.leaves_at);
        let Some(leaves_at) = leaves_at else {
            return;
        };
        let busy = self.admission.has(function) && !planted::is(Bug::LeavesBusy);
        if !busy || leaves_at <= turn.now {
            self.give_up(function, turn);
        }
    }

    /// Whether this version can be called here.
    pub(crate) fn serves(&self, function: Name, version: u64) -> bool {
        self.hosting.get(&function).is_some_and(|hosting| hosting.record.version == version)
    }

    /// Stops serving a function at once.
    pub(crate) fn give_up(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        if let Some(hosting) = self.hosting.remove(&function) {
            self.providers.drop_one(function, self.me);
            let version = hosting.record.version;
            turn.push(Effect::Uninstall { function, version });
            // Unless what is kept by now is the version that is on its way.
            if self.arriving.get(&function).is_none_or(|a| a.stage != Stage::Keeping) {
                turn.push(Effect::Forget(ItemKey::Hosting(function)));
            }
        }
    }
}
