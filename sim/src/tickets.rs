//! How the requests of a workload are numbered and called.

use peerless_core::Ticket;

use crate::scenario::{Anycalls, Functions, Scenario};

/// The kinds of requests, in a ticket's highest bits; its lowest are the operation's number.
pub(crate) const KIND_SHIFT: u32 = 48;
pub(crate) const LOOKUP: u64 = 1;
pub(crate) const DEPLOY: u64 = 2;
pub(crate) const CALL: u64 = 3;
pub(crate) const MANY: u64 = 4;
pub(crate) const USER: u64 = 5;
pub(crate) const FUZZ: u64 = 6;
pub(crate) const MEET: u64 = 7;
pub(crate) const DRAIN: u64 = 8;
/// In a ticket of [`FUZZ`]: what it asks for may not be run twice.
pub(crate) const ONCE: u64 = 1 << 47;

/// One operation of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Its ticket.
    pub ticket: Ticket,
    /// What it is called.
    pub name: String,
}

/// What a request is called.
pub fn ticket_name(ticket: Ticket) -> String {
    let kind = match ticket >> KIND_SHIFT {
        LOOKUP => "lookup",
        DEPLOY => "deployment",
        CALL => "anycall",
        MANY => "manycall",
        MEET => "meeting",
        DRAIN => "leave",
        FUZZ => return format!("operation {}", ticket & (ONCE - 1)),
        _ => "request",
    };
    format!("{kind} {}", ticket & ((1 << KIND_SHIFT) - 1))
}

fn streams(scenario: &Scenario) -> [(u64, &'static str, u64); 4] {
    let count = |n: Option<u32>| n.map_or(0, u64::from);
    [
        (LOOKUP, "lookup", count(scenario.lookups.as_ref().map(|work| work.count))),
        (DEPLOY, "deployment", scenario.functions.as_ref().map_or(0, Functions::deployments)),
        (CALL, "anycall", scenario.anycalls.as_ref().map_or(0, Anycalls::about)),
        (MANY, "manycall", count(scenario.manycalls.as_ref().map(|work| work.jobs))),
    ]
}

/// The operation of this number, counted over lookups, deployments, anycalls and manycalls.
pub fn operation(scenario: &Scenario, mut number: u64) -> Option<Operation> {
    for (kind, _, count) in streams(scenario) {
        if number < count {
            let ticket = kind << KIND_SHIFT | number;
            return Some(Operation { ticket, name: ticket_name(ticket) });
        }
        number -= count;
    }
    None
}

/// The operations of a scenario in words.
pub fn operations(scenario: &Scenario) -> String {
    let streams = streams(scenario).into_iter().filter(|(_, _, count)| *count > 0);
    let words: Vec<String> = streams.map(|(_, name, count)| format!("{count} {name}s")).collect();
    words.join(", then ")
}
