//! The hosts of functions as lately found, so that not every call begins with a search.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::few::Map;
use crate::idle::Empty;
use crate::key::{Name, Peer};
use crate::record::Record;
use crate::time::Time;
use crate::turn::Turn;

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
}

impl<P: Peer> Empty for Known<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

impl<P: Peer> Known<P> {
    pub(crate) const fn new() -> Self {
        Self { found: Map::new() }
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
        self.found.insert(function, Found { record, hosts, of_all, at: turn.now });
        if self.found.len() > usize::from(turn.config.known_max) {
            let oldest = self.found.iter().min_by_key(|(_, found)| found.at);
            let oldest = *oldest.expect("there are more than the maximum").0;
            self.found.remove(&oldest);
        }
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
