//! Writes down what concerns one operation, hop by hop: a turn's input, then its effects.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use peerless_core::{
    Effect, Input, Message, Name, Note, Query, Request, Tag, Target, Ticket, Time,
};

use crate::peer::Index;
use crate::words::Words;
use crate::world::START;

/// What is worth a line.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// One request of a user: who was asked, and its ticket.
    pub request: Option<(u32, Ticket)>,
    /// All requests of the users of this peer.
    pub requests_of: Option<u32>,
    /// Searches for this.
    pub target: Option<Target<Index>>,
    /// Everything about this function.
    pub function: Option<Name>,
    /// Hosts that probe each other, too.
    pub probes: bool,
    /// Nodes of one owner that compare their sets, too.
    pub sync: bool,
    /// Nothing before this instant.
    pub from: Time,
}

/// The record of one operation.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// How things are called.
    pub words: Words,
    /// What is worth a line.
    pub interest: Interest,
    text: String,
    lines: usize,
    /// The input of the turn under way, until something of the turn is worth a line.
    pending: Option<String>,
    queries: BTreeSet<(u32, Tag)>,
    attempts: BTreeSet<(u32, Tag)>,
    calls: BTreeSet<(u32, u64)>,
    jobs: BTreeSet<(u32, Tag)>,
    keeps: BTreeSet<(u32, Tag)>,
}

/// A trace ends here; nobody reads more.
const LINES_MAX: usize = 5_000;

impl Recorder {
    /// A recorder of what is of `interest`.
    pub fn new(interest: Interest, words: Words) -> Self {
        Self {
            words,
            interest,
            text: String::new(),
            lines: 0,
            pending: None,
            queries: BTreeSet::new(),
            attempts: BTreeSet::new(),
            calls: BTreeSet::new(),
            jobs: BTreeSet::new(),
            keeps: BTreeSet::new(),
        }
    }

    /// What was written down.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line about the world itself.
    pub fn remark(&mut self, now: Time, what: &str) {
        if now >= self.interest.from {
            self.line(&format!("{:>11}  {what}", at(now)));
        }
    }

    fn line(&mut self, line: &str) {
        self.lines += 1;
        if self.lines < LINES_MAX {
            let _ = writeln!(self.text, "{line}");
        } else if self.lines == LINES_MAX {
            let _ = writeln!(self.text, "…");
        }
    }

    /// A call came to a host under the host's own number.
    pub(crate) fn arrived(&mut self, caller: u32, attempt: Tag, host: u32, call: u64) {
        if self.attempts.contains(&(caller, attempt)) {
            self.calls.insert((host, call));
        }
    }

    /// A turn begins with an input.
    pub(crate) fn input(&mut self, now: Time, peer: u32, input: &Input<Index>) {
        self.pending = None;
        if now < self.interest.from {
            return;
        }
        let who = self.words.peer(Index(peer));
        let what = match input {
            Input::Heard { from, message: Message::Query(_, query) } => {
                format!("{} ← {}  {}", who, self.words.peer(*from), self.words.query(query))
            }
            Input::Heard { from, message: Message::Answer(_, answer) } => {
                format!("{} ← {}  {}", who, self.words.peer(*from), self.words.answer(answer))
            }
            input => format!("{who}  {}", self.words.input(input)),
        };
        self.pending = Some(format!("{:>11}  {what}", at(now)));
        if self.concerns(peer, input) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(line) = self.pending.take() {
            self.line(&line);
        }
    }

    /// An effect of the turn under way.
    pub(crate) fn effect(&mut self, now: Time, peer: u32, effect: &Effect<Index>) {
        if now < self.interest.from || !self.is_wanted(peer, effect) {
            return;
        }
        self.flush();
        let what = match effect {
            Effect::Send { to, message } => {
                let words = match message {
                    Message::Query(_, query) => self.words.query(query),
                    Message::Answer(_, answer) => self.words.answer(answer),
                };
                format!("→ {}  {words}", self.words.peer(*to))
            }
            effect => self.words.effect(effect),
        };
        self.line(&format!("{:>11}    {what}", ""));
    }

    fn concerns(&mut self, peer: u32, input: &Input<Index>) -> bool {
        match input {
            Input::Ask(ticket, _) | Input::Items { ticket, .. } => self.is_request(peer, *ticket),
            Input::Heard { from, message: Message::Query(tag, query) } => {
                self.is_of_interest(query) && {
                    self.queries.insert((from.0, *tag));
                    true
                }
            }
            Input::Heard { message: Message::Answer(tag, _), .. } | Input::Failed { tag } => {
                self.queries.contains(&(peer, *tag))
            }
            Input::Head { attempt, .. } | Input::Ended { attempt, .. } => {
                self.attempts.contains(&(peer, *attempt))
            }
            Input::Arrived { call, .. } | Input::Gone { call } => {
                self.calls.contains(&(peer, *call))
            }
            Input::RanHead { job } | Input::RanEnd { job } => self.jobs.contains(&(peer, *job)),
            Input::Installed { function, .. } => self.is_function(function),
            Input::Kept { tag } | Input::NotKept { tag } => self.keeps.contains(&(peer, *tag)),
            Input::Restored(item) => {
                let (peerless_core::Item::Record(record) | peerless_core::Item::Hosting(record)) =
                    item;
                self.is_function(&record.function)
            }
            _ => false,
        }
    }

    fn is_wanted(&mut self, peer: u32, effect: &Effect<Index>) -> bool {
        match effect {
            Effect::Tell(ticket, _) | Effect::Want { ticket, .. } => self.is_request(peer, *ticket),
            Effect::Send { message: Message::Query(tag, query), .. } => {
                self.is_of_interest(query) && self.queries.insert((peer, *tag))
            }
            Effect::Send { to, message: Message::Answer(tag, _) } => {
                self.queries.contains(&(to.0, *tag))
            }
            Effect::Dispatch { ticket, attempt, .. } => {
                self.is_request(peer, *ticket) && self.attempts.insert((peer, *attempt))
            }
            Effect::Abort { attempt } => self.attempts.contains(&(peer, *attempt)),
            Effect::Refuse { call, .. } | Effect::Respond { call, .. } => {
                self.calls.contains(&(peer, *call))
            }
            Effect::Run { job, call, .. } => {
                self.calls.contains(&(peer, *call)) && self.jobs.insert((peer, *job))
            }
            Effect::Cancel { job } => self.jobs.contains(&(peer, *job)),
            Effect::Install { record, .. } | Effect::Renew(record) => {
                self.is_function(&record.function)
            }
            Effect::Uninstall { function, .. } => self.is_function(function),
            Effect::Fetch { .. } => self.interest.function.is_some() && self.pending.is_none(),
            Effect::Keep { tag, item } => {
                let (peerless_core::Item::Record(record) | peerless_core::Item::Hosting(record)) =
                    item;
                self.is_function(&record.function) && self.keeps.insert((peer, *tag))
            }
            Effect::Dial { .. } | Effect::Forget(_) | Effect::WakeAt(_) => false,
            Effect::Note(note) => self.is_note(peer, note),
        }
    }

    fn is_request(&self, peer: u32, ticket: Ticket) -> bool {
        self.interest.request == Some((peer, ticket)) || self.interest.requests_of == Some(peer)
    }

    fn is_function(&self, name: &Name) -> bool {
        self.interest.function.as_ref() == Some(name)
    }

    fn is_of_interest(&self, query: &Query<Index>) -> bool {
        match query {
            Query::Find(target) => self.interest.target == Some(*target),
            Query::Hosts(name) | Query::Provide(name, _) | Query::Withdraw(name) => {
                self.is_function(name)
            }
            Query::Store(record) | Query::Offer { record, .. } => {
                self.is_function(&record.function)
            }
            Query::Confirm { function, .. }
            | Query::Release { function, .. }
            | Query::Placed { function, .. } => self.is_function(function),
            Query::Probe(versions) => {
                self.interest.probes && versions.iter().any(|(name, _)| self.is_function(name))
            }
            Query::Sync { .. } => self.interest.sync,
        }
    }

    fn is_note(&self, peer: u32, note: &Note<Index>) -> bool {
        match note {
            Note::Searched { ticket, target, .. } => {
                ticket.is_some_and(|ticket| self.is_request(peer, ticket))
                    || self.interest.target == Some(*target)
            }
            Note::Attempt { ticket, .. } => self.is_request(peer, *ticket),
            Note::Suspects { .. } => self.interest.probes,
            Note::Declined { function, .. }
            | Note::Lost { function, .. }
            | Note::Repair { function, .. }
            | Note::HandsOn { function, .. }
            | Note::HandedOn { function, .. }
            | Note::Retire { function, .. } => self.is_function(function),
        }
    }

    /// A user is about to ask something: the first one of interest decides what else is.
    pub(crate) fn asked(&mut self, peer: u32, ticket: Ticket, request: &Request<Index>) {
        if self.interest.request.is_some_and(|(_, wanted)| wanted == ticket) {
            self.interest.request = Some((peer, ticket));
            match request {
                Request::Lookup(target) => self.interest.target = Some(*target),
                Request::Hosts(function)
                | Request::Call { function, .. }
                | Request::Many { function, .. } => self.is_about(*function),
                Request::Deploy(record) | Request::Remove(record) => {
                    self.is_about(record.function);
                }
                Request::Meet(_) | Request::List | Request::Drain | Request::Cancel(_) => {}
            }
        }
    }

    fn is_about(&mut self, function: Name) {
        self.interest.function = Some(function);
        self.interest.target = Some(Target::Name(function));
    }
}

/// Since the start, to the microsecond where it is no whole millisecond.
fn at(now: Time) -> String {
    let micros = now.since(START).0 / 1000;
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    if rest.is_multiple_of(1000) {
        format!("{seconds}.{:03}   ", rest / 1000)
    } else {
        format!("{seconds}.{rest:06}")
    }
}
