//! Inputs, effects and messages in few words, for traces and transcripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use peerless_core::{
    Answer, Cost, Decline, Dialled, Effect, Ending, Event, Failure, Got, Input, Item, Load, Name,
    Note, Query, Reason, Refusal, Request, Target,
};

use crate::peer::Index;
use crate::tickets::ticket_name;

/// How peers and names are called.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Peers near the target, by how many are nearer.
    pub ranks: BTreeMap<u32, usize>,
    /// Names that have a shorter one.
    pub names: BTreeMap<Name, String>,
}

impl Words {
    /// A peer, with its place among the closest where it has one.
    pub fn peer(&self, peer: Index) -> String {
        match self.ranks.get(&peer.0) {
            Some(rank) => format!("{peer}#{rank}"),
            None => peer.to_string(),
        }
    }

    fn peers(&self, peers: &[Index]) -> String {
        let words: Vec<String> = peers.iter().map(|peer| self.peer(*peer)).collect();
        if words.is_empty() { "nobody".to_owned() } else { words.join(" ") }
    }

    /// A name.
    pub fn name(&self, name: &Name) -> String {
        self.names.get(name).cloned().unwrap_or_else(|| format!("{name:?}"))
    }

    fn target(&self, target: &Target<Index>) -> String {
        match target {
            Target::Peer(peer) => format!("peer {}", self.peer(*peer)),
            Target::Name(name) => self.name(name),
        }
    }

    /// What is asked of a peer.
    pub fn query(&self, query: &Query<Index>) -> String {
        match query {
            Query::Find(target) => format!("find {}", self.target(target)),
            Query::Hosts(name) => format!("hosts of {}?", self.name(name)),
            Query::Provide(name, _) => format!("I host {}", self.name(name)),
            Query::Withdraw(name) => format!("I host {} no longer", self.name(name)),
            Query::Store(record) => format!("keep the record of {}", self.name(&record.function)),
            Query::Offer { record, waive } => {
                let waive = if *waive { ", however busy" } else { "" };
                format!("would you host {}{waive}?", self.name(&record.function))
            }
            Query::Confirm { function, sources, mates, .. } => format!(
                "host {}: code at {}, mates {}",
                self.name(function),
                self.peers(sources),
                self.peers(mates)
            ),
            Query::Release { function, .. } => format!("no need to host {}", self.name(function)),
            Query::Placed { function, failure: None, .. } => {
                format!("I serve {}", self.name(function))
            }
            Query::Placed { function, failure: Some(why), .. } => {
                format!("I can't serve {}: {}", self.name(function), decline(*why))
            }
            Query::Probe(versions) => {
                let names: Vec<String> = versions.iter().map(|(name, _)| self.name(name)).collect();
                format!("do you serve {}?", names.join(" "))
            }
            Query::Sync { records, have, .. } => {
                format!("sync: {} records, {} known", records.len(), have.len())
            }
        }
    }

    /// What a peer answers.
    pub fn answer(&self, answer: &Answer<Index>) -> String {
        match answer {
            Answer::Found { closer, hosts, record, .. } => {
                let mut text = format!("found {}", self.peers(closer));
                if !hosts.is_empty() {
                    let _ = write!(text, ", hosts {}", self.peers(hosts));
                }
                if record.is_some() {
                    text.push_str(", its record");
                }
                text
            }
            Answer::Stored { kept, newer, hosts } => {
                let mut text = (if *kept { "kept" } else { "not kept" }).to_owned();
                if newer.is_some() {
                    text.push_str(", there is a newer one");
                }
                if !hosts.is_empty() {
                    let _ = write!(text, ", other hosts {}", self.peers(hosts));
                }
                text
            }
            Answer::Offered { decline: None, load } => format!("yes{}", hosted(*load)),
            Answer::Offered { decline: Some(why), load } => {
                format!("no: {}{}", decline(*why), hosted(*load))
            }
            Answer::Noted(true) => "noted".to_owned(),
            Answer::Noted(false) => "I know nothing of it".to_owned(),
            Answer::Probed { serving, .. } => {
                let names: Vec<String> = serving.iter().map(|(name, _)| self.name(name)).collect();
                let names = if names.is_empty() { "nothing".to_owned() } else { names.join(" ") };
                format!("I serve {names}")
            }
            Answer::Synced { records, want, .. } => {
                format!("synced: {} newer, {} wanted", records.len(), want.len())
            }
        }
    }

    /// What a user wants.
    pub fn request(&self, request: &Request<Index>) -> String {
        match request {
            Request::Meet(contact) => format!("meet contact {contact}"),
            Request::Lookup(target) => format!("look up {}", self.target(target)),
            Request::Hosts(name) => format!("find hosts of {}", self.name(name)),
            Request::Deploy(record) => format!("deploy {}", self.name(&record.function)),
            Request::Remove(record) => format!("remove {}", self.name(&record.function)),
            Request::List => "list".to_owned(),
            Request::Drain => "leave for good".to_owned(),
            Request::Call { function, .. } => format!("call {}", self.name(function)),
            Request::Many { function, .. } => format!("manycall {}", self.name(function)),
            Request::Cancel(ticket) => format!("cancel {}", ticket_name(*ticket)),
        }
    }

    /// What a user is told.
    pub fn event(&self, event: &Event<Index>) -> String {
        match event {
            Event::Met(peer) => format!("met {}", self.peer(*peer)),
            Event::Found { peers, cost: spent } => {
                let peers: Vec<String> = peers
                    .iter()
                    .map(|(peer, hops)| format!("{} (hop {hops})", self.peer(*peer)))
                    .collect();
                format!("found {}; {}", peers.join(", "), cost(*spent))
            }
            Event::Hosts { hosts, cost: spent, .. } => {
                let hosts: Vec<Index> = hosts.iter().map(|(peer, _)| *peer).collect();
                format!("hosts {}; {}", self.peers(&hosts), cost(*spent))
            }
            Event::Deployed { hosts, declined } => {
                let mut text = format!("deployed on {}", self.peers(hosts));
                for (peer, why) in declined {
                    let _ = write!(text, ", not on {}: {}", self.peer(*peer), decline(*why));
                }
                text
            }
            Event::Removed => "removed".to_owned(),
            Event::Drained => "ready to leave".to_owned(),
            Event::Listed(functions) => format!("{} functions", functions.len()),
            Event::Head { host, attempts, .. } => {
                format!("the answer of {} begins (attempt {attempts})", self.peer(*host))
            }
            Event::Done => "done".to_owned(),
            Event::Item { index, result: Ok(answered), attempts } => {
                let (host, status) = (self.peer(answered.host), answered.status);
                format!("item {index}: {status} by {host} (attempt {attempts})")
            }
            Event::Item { index, result: Err(why), attempts } => {
                format!("item {index}: {} (attempt {attempts})", failure(why))
            }
            Event::Finished(sum) => format!(
                "finished: {} items, {} succeeded, {} failed, {} unknown, {} attempts, {} hosts",
                sum.items, sum.succeeded, sum.failed, sum.unknown, sum.attempts, sum.hosts
            ),
            Event::Cancelled(done) => format!("cancelled: {done}"),
            Event::Failed(why) => format!("failed: {}", failure(why)),
            Event::NotPlaced(declined) => {
                let why: Vec<&str> = declined.iter().map(|(_, why)| decline(*why)).collect();
                format!("nobody hosts it: {}", why.join(", "))
            }
        }
    }

    /// What a core is told by its own machine or user; messages have their own words.
    pub fn input(&self, input: &Input<Index>) -> String {
        match input {
            Input::Ask(ticket, request) => {
                format!("is asked to {} ({})", self.request(request), ticket_name(*ticket))
            }
            Input::Items { n, ended, .. } => {
                let last = if *ended { ", the last" } else { "" };
                format!("is given {n} items{last}")
            }
            Input::Taken { n, .. } => format!("has {n} results taken"),
            Input::Heard { .. } => "hears a message".to_owned(),
            Input::Failed { .. } => "learns that a query will not be answered".to_owned(),
            Input::Unreached { peer } => format!("can't reach {}", self.peer(*peer)),
            Input::Met { peer, .. } => format!("meets {}", self.peer(*peer)),
            Input::Dialled { outcome: Dialled::Met(peer), .. } => {
                format!("has dialled and met {}", self.peer(*peer))
            }
            Input::Dialled { outcome: Dialled::Busy, .. } => "is turned away".to_owned(),
            Input::Dialled { outcome: Dialled::Nobody, .. } => "has dialled nobody".to_owned(),
            Input::Head { status, .. } => format!("gets the head of an answer: {status}"),
            Input::Ended { how, .. } => format!("a call ended: {}", ending(*how)),
            Input::Arrived { call, from, function, .. } => {
                format!("call {call} of {} by {} arrives", self.name(function), self.peer(*from))
            }
            Input::Gone { call } => format!("the caller of call {call} hung up"),
            Input::RanHead { .. } => "a run answers".to_owned(),
            Input::RanEnd { .. } => "a run ends".to_owned(),
            Input::Installed { function, ok, .. } => {
                let how = if *ok { "is installed" } else { "can't be installed" };
                format!("{} {how}", self.name(function))
            }
            Input::Fetched { got: Got::Code, .. } => "the code is here".to_owned(),
            Input::Fetched { got: Got::Busy, .. } => "the source is busy".to_owned(),
            Input::Fetched { got: Got::Nothing, .. } => "the code can't be fetched".to_owned(),
            Input::Kept { .. } => "it is kept".to_owned(),
            Input::NotKept { .. } => "it can't be kept".to_owned(),
            Input::Restored(item) => format!("restores {}", self.item(item)),
            Input::Wake => "wakes".to_owned(),
        }
    }

    fn item(&self, item: &Item) -> String {
        match item {
            Item::Record(record) => format!("the record of {}", self.name(&record.function)),
            Item::Hosting(record) => format!("that it hosts {}", self.name(&record.function)),
        }
    }

    /// What a core wants done; messages have their own words.
    pub fn effect(&self, effect: &Effect<Index>) -> String {
        match effect {
            Effect::Tell(ticket, event) => {
                format!("tells {}: {}", ticket_name(*ticket), self.event(event))
            }
            Effect::Want { n, .. } => format!("has room for {n} items"),
            Effect::Send { .. } => "sends a message".to_owned(),
            Effect::Dial { contact, .. } => format!("dials contact {contact}"),
            Effect::Dispatch { to, item, .. } => format!("calls {} (item {item})", self.peer(*to)),
            Effect::Abort { .. } => "hangs up".to_owned(),
            Effect::Refuse { call, why, .. } => format!("refuses call {call}: {}", refusal(*why)),
            Effect::Run { call, .. } => format!("runs call {call}"),
            Effect::Respond { call, .. } => format!("answers call {call}"),
            Effect::Cancel { .. } => "stops a run".to_owned(),
            Effect::Install { record, .. } => format!("installs {}", self.name(&record.function)),
            Effect::Uninstall { function, .. } => format!("uninstalls {}", self.name(function)),
            Effect::Fetch { from: None, .. } => "looks for the code".to_owned(),
            Effect::Fetch { from: Some(peer), .. } => {
                format!("fetches the code from {}", self.peer(*peer))
            }
            Effect::Renew(record) => format!("has {} signed again", self.name(&record.function)),
            Effect::Keep { item, .. } => format!("keeps {}", self.item(item)),
            Effect::Forget(_) => "forgets what it kept".to_owned(),
            Effect::WakeAt(time) => format!("wakes at {time:?}"),
            Effect::Note(note) => format!("({})", self.note(note)),
        }
    }

    /// Why something was decided.
    pub fn note(&self, note: &Note<Index>) -> String {
        match note {
            Note::Searched { target, found, cost: spent, .. } => {
                let target = self.target(target);
                format!("the search for {target} ended with {found}; {}", cost(*spent))
            }
            Note::Attempt { item, host, reason, .. } => {
                let why = match reason {
                    Reason::First => "the first attempt",
                    Reason::Refused => "again, since it was refused",
                    Reason::Retry => "again, since it failed",
                    Reason::Straggler => "again, since it takes long",
                    Reason::Hedge => "again, since no answer has begun",
                    Reason::Quorum => "for a quorum",
                };
                format!("item {item} to {}: {why}", self.peer(*host))
            }
            Note::Declined { function, peer, why } => {
                let (peer, why) = (self.peer(*peer), decline(*why));
                format!("{peer} does not take {}: {why}", self.name(function))
            }
            Note::Lost { function, peer } => {
                format!("{} is lost as host of {}", self.peer(*peer), self.name(function))
            }
            Note::Repair { function, rank, live, wanted } => {
                let name = self.name(function);
                format!("repairs {name}: rank {rank}, {live} of {wanted} live")
            }
            Note::Suspects { failed: 0, .. } => "was woken late, and suspects itself".to_owned(),
            Note::Suspects { failed, asked } => {
                format!("hears nothing from {failed} of {asked} peers, and suspects itself")
            }
            Note::HandsOn { function, full } => {
                let why = if *full { "this host is too full" } else { "a closer peer is emptier" };
                format!("looks for another host of {}: {why}", self.name(function))
            }
            Note::HandedOn { function, to } => {
                format!("hands {} on to {}", self.name(function), self.peer(*to))
            }
            Note::Retire { function, live } => {
                format!("gives up {}: {live} live", self.name(function))
            }
        }
    }
}

fn cost(cost: Cost) -> String {
    let Cost { rpcs, timeouts, rounds } = cost;
    let late = if timeouts == 0 { String::new() } else { format!(", {timeouts} not answered") };
    format!("{rpcs} requests in {rounds} rounds{late}")
}

fn hosted(load: Load) -> String {
    format!(" (hosts {} of {})", load.hosted, load.room)
}

fn decline(why: Decline) -> &'static str {
    match why {
        Decline::Runtime => "it has no runtime for it",
        Decline::Constraint => "it lacks a label",
        Decline::Policy => "its operator does not accept the owner",
        Decline::Full => "it is full",
        Decline::Busier => "it is busier than the mean",
        Decline::Superseded => "there is a newer version",
        Decline::Lapsed => "the reservation had lapsed",
        Decline::Fetch => "the code could not be fetched",
        Decline::Install => "the code could not be installed",
        Decline::Store => "its store failed",
        Decline::NoHolder => "nobody keeps its record",
        Decline::Silent => "it did not answer",
    }
}

fn refusal(why: Refusal) -> &'static str {
    match why {
        Refusal::Busy => "busy",
        Refusal::NotHosted => "not hosted",
        Refusal::Late => "too late",
    }
}

fn ending(how: Ending) -> String {
    match how {
        Ending::Complete => "complete".to_owned(),
        Ending::Cut => "cut off".to_owned(),
        Ending::NotSent { .. } => "not sent".to_owned(),
        Ending::MayHaveStarted => "broken off, it may have started".to_owned(),
        Ending::Refused { why, .. } => format!("refused, {}", refusal(why)),
    }
}

fn failure(why: &Failure) -> String {
    match why {
        Failure::NobodyThere => "nobody there".to_owned(),
        Failure::Unknown => "there is no such function".to_owned(),
        Failure::Incomplete { answered, of } => format!("only {answered} of {of} holders answered"),
        Failure::NoHost => "no host lives".to_owned(),
        Failure::Overloaded => "every host is too busy".to_owned(),
        Failure::MayHaveStarted => "it may have started".to_owned(),
        Failure::Cut => "the answer broke off".to_owned(),
        Failure::Late => "too late".to_owned(),
        Failure::OutOfAttempts => "out of attempts".to_owned(),
        Failure::NoQuorum => "no quorum".to_owned(),
        Failure::Cancelled => "cancelled".to_owned(),
        Failure::Superseded { version } => format!("version {version} is newer"),
        Failure::NotKept => "it could not be kept".to_owned(),
        Failure::NoHolder => "no holder keeps it".to_owned(),
        Failure::TooMany => "too many requests".to_owned(),
    }
}
