//! What a machine does for its core: every effect, one after the other.

use peerless_core::{
    Contact, Dialled, Digest, Effect, Got, Input, Message, Query, Record, Span, Tag, Time,
};

use super::{Disk, Happening, World};
use crate::agenda::When;
use crate::chance::{Concern, Share};
use crate::network::{Class, Verdict};
use crate::peer::Index;
use crate::scenario::{Scenario, Silence};
use crate::wire;

/// Connecting takes TCP, Noise and Yamux: four round trips.
const CONNECTING: u64 = 8;

impl World {
    pub(super) fn perform(&mut self, peer: u32, effect: Effect<Index>, sum: u64) {
        let host = &self.scenario.host;
        match effect {
            Effect::Send { to, message } => self.send(peer, to.0, message, sum),
            Effect::WakeAt(time) => self.wake_at(peer, time),
            Effect::Tell(ticket, event) => self.told(peer, ticket, &event),
            Effect::Want { ticket, n } => self.wanted(peer, ticket, n),
            Effect::Dial { tag, contact } => self.connect(peer, tag, contact),
            Effect::Dispatch { attempt, ticket, item, to, function, deadline } => {
                self.is_asked(peer, ticket, item, to.0);
                self.dispatch(peer, to.0, attempt, (ticket, item), function, deadline);
            }
            Effect::Abort { attempt } => self.abort(peer, attempt),
            Effect::Refuse { call, why, load } => self.refuse(peer, call, why, load),
            Effect::Run { job, call, function, deadline, .. } => {
                self.begin_run(peer, (job, call), function, deadline);
            }
            Effect::Respond { call, load, stay } => self.respond(peer, call, load, stay),
            Effect::Cancel { job } => {
                let time = self.now + host.cancel_delay;
                let incarnation = self.incarnations[peer as usize];
                self.push_own(peer, time, Happening::Ran { incarnation, job, status: None });
            }
            Effect::Install { tag, record } => {
                let time = self.now + host.compile_delay;
                self.judge_install(peer, &record);
                let ok = !self.errand_fails(peer, self.scenario.host.install_fails);
                let (function, version) = (record.function, record.version);
                self.tell(peer, time, Input::Installed { tag, function, version, ok });
            }
            Effect::Renew(record) => self.sign_again(peer, &record),
            Effect::Uninstall { function, version } => {
                let lost = self.census.uninstalled(self.now.0, peer, &function, version);
                if let Some(function) = lost {
                    self.hosts_changed(function, peer, false);
                }
            }
            Effect::Fetch { tag, digest, size, from } => {
                self.fetch(peer, tag, (digest, size), from);
            }
            Effect::Keep { tag, item } => self.write_disk(peer, Disk::Keep(tag, item)),
            Effect::Forget(key) => self.write_disk(peer, Disk::Forget(key)),
            Effect::Note(_) => {}
        }
    }

    pub(crate) fn send(&mut self, from: u32, to: u32, message: Message<Index>, sum: u64) {
        let bytes = wire::size(&message);
        self.count.messages += 1;
        self.count.bytes += bytes;
        self.count.offers += u64::from(matches!(message, Message::Query(_, Query::Offer { .. })));
        let mut passage = self.message(from, to, bytes);
        let mut detour = Span::ZERO;
        if self.is_wired() {
            let Some(entry) = self.enter(from, to, Class::Messages, bytes) else {
                return self.not_reached(from, to, &message);
            };
            (passage.time, detour) = (entry.time, entry.detour);
        }
        if let Verdict::Deliver(delay) = self.network.judge(&passage) {
            let time = (passage.time + delay + detour).0;
            let when = When { time, to, from, counter: passage.counter };
            self.push(when, Happening::Message(message, sum));
        }
    }

    /// A contact is the peer of that number.
    fn connect(&mut self, peer: u32, tag: Tag, contact: Contact) {
        let way = self.network.latency(peer, contact);
        let parted = self.network.apart(self.now, peer, contact);
        let reached = if self.is_up(contact) && !parted && contact != peer {
            if self.scenario.connections.is_some() {
                self.dial_line(peer, contact)
            } else {
                Some(way.times(CONNECTING))
            }
        } else {
            None
        };
        let (after, outcome) = if let Some(after) = reached {
            (after, Dialled::Met(Index(contact)))
        } else if self.is_hidden(contact) || parted || self.silence_of(contact) == Silence::Machine
        {
            (self.network.settings().connect_timeout, Dialled::Nobody)
        } else {
            (way + way, Dialled::Nobody)
        };
        // Not at once, even where the network takes no time: a user may dial until it succeeds.
        let after = after.max(Span::ms(1));
        self.tell(peer, self.now + after, Input::Dialled { tag, outcome });
    }

    pub(super) fn deliver(&mut self, from: u32, to: u32, message: Message<Index>, sum: u64) {
        if Scenario::is_sybil(to) {
            return self.sybil_hears(from, to, &message);
        }
        if self.is_up(to) {
            if self.is_made_up(from, to, &message) {
                return;
            }
            self.meet_first(to, from);
            if self.declines(from, to, &message) {
                return;
            }
            return self.turn(to, Input::Heard { from: Index(from), message }, sum);
        }
        self.lose_line(to, from);
        if self.gone.get(&to) == Some(&Silence::Machine)
            || !self.is_up(from)
            || self.network.parts(self.now, to, from)
        {
            return;
        }
        // The machine is there and resets the connection; its word takes one way back.
        let time = self.now + self.network.latency(to, from);
        self.tell(from, time, Input::Unreached { peer: Index(to) });
        if let Message::Query(tag, _) = message {
            self.tell(from, time, Input::Failed { tag });
        }
    }

    pub(super) fn wake_at(&mut self, peer: u32, time: Time) {
        let time = self.when_shown(peer, time).max(self.now);
        self.seats[peer as usize].wake = time;
        self.push_own(peer, time, None);
    }

    /// Whether what a machine is told to do fails, by chance.
    fn errand_fails(&mut self, peer: u32, fails: Share) -> bool {
        if fails.is_zero() {
            return false;
        }
        let errands = &mut self.desk(peer).errands;
        *errands += 1;
        let errand = *errands;
        fails.takes(self.chance.bits(Concern::Errand, u64::from(peer), errand, 0))
    }

    /// A machine installs only what it carries the labels for.
    fn judge_install(&mut self, peer: u32, record: &Record) {
        let asks = record.spec.as_ref().is_some_and(|spec| !spec.constraints.is_empty());
        if asks && !self.carries(peer) {
            let what = format_args!("installs what asks for a label that it does not carry");
            self.laws.violations.add(self.now, Some(peer), what);
        }
    }

    fn write_disk(&mut self, peer: u32, disk: Disk) {
        let time = self.now + self.scenario.host.store_delay;
        let incarnation = self.incarnations[peer as usize];
        self.push_own(peer, time, Happening::Disk(incarnation, disk));
    }

    pub(super) fn disk(&mut self, peer: u32, disk: Disk) {
        match disk {
            Disk::Keep(tag, _) if self.errand_fails(peer, self.scenario.host.store_fails) => {
                self.turn(peer, Input::NotKept { tag }, 0);
            }
            Disk::Keep(tag, item) => {
                self.disks[peer as usize].insert(item.key(), item);
                self.turn(peer, Input::Kept { tag }, 0);
            }
            Disk::Forget(key) => {
                self.disks[peer as usize].remove(&key);
            }
        }
    }

    /// Code comes from the other peer, if it runs and has it.
    fn fetch(&mut self, peer: u32, tag: Tag, (digest, size): (Digest, u64), from: Option<Index>) {
        let fails = self.errand_fails(peer, self.scenario.host.fetch_fails);
        let has = |other: u32| {
            let desk = self.desks.get(other as usize).and_then(Option::as_ref);
            let near = !self.network.apart(self.now, peer, other);
            near && self.is_up(other) && desk.is_some_and(|desk| desk.code.contains(&digest))
        };
        let settings = self.network.settings();
        let (after, got) = match from {
            _ if has(peer) => (Span::ZERO, Got::Code),
            None => (Span::ZERO, Got::Nothing),
            Some(other) if has(other.0) && self.scenario.links.is_some() => {
                let got = if fails { Got::Nothing } else { Got::Code };
                return self.want_code(peer, tag, (digest, size), other.0, got);
            }
            Some(other) if has(other.0) => {
                let got = if fails { Got::Nothing } else { Got::Code };
                (self.network.transfer(peer, other.0, size), got)
            }
            Some(other) if self.is_up(other.0) || self.silence_of(other.0) == Silence::Process => {
                let way = self.network.latency(peer, other.0);
                (way + way, Got::Nothing)
            }
            Some(_) => (settings.connect_timeout, Got::Nothing),
        };
        self.tell(peer, self.now + after, Input::Fetched { tag, digest, got });
    }

    /// What the world knows when a machine has done something for its core.
    pub(super) fn note_own(&mut self, peer: u32, input: &Input<Index>) {
        match input {
            Input::Fetched { digest, got: Got::Code, .. } => {
                self.desk(peer).code.insert(*digest);
            }
            Input::Installed { function, version, ok: true, .. } => {
                let gained = self.census.installed(self.now.0, peer, function, *version);
                if let Some(function) = gained {
                    self.hosts_changed(function, peer, true);
                }
            }
            _ => {}
        }
    }
}
