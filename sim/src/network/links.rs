//! `[links]`: what lies between a machine and the network is narrow. What a machine sends shares its
//! link upwards, and what it hears the one downwards; the network between them is wide.

use peerless_core::{Span, Time};

use crate::chance::{Chance, Concern};
use crate::scenario::{Bad, Keys, Size, section};

section! {
    /// Machines' links to the network: so many bytes a second up and down, for which what is sent waits.
    "links" => pub struct Links {
        /// Bytes a second upwards of each kind of link; a machine has any of them, each as likely.
        up: Vec<Size> = vec![Size(1 << 20)],
        /// The same downwards, kind by kind.
        down: Vec<Size> = vec![Size(8 << 20)],
        /// Length of a call's body.
        request: Size = Size(0),
        /// Length of its answer's body.
        response: Size = Size(0),
    }
}

/// What gives way to what: of two that wait at a link the one of the earlier class goes first.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Messages between cores.
    Messages,
    /// Calls, with their bodies.
    Calls,
    /// Code that is fetched.
    Code,
}

/// One direction of one machine's link.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Pipe {
    /// Until when it is busy with what is of each class, or goes before it.
    busy: [Time; 3],
    /// How long it was busy altogether.
    pub used: Span,
}

impl Pipe {
    /// Something that takes the link for `takes` is there at `time`: when it has passed.
    pub fn pass(&mut self, class: Class, time: Time, takes: Span) -> Time {
        self.used = self.used + takes;
        for busy in &mut self.busy[class as usize..] {
            *busy = time.max(*busy) + takes;
        }
        self.busy[class as usize]
    }
}

impl Links {
    pub(crate) fn check(&self, keys: &Keys) -> Result<(), Bad> {
        for (key, rates) in [("up", &self.up), ("down", &self.down)] {
            if rates.is_empty() || rates.contains(&Size(0)) {
                let what = "expected at least one kind of link, and no \"0B\"";
                return Err(keys.bad(&format!("links.{key}"), what));
            }
        }
        if self.up.len() != self.down.len() {
            let culprit = if keys.is_given("links.down") { "links.down" } else { "links.up" };
            return Err(keys.bad(culprit, "expected as many in links.down as in links.up"));
        }
        Ok(())
    }

    /// For how long so many bytes take a peer's link upwards.
    pub fn up(&self, peer: u32, bytes: u64, chance: &Chance) -> Span {
        takes(&self.up, peer, bytes, chance)
    }

    /// The same downwards.
    pub fn down(&self, peer: u32, bytes: u64, chance: &Chance) -> Span {
        takes(&self.down, peer, bytes, chance)
    }
}

/// For how long so many bytes take one of these links, of which a peer has any.
fn takes(rates: &[Size], peer: u32, bytes: u64, chance: &Chance) -> Span {
    let kind = chance.below(rates.len() as u64, Concern::AccessLink, peer.into(), 0, 0);
    let rate = u128::from(rates[kind as usize].0);
    let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(rate);
    Span(u64::try_from(nanos).unwrap_or(u64::MAX))
}
