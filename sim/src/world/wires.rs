//! What lies between a core and the network: its machine's link, its connections, and NAT. Each piece
//! of state is one machine's; of the other end's it learns by what comes from there. All of it is
//! empty where the scenario has none of these.

use peerless_core::{Digest, Got, Input, Message, Query, Span, Tag, Time};

use super::{Happening, OWN, World};
use crate::agenda::When;
use crate::calls::Packet;
use crate::network::{Class, Line, Lines, Pipe, Way};
use crate::peer::Index;
use crate::scenario::{Scenario, Silence};
use crate::wire;

/// After how long a machine gives a fetch up: a law has it that none takes longer than a minute.
const FETCH_MAX: Span = Span::secs(50);

/// The links and connections of all machines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wires {
    /// Each machine's link, where links are narrow.
    pipes: Vec<Link>,
    /// Each machine's connections, where these are counted.
    lines: Vec<Lines>,
    pub(crate) tally: Tally,
}

/// One machine's link.
#[derive(Copy, Clone, Debug, Default)]
struct Link {
    up: Pipe,
    down: Pipe,
}

/// What was counted of links and connections.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Connections that were made.
    pub handshakes: u64,
    /// Of these, those through a relay.
    pub relayed: u64,
    /// Connections that were closed to make room.
    pub closed: u64,
    /// Dials of machines behind NAT.
    pub unreached: u64,
    /// How long what was sent was on links upwards, and on those downwards.
    pub up: Stay,
    pub down: Stay,
}

/// How long things took.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Stay {
    pub count: u64,
    pub sum: Span,
    pub max: Span,
}

impl Stay {
    fn add(&mut self, took: Span) {
        self.count += 1;
        self.sum = self.sum + took;
        self.max = self.max.max(took);
    }
}

/// How something gets into the network.
pub(crate) struct Entry {
    /// When it leaves its machine.
    pub time: Time,
    /// How much longer its way is than the direct one.
    pub detour: Span,
}

impl World {
    /// Whether anything lies between cores and the network.
    #[inline]
    pub(super) fn is_wired(&self) -> bool {
        self.scenario.links.is_some() || self.scenario.connections.is_some()
    }

    /// Whether a peer is behind NAT: nobody can dial it, and it answers no searches.
    #[inline]
    pub(crate) fn is_hidden(&self, peer: u32) -> bool {
        let hides = |nat: &crate::network::Nat| nat.hides(peer, &self.chance);
        self.scenario.nat.as_ref().is_some_and(hides) && !Scenario::is_sybil(peer)
    }

    /// How somebody's dial reaches a peer, if it does.
    fn way_in(&self, from: u32, to: u32) -> Option<Way> {
        let Some(nat) = self.scenario.nat.as_ref().filter(|_| self.is_hidden(to)) else {
            return Some(Way::Direct);
        };
        let relay = nat.relay(to, self.scenario.peers, &self.chance)?;
        let leg = |one, other| {
            if one == other { Span::ZERO } else { self.network.latency(one, other) }
        };
        let through = leg(from, relay) + leg(relay, to);
        Some(Way::Relayed(through.less(self.network.latency(from, to))))
    }

    fn lines(&mut self, peer: u32) -> &mut Lines {
        let lines = &mut self.wires.lines;
        let at = peer as usize;
        if lines.len() <= at {
            lines.resize_with(at + 1, Lines::default);
        }
        &mut lines[at]
    }

    /// Whether two machines keep their connection in mind: sybils bother with none.
    fn are_lined(&self, one: u32, other: u32) -> bool {
        self.scenario.connections.is_some()
            && one != other
            && !Scenario::is_sybil(one)
            && !Scenario::is_sybil(other)
    }

    /// Whether a machine is connected to a peer, as far as it knows.
    pub(crate) fn is_connected(&mut self, me: u32, other: u32) -> bool {
        !self.are_lined(me, other) || self.lines(me).used(other).is_some()
    }

    /// The connection to a peer, which is dialled if there is none; `None` if it can't be reached.
    fn line(&mut self, me: u32, other: u32) -> Option<Line> {
        if !self.are_lined(me, other) {
            return Some(Line { ready: self.now, way: Way::Direct });
        }
        if let Some(line) = self.lines(me).used(other) {
            return Some(line);
        }
        let Some(way) = self.way_in(me, other) else {
            self.wires.tally.unreached += 1;
            return None;
        };
        let line = Line { ready: self.now + self.handshake(me, other, way), way };
        self.open_line(me, other, line);
        self.wires.tally.handshakes += 1;
        self.wires.tally.relayed += u64::from(way.is_relayed());
        Some(line)
    }

    /// How long connecting takes.
    fn handshake(&self, me: u32, other: u32, way: Way) -> Span {
        let one_way = self.network.latency(me, other) + way.detour();
        let connections = self.scenario.connections.as_ref();
        let trips = connections.map_or(0, |it| it.round_trips(me, other, &self.chance));
        one_way.times(2 * trips)
    }

    /// One connection more at one end, and perhaps one less.
    fn open_line(&mut self, me: u32, other: u32, line: Line) {
        let most = self.scenario.connections.as_ref().map_or(u32::MAX, |it| it.most);
        if let Some(idle) = self.lines(me).open(other, line, most) {
            self.wires.tally.closed += 1;
            let time = self.now + self.network.latency(me, idle);
            self.push_to(me, idle, time, Happening::Closed);
        }
    }

    /// Puts something on the agenda that one machine sees of another.
    fn push_to(&mut self, from: u32, to: u32, time: Time, happening: Happening) {
        let counter = &mut self.seats[from as usize].counters.own;
        *counter += 1;
        let when = When { time: time.0, to, from, counter: OWN | *counter };
        self.push(when, happening);
    }

    /// Something comes from a peer: if it is the first on its connection, both ends have met.
    pub(crate) fn accept(&mut self, me: u32, other: u32) {
        if !self.is_up(me) || self.is_connected(me, other) {
            return;
        }
        let way = self.way_in(other, me).unwrap_or(Way::Direct);
        self.open_line(me, other, Line { ready: self.now, way });
        let back = self.network.latency(me, other) + way.detour();
        self.push_to(me, other, self.now + back, Happening::Opened);
        let met = self.meeting(other, way.is_relayed());
        self.turn(me, met, 0);
    }

    /// The other end has accepted a connection.
    pub(super) fn opened(&mut self, me: u32, other: u32) {
        if !self.is_up(me) {
            return;
        }
        if let Some(line) = self.lines(me).used(other) {
            let met = self.meeting(other, line.way.is_relayed());
            self.turn(me, met, 0);
        }
    }

    /// The other end has closed a connection.
    pub(super) fn closed(&mut self, me: u32, other: u32) {
        self.lines(me).close(other);
    }

    /// A peer is gone: those that it was connected to notice by and by.
    pub(super) fn unwire(&mut self, peer: u32, silence: Silence) {
        if let Some(link) = self.wires.pipes.get_mut(peer as usize) {
            let used = (link.up.used, link.down.used);
            *link = Link::default();
            (link.up.used, link.down.used) = used;
        }
        if self.scenario.connections.is_none() {
            return;
        }
        let after = self.noticed_after(silence);
        let lines = std::mem::take(self.lines(peer));
        for other in lines.peers() {
            let time = self.now + after + self.network.latency(peer, other);
            self.push_to(peer, other, time, Happening::Closed);
        }
    }

    /// Something came to a machine that is gone: who sent it gives the connection up.
    pub(super) fn lose_line(&mut self, gone: u32, from: u32) {
        if !self.are_lined(gone, from) || !self.is_up(from) {
            return;
        }
        let after = match self.silence_of(gone) {
            Silence::Machine => self.network.settings().connect_timeout,
            Silence::Process => self.network.latency(gone, from),
        };
        self.push_to(gone, from, self.now + after, Happening::Closed);
    }

    /// A contact is dialled: how long it takes until the two are connected; `None` if it can't be
    /// reached.
    pub(super) fn dial_line(&mut self, me: u32, contact: u32) -> Option<Span> {
        let way = self.way_in(me, contact)?;
        let after = self.handshake(me, contact, way);
        self.open_line(me, contact, Line { ready: self.now + after, way });
        self.wires.tally.handshakes += 1;
        self.wires.tally.relayed += u64::from(way.is_relayed());
        self.push_to(me, contact, self.now + after, Happening::Met);
        Some(after)
    }

    /// Connects two peers that are there, if either can reach the other, at once.
    pub(crate) fn connect_now(&mut self, one: u32, other: u32) {
        // Whoever can be dialled is: only two behind NAT need a relay.
        let ways = [self.way_in(one, other), self.way_in(other, one)];
        let Some(way) = ways.into_iter().flatten().min() else { return };
        for (me, peer) in [(one, other), (other, one)] {
            if self.are_lined(me, peer) {
                self.open_line(me, peer, Line { ready: self.now, way });
            }
            let met = self.meeting(peer, way.is_relayed());
            self.turn(me, met, 0);
        }
    }

    /// Something that was sent to a machine that nobody can dial: who sent it is told.
    pub(super) fn not_reached(&mut self, me: u32, other: u32, message: &Message<Index>) {
        let time = self.now + self.network.settings().connect_timeout;
        self.tell(me, time, Input::Unreached { peer: Index(other) });
        if let Message::Query(tag, _) = message {
            self.tell(me, time, Input::Failed { tag: *tag });
        }
    }

    /// A machine behind NAT does not speak the protocol of searches: who asks is told so.
    pub(super) fn declines(&mut self, from: u32, to: u32, message: &Message<Index>) -> bool {
        let Message::Query(tag, Query::Find(_) | Query::Hosts(_)) = message else { return false };
        if !self.is_hidden(to) {
            return false;
        }
        let detour = self.way_in(from, to).map_or(Span::ZERO, Way::detour);
        let time = self.now + self.network.latency(to, from) + detour;
        self.tell(from, time, Input::Failed { tag: *tag });
        true
    }

    /// Something leaves a machine for another, which is dialled if need be; `None` if it can't be
    /// reached.
    pub(crate) fn enter(&mut self, me: u32, to: u32, class: Class, bytes: u64) -> Option<Entry> {
        let line = self.line(me, to)?;
        let time = self.leave(me, class, bytes).max(line.ready);
        Some(Entry { time, detour: line.way.detour() })
    }

    /// The same of what belongs to a call under way, which holds its connection.
    pub(crate) fn follow(&mut self, me: u32, to: u32, class: Class, bytes: u64) -> Entry {
        let line = if self.are_lined(me, to) { self.lines(me).used(to) } else { None };
        let way = line.map_or_else(|| self.way_in(me, to), |line| Some(line.way));
        let ready = line.map_or(self.now, |line| line.ready);
        let time = self.leave(me, class, bytes).max(ready);
        Entry { time, detour: way.map_or(Span::ZERO, Way::detour) }
    }

    /// When something that is sent now has left its machine.
    fn leave(&mut self, me: u32, class: Class, bytes: u64) -> Time {
        let now = self.now;
        let Some(links) = &self.scenario.links else { return now };
        if Scenario::is_sybil(me) {
            return now;
        }
        let takes = links.up(me, bytes, &self.chance);
        let left = self.link(me).up.pass(class, now, takes);
        self.wires.tally.up.add(left.since(now));
        left
    }

    fn link(&mut self, peer: u32) -> &mut Link {
        let pipes = &mut self.wires.pipes;
        let at = peer as usize;
        if pipes.len() <= at {
            pipes.resize(at + 1, Link::default());
        }
        &mut pipes[at]
    }

    /// When what has come to a machine's link has passed it, if that is not now. Its first byte came
    /// as long before its last as they were apart when they left.
    pub(super) fn passes(&mut self, when: When, happening: &Happening) -> Option<Time> {
        let When { from, to, .. } = when;
        let links = self.scenario.links.as_ref()?;
        let (class, bytes) = match happening {
            Happening::Message(message, _) => (Class::Messages, wire::size(message)),
            Happening::Call(packet) => (packet.class(), packet.bytes(links)),
            _ => return None,
        };
        if from == to || Scenario::is_sybil(to) || !self.is_up(to) {
            return None;
        }
        let spread =
            if Scenario::is_sybil(from) { Span::ZERO } else { links.up(from, bytes, &self.chance) };
        let takes = links.down(to, bytes, &self.chance);
        let now = self.now;
        let passed = self.link(to).down.pass(class, now - spread, takes).max(now);
        self.wires.tally.down.add(passed.since(now));
        (passed > now).then_some(passed)
    }

    /// Asks another machine for code, which takes both links.
    pub(super) fn want_code(&mut self, me: u32, tag: Tag, of: (Digest, u64), from: u32, got: Got) {
        let (digest, size) = of;
        let incarnation = self.incarnations[me as usize];
        self.desk(me).fetching.insert(tag);
        let nothing = Packet::Code { tag, digest, size: 0, incarnation, got: Got::Nothing };
        self.push_packet(me, me, self.now + FETCH_MAX, nothing);
        self.send_on(me, from, Packet::Want { tag, digest, size, incarnation, got });
    }

    /// Another machine wants code from this one.
    pub(crate) fn wanted_code(&mut self, me: u32, from: u32, wanted: Packet) {
        let Packet::Want { tag, digest, size, incarnation, got } = wanted else { return };
        let code = |size, got| Packet::Code { tag, digest, size, incarnation, got };
        if self.is_up(me) {
            return self.send_on(me, from, code(size, got));
        }
        let after = self.noticed_after(self.silence_of(me));
        let time = self.now + after + self.network.latency(me, from);
        self.push_packet(me, from, time, code(0, Got::Nothing));
    }

    /// Who has what is wanted can't be dialled.
    pub(crate) fn not_dialled(&mut self, me: u32, wanted: Packet) {
        let Packet::Want { tag, digest, size, incarnation, .. } = wanted else { return };
        let time = self.now + self.network.settings().connect_timeout;
        let got = Got::Nothing;
        self.push_packet(me, me, time, Packet::Code { tag, digest, size, incarnation, got });
    }

    /// What was wanted came, or it won't; unless it was given up before.
    pub(crate) fn got_code(&mut self, me: u32, tag: Tag, digest: Digest, of: (u32, Got)) {
        let (incarnation, got) = of;
        if self.lives(me, incarnation) && self.desk(me).fetching.remove(&tag) {
            let fetched = Input::Fetched { tag, digest, got };
            self.note_own(me, &fetched);
            self.turn(me, fetched, 0);
        }
    }

    /// What was counted of links and connections.
    pub(crate) fn wired(&self) -> &Tally {
        &self.wires.tally
    }

    /// For how many of so many parts of the time so far each link was busy: upwards and downwards.
    pub(crate) fn busy(&self, parts: f64) -> (Vec<u64>, Vec<u64>) {
        let all = self.now.since(super::START).0.max(1) as f64;
        let pipes = &self.wires.pipes;
        let busy = |of: fn(&Link) -> Span| {
            pipes.iter().map(|link| (of(link).0 as f64 / all * parts) as u64).collect()
        };
        (busy(|link| link.up.used), busy(|link| link.down.used))
    }

    /// How many connections each machine that is there has.
    pub(crate) fn connections(&self) -> Vec<u64> {
        let lines = self.wires.lines.iter().enumerate();
        let there = lines.filter(|(peer, _)| self.is_up(*peer as u32));
        there.map(|(_, lines)| lines.len() as u64).collect()
    }
}
