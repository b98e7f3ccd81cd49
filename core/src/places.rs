//! Places that a host promised to placers, each until its placer confirms or releases it, or its
//! time is up. A place belongs to the placer that asked for it: nobody else can take it away.

use alloc::sync::Arc;

use crate::few::Map;
use crate::idle::Empty;
use crate::key::{Name, Peer};
use crate::message::Decline;
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::time::Time;

/// Placers that hold a place for the same function.
pub(crate) const PLACERS_MAX: usize = 8;
/// Places that one placer holds at most, and never more than half of the room.
const HELD_MAX: u16 = 32;

/// The places, by function and placer.
#[derive(Debug)]
pub(crate) struct Places<P> {
    promised: Map<(Name, P), Promise>,
    /// For when the one deadline of all of them stands; `NEVER`: there is none.
    due: Time,
}

impl<P: Peer> Empty for Places<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Promise {
    record: Arc<Record>,
    until: Time,
}

impl<P: Peer> Places<P> {
    pub(crate) const fn new() -> Self {
        Self { promised: Map::new(), due: Time::NEVER }
    }

    /// The functions that have a place, each once.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &Name> {
        let mut last = None;
        let names = self.promised.keys().map(|(name, _)| name);
        names.filter(move |name| last.replace(*name) != Some(*name))
    }

    pub(crate) fn has(&self, function: Name) -> bool {
        self.functions().any(|name| *name == function)
    }

    /// Promises a place, or the same for longer. Whoever calls this has found that there is room.
    pub(crate) fn promise(
        &mut self,
        placer: P,
        record: Arc<Record>,
        until: Time,
        room: u16,
    ) -> Option<Decline> {
        let key = (record.function, placer);
        if let Some(held) = self.promised.get_mut(&key) {
            if held.record.supersedes(&record) {
                return Some(Decline::Superseded);
            }
            *held = Promise { record, until };
            return None;
        }
        let placers = self.promised.keys().filter(|(name, _)| *name == key.0).count();
        let held = self.promised.keys().filter(|(_, other)| *other == placer).count();
        let most = usize::from((room / 2).clamp(1, HELD_MAX));
        if placers >= PLACERS_MAX || held >= most && !planted::is(Bug::HoldsAll) {
            return Some(Decline::Full);
        }
        self.promised.insert(key, Promise { record, until });
        None
    }

    /// Ends a place; what it was promised for, if that was this version.
    pub(crate) fn take(&mut self, function: Name, placer: P, version: u64) -> Option<Arc<Record>> {
        let held = self.promised.get(&(function, placer))?;
        if held.record.version != version {
            return None;
        }
        self.promised.remove(&(function, placer)).map(|held| held.record)
    }

    /// Ends those whose time is up.
    pub(crate) fn lapse(&mut self, now: Time) {
        self.promised.retain(|_, held| held.until > now);
        self.due = Time::NEVER;
    }

    /// The deadline to set, unless it is set already or there is nothing to wait for.
    pub(crate) fn deadline(&mut self) -> Option<Time> {
        if self.due != Time::NEVER {
            return None;
        }
        self.due = self.promised.values().map(|held| held.until).min()?;
        Some(self.due)
    }
}
