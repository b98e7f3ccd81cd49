//! `[sybils]`: many names of one attacker, all of them closer to one key than any honest peer. They
//! are no cores: what they say is made up.

use std::collections::BTreeMap;

use peerless_core::{
    Answer, Decline, Ending, Group, Input, Key, Load, Message, Name, Peer, Query, Refusal, Span,
    Stay, Tag, Target,
};

use crate::agenda::When;
use crate::calls::Packet;
use crate::chance::Concern;
use crate::digest::Fold;
use crate::peer::{Index, limb};
use crate::scenario::{Bad, Keys, Scenario, at_least, section, worded};
use crate::work::Plan;
use crate::world::{Happening, PACKET, World};

section! {
    /// Peers of one attacker around the key of the first function, or where it would be.
    "sybils" => pub struct Sybils {
        /// How many, each closer to the key than any honest peer.
        count: u32 = 1000,
        /// Address groups that they share, where peers have any.
        groups: u32 = 4,
        /// When the first of them makes itself known.
        start: Span = Span::secs(1),
        /// From one to the next.
        interval: Span = Span::ms(5),
        /// To how many of the honest peers closest to the key each makes itself known.
        reach: u32 = 100,
        /// Whether each tells the honest holders, and who asks, that it and its like host the function.
        forge: bool = true,
        /// Whether each tells the hosts of the function too that it serves it, when they probe it.
        claim: bool = false,
        /// What becomes of a call that comes to one: "refused", "swallowed", or "wrong" where it is answered wrongly.
        calls: Fate = Fate::Refused,
    }
}

/// What becomes of a call to a sybil.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It says that it does not host the function.
    Refused,
    /// It never answers.
    Swallowed,
    /// It answers at once, and wrongly.
    Wrong,
}

worded!(Fate: "refused" => Refused, "swallowed" => Swallowed, "wrong" => Wrong);

/// From this number on a peer is a sybil: more others have no room.
pub(crate) const FIRST: u32 = 1 << 24;
/// Names that an attacker tries at most to get one that lies close enough.
const TRIES_MAX: u32 = u32::MAX - FIRST;
/// Names that an attacker may be expected to try.
const NAMES_MAX: u64 = 1 << 30;
/// What tells the sybils' address groups from those of others.
const GROUPS: u64 = 1 << 32;

/// The sybils of a world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    /// By position.
    sorted: Vec<u32>,
    /// How many messages and packets each sent.
    sent: BTreeMap<u32, u64>,
}

impl Sybils {
    pub(crate) fn check(&self, peers: u32, keys: &Keys) -> Result<(), Bad> {
        at_least(keys, "sybils.count", self.count, 1)?;
        at_least(keys, "sybils.groups", self.groups, 1)?;
        at_least(keys, "sybils.reach", self.reach, 1)?;
        // The more peers, the closer lies the closest, and the more names have to be tried.
        if u64::from(self.count) * u64::from(peers) > NAMES_MAX {
            let what = format!("expected at most {}", NAMES_MAX / u64::from(peers));
            return Err(keys.bad("sybils.count", &what));
        }
        Ok(())
    }
}

impl Scenario {
    /// Whether a peer is a sybil.
    pub(crate) fn is_sybil(peer: u32) -> bool {
        peer >= FIRST
    }
}

impl World {
    /// The key that sybils surround.
    pub(crate) fn eclipsed(&self) -> Name {
        self.function_name(0)
    }

    /// Tries names until enough of them lie closer to the key than any honest peer.
    pub(crate) fn begin_sybils(&mut self) {
        let Some(sybils) = self.scenario.sybils.clone() else { return };
        let key = Index::position(&self.eclipsed()).0[0];
        let closest = self.oracle.closest(key, 1, self.now.0, None);
        let nearest = closest.first().map_or(u64::MAX, |peer| limb(*peer) ^ key);
        let tried = (0..TRIES_MAX).map(|n| FIRST + n);
        let close = tried.filter(|number| limb(*number) ^ key < nearest);
        let mut sorted: Vec<u32> = close.take(sybils.count as usize).collect();
        sorted.sort_by_key(|number| limb(*number) ^ key);
        if sorted.len() < sybils.count as usize {
            let what = format_args!("sybils: only {} names lie close enough", sorted.len());
            self.laws.violations.add(self.now, None, what);
        }
        self.crowd = Crowd { sorted, sent: BTreeMap::new() };
        self.work.last_planned = self
            .work
            .last_planned
            .max(crate::world::START + sybils.start + sybils.interval.times(sybils.count.into()));
        self.plan_work(crate::world::START + sybils.start, Plan::Sybil(0));
    }

    /// A sybil makes itself known to the honest around the key.
    pub(crate) fn introduce(&mut self, n: u32) {
        let Some(sybils) = self.scenario.sybils.clone() else { return };
        let Some(me) = self.crowd.sorted.get(n as usize).copied() else { return };
        if n + 1 < sybils.count {
            self.plan_work(self.now + sybils.interval, Plan::Sybil(n + 1));
        }
        let name = self.eclipsed();
        let key = Index::position(&name).0[0];
        let honest = self.oracle.closest(key, sybils.reach as usize, self.now.0, None);
        for (at, peer) in honest.into_iter().enumerate() {
            let find = Query::Find(Target::Peer(Index(me)));
            self.ask_as(me, peer, find);
            if sybils.forge && at < usize::from(self.config.k) {
                self.ask_as(me, peer, Query::Provide(name, None));
            }
        }
    }

    /// A sybil asks; what is answered does not matter to it.
    fn ask_as(&mut self, me: u32, to: u32, query: Query<Index>) {
        let tag = Tag { slot: 0, epoch: 0, incarnation: 0 };
        self.say(me, to, Message::Query(tag, query));
    }

    /// A message comes to a sybil.
    pub(crate) fn sybil_hears(&mut self, from: u32, me: u32, message: &Message<Index>) {
        let Message::Query(tag, query) = message else { return };
        let answer = match query {
            Query::Find(target) => self.names_its_like(me, from, *target, Vec::new()),
            Query::Hosts(name) => {
                let forge = self.scenario.sybils.as_ref().is_some_and(|sybils| sybils.forge);
                let forged = self.crowd.sorted.iter().map(|peer| Index(*peer));
                let forged: Vec<Index> = if forge && *name == self.eclipsed() {
                    forged.take(usize::from(self.config.hosts_max)).collect()
                } else {
                    Vec::new()
                };
                self.names_its_like(me, from, Target::Name(*name), forged)
            }
            Query::Provide(..) | Query::Store(_) => {
                Answer::Stored { kept: true, newer: None, hosts: Vec::new() }
            }
            Query::Offer { .. } => {
                Answer::Offered { decline: Some(Decline::Full), load: Load::default() }
            }
            Query::Probe(versions) => {
                let claim = self.scenario.sybils.as_ref().is_some_and(|sybils| sybils.claim);
                let serving = if claim { versions.clone() } else { Vec::new() };
                Answer::Probed { serving, load: Load::default() }
            }
            Query::Sync { .. } => return,
            _ => Answer::Noted(true),
        };
        self.say(me, from, Message::Answer(*tag, answer));
    }

    /// The k sybils that are closest to a target, and hosts that are none.
    fn names_its_like(
        &self,
        me: u32,
        asker: u32,
        target: Target<Index>,
        hosts: Vec<Index>,
    ) -> Answer<Index> {
        let Key([place, ..]) = target.key();
        let mut closer: Vec<u32> = self.crowd.sorted.clone();
        closer.retain(|peer| *peer != me && *peer != asker);
        closer.sort_by_key(|peer| limb(*peer) ^ place);
        closer.truncate(usize::from(self.config.k));
        let closer = closer.into_iter().map(Index).collect();
        Answer::Found { closer, hosts, record: None, load: Load::default() }
    }

    /// How many messages and packets a sybil has sent, with one more.
    pub(crate) fn sybil_sends(&mut self, me: u32) -> u64 {
        let sent = self.crowd.sent.entry(me).or_default();
        *sent += 1;
        *sent
    }

    /// Something of a call comes to a sybil.
    pub(crate) fn sybil_is_called(&mut self, from: u32, me: u32, packet: Packet) {
        let Packet::Dial { attempt, .. } = packet else { return };
        let Some(sybils) = &self.scenario.sybils else { return };
        let packets = match sybils.calls {
            Fate::Swallowed => return,
            Fate::Refused => {
                let why = Refusal::NotHosted;
                let how = Ending::Refused { why, load: None, spent: false };
                vec![Packet::Ended { attempt, how }]
            }
            Fate::Wrong => {
                let (load, stay) = (Load::default(), Stay::default());
                let head = Packet::Head { attempt, status: 200, load, stay };
                vec![head, Packet::Ended { attempt, how: Ending::Complete }]
            }
        };
        let time = (self.now + self.network.latency(me, from)).0;
        for packet in packets {
            let counter = PACKET | self.sybil_sends(me);
            self.push(When { time, to: from, from: me, counter }, Happening::Call(packet));
        }
    }

    /// The address group of a peer.
    pub(crate) fn group_of(&self, peer: u32) -> Option<Group> {
        let groups = u64::from(self.scenario.network.groups);
        if groups == 0 {
            return None;
        }
        let Some(sybils) = self.scenario.sybils.as_ref().filter(|_| Scenario::is_sybil(peer))
        else {
            return Some(Group(self.chance.below(groups, Concern::Group, peer.into(), 0, 0)));
        };
        Some(Group(GROUPS + u64::from(peer % sybils.groups)))
    }

    /// A peer is met.
    pub(crate) fn meeting(&self, peer: u32, relayed: bool) -> Input<Index> {
        let (serves, group) = (!self.is_hidden(peer), self.group_of(peer));
        Input::Met { peer: Index(peer), serves, group, relayed }
    }

    /// Before anything of a peer is heard a connection is made: where peers have address groups, that
    /// tells the group.
    pub(crate) fn meet_first(&mut self, me: u32, other: u32) {
        if self.scenario.connections.is_some() && !Scenario::is_sybil(other) {
            return self.accept(me, other);
        }
        if self.scenario.network.groups > 0 && self.desk(me).met.insert(other) {
            let met = self.meeting(other, false);
            self.turn(me, met, 0);
        }
    }

    /// Sends what was made up, as the peer's core would have sent it.
    pub(super) fn say(&mut self, from: u32, to: u32, message: Message<Index>) {
        let sum = Fold::message(&message);
        self.send(from, to, message, sum);
    }
}
