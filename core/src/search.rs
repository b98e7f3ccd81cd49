//! Searches: what a lookup finds on its way, and who waits for it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Config;
use crate::hearsay::Hearsay;
use crate::key::{Name, Peer, Target};
use crate::lookup::Next;
use crate::machine::{Core, Work};
use crate::membership::Join;
use crate::message::{Query, Tag};
use crate::note::Note;
use crate::paths::Paths;
use crate::planted::{self, Bug};
use crate::queries::Purpose;
use crate::record::Record;
use crate::timers::Timer;
use crate::turn::{Cost, Event, Failure, Ticket, Turn};

/// A lookup under way.
#[derive(Debug)]
pub(crate) struct Search<P> {
    target: Target<P>,
    kind: Kind,
    pub(crate) paths: Paths<P>,
    /// Hosts that are of no use to whoever searches.
    avoid: Vec<P>,
    hosts: Hearsay<P>,
    record: Option<Arc<Record>>,
    then: Then,
}

/// What is asked for, and when it is enough.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The closest peers.
    Find,
    /// The closest peers, and on the way the name's hosts and record.
    Hosts,
    /// The record and a first host: "a search for hosts ends at the first live ones".
    FirstHosts,
}

/// Who waits.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    Nothing,
    Join,
    Tell(Ticket),
    TellHosts(Ticket),
    Publish(Tag),
    Place(Tag),
    Carriers(Tag),
    Job(Tag),
    Settle(Name),
    Update(Name),
    Guard(Name),
    Siblings,
}

impl Then {
    /// Over how many disjoint paths it is searched: many where something is stored or placed, for
    /// what is told to liars alone is lost. Elsewhere records are signed and hosts prove themselves.
    fn paths(self, config: &Config) -> u16 {
        match self {
            Self::Publish(_) | Self::Place(_) | Self::Carriers(_) | Self::Guard(_) => {
                config.store_paths
            }
            Self::Tell(_) | Self::TellHosts(_) | Self::Job(_) => config.user_paths,
            Self::Nothing | Self::Join | Self::Settle(_) | Self::Update(_) | Self::Siblings => 1,
        }
    }
}

/// What a search came to.
#[derive(Debug)]
pub(crate) struct Outcome<P> {
    pub(crate) closest: Vec<(P, u8)>,
    /// At most `hosts_max`, those that most holders named first.
    pub(crate) hosts: Vec<P>,
    pub(crate) record: Option<Arc<Record>>,
    /// Of the closest, how many answered, and how many there are.
    pub(crate) standing: (usize, usize),
    /// Whether there was nobody to ask though there is a network.
    blind: bool,
    pub(crate) cost: Cost,
}

impl<P> Outcome<P> {
    /// Why there is nothing, where no record was found: "ignorance is not absence".
    pub(crate) fn absence(&self) -> Failure {
        let (answered, of) = self.standing;
        if answered * 4 >= of * 3 && !self.blind || planted::is(Bug::IgnoranceIsAbsence) {
            Failure::Unknown
        } else {
            Failure::Incomplete { answered: answered as u8, of: of as u8 }
        }
    }
}

impl<P: Peer> Core<P> {
    pub(crate) fn look_up(&mut self, ticket: Ticket, target: Target<P>, turn: &mut Turn<'_, P>) {
        self.ask_search(ticket, target, Kind::Find, Then::Tell(ticket), turn);
    }

    pub(crate) fn find_hosts(&mut self, ticket: Ticket, name: Name, turn: &mut Turn<'_, P>) {
        if self.is_unknown(name, turn) {
            turn.tell(ticket, Event::Failed(Failure::Unknown));
            return;
        }
        let then = Then::TellHosts(ticket);
        self.ask_search(ticket, Target::Name(name), Kind::Hosts, then, turn);
    }

    fn ask_search(
        &mut self,
        ticket: Ticket,
        target: Target<P>,
        kind: Kind,
        then: Then,
        turn: &mut Turn<'_, P>,
    ) {
        let tag = self.prepare(target, kind, then, Vec::new(), turn);
        self.asks.insert(ticket, Work::Search(tag));
        self.step(tag, turn);
    }

    /// Starts a search; it may end before this returns.
    pub(crate) fn search(
        &mut self,
        target: Target<P>,
        kind: Kind,
        then: Then,
        turn: &mut Turn<'_, P>,
    ) {
        self.search_avoiding(target, kind, then, Vec::new(), turn);
    }

    pub(crate) fn search_avoiding(
        &mut self,
        target: Target<P>,
        kind: Kind,
        then: Then,
        avoid: Vec<P>,
        turn: &mut Turn<'_, P>,
    ) {
        let tag = self.prepare(target, kind, then, avoid, turn);
        self.step(tag, turn);
    }

    fn prepare(
        &mut self,
        target: Target<P>,
        kind: Kind,
        then: Then,
        avoid: Vec<P>,
        turn: &mut Turn<'_, P>,
    ) -> Tag {
        let paths = self.paths_to(target, then.paths(turn.config), turn);
        // What this peer keeps for others it need not ask for.
        let (mut hosts, record) = match (kind, target) {
            (Kind::Find, _) | (_, Target::Peer(_)) => (Vec::new(), None),
            (_, Target::Name(name)) => self.kept_of(name, self.me, turn),
        };
        hosts.retain(|host| !avoid.contains(host));
        let hosts = Hearsay::new(hosts);
        let search = Search { target, kind, paths, avoid, hosts, record, then };
        let tag = self.searches.insert(self.incarnation, Box::new(search));
        self.timers.add(turn.now + turn.config.search_timeout, Timer::Search(tag));
        tag
    }

    fn paths_to(&self, target: Target<P>, paths: u16, turn: &Turn<'_, P>) -> Paths<P> {
        let seeds = self.nearest(target, turn);
        let Config { k, alpha, alpha_near, .. } = *turn.config;
        Paths::new(target.key(), k, (alpha, alpha_near), &seeds, paths)
    }

    fn step(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        while let Some(search) = self.searches.get_mut(tag) {
            if search.is_enough() {
                return self.search_ended(tag, turn);
            }
            match search.paths.next() {
                Next::Wait => return,
                Next::Done if search.may_look_again(turn.config) => self.look_again(tag, turn),
                Next::Done => return self.search_ended(tag, turn),
                Next::Ask(peer) => {
                    let query = match (search.kind, search.target) {
                        (Kind::Find, target) | (_, target @ Target::Peer(_)) => Query::Find(target),
                        (_, Target::Name(name)) => Query::Hosts(name),
                    };
                    self.query(peer, query, Purpose::Search(tag), turn);
                }
            }
        }
    }

    /// What one path did not find liars may have hidden: before a user hears that there is no such
    /// thing it is searched for once more, as if it were to be stored.
    fn look_again(&mut self, tag: Tag, turn: &Turn<'_, P>) {
        let Some(search) = self.searches.get(tag) else {
            return;
        };
        let paths = self.paths_to(search.target, turn.config.store_paths, turn);
        if let Some(search) = self.searches.get_mut(tag) {
            search.paths.begin_again(paths);
        }
    }

    pub(crate) fn search_answered(
        &mut self,
        tag: Tag,
        from: P,
        closer: &[P],
        hosts: &[P],
        record: Option<Arc<Record>>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(search) = self.searches.get_mut(tag) else {
            return;
        };
        let most = usize::from(turn.config.k);
        if search.paths.is_crowded_by(from, &self.groups, turn.config.group_max) {
            search.paths.crowding(from);
        } else {
            search.paths.answered(from, &closer[..closer.len().min(most)], self.me);
            search.hosts.hear(hosts, &search.avoid, turn.config);
        }
        if let Some(record) = record
            && search.target == Target::Name(record.function)
            && record.lives(turn.now)
            && search.record.as_ref().is_none_or(|known| record.supersedes(known))
        {
            search.record = Some(record);
        }
        self.step(tag, turn);
    }

    pub(crate) fn search_failed(&mut self, tag: Tag, peer: P, turn: &mut Turn<'_, P>) {
        if let Some(search) = self.searches.get_mut(tag) {
            search.paths.failed(peer);
            self.step(tag, turn);
        }
    }

    pub(crate) fn search_late(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        if self.searches.get(tag).is_some() {
            self.search_ended(tag, turn);
        }
    }

    fn search_ended(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let search = *self.searches.remove(tag).expect("a search ends once");
        let outcome = Outcome {
            closest: search.paths.closest(),
            standing: search.paths.standing(),
            blind: search.paths.standing().1 == 0 && self.join != Join::Alone,
            cost: search.paths.cost(),
            hosts: search.hosts.hosts(turn.config),
            record: search.record,
        };
        let found = match search.kind {
            Kind::Find => outcome.closest.len(),
            Kind::Hosts | Kind::FirstHosts => outcome.hosts.len(),
        };
        let ticket = match search.then {
            Then::Tell(ticket) | Then::TellHosts(ticket) => Some(ticket),
            Then::Job(job) => self.jobs.get(job).map(|job| job.ticket),
            _ => None,
        };
        turn.note(|| Note::Searched {
            ticket,
            target: search.target,
            found: found as u16,
            cost: outcome.cost,
        });
        match search.then {
            Then::Nothing => {}
            Then::Join => self.join_on(turn),
            Then::Tell(ticket) => {
                let event = Event::Found { peers: outcome.closest, cost: outcome.cost };
                self.conclude(ticket, event, turn);
            }
            Then::TellHosts(ticket) => self.tell_hosts(ticket, search.target, outcome, turn),
            Then::Publish(publish) => self.publish_targets(publish, &outcome, turn),
            Then::Place(placement) => self.placement_searched(placement, outcome, turn),
            Then::Carriers(placement) => self.carriers_found(placement, outcome.hosts, turn),
            Then::Job(job) => self.job_searched(job, outcome, turn),
            Then::Settle(function) => self.settle(function, outcome, turn),
            Then::Update(function) => self.update_found(function, outcome, turn),
            Then::Guard(function) => self.guard_sourced(function, outcome.hosts, turn),
            Then::Siblings => self.siblings_found(&outcome.hosts, turn),
        }
    }

    /// Whether nobody knew this name just now, and nothing was heard of it since.
    pub(crate) fn is_unknown(&self, name: Name, turn: &Turn<'_, P>) -> bool {
        let known = self.records.get(name).is_some() || self.hosting.contains_key(&name);
        !known && self.known.is_unknown(name, turn.now)
    }

    /// A search found nothing of a name: those who ask for it again at once need not wait for another.
    pub(crate) fn note_absence(&mut self, name: Name, why: &Failure, turn: &Turn<'_, P>) {
        if *why == Failure::Unknown {
            self.known.put_unknown(name, turn.now);
        }
    }

    fn tell_hosts(
        &mut self,
        ticket: Ticket,
        target: Target<P>,
        outcome: Outcome<P>,
        turn: &mut Turn<'_, P>,
    ) {
        let event = match outcome.record {
            Some(record) if record.spec.is_some() => {
                return self.take_census(ticket, record, &outcome.hosts, outcome.cost, turn);
            }
            Some(_) => Event::Failed(Failure::Unknown),
            None => {
                let absence = outcome.absence();
                if let Target::Name(name) = target {
                    self.note_absence(name, &absence, turn);
                }
                Event::Failed(absence)
            }
        };
        self.conclude(ticket, event, turn);
    }
}

impl<P: Peer> Search<P> {
    /// As [`Core::warm`].
    pub(crate) fn warm(&self) -> u64 {
        let found = u64::from(self.record.is_some()) ^ u64::from(self.hosts.is_empty());
        u64::from(self.paths.cost().rpcs) ^ found ^ self.avoid.len() as u64
    }

    /// Whether a second look, over several paths, could find what a user asks for. Who found fewer
    /// than k peers has asked the whole network.
    fn may_look_again(&self, config: &Config) -> bool {
        let asked_for = matches!(self.then, Then::TellHosts(_) | Then::Job(_));
        asked_for
            && self.record.is_none()
            && self.paths.is_one()
            && config.store_paths > 1
            && self.paths.standing().1 >= usize::from(config.k)
            && !planted::is(Bug::LooksOnce)
    }

    /// Whether a first host and the record are there. A tombstone is not enough: whoever has it, and be
    /// it this peer, may not have heard that the function was deployed again.
    fn is_enough(&self) -> bool {
        let runs = self.record.as_ref().is_some_and(|record| record.spec.is_some());
        self.kind == Kind::FirstHosts && runs && !self.hosts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignorance_is_not_absence() {
        let absence = |standing, blind| {
            let (closest, hosts, record) = (Vec::<u8>::new(), Vec::new(), None);
            let closest = closest.into_iter().map(|peer| (peer, 0)).collect();
            Outcome { closest, hosts, record, standing, blind, cost: Cost::default() }.absence()
        };
        assert_eq!(absence((15, 20), false), Failure::Unknown);
        assert_eq!(absence((14, 20), false), Failure::Incomplete { answered: 14, of: 20 });
        assert_eq!(absence((3, 4), false), Failure::Unknown);
        assert_eq!(absence((1, 2), false), Failure::Incomplete { answered: 1, of: 2 });
        assert_eq!(absence((0, 0), false), Failure::Unknown, "it is a network of one");
        assert_eq!(absence((0, 0), true), Failure::Incomplete { answered: 0, of: 0 });
    }
}
