//! Labels are names: a host that carries one is a provider of it, so that the few that carry a rare
//! one (a GPU, a region) are found as a function's hosts are, and not by offering it to everybody.

use alloc::vec::Vec;

use crate::config::LABELS_MAX;
use crate::key::{Name, Peer, Target};
use crate::machine::Core;
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::publish::{AfterPublish, What};
use crate::search::{Kind, Then};
use crate::time::Span;
use crate::timers::Timer;
use crate::turn::Turn;

/// Constraints of one function by which hosts are searched for; any one of them would do.
const SOUGHT_MAX: usize = 4;

/// The search for peers that carry what a function asks for.
#[derive(Debug)]
pub(crate) struct Carriers<P> {
    /// Labels whose carriers are still being searched for.
    searching: usize,
    /// Those of the rarest label. A host must carry every label, so that these are all there are.
    found: Vec<P>,
}

impl<P> Default for Carriers<P> {
    fn default() -> Self {
        Self { searching: 0, found: Vec::new() }
    }
}

impl<P: Copy> Carriers<P> {
    /// The carriers, in no order; none, where no label has any that are known.
    pub(crate) fn found(&self) -> &[P] {
        &self.found
    }
}

impl<P: Peer> Core<P> {
    /// The labels by which this peer is found: one that hosts nothing is not looked for.
    fn told_labels(&self) -> Vec<Name> {
        let hosts = self.setup.slots > 0 && !self.drains;
        let labels = self.setup.labels.iter().filter(|_| hosts);
        labels.take(LABELS_MAX).copied().collect()
    }

    /// Tells the holders of each label that this host carries it.
    pub(crate) fn tell_labels(&mut self, turn: &mut Turn<'_, P>) {
        if planted::is(Bug::LabelsUntold) {
            return;
        }
        for label in self.told_labels() {
            self.publish(What::Provide(label, None), AfterPublish::Nothing, turn);
        }
    }

    /// The same again, before it lapses.
    pub(crate) fn labels_due(&mut self, turn: &mut Turn<'_, P>) {
        self.tell_labels(turn);
        self.renew_labels(turn);
    }

    /// As long as it has labels they are told again and again.
    pub(crate) fn renew_labels(&mut self, turn: &mut Turn<'_, P>) {
        if !self.setup.labels.is_empty() && self.setup.slots > 0 {
            let period = turn.config.renew_period;
            let jitter = Span(self.random.below(period.0 / 8));
            self.timers.add(turn.now + Span(period.0 - jitter.0), Timer::Labels);
        }
    }

    /// A host that leaves is not to be found by its labels.
    pub(crate) fn withdraw_labels(&mut self, turn: &mut Turn<'_, P>) {
        for label in self.told_labels() {
            self.publish(What::Withdraw(label), AfterPublish::Nothing, turn);
        }
    }

    /// Searches for those that carry what a placement's function asks for. False: it asks for nothing.
    pub(crate) fn seek_carriers(&mut self, tag: Tag, turn: &mut Turn<'_, P>) -> bool {
        let Some(placement) = self.placements.get_mut(tag) else {
            return false;
        };
        let spec = placement.record.spec.as_ref();
        let constraints = spec.into_iter().flat_map(|spec| &spec.constraints);
        let labels: Vec<Name> = constraints.take(SOUGHT_MAX).copied().collect();
        // Before the first search, which may end at once.
        placement.carriers.searching = labels.len();
        for label in &labels {
            self.search(Target::Name(*label), Kind::Hosts, Then::Carriers(tag), turn);
        }
        !labels.is_empty()
    }

    /// Such a search has ended: after the last one the function's holders are searched for.
    pub(crate) fn carriers_found(&mut self, tag: Tag, found: Vec<P>, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        let carriers = &mut placement.carriers;
        carriers.searching -= 1;
        let rarer = carriers.found.is_empty() || found.len() < carriers.found.len();
        // Where none is known by a label it may be that none was told of yet.
        if rarer && !found.is_empty() {
            carriers.found = found;
        }
        if carriers.searching == 0 {
            self.search_holders(tag, turn);
        }
    }
}
