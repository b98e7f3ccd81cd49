//! A placer's side: offers in XOR order until enough peers have accepted, then the confirming.
//! Deployment and repair are this one loop.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::holder::Learned;
use crate::key::{Key, Name, Peer, Target};
use crate::machine::{AfterKeep, Core, Purpose, Work};
use crate::message::{Decline, Query, Tag};
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::search::{Kind, Outcome, Then};
use crate::time::Time;
use crate::timers::Timer;
use crate::turn::{Event, Failure, Note, Ticket, Turn};

/// Neighbourhoods searched for further peers once the placer's own table is used up.
const CURSORS_MAX: usize = 16;
/// Offers made beyond the number still wanted, against declines.
const SPARE_OFFERS: usize = 2;

/// Peers with the code that a confirmed host is told of; the wire takes 128.
const SOURCES_MAX: usize = 32;
/// Other hosts that a confirmed host is told of; it meets the rest by their probes.
const MATES_MAX: usize = 96;

/// Finding hosts for a function.
#[derive(Debug)]
pub(crate) struct Placement<P> {
    record: Arc<Record>,
    /// How many new hosts.
    wanted: usize,
    purpose: Purposed,
    /// Hosts that need no offer.
    mates: Vec<P>,
    /// Hosts of any version, as the holders knew them.
    before: Vec<P>,
    /// Whom to offer it to, in this order.
    queue: Vec<P>,
    /// Everyone who was ever in the queue.
    seen: Vec<P>,
    offers: usize,
    offered: Vec<P>,
    accepted: Vec<P>,
    confirmed: Vec<P>,
    placed: Vec<P>,
    declined: Vec<(P, Decline)>,
    /// Whether the placer's own table was used up.
    widened: bool,
    /// Peers whose neighbourhoods were searched.
    cursors: Vec<P>,
    waive: bool,
    until: Time,
}

/// For whom.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Purposed {
    Deploy(Ticket),
    Repair,
}

impl<P: Peer> Core<P> {
    /// A user deploys a function.
    pub(crate) fn deploy(&mut self, ticket: Ticket, record: Arc<Record>, turn: &mut Turn<'_, P>) {
        let newer = self.records.get(record.function).filter(|known| !record.supersedes(known));
        if let Some(version) = newer.map(|known| known.version) {
            turn.tell(ticket, Event::Failed(Failure::Superseded { version }));
            return;
        }
        let wanted = record.spec.as_ref().map_or(0, |spec| usize::from(spec.replicas.0));
        let purpose = Purposed::Deploy(ticket);
        let tag = self.placements.insert(Placement::new(record, wanted.max(1), purpose));
        self.asks.insert(ticket, Work::Placement(tag));
        self.place(tag, turn);
    }

    /// This host found that others are lacking.
    pub(crate) fn place_lacking(&mut self, function: Name, n: u16, turn: &mut Turn<'_, P>) {
        let hosting = self.hosting.get(&function).expect("only a host repairs");
        let mut mates: Vec<P> = hosting.mates.iter().map(|mate| mate.peer).collect();
        mates.push(self.me);
        let record = hosting.record.clone();
        let mut placement = Placement::new(record, usize::from(n), Purposed::Repair);
        placement.seen.clone_from(&mates);
        placement.mates = mates;
        let tag = self.placements.insert(placement);
        self.place(tag, turn);
    }

    fn place(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        placement.until = turn.now + turn.config.place_timeout;
        self.timers.add(placement.until, Timer::Placement(tag));
        let target = Target::Name(placement.record.function);
        self.search(target, Kind::Hosts, Then::Place(tag), turn);
    }

    pub(crate) fn placement_searched(
        &mut self,
        tag: Tag,
        outcome: Outcome<P>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        if let Some(known) = outcome.record.filter(|known| known.supersedes(&placement.record)) {
            let version = known.version;
            self.fail_placement(tag, Failure::Superseded { version }, turn);
            self.learn_if_concerned(&known, turn);
            return;
        }
        let position = P::position(&placement.record.function);
        let mut found: Vec<P> = outcome.closest.into_iter().map(|(peer, _)| peer).collect();
        found.push(self.me);
        // Sticky: who hosts an earlier version is asked first, but no more of them than are wanted.
        // Some may be a liar's inventions; these come last among the hosts, and then in XOR order.
        let (ahead, others) = outcome.hosts.split_at(placement.wanted.min(outcome.hosts.len()));
        placement.line_up(&mut ahead.to_vec(), position);
        found.extend(others);
        placement.line_up(&mut found, position);
        if placement.before.is_empty() {
            placement.before = outcome.hosts;
        }
        self.offer_on(tag, turn);
    }

    /// Makes the next batch of offers, or ends the offering.
    fn offer_on(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        if !placement.offered.is_empty() || !placement.confirmed.is_empty() {
            return;
        }
        let lacking = placement.wanted.saturating_sub(placement.accepted.len());
        if lacking == 0 || planted::is(Bug::NoOffers) {
            return self.confirm(tag, turn);
        }
        let busier = placement.declined.iter().filter(|(_, why)| *why == Decline::Busier).count();
        if busier >= usize::from(turn.config.busier_max) {
            placement.waive_busier();
        }
        let spent = placement.offers >= usize::from(turn.config.offers_max);
        if placement.queue.is_empty() && !spent && self.widen(tag, turn) {
            return;
        }
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        if placement.queue.is_empty() {
            placement.waive_busier();
        }
        let batch = (lacking + SPARE_OFFERS).min(placement.queue.len());
        if batch == 0 || (spent && !placement.waive) {
            return self.confirm(tag, turn);
        }
        let peers: Vec<P> = placement.queue.drain(..batch).collect();
        placement.offers += batch;
        placement.offered.extend(&peers);
        let (record, waive) = (placement.record.clone(), placement.waive);
        for peer in peers {
            if peer == self.me {
                let decline = self.consider(peer, record.clone(), waive, turn);
                self.offer_answered(tag, peer, decline, turn);
            } else {
                let query = Query::Offer { record: record.clone(), waive };
                self.query(peer, query, Purpose::Offer(tag), turn);
            }
        }
    }

    /// The k closest are not enough: next come the owner's other nodes, which are the likeliest to
    /// accept, and the peers of the placer's own table, all in XOR order,
    /// then the neighbours of the farthest that were seen, again and again. True: a search for
    /// them is under way.
    fn widen(&mut self, tag: Tag, turn: &mut Turn<'_, P>) -> bool {
        let Some(placement) = self.placements.get_mut(tag) else {
            return false;
        };
        let position = P::position(&placement.record.function);
        let owner = placement.record.owner;
        if !placement.widened {
            placement.widened = true;
            let most = usize::from(turn.config.offers_max);
            let mut known = self.table.closest(self.me.key(), position, most, None);
            let mine = self.setup.owner == Some(owner);
            known.extend(self.siblings.iter().map(|one| one.peer).filter(|_| mine));
            placement.line_up(&mut known, position);
            if !placement.queue.is_empty() {
                return false;
            }
        }
        // Who finds fewer than k others has found the whole network.
        let whole = placement.seen.len() <= usize::from(turn.config.k);
        if whole || placement.cursors.len() >= CURSORS_MAX {
            return false;
        }
        let unused = placement.seen.iter().filter(|peer| !placement.cursors.contains(peer));
        let farthest = unused.max_by_key(|peer| peer.key().distance(position)).copied();
        let Some(cursor) = farthest else {
            return false;
        };
        placement.cursors.push(cursor);
        self.search(Target::Peer(cursor), Kind::Find, Then::Place(tag), turn);
        true
    }

    pub(crate) fn offer_answered(
        &mut self,
        tag: Tag,
        from: P,
        decline: Option<Decline>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        let function = placement.record.function;
        let Some(at) = placement.offered.iter().position(|peer| *peer == from) else {
            return;
        };
        placement.offered.remove(at);
        match decline {
            None => placement.accepted.push(from),
            Some(why) => {
                placement.declined.push((from, why));
                turn.note(|| Note::Declined { function, peer: from, why });
            }
        }
        self.offer_on(tag, turn);
    }

    /// Confirms the first wanted of those that accepted, and lets the others go.
    fn confirm(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        let rank = |peer: &P| placement.seen.iter().position(|other| other == peer);
        placement.accepted.sort_by_key(rank);
        let mut chosen = core::mem::take(&mut placement.accepted);
        let wanted = if planted::is(Bug::ConfirmsAll) { chosen.len() } else { placement.wanted };
        let others = chosen.split_off(wanted.min(chosen.len()));
        if chosen.is_empty() {
            return self.conclude_placement(tag, turn);
        }
        placement.confirmed.clone_from(&chosen);
        placement.until = turn.now + turn.config.install_timeout;
        self.timers.add(placement.until, Timer::Placement(tag));
        let (function, version) = (placement.record.function, placement.record.version);
        let mut hosts = placement.mates.clone();
        hosts.extend(&chosen);
        let mut sources = alloc::vec![self.me];
        for peer in placement.mates.iter().chain(&placement.before) {
            if sources.len() < SOURCES_MAX && !sources.contains(peer) {
                sources.push(*peer);
            }
        }
        self.let_go(others, function, version, turn);
        for peer in chosen {
            let mates = hosts.iter().copied().filter(|host| *host != peer).take(MATES_MAX);
            let mates: Vec<P> = mates.collect();
            let sources: Vec<P> = sources.iter().copied().filter(|host| *host != peer).collect();
            if peer == self.me {
                let known = self.confirmed(peer, function, version, sources, mates, turn);
                self.confirm_answered(tag, peer, known, turn);
            } else {
                let query = Query::Confirm { function, version, sources, mates };
                self.query(peer, query, Purpose::Confirm(tag), turn);
            }
        }
    }

    pub(crate) fn confirm_answered(
        &mut self,
        tag: Tag,
        from: P,
        known: bool,
        turn: &mut Turn<'_, P>,
    ) {
        if !known {
            self.resolve(tag, from, Some(Decline::Lapsed), turn);
        }
    }

    /// A confirmed peer serves the function now, or can't.
    pub(crate) fn placed(
        &mut self,
        from: P,
        function: Name,
        version: u64,
        failure: Option<Decline>,
        turn: &mut Turn<'_, P>,
    ) -> bool {
        let concerned = self.placements.iter().find(|(_, placement)| {
            let record = &placement.record;
            record.function == function
                && record.version == version
                && placement.confirmed.contains(&from)
        });
        match concerned.map(|(tag, _)| tag) {
            Some(tag) => {
                self.resolve(tag, from, failure, turn);
                true
            }
            None => false,
        }
    }

    fn resolve(&mut self, tag: Tag, from: P, why: Option<Decline>, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        let Some(at) = placement.confirmed.iter().position(|peer| *peer == from) else {
            return;
        };
        placement.confirmed.remove(at);
        match why {
            None => placement.placed.push(from),
            Some(why) => placement.declined.push((from, why)),
        }
        if placement.confirmed.is_empty() {
            // Those that failed are made up for by others, as long as there are any.
            placement.wanted = placement.wanted.saturating_sub(placement.placed.len());
            if placement.placed.is_empty() {
                placement.until = turn.now + turn.config.place_timeout;
                return self.offer_on(tag, turn);
            }
            return self.conclude_placement(tag, turn);
        }
        if placement.placed.len() == 1 {
            placement.until = turn.now + turn.config.deploy_grace;
            self.timers.add(placement.until, Timer::Placement(tag));
        }
    }

    pub(crate) fn placement_due(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        if placement.until > turn.now {
            return;
        }
        if placement.confirmed.is_empty() && !placement.accepted.is_empty() {
            placement.offered.clear();
            return self.confirm(tag, turn);
        }
        self.conclude_placement(tag, turn);
    }

    fn conclude_placement(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(mut placement) = self.placements.remove(tag) else {
            return;
        };
        let silent = placement.confirmed.iter().chain(&placement.offered);
        let silent: Vec<(P, Decline)> = silent.map(|peer| (*peer, Decline::Silent)).collect();
        let record = placement.record;
        match placement.purpose {
            // Confirmed ones that are still installing count until a probe says otherwise.
            Purposed::Repair => {
                placement.placed.append(&mut placement.confirmed);
                self.healed(record.function, &placement.placed, turn);
            }
            Purposed::Deploy(ticket) if placement.placed.is_empty() => {
                placement.declined.extend(silent);
                self.conclude(ticket, Event::NotPlaced(placement.declined), turn);
            }
            Purposed::Deploy(ticket) => {
                if let Learned::Superseded(known) = self.learn(&record, self.me, turn) {
                    // It was replaced elsewhere while it was being placed.
                    let version = known.version;
                    return self.conclude(
                        ticket,
                        Event::Failed(Failure::Superseded { version }),
                        turn,
                    );
                }
                for host in &placement.before {
                    // Who hosts an older version hears of the new one.
                    if *host != self.me && !placement.placed.contains(host) {
                        self.query(*host, Query::Store(record.clone()), Purpose::Tell, turn);
                    }
                }
                self.known.put(record.clone(), placement.placed.clone(), turn);
                let (hosts, declined) = (placement.placed, placement.declined);
                let event = alloc::boxed::Box::new(Event::Deployed { hosts, declined });
                self.keep_for(ticket, record, AfterKeep::Deployed { ticket, event }, turn);
            }
        }
    }

    fn fail_placement(&mut self, tag: Tag, why: Failure, turn: &mut Turn<'_, P>) {
        match self.placements.remove(tag) {
            Some(Placement { purpose: Purposed::Deploy(ticket), .. }) => {
                self.conclude(ticket, Event::Failed(why), turn);
            }
            Some(Placement { record, .. }) => self.healed(record.function, &[], turn),
            None => {}
        }
    }

    /// Lets go the places that these peers had reserved.
    fn let_go(&mut self, peers: Vec<P>, function: Name, version: u64, turn: &mut Turn<'_, P>) {
        for peer in peers {
            if peer == self.me {
                self.released(peer, function, version);
            } else {
                self.query(peer, Query::Release { function, version }, Purpose::Tell, turn);
            }
        }
    }

    /// The user wants no deployment any more: reservations are let go, what is confirmed stays.
    pub(crate) fn drop_placement(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.remove(tag) else {
            return;
        };
        let (function, version) = (placement.record.function, placement.record.version);
        self.let_go(placement.accepted, function, version, turn);
    }
}

impl<P: Peer> Placement<P> {
    fn new(record: Arc<Record>, wanted: usize, purpose: Purposed) -> Self {
        Self {
            record,
            wanted,
            purpose,
            mates: Vec::new(),
            before: Vec::new(),
            queue: Vec::new(),
            seen: Vec::new(),
            offers: 0,
            offered: Vec::new(),
            accepted: Vec::new(),
            confirmed: Vec::new(),
            placed: Vec::new(),
            declined: Vec::new(),
            widened: false,
            cursors: Vec::new(),
            waive: false,
            until: Time::NEVER,
        }
    }

    /// Queues those that were not seen before, in XOR order.
    fn line_up(&mut self, peers: &mut [P], position: Key) {
        peers.sort_by_key(|peer| peer.key().distance(position));
        if planted::is(Bug::OffersFarthest) {
            peers.reverse();
        }
        for peer in peers {
            if !self.seen.contains(peer) {
                self.seen.push(*peer);
                self.queue.push(*peer);
            }
        }
    }

    /// Those that declined as busier are asked again, the first first, and may not say so again.
    fn waive_busier(&mut self) {
        if self.waive {
            return;
        }
        self.waive = true;
        let busier = self.declined.iter().filter(|(_, why)| *why == Decline::Busier);
        let mut queue: Vec<P> = busier.map(|(peer, _)| *peer).collect();
        self.declined.retain(|(_, why)| *why != Decline::Busier);
        queue.append(&mut self.queue);
        self.queue = queue;
    }
}
