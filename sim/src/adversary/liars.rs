//! `[adversaries]`: peers that lie to who searches, that take and do not give, and that answer calls
//! wrongly. Who is one of them is drawn once for each peer.

use peerless_core::{Answer, Decline, Key, Load, Message, Query, Tag, Target};

use crate::chance::{Concern, Share};
use crate::peer::Index;
use crate::scenario::{Bad, Keys, Scenario, section, worded};
use crate::world::World;

section! {
    /// Shares of the peers that do not do what they should.
    "adversaries" => pub struct Adversaries {
        /// Share of the peers that lie to who searches; nobody's user is at one of them.
        liars: Share = Share::percent(20),
        /// What liars answer: "colluders" names those of them that are closest to the target, "nonsense" peers drawn at random, "silence" nobody, and never.
        lie: Lie = Lie::Colluders,
        /// Share of the peers that search and call, but keep no record and accept no function.
        free_riders: Share = Share::NONE,
        /// Share of the peers that answer calls wrongly, all in the same way.
        wrong: Share = Share::NONE,
    }
}

/// What a liar answers to who searches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Lie {
    /// The liars closest to the target.
    Colluders,
    /// Peers drawn at random.
    Nonsense,
    /// Nothing.
    Silence,
}

worded!(Lie: "colluders" => Colluders, "nonsense" => Nonsense, "silence" => Silence);

impl Adversaries {
    pub(crate) fn check(&self, keys: &Keys) -> Result<(), Bad> {
        let nobody = [self.liars, self.free_riders, self.wrong].iter().all(|share| share.is_zero());
        if nobody {
            return Err(keys.bad("adversaries", "expected liars, free_riders or wrong in it"));
        }
        if self.liars == Share::percent(100) {
            return Err(keys.bad("adversaries.liars", "expected less than all, whom users ask"));
        }
        if self.liars.is_zero() && keys.is_given("adversaries.lie") {
            return Err(keys.bad("adversaries.lie", "expected adversaries.liars beside it"));
        }
        Ok(())
    }
}

impl Scenario {
    /// Whether anybody may be told what is not so.
    pub(crate) fn has_liars(&self) -> bool {
        let liars = self.adversaries.as_ref().is_some_and(|all| !all.liars.is_zero());
        liars || self.sybils.is_some()
    }
}

impl World {
    fn is_one(&self, share: impl Fn(&Adversaries) -> Share, concern: Concern, peer: u32) -> bool {
        let share = self.scenario.adversaries.as_ref().map_or(Share::NONE, share);
        !share.is_zero() && share.takes(self.chance.bits(concern, peer.into(), 0, 0))
    }

    /// Whether a peer lies to who searches.
    pub(crate) fn is_liar(&self, peer: u32) -> bool {
        self.is_one(|all| all.liars, Concern::Liar, peer)
    }

    /// Whether a peer answers calls wrongly; a sybil that answers any does.
    pub(crate) fn answers_wrongly(&self, peer: u32) -> bool {
        Scenario::is_sybil(peer) || self.is_one(|all| all.wrong, Concern::Wrong, peer)
    }

    /// What a peer says to a query in place of its core, where it is an adversary; whether it is.
    pub(crate) fn is_made_up(&mut self, from: u32, to: u32, message: &Message<Index>) -> bool {
        let Message::Query(tag, query) = message else { return false };
        if self.scenario.adversaries.is_none() {
            return false;
        }
        let answer = match query {
            Query::Find(target) if self.is_liar(to) => self.lie(from, to, *tag, *target),
            Query::Hosts(name) if self.is_liar(to) => self.lie(from, to, *tag, Target::Name(*name)),
            Query::Provide(..) | Query::Store(_) if self.rides_free(to) => {
                Some(Answer::Stored { kept: false, newer: None, hosts: Vec::new() })
            }
            Query::Offer { .. } if self.rides_free(to) => {
                Some(Answer::Offered { decline: Some(Decline::Full), load: Load::default() })
            }
            _ => return false,
        };
        if let Some(answer) = answer {
            self.say(to, from, Message::Answer(*tag, answer));
        }
        true
    }

    fn rides_free(&self, peer: u32) -> bool {
        self.is_one(|all| all.free_riders, Concern::FreeRider, peer)
    }

    /// What a liar answers to who searches; `None`: nothing, ever.
    fn lie(&self, asker: u32, liar: u32, tag: Tag, target: Target<Index>) -> Option<Answer<Index>> {
        let lie = self.scenario.adversaries.as_ref()?.lie;
        let k = usize::from(self.config.k);
        let other = |peer: u32| peer != asker && peer != liar && self.is_up(peer);
        let closer: Vec<Index> = match lie {
            Lie::Silence => return None,
            Lie::Colluders => {
                let Key([place, ..]) = target.key();
                let colludes = |peer: u32| other(peer) && self.is_liar(peer);
                let closest = self.oracle.closest_of(place, k, colludes);
                closest.into_iter().map(Index).collect()
            }
            Lie::Nonsense => {
                let ever = u64::from(self.oracle.ever());
                let query = u64::from(tag.slot) << 32 | u64::from(tag.epoch);
                let pair = u64::from(liar) << 32 | u64::from(asker);
                let drawn = (0..k as u64)
                    .map(|n| self.chance.below(ever, Concern::Lie, pair, query, n) as u32);
                drawn.filter(|peer| other(*peer)).map(Index).collect()
            }
        };
        let (hosts, load) = (Vec::new(), Load::default());
        Some(Answer::Found { closer, hosts, record: None, load })
    }
}
