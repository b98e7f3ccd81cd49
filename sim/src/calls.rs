//! Calls between machines: a reliable transport that loses time instead of packets, and what either
//! end sees when the other one dies.

use peerless_core::{Digest, Ending, Got, Input, Load, Name, Refusal, Span, Stay, Tag, Time};

use crate::agenda::When;
use crate::desk::{Incoming, Outgoing};
use crate::network::{Class, Links, Passage};
use crate::peer::Index;
use crate::scenario::{Scenario, Silence};
use crate::world::{Entry, Happening, PACKET, World};

/// What crosses the network for calls, or is seen of a connection that breaks.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Packet {
    /// The call itself.
    Dial {
        attempt: Tag,
        ticket: u64,
        item: u64,
        function: Name,
        left: Span,
        /// When it was dispatched.
        sent: Time,
        /// Whether the host was up then, so that there was a connection to send on.
        connected: bool,
    },
    /// The caller is no longer there, or no longer wants the answer.
    Hangup { attempt: Tag },
    /// The answer begins.
    Head { attempt: Tag, status: u16, load: Load, stay: Stay },
    /// The call is over.
    Ended { attempt: Tag, how: Ending },
    /// The host could not be dialled.
    Undialled { attempt: Tag, host: u32 },
    /// A machine of that incarnation wants code, of so many bytes; and what it will get.
    Want { tag: Tag, digest: Digest, size: u64, incarnation: u32, got: Got },
    /// That comes.
    Code { tag: Tag, digest: Digest, size: u64, incarnation: u32, got: Got },
}

/// Bodies are kept here, so that none is ever spent.
const NOT_SENT: Ending = Ending::NotSent { spent: false };

/// The status with which a runtime ends a run at its deadline.
const TIMED_OUT: u16 = 504;

/// About how long a packet of a call is without its body.
const PACKET_BYTES: u64 = 256;

impl Packet {
    /// What gives way to it, and to what it does.
    pub(crate) fn class(&self) -> Class {
        if matches!(self, Self::Code { .. }) { Class::Code } else { Class::Calls }
    }

    /// How long it is, with what it brings.
    pub(crate) fn bytes(&self, links: &Links) -> u64 {
        let body = match self {
            Self::Dial { .. } => links.request.0,
            Self::Ended { how: Ending::Complete, .. } => links.response.0,
            Self::Code { size, got: Got::Code, .. } => *size,
            _ => 0,
        };
        PACKET_BYTES + body
    }
}

impl World {
    /// How many calls ever came to a peer.
    pub(crate) fn calls_on(&self, peer: u32) -> u64 {
        self.desks[peer as usize].as_ref().map_or(0, |desk| desk.next_call)
    }

    /// How long the next packet of a call takes if it is sent now; a call under way holds its
    /// connection, and what begins one may have to dial: `None` if the host can't be reached.
    fn ride(&mut self, from: u32, to: u32, packet: &Packet) -> Option<Span> {
        let (class, bytes) = match &self.scenario.links {
            Some(links) => (packet.class(), packet.bytes(links)),
            None => (Class::Calls, PACKET_BYTES),
        };
        let entry = if from == to {
            Entry { time: self.now, detour: Span::ZERO }
        } else if matches!(packet, Packet::Dial { .. } | Packet::Want { .. }) {
            self.enter(from, to, class, bytes)?
        } else {
            self.follow(from, to, class, bytes)
        };
        let counter = self.desk(from).packets + 1;
        let passage = Passage { from, to, counter, time: entry.time, bytes };
        let waits = entry.time.since(self.now) + entry.detour;
        Some(waits + self.network.reliable(&passage) + self.stalled(from, to))
    }

    /// When a packet of a call that is under way comes if it is sent now.
    fn comes(&mut self, from: u32, to: u32, packet: &Packet) -> Time {
        let ride = self.ride(from, to, packet);
        self.now + ride.expect("who is called holds the connection")
    }

    /// Sends what is no call and comes in any case, if late.
    pub(crate) fn send_on(&mut self, from: u32, to: u32, packet: Packet) {
        match self.ride(from, to, &packet) {
            Some(ride) => self.push_packet(from, to, self.now + ride, packet),
            None => self.not_dialled(from, packet),
        }
    }

    /// Puts a packet of a call on the agenda, if its connection lives.
    fn send_packet(&mut self, from: u32, to: u32, time: Time, packet: Packet) {
        if !self.is_broken(self.now, from, to) {
            self.push_packet(from, to, time, packet);
        }
    }

    /// Puts on the agenda what comes of a call, or is seen of its connection.
    pub(crate) fn push_packet(&mut self, from: u32, to: u32, time: Time, packet: Packet) {
        let packets = &mut self.desk(from).packets;
        *packets += 1;
        let when = When { time: time.0, to, from, counter: PACKET | *packets };
        self.push(when, Happening::Call(packet));
    }

    pub(crate) fn dispatch(
        &mut self,
        me: u32,
        to: u32,
        attempt: Tag,
        (ticket, item): (u64, u64),
        function: Name,
        deadline: Time,
    ) {
        self.attempted(me, ticket);
        let connected =
            self.is_connected(me, to) && self.is_up(to) && !self.is_known_broken(me, to);
        let packet = Packet::Dial {
            attempt,
            ticket,
            item,
            function,
            left: deadline.since(self.shown(me)),
            sent: self.now,
            connected,
        };
        let Some(ride) = self.ride(me, to, &packet) else {
            let arrives = Time::NEVER;
            self.desk(me).attempts.insert(attempt, Outgoing { to, arrives, status: None });
            let given_up = self.now + self.network.settings().connect_timeout;
            let packet = Packet::Undialled { attempt, host: to };
            return self.push_packet(me, me, given_up, packet);
        };
        let arrives = self.now + ride;
        self.desk(me).attempts.insert(attempt, Outgoing { to, arrives, status: None });
        self.push_packet(me, to, arrives, packet);
    }

    pub(crate) fn abort(&mut self, me: u32, attempt: Tag) {
        if let Some(outgoing) = self.desk(me).attempts.remove(&attempt) {
            self.hang_up(me, attempt, outgoing, Span::ZERO);
        }
    }

    /// Lets the host know, not before the call itself comes there.
    fn hang_up(&mut self, me: u32, attempt: Tag, outgoing: Outgoing, after: Span) {
        // Nothing ever goes to a host that could not be dialled.
        if outgoing.arrives == Time::NEVER {
            return;
        }
        let packet = Packet::Hangup { attempt };
        let time = self.comes(me, outgoing.to, &packet) + after;
        self.send_packet(me, outgoing.to, time.max(outgoing.arrives), packet);
    }

    pub(crate) fn call_packet(&mut self, from: u32, to: u32, packet: Packet) {
        if Scenario::is_sybil(to) {
            return self.sybil_is_called(from, to, packet);
        }
        if from != to
            && matches!(packet, Packet::Dial { .. })
            && self.scenario.connections.is_some()
        {
            self.accept(to, from);
        }
        match packet {
            Packet::Want { .. } => self.wanted_code(to, from, packet),
            Packet::Code { tag, digest, incarnation, got, .. } => {
                self.got_code(to, tag, digest, (incarnation, got));
            }
            Packet::Undialled { attempt, host } => {
                if self.desk(to).attempts.remove(&attempt).is_some() {
                    self.turn(to, Input::Ended { attempt, how: NOT_SENT, body: None }, 0);
                    self.turn(to, Input::Unreached { peer: Index(host) }, 0);
                }
            }
            Packet::Dial { attempt, sent, connected, .. } if self.is_broken(sent, from, to) => {
                self.not_arrived(from, to, attempt, sent, connected, Silence::Machine);
            }
            Packet::Dial { attempt, sent, connected, .. } if !self.is_up(to) => {
                let silence = self.silence_of(to);
                self.not_arrived(from, to, attempt, sent, connected, silence);
            }
            Packet::Dial { attempt, ticket, item, function, left, .. } => {
                let desk = self.desk(to);
                let call = desk.next_call;
                desk.next_call += 1;
                let incoming = Incoming { from, attempt, ticket, item, status: 200, head_at: None };
                desk.calls.insert(call, incoming);
                desk.by_attempt.insert((from, attempt), call);
                if let Some(recorder) = &mut self.recorder {
                    recorder.arrived(from, attempt, to, call);
                }
                let from = Index(from);
                self.turn(to, Input::Arrived { call, from, function, left }, 0);
            }
            Packet::Hangup { attempt } => {
                let desk = self.desk(to);
                if let Some(call) = desk.by_attempt.get(&(from, attempt)).copied() {
                    desk.end_call(call);
                    self.turn(to, Input::Gone { call }, 0);
                }
            }
            Packet::Head { attempt, status, load, stay } => {
                if let Some(outgoing) = self.desk(to).attempts.get_mut(&attempt) {
                    outgoing.status = Some(status);
                    let (load, stay) = (Some(load), Some(stay));
                    self.turn(to, Input::Head { attempt, status, load, stay }, 0);
                }
            }
            Packet::Ended { attempt, how } => {
                if self.desk(to).attempts.remove(&attempt).is_some() {
                    let body = self.body_of(from, how);
                    self.turn(to, Input::Ended { attempt, how, body }, 0);
                    if matches!(how, Ending::NotSent { .. }) {
                        self.turn(to, Input::Unreached { peer: Index(from) }, 0);
                    }
                }
            }
        }
    }

    /// A call did not come to its host: the caller notices by and by.
    fn not_arrived(
        &mut self,
        from: u32,
        to: u32,
        attempt: Tag,
        sent: Time,
        connected: bool,
        silence: Silence,
    ) {
        let settings = self.network.settings();
        let back = self.network.latency(to, from);
        let (time, how) = match (silence, connected) {
            (Silence::Process, true) => (self.now + back, Ending::MayHaveStarted),
            (Silence::Process, false) => (self.now + back, NOT_SENT),
            (Silence::Machine, true) => (self.now + settings.keep_alive, Ending::MayHaveStarted),
            (Silence::Machine, false) => (sent + settings.connect_timeout, NOT_SENT),
        };
        self.push_packet(to, from, time.max(self.now), Packet::Ended { attempt, how });
    }

    pub(crate) fn refuse(&mut self, me: u32, call: u64, why: Refusal, load: Load) {
        if let Some(incoming) = self.desk(me).end_call(call) {
            let how = Ending::Refused { why, load: Some(load), spent: false };
            self.end_at_caller(me, incoming, how);
        }
    }

    fn end_at_caller(&mut self, me: u32, incoming: Incoming, how: Ending) {
        let packet = Packet::Ended { attempt: incoming.attempt, how };
        let time = match incoming.head_at {
            // A short answer's head and end are one packet.
            Some(head_at) if head_at > self.now && !self.has_body(&packet) => head_at,
            head_at => self.comes(me, incoming.from, &packet).max(head_at.unwrap_or(self.now)),
        };
        self.send_packet(me, incoming.from, time, packet);
    }

    fn has_body(&self, packet: &Packet) -> bool {
        let links = self.scenario.links.as_ref();
        links.is_some_and(|links| packet.bytes(links) > PACKET_BYTES)
    }

    pub(crate) fn begin_run(
        &mut self,
        me: u32,
        (job, call): (Tag, u64),
        function: Name,
        deadline: Time,
    ) {
        let Some(incoming) = self.desk(me).calls.get(&call).copied() else { return };
        self.executed(incoming.ticket);
        if !self.may_repeat(incoming.ticket) {
            let Incoming { from, ticket, item, .. } = incoming;
            self.laws.runs_once(self.now, me, from, ticket, item);
        }
        self.desk(me).jobs.insert(job, call);
        let number = self.function_number(&function);
        let service = self.service(number, incoming.from, incoming.ticket, incoming.item);
        let ends = self.now + service.times(self.slowness(me));
        let incarnation = self.incarnations[me as usize];
        let deadline = self.when_shown(me, deadline);
        let status = Some(if ends > deadline { TIMED_OUT } else { 200 });
        let happening = Happening::Ran { incarnation, job, status };
        self.push_own(me, ends.min(deadline).max(self.now), happening);
    }

    /// A run ended, with an answer or, cancelled, without.
    pub(crate) fn ran(&mut self, me: u32, job: Tag, status: Option<u16>) {
        let Some(call) = self.desk(me).jobs.get(&job).copied() else { return };
        if let Some(status) = status {
            if let Some(incoming) = self.desk(me).calls.get_mut(&call) {
                incoming.status = status;
            }
            self.turn(me, Input::RanHead { job }, 0);
        }
        self.desk(me).jobs.remove(&job);
        self.turn(me, Input::RanEnd { job }, 0);
        if let Some(incoming) = self.desk(me).end_call(call) {
            let how = match (status, incoming.head_at) {
                (Some(_), Some(_)) => Ending::Complete,
                (None, Some(_)) => Ending::Cut,
                (_, None) => Ending::MayHaveStarted,
            };
            self.end_at_caller(me, incoming, how);
        }
    }

    pub(crate) fn respond(&mut self, me: u32, call: u64, load: Load, stay: Stay) {
        let Some(incoming) = self.desk(me).calls.get(&call).copied() else { return };
        let Incoming { from, attempt, status, .. } = incoming;
        let packet = Packet::Head { attempt, status, load, stay };
        let time = self.comes(me, from, &packet);
        if let Some(incoming) = self.desk(me).calls.get_mut(&call) {
            incoming.head_at = Some(time);
        }
        self.send_packet(me, from, time, packet);
    }

    /// A peer is gone: those who call it and those whom it calls notice by and by.
    pub(crate) fn break_calls(&mut self, me: u32, silence: Silence) {
        let after = self.noticed_after(silence);
        let desk = self.desk(me);
        desk.jobs.clear();
        desk.by_attempt.clear();
        let calls = std::mem::take(&mut desk.calls);
        let attempts = std::mem::take(&mut desk.attempts);
        for incoming in calls.values() {
            let latency = self.network.latency(me, incoming.from);
            let time = self.now + after + latency;
            let head = incoming.head_at.is_some_and(|at| at <= time);
            let how = if head { Ending::Cut } else { Ending::MayHaveStarted };
            let attempt = incoming.attempt;
            self.push_packet(me, incoming.from, time, Packet::Ended { attempt, how });
        }
        for (attempt, outgoing) in attempts.iter() {
            self.hang_up(me, *attempt, *outgoing, after);
        }
    }
}
