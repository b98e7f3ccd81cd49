//! A placer's side: offers in XOR order until enough peers have accepted, then the confirming.
//! Deployment and repair are this one loop.

mod confirm;

use alloc::sync::Arc;
use alloc::vec::Vec;

use confirm::Confirmed;

use crate::handing::OFFERS_MAX;
use crate::holder::Learned;
use crate::key::{Key, Name, Peer, Target};
use crate::labels::Carriers;
use crate::machine::{AfterKeep, Core, Work};
use crate::message::{Decline, Query, Tag};
use crate::note::Note;
use crate::planted::{self, Bug};
use crate::queries::Purpose;
use crate::record::Record;
use crate::search::{Kind, Outcome, Then};
use crate::time::Time;
use crate::timers::Timer;
use crate::turn::{Event, Failure, Ticket, Turn};

/// Neighbourhoods searched for further peers once the placer's own table is used up.
const CURSORS_MAX: usize = 16;
/// Offers made beyond the number still wanted, against declines.
const SPARE_OFFERS: usize = 2;

/// Finding hosts for a function.
#[derive(Debug)]
pub(crate) struct Placement<P> {
    pub(crate) record: Arc<Record>,
    /// How many new hosts.
    wanted: usize,
    purpose: Purposed,
    /// Those that carry the labels it asks for.
    pub(crate) carriers: Carriers<P>,
    /// Hosts that need no offer.
    mates: Vec<P>,
    /// Hosts of any version, as the holders knew them; others that may have the code.
    before: Vec<P>,
    /// Whether the placer has the code.
    gives: bool,
    /// Offers that are made at most, beside the limit for all.
    offers_max: usize,
    /// Whom to offer it to, in this order.
    queue: Vec<P>,
    /// Everyone who was ever in the queue.
    seen: Vec<P>,
    offers: usize,
    offered: Vec<P>,
    accepted: Vec<P>,
    confirmed: Vec<Confirmed<P>>,
    placed: Vec<P>,
    declined: Vec<(P, Decline)>,
    /// Whether the placer's own table was used up.
    widened: bool,
    /// Peers whose neighbourhoods were searched.
    cursors: Vec<P>,
    waive: bool,
    until: Time,
    /// When those that are confirmed are reminded.
    remind_at: Time,
}

/// For whom.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Purposed {
    Deploy(Ticket),
    Repair,
    /// By a holder, for a function that has lost all hosts.
    Anew,
    /// By a host that is to leave for another one.
    Instead,
}

impl<P: Peer> Core<P> {
    /// A user deploys a function.
    pub(crate) fn deploy(&mut self, ticket: Ticket, record: Arc<Record>, turn: &mut Turn<'_, P>) {
        let newer = self.records.get(record.function).filter(|known| !record.supersedes(known));
        if let Some(version) = newer.map(|known| known.version) {
            turn.tell(ticket, Event::Failed(Failure::Superseded { version }));
            return;
        }
        let wanted = usize::from(record.wanted_least());
        let purpose = Purposed::Deploy(ticket);
        let tag = self.placements.insert(self.incarnation, Placement::new(record, wanted, purpose));
        self.asks.insert(ticket, Work::Placement(tag));
        self.place(tag, turn);
    }

    /// This host found that others are lacking.
    pub(crate) fn place_lacking(&mut self, function: Name, n: u16, turn: &mut Turn<'_, P>) {
        let hosting = self.hosting.get(&function).expect("only a host repairs");
        // Hearsay needs no offer, but nobody is told that it is true.
        let mut seen: Vec<P> = hosting.mates.iter().map(|mate| mate.peer).collect();
        seen.push(self.me);
        let trusted = hosting.mates.iter().filter(|mate| mate.is_trusted(turn.now));
        let mut mates: Vec<P> = trusted.map(|mate| mate.peer).collect();
        mates.push(self.me);
        let record = hosting.record.clone();
        let mut placement = Placement::new(record, usize::from(n), Purposed::Repair);
        placement.seen = seen;
        placement.mates = mates;
        let tag = self.placements.insert(self.incarnation, placement);
        self.place(tag, turn);
    }

    /// This host looks for another one in its place: any that is closest, or one of these.
    pub(crate) fn place_instead(
        &mut self,
        function: Name,
        to: Option<Vec<P>>,
        turn: &mut Turn<'_, P>,
    ) {
        let hosting = self.hosting.get(&function).expect("only a host hands on");
        let mut hosts: Vec<P> = hosting.mates.iter().map(|mate| mate.peer).collect();
        hosts.push(self.me);
        let mut placement = Placement::new(hosting.record.clone(), 1, Purposed::Instead);
        placement.seen.clone_from(&hosts);
        // This host is left out: it is no mate for long.
        hosts.pop();
        placement.mates = hosts;
        placement.offers_max = OFFERS_MAX;
        let Some(to) = to else {
            let tag = self.placements.insert(self.incarnation, placement);
            return self.place(tag, turn);
        };
        placement.offers_max = to.len();
        placement.line_up(&mut to.clone(), P::position(&function));
        placement.until = turn.now + turn.config.place_timeout;
        let until = placement.until;
        let tag = self.placements.insert(self.incarnation, placement);
        self.timers.add(until, Timer::Placement(tag));
        self.offer_on(tag, turn);
    }

    /// This holder found that none of the hosts lives: it places the function anew, but not on
    /// `dead` ones. `sources` may have the code; whether this peer has it itself, `gives` says.
    pub(crate) fn place_anew(
        &mut self,
        record: Arc<Record>,
        n: u16,
        dead: Vec<P>,
        (sources, gives): (Vec<P>, bool),
        turn: &mut Turn<'_, P>,
    ) {
        let mut placement = Placement::new(record, usize::from(n), Purposed::Anew);
        placement.seen = dead;
        placement.before = sources;
        placement.gives = gives;
        // Any host is better than none.
        placement.waive = true;
        let tag = self.placements.insert(self.incarnation, placement);
        self.place(tag, turn);
    }

    fn place(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        placement.until = turn.now + turn.config.place_timeout;
        self.timers.add(placement.until, Timer::Placement(tag));
        if !self.seek_carriers(tag, turn) {
            self.search_holders(tag, turn);
        }
    }

    /// Searches for those that know of the function's hosts, which are the first to be offered it.
    pub(crate) fn search_holders(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        if let Some(placement) = self.placements.get(tag) {
            let target = Target::Name(placement.record.function);
            self.search(target, Kind::Hosts, Then::Place(tag), turn);
        }
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
        let newer = outcome.record.as_ref().filter(|known| known.supersedes(&placement.record));
        if let Some(known) = newer {
            let version = known.version;
            self.fail_placement(tag, Failure::Superseded { version }, turn);
            self.learn_if_concerned(known, turn);
            return;
        }
        let first = placement.purpose == Purposed::Anew && placement.cursors.is_empty();
        if first && self.calls_off(tag, &outcome, turn) {
            return;
        }
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        let position = P::position(&placement.record.function);
        let mut carriers = placement.carriers.found().to_vec();
        let mut found: Vec<P> = Vec::from([self.me]);
        // Others would only say that they do not carry what it asks for.
        if carriers.is_empty() || placement.widened {
            found.extend(outcome.closest.into_iter().map(|(peer, _)| peer));
        }
        // Sticky: who hosts an earlier version is asked first, but no more of them than are wanted.
        // Some may be a liar's inventions; these come last among the hosts, and then in XOR order.
        let (ahead, others) = outcome.hosts.split_at(placement.wanted.min(outcome.hosts.len()));
        placement.line_up(&mut ahead.to_vec(), position);
        placement.line_up(&mut carriers, position);
        found.extend(others);
        placement.line_up(&mut found, position);
        if placement.before.is_empty() {
            placement.before = outcome.hosts;
        }
        self.offer_on(tag, turn);
    }

    /// Whether a holder does not place a function anew after all: hosts were found that it did not
    /// know, or too few of the closest peers answered to say that there are none.
    fn calls_off(&mut self, tag: Tag, outcome: &Outcome<P>, turn: &mut Turn<'_, P>) -> bool {
        let Some(placement) = self.placements.get(tag) else {
            return true;
        };
        let function = placement.record.function;
        let unknown = |host: &&P| **host != self.me && !placement.seen.contains(host);
        let unknown: Vec<P> = outcome.hosts.iter().filter(unknown).copied().collect();
        let off = self.doubts_loss(function, &unknown, outcome, turn);
        if off {
            self.placements.remove(tag);
            self.waiting_go_on(turn);
        }
        off
    }

    /// Makes the next batch of offers, or ends the offering.
    fn offer_on(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        if !placement.offered.is_empty() || !placement.confirmed.is_empty() {
            return;
        }
        let newer = self.records.get(placement.record.function);
        if let Some(newer) = newer.filter(|newer| newer.supersedes(&placement.record)) {
            let version = newer.version;
            return self.fail_placement(tag, Failure::Superseded { version }, turn);
        }
        let lacking = placement.wanted.saturating_sub(placement.accepted.len());
        if lacking == 0 || planted::is(Bug::NoOffers) {
            return self.confirm(tag, turn);
        }
        let busier = placement.declined.iter().filter(|(_, why)| *why == Decline::Busier).count();
        if busier >= usize::from(turn.config.busier_max) {
            placement.waive_busier();
        }
        let carried = !placement.carriers.found().is_empty();
        if placement.queue.is_empty() && carried {
            placement.waive_busier();
        }
        let most = usize::from(turn.config.offers_max).min(placement.offers_max);
        let left = most.saturating_sub(placement.offers);
        if placement.queue.is_empty() && left > 0 && self.widen(tag, turn) {
            return;
        }
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        if placement.queue.is_empty() {
            placement.waive_busier();
        }
        let batch = (lacking + SPARE_OFFERS).min(placement.queue.len()).min(left);
        if batch == 0 {
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
        // If none of the carriers that were named takes it, liars may have named them.
        if !placement.carriers.found().is_empty() && !placement.accepted.is_empty() {
            return false;
        }
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
        let version = placement.record.version;
        match decline {
            None => placement.accepted.push(from),
            Some(why) => {
                placement.declined.push((from, why));
                turn.note(|| Note::Declined { function, peer: from, why });
            }
        }
        if decline == Some(Decline::Silent) {
            // It may have accepted too late to be heard.
            self.let_go(alloc::vec![from], function, version, turn);
        }
        self.offer_on(tag, turn);
    }

    pub(crate) fn placement_due(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.get_mut(tag) else {
            return;
        };
        if placement.until <= turn.now {
            if placement.confirmed.is_empty() && !placement.accepted.is_empty() {
                let (function, version) = (placement.record.function, placement.record.version);
                let silent = core::mem::take(&mut placement.offered);
                self.let_go(silent, function, version, turn);
                return self.confirm(tag, turn);
            }
            return self.conclude_placement(tag, turn);
        }
        if placement.remind_at <= turn.now {
            self.remind(tag, turn);
        }
    }

    fn conclude_placement(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        let Some(mut placement) = self.placements.remove(tag) else {
            return;
        };
        let confirmed: Vec<P> = placement.confirmed.iter().map(|c| c.peer).collect();
        let silent: Vec<P> = confirmed.iter().chain(&placement.offered).copied().collect();
        let record = placement.record;
        // An acceptance that is still on its way is not waited for.
        self.let_go(placement.offered, record.function, record.version, turn);
        match placement.purpose {
            // Confirmed ones that are still installing count until a probe says otherwise.
            Purposed::Repair => {
                placement.placed.extend(confirmed);
                self.healed(record.function, &placement.placed, turn);
            }
            Purposed::Anew => {
                // Whoever was confirmed and has not reported yet may still come to serve it.
                self.placed_anew(record.function, &placement.placed, turn);
            }
            Purposed::Instead => self.handed_on(record.function, &placement.placed, turn),
            Purposed::Deploy(ticket) if placement.placed.is_empty() => {
                placement.declined.extend(silent.into_iter().map(|peer| (peer, Decline::Silent)));
                self.conclude(ticket, Event::NotPlaced(placement.declined), turn);
            }
            Purposed::Deploy(ticket) => {
                let (hosts, declined) = (placement.placed, placement.declined);
                self.deployed(ticket, record, hosts, declined, &placement.before, turn);
            }
        }
    }

    /// A deployment found hosts; it counts unless something newer was learnt meanwhile.
    fn deployed(
        &mut self,
        ticket: Ticket,
        record: Arc<Record>,
        hosts: Vec<P>,
        declined: Vec<(P, Decline)>,
        before: &[P],
        turn: &mut Turn<'_, P>,
    ) {
        let kept = match self.learn(&record, self.me, turn) {
            Learned::New | Learned::Unkept => false,
            Learned::Same => true,
            Learned::Superseded(_) | Learned::Rejected if planted::is(Bug::OverwritesNewer) => {
                false
            }
            Learned::Superseded(known) => {
                let version = known.version;
                let event = Event::Failed(Failure::Superseded { version });
                return self.conclude(ticket, event, turn);
            }
            Learned::Rejected => {
                return self.conclude(ticket, Event::Failed(Failure::NotKept), turn);
            }
        };
        for host in before {
            // Who hosts an older version hears of the new one.
            if *host != self.me && !hosts.contains(host) {
                self.query(*host, Query::Store(record.clone()), Purpose::Tell, turn);
            }
        }
        self.known.put(record.clone(), hosts.clone(), true, turn);
        let event = Event::Deployed { hosts, declined };
        if kept {
            return self.conclude(ticket, event, turn);
        }
        let event = alloc::boxed::Box::new(event);
        self.keep_for(ticket, record, AfterKeep::Deployed { ticket, event }, turn);
    }

    fn fail_placement(&mut self, tag: Tag, why: Failure, turn: &mut Turn<'_, P>) {
        let Some(placement) = self.placements.remove(tag) else {
            return;
        };
        let (purpose, function) = (placement.purpose, placement.record.function);
        self.let_go_all(placement, turn);
        match purpose {
            Purposed::Deploy(ticket) => self.conclude(ticket, Event::Failed(why), turn),
            Purposed::Repair => self.healed(function, &[], turn),
            Purposed::Anew => self.placed_anew(function, &[], turn),
            Purposed::Instead => self.handed_on(function, &[], turn),
        }
    }

    /// Lets go every place that was or may be reserved for a placement that has ended.
    fn let_go_all(&mut self, placement: Placement<P>, turn: &mut Turn<'_, P>) {
        let (function, version) = (placement.record.function, placement.record.version);
        let mut peers = placement.accepted;
        peers.extend(placement.offered);
        self.let_go(peers, function, version, turn);
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
        if let Some(placement) = self.placements.remove(tag) {
            self.let_go_all(placement, turn);
        }
    }
}

impl<P: Peer> Placement<P> {
    fn new(record: Arc<Record>, wanted: usize, purpose: Purposed) -> Self {
        Self {
            record,
            wanted,
            purpose,
            carriers: Carriers::default(),
            mates: Vec::new(),
            before: Vec::new(),
            gives: true,
            offers_max: usize::MAX,
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
            remind_at: Time::NEVER,
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
        // What need not be moved is moved to nobody who is busier.
        if self.waive || self.purpose == Purposed::Instead {
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
