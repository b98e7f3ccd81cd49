//! The hosts of functions as lately found, so that not every call begins with a search; and the names
//! that nobody knew.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::few::Map;
use crate::idle::Empty;
use crate::key::{Name, Peer};
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::time::{Span, Time};
use crate::turn::Turn;

/// How long a name that nobody knew counts as unknown without another search. The own owner's
/// functions are known wherever its nodes are, and are looked for there first.
const UNKNOWN_LIFE: Span = Span::secs(1);
/// Such names at once.
const UNKNOWN_MAX: usize = 64;

/// What was found of one function.
#[derive(Clone, Debug)]
pub(crate) struct Found<P> {
    pub(crate) record: Arc<Record>,
    pub(crate) hosts: Vec<P>,
    /// Whether everybody was asked who may know one.
    pub(crate) of_all: bool,
    at: Time,
}

/// A bounded memory of finds.
#[derive(Debug)]
pub(crate) struct Known<P> {
    found: Map<Name, Found<P>>,
    /// Those of longest ago first.
    unknown: Vec<(Name, Time)>,
}

impl<P: Peer> Empty for Known<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

impl<P: Peer> Known<P> {
    pub(crate) const fn new() -> Self {
        Self { found: Map::new(), unknown: Vec::new() }
    }

    /// What was found lately enough to be used, if it names a host.
    pub(crate) fn fresh(&self, function: Name, turn: &Turn<'_, P>) -> Option<&Found<P>> {
        let found = self.found.get(&function)?;
        let fresh = turn.now.since(found.at) < turn.config.known_life;
        (fresh && !found.hosts.is_empty()).then_some(found)
    }

    pub(crate) fn put(
        &mut self,
        record: Arc<Record>,
        hosts: Vec<P>,
        of_all: bool,
        turn: &Turn<'_, P>,
    ) {
        let function = record.function;
        self.unknown.retain(|(name, _)| *name != function);
        self.found.insert(function, Found { record, hosts, of_all, at: turn.now });
        if self.found.len() > usize::from(turn.config.known_max) {
            let oldest = self.found.iter().min_by_key(|(_, found)| found.at);
            let oldest = *oldest.expect("there are more than the maximum").0;
            self.found.remove(&oldest);
        }
    }

    /// Nobody knew this name.
    pub(crate) fn put_unknown(&mut self, name: Name, now: Time) {
        self.unknown.retain(|(other, at)| *other != name && now.since(*at) < UNKNOWN_LIFE);
        if self.unknown.len() == UNKNOWN_MAX {
            self.unknown.remove(0);
        }
        self.unknown.push((name, now));
    }

    /// Whether nobody knew it just now.
    pub(crate) fn is_unknown(&self, name: Name, now: Time) -> bool {
        let lately = |at| now.since(at) < UNKNOWN_LIFE && !planted::is(Bug::SearchesAgain);
        self.unknown.iter().any(|(other, at)| *other == name && lately(*at))
    }

    pub(crate) fn drop_host(&mut self, function: Name, host: P) {
        if let Some(found) = self.found.get_mut(&function) {
            found.hosts.retain(|peer| *peer != host);
        }
    }

    pub(crate) fn forget(&mut self, function: Name) {
        self.found.remove(&function);
    }
}
