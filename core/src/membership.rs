//! Joining the network, and keeping the table true: who enters it, and how it is refreshed.

use alloc::vec::Vec;

use crate::few::push_exact;
use crate::key::{Name, Peer, Target};
use crate::machine::Core;
use crate::message::Query;
use crate::planted::{self, Bug};
use crate::queries::Purpose;
use crate::record::Load;
use crate::search::{Kind, Then};
use crate::table::Room;
use crate::time::Span;
use crate::timers::Timer;
use crate::turn::{Group, Turn};

/// Unknown askers that are checked at once.
const CHECKS_MAX: usize = 8;
/// Peers that did not answer a check and are remembered for it.
const MUTE_MAX: usize = 16;
/// Loads of other peers that are remembered.
pub(crate) const LOADS_MAX: usize = 64;
/// Equal parts of the key space, whose peers' loads are heard of evenly.
pub(crate) const PARTS: usize = 16;
/// How many times as many as of another part are remembered of a peer's own.
const OWN_PART: u64 = 4;
/// Failures of one peer so close together are one: a dial that fails ends all that waited for it,
/// and the host tells of the dial and of each.
const MISS_SPAN: Span = Span::ms(500);
/// Peers that just failed and are remembered for it.
const MISSED_MAX: usize = 16;
/// Random names drawn to hit a bucket; a deeper bucket takes the best of them.
const DRAWS_MAX: u32 = 256;
/// How soon after joining the neighbourhood is searched again, for those who joined meanwhile.
const SECOND_LOOK: Span = Span::secs(5);

/// How far the joining has come.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum Join {
    /// Nobody was met.
    #[default]
    Alone,
    /// Searching for our own position.
    Looking,
    /// Filling the table, this bucket next.
    Filling(u32),
    /// Done from the first: the host filled the table.
    Seeded,
    /// Done; the table is refreshed from time to time.
    Joined,
}

impl<P: Peer> Core<P> {
    pub(crate) fn met(
        &mut self,
        peer: P,
        serves: bool,
        group: Option<Group>,
        turn: &mut Turn<'_, P>,
    ) {
        self.standings.met(peer);
        self.file_group(peer, group, turn);
        if peer == self.me {
            return;
        }
        let lost = self.table.is_lost();
        // Among clients only a peer is the whole network, and joins it.
        if serves {
            self.known_to_live(peer, turn);
        }
        // If everybody was lost, the network is joined again through this one.
        if self.join == Join::Alone || self.join == Join::Joined && lost && serves {
            self.join = Join::Looking;
            self.search(Target::Peer(self.me), Kind::Find, Then::Join, turn);
        }
    }

    /// Remembers a peer's group, which may be another than it was in: then it may be one too many.
    fn file_group(&mut self, peer: P, group: Option<Group>, turn: &Turn<'_, P>) {
        if group.is_none() && self.groups.is_empty() {
            return;
        }
        let me = self.me.key();
        let (table, providers) = (&self.table, &self.providers);
        let in_use = |peer| table.contains(me, peer) || providers.provides_any(peer);
        self.groups.met(peer, group, in_use);
        self.table.regrouped(me, peer, &Room::new(&self.groups, turn.config));
    }

    /// The peer answered on an authenticated connection.
    pub(crate) fn known_to_live(&mut self, peer: P, turn: &mut Turn<'_, P>) {
        if peer != self.me {
            if !self.mute.is_empty() {
                self.mute.retain(|other| *other != peer);
            }
            if !self.missed.is_empty() {
                self.missed.retain(|(other, _)| *other != peer);
            }
            self.is_back(peer);
            let room = Room::new(&self.groups, turn.config);
            self.table.answered(self.me.key(), peer, &room);
        }
    }

    pub(crate) fn missed(&mut self, peer: P, turn: &mut Turn<'_, P>) {
        self.missed.retain(|(_, at)| turn.now.since(*at) < MISS_SPAN);
        let counted = self.missed.iter().any(|(other, _)| *other == peer);
        if counted && !planted::is(Bug::MissesTwice) {
            return;
        }
        if self.missed.len() == MISSED_MAX {
            self.missed.remove(0);
        }
        self.missed.push((peer, turn.now));
        let lost = self.table.is_lost();
        let room = Room::new(&self.groups, turn.config);
        if self.table.missed(self.me.key(), peer, &room) {
            self.left(peer, turn);
        }
        if !lost && self.table.is_lost() {
            self.regain_soon(turn);
        }
    }

    pub(crate) fn unreached(&mut self, peer: P, turn: &mut Turn<'_, P>) {
        self.missed(peer, turn);
    }

    /// Who asks is only hearsay until it has answered: if there is room for it in the table, it is
    /// asked for our own neighbourhood.
    pub(crate) fn check_asker(&mut self, from: P, turn: &mut Turn<'_, P>) {
        let me = self.me.key();
        // Whether there is room stands beside the core; who is in the bucket does not.
        if !self.table.has_room(me, from, &Room::new(&self.groups, turn.config))
            || self.table.contains(me, from)
            || self.checks.len() >= CHECKS_MAX
            || self.checks.contains(&from)
            || self.mute.contains(&from)
            || planted::is(Bug::NeverCheck)
        {
            return;
        }
        self.checks.push(from);
        self.query(from, Query::Find(Target::Peer(self.me)), Purpose::Check, turn);
    }

    /// A check ended. Who did not answer is not checked again soon: it may be a mere client.
    pub(crate) fn checked(&mut self, peer: P, answered: bool) {
        self.checks.retain(|other| *other != peer);
        if !answered {
            if self.mute.len() == MUTE_MAX {
                self.mute.remove(0);
            }
            self.mute.push(peer);
        }
    }

    /// A self-search, and so the join or a look around, has ended.
    pub(crate) fn join_on(&mut self, turn: &mut Turn<'_, P>) {
        match self.join {
            Join::Alone | Join::Seeded | Join::Joined => {}
            Join::Looking => {
                self.join = Join::Filling(0);
                self.announce_hosted(turn);
                self.enter(turn);
                self.join_on(turn);
            }
            Join::Filling(bucket) if bucket < self.table.depth() => {
                self.join = Join::Filling(bucket + 1);
                let name = self.name_in(bucket);
                self.search(Target::Name(name), Kind::Find, Then::Join, turn);
            }
            Join::Filling(_) => {
                self.join = Join::Joined;
                if core::mem::replace(&mut self.settled, true) {
                    return;
                }
                if turn.config.refresh_period > Span::ZERO {
                    self.timers.add(turn.now + SECOND_LOOK, Timer::Refresh);
                }
            }
        }
    }

    /// The neighbourhood is known: what needs a network begins.
    fn enter(&mut self, turn: &mut Turn<'_, P>) {
        self.settle_all(turn);
        self.tell_labels(turn);
        if !self.settled {
            self.renew_labels(turn);
        }
        if self.setup.owner.is_some() {
            self.announce_owner(turn);
            if !self.settled {
                self.timers.add(turn.now, Timer::Sync);
            }
        }
    }

    /// Begins what follows a join, where the table was filled by the host. Not in step with others
    /// that were filled at the same instant.
    pub(crate) fn begin_seeded(&mut self, turn: &mut Turn<'_, P>) {
        if self.join != Join::Seeded {
            return;
        }
        self.join = Join::Joined;
        let period = turn.config.refresh_period;
        if period > Span::ZERO {
            let first = Span(self.random.below(period.0));
            self.timers.add(turn.now + first, Timer::Refresh);
        }
        self.enter(turn);
        self.settled = true;
    }

    /// Searches for our own position, and for one random name in a bucket drawn at random.
    pub(crate) fn refresh(&mut self, turn: &mut Turn<'_, P>) {
        let period = turn.config.refresh_period;
        let jitter = Span(self.random.below(period.0 / 4));
        self.timers.add(turn.now + Span(period.0 - period.0 / 8) + jitter, Timer::Refresh);
        self.search(Target::Peer(self.me), Kind::Find, Then::Nothing, turn);
        let bucket = self.random.below(u64::from(self.table.depth())) as u32;
        let name = self.name_in(bucket);
        self.search(Target::Name(name), Kind::Find, Then::Nothing, turn);
    }

    /// A random name whose position shares `bucket` bits with ours, or nearly so: names hash to
    /// positions, so that one can only be drawn.
    fn name_in(&mut self, bucket: u32) -> Name {
        let me = self.me.key();
        let mut best = Name(self.random.bytes32());
        let off = |name: &Name| me.shared_prefix(P::position(name)).abs_diff(bucket);
        for _ in 0..DRAWS_MAX {
            if off(&best) == 0 {
                break;
            }
            let name = Name(self.random.bytes32());
            if off(&name) < off(&best) {
                best = name;
            }
        }
        best
    }

    /// Remembers how full a peer that hosts functions is, in place of what it said before. Where too
    /// many are remembered, one of that part of the key space gives way of which most are, this peer's
    /// own part counting for four.
    pub(crate) fn hear_load(&mut self, peer: P, load: Load) {
        if load.room == 0 || peer == self.me {
            return;
        }
        let Load { hosted, room, .. } = load;
        let used = Used { hosted, room };
        if let Some((_, known)) = self.loads.iter_mut().find(|(other, _)| *other == peer) {
            *known = used;
        } else if self.loads.len() < LOADS_MAX {
            push_exact(&mut *self.loads, (peer, used));
        } else {
            let mut heard = [0_u64; PARTS];
            for (other, _) in self.loads.iter().chain([&(peer, used)]) {
                heard[part_of(*other)] += OWN_PART;
            }
            heard[part_of(self.me)] /= OWN_PART;
            let most = (0..PARTS).max_by_key(|part| heard[*part]).expect("there are parts");
            let one_of =
                |(at, (other, _)): (usize, &(P, Used))| (part_of(*other) == most).then_some(at);
            let crowd: Vec<usize> = self.loads.iter().enumerate().filter_map(one_of).collect();
            let at = crowd[self.random.below(crowd.len() as u64) as usize];
            self.loads[at] = (peer, used);
        }
    }
}

/// What a host said of its room.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Used {
    pub(crate) hosted: u16,
    pub(crate) room: u16,
}

impl Used {
    pub(crate) fn permille(self) -> u32 {
        u32::from(self.hosted) * 1000 / u32::from(self.room)
    }
}

/// The part of the key space in which a peer is.
pub(crate) fn part_of<P: Peer>(peer: P) -> usize {
    (peer.key().0[0] >> (u64::BITS - PARTS.ilog2())) as usize
}
