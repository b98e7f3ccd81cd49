//! The hosts of a function look after each other: probes, repair by rank, and fewer where there
//! are too many.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::key::{Name, Peer};
use crate::machine::{Core, Purpose};
use crate::message::{Answer, Query};
use crate::planted::{self, Bug};
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::{Note, Turn};

/// Functions in one probe; more go into the next.
const PROBED_MAX: usize = 256;

/// Another host of a function that is hosted here.
#[derive(Debug)]
pub(crate) struct Mate<P> {
    pub(crate) peer: P,
    /// Probes missed in a row.
    missed: u8,
    /// Whether it was heard from; before that it is hearsay, which neither shows that hosts are
    /// lacking nor that there are too many.
    proven: bool,
}

impl<P> Mate<P> {
    pub(crate) const fn new(peer: P) -> Self {
        Self { peer, missed: 0, proven: false }
    }
}

impl<P: Peer> Core<P> {
    pub(crate) fn start_probing(&mut self, turn: &Turn<'_, P>) {
        if !self.probing {
            self.probing = true;
            let first = Span(self.random.below(turn.config.probe_period.0));
            self.timers.add(turn.now + first, Timer::Probe);
        }
    }

    /// Asks every fellow host about all the functions that it and this peer host: one message a
    /// pair of peers.
    pub(crate) fn probe(&mut self, turn: &mut Turn<'_, P>) {
        self.probing = !self.hosting.is_empty();
        if !self.probing {
            return;
        }
        self.timers.add(turn.now + turn.config.probe_period, Timer::Probe);
        let mut pairs: BTreeMap<P, Vec<(Name, u64)>> = BTreeMap::new();
        for (name, hosting) in &self.hosting {
            for mate in &hosting.mates {
                pairs.entry(mate.peer).or_default().push((*name, hosting.record.version));
            }
        }
        for (mate, mut versions) in pairs {
            // Over the maximum, a random run of them, so that each has its turn.
            if versions.len() > PROBED_MAX {
                let from = self.random.below(versions.len() as u64) as usize;
                versions.rotate_left(from);
                versions.truncate(PROBED_MAX);
            }
            self.query(mate, Query::Probe(versions), Purpose::Probe, turn);
        }
    }

    /// Answers a probe; who probes hosts these functions itself.
    pub(crate) fn probed(
        &mut self,
        from: P,
        versions: &[(Name, u64)],
        turn: &mut Turn<'_, P>,
    ) -> Answer<P> {
        let mut serving = Vec::new();
        for (name, version) in versions.iter().take(PROBED_MAX) {
            let hosted = self.hosting.get(name).map(|hosting| hosting.record.version);
            let arriving = self.arriving.get(name).map(|arriving| arriving.record.version);
            if let Some(mine) = arriving.max(hosted) {
                serving.push((*name, mine));
            }
            if hosted == Some(*version) {
                self.meet_mate(*name, from, turn);
                self.prove_mate(*name, from, turn);
            }
        }
        Answer::Probed { serving, load: self.load() }
    }

    /// Another host of a function was heard of.
    pub(crate) fn meet_mate(&mut self, function: Name, peer: P, turn: &mut Turn<'_, P>) {
        let most = usize::from(turn.config.hosts_max);
        let Some(hosting) = self.hosting.get_mut(&function) else {
            return;
        };
        let known = hosting.mates.iter().any(|mate| mate.peer == peer);
        if !known && peer != self.me && hosting.mates.len() < most {
            hosting.mates.push(Mate::new(peer));
            self.look_after(function, turn);
        }
    }

    /// A fellow host showed that it lives.
    fn prove_mate(&mut self, function: Name, peer: P, turn: &Turn<'_, P>) {
        let mates = self.hosting.get_mut(&function).map(|hosting| &mut hosting.mates);
        let Some(mate) = mates.into_iter().flatten().find(|mate| mate.peer == peer) else {
            return;
        };
        mate.missed = 0;
        if !mate.proven {
            mate.proven = true;
            self.look_after(function, turn);
        }
    }

    pub(crate) fn probe_answered(
        &mut self,
        from: P,
        serving: &[(Name, u64)],
        turn: &mut Turn<'_, P>,
    ) {
        for function in self.shared_with(from) {
            let hosting = self.hosting.get_mut(&function).expect("it is shared");
            let version = hosting.record.version;
            let serves = serving.iter().any(|(name, v)| *name == function && *v >= version);
            if serves {
                self.prove_mate(function, from, turn);
            } else if serving.len() < PROBED_MAX {
                self.lose_mate(function, from, turn);
            }
        }
    }

    pub(crate) fn probe_missed(&mut self, peer: P, turn: &mut Turn<'_, P>) {
        for function in self.shared_with(peer) {
            let hosting = self.hosting.get_mut(&function).expect("it is shared");
            let mate = hosting.mates.iter_mut().find(|mate| mate.peer == peer);
            let mate = mate.expect("it is shared");
            mate.missed = mate.missed.saturating_add(1);
            if mate.missed >= turn.config.probes_missed_max && !planted::is(Bug::NeverLost) {
                self.lose_mate(function, peer, turn);
            }
        }
    }

    fn shared_with(&self, peer: P) -> Vec<Name> {
        let shared = self.hosting.iter();
        let shared = shared.filter(|(_, h)| h.mates.iter().any(|mate| mate.peer == peer));
        shared.map(|(name, _)| *name).collect()
    }

    fn lose_mate(&mut self, function: Name, peer: P, turn: &mut Turn<'_, P>) {
        let Some(hosting) = self.hosting.get_mut(&function) else {
            return;
        };
        hosting.mates.retain(|mate| mate.peer != peer);
        self.known.drop_host(function, peer);
        turn.note(|| Note::Lost { function, peer });
        self.look_after(function, turn);
    }

    /// How many hosts live, how many of them are closer to the function than this one, and how
    /// many the owner wants at least and at most. Hearsay counts only against a lack of hosts.
    fn census(&self, function: Name) -> Option<(u16, u16, u16, u16)> {
        let hosting = self.hosting.get(&function)?;
        let (least, most) = hosting.record.spec.as_ref()?.replicas;
        let position = P::position(&function);
        let mine = self.me.key().distance(position);
        let closer = |mate: &&Mate<P>| mate.peer.key().distance(position) < mine;
        let lacking = hosting.mates.len() + 1 < usize::from(least);
        let counted = || hosting.mates.iter().filter(|mate| lacking || mate.proven);
        let rank = counted().filter(closer).count() as u16;
        let live = counted().count() as u16 + 1;
        Some((if lacking { live } else { live.max(least) }, rank, least, most))
    }

    /// Whether hosts are lacking, or too many; if so, when this one will act. The closest acts
    /// first, and each farther one waits for the closer ones to have made it needless.
    pub(crate) fn look_after(&mut self, function: Name, turn: &Turn<'_, P>) {
        let Some((live, rank, least, most)) = self.census(function) else {
            return;
        };
        let hosting = self.hosting.get_mut(&function).expect("it was counted");
        let delay = if live < least && turn.config.repair {
            let rank = if planted::is(Bug::NoRank) { 0 } else { rank };
            turn.config.rank_delay.times(u64::from(rank))
        } else if live > most.max(least) && rank + 1 == live {
            turn.config.retire_after
        } else {
            hosting.heal_at = Time::NEVER;
            return;
        };
        if hosting.heal_at == Time::NEVER && !hosting.healing {
            hosting.heal_at = turn.now + delay;
            self.timers.add(hosting.heal_at, Timer::Heal(function));
        }
    }

    /// The time to act has come, if hosts are still lacking or too many.
    pub(crate) fn heal(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let Some((live, rank, least, most)) = self.census(function) else {
            return;
        };
        let hosting = self.hosting.get_mut(&function).expect("it was counted");
        if hosting.heal_at > turn.now || hosting.healing {
            return;
        }
        hosting.heal_at = Time::NEVER;
        if live < least {
            hosting.healing = true;
            turn.note(|| Note::Repair { function, rank, live, wanted: least });
            self.place_lacking(function, least - live, turn);
        } else if live > most.max(least) && rank + 1 == live {
            turn.note(|| Note::Retire { function, live });
            self.give_up(function, turn);
        }
    }

    /// A repair ended; these host the function now. If it was not enough, it is tried again later.
    pub(crate) fn healed(&mut self, function: Name, placed: &[P], turn: &mut Turn<'_, P>) {
        let Some(hosting) = self.hosting.get_mut(&function) else {
            return;
        };
        hosting.healing = false;
        for peer in placed {
            self.meet_mate(function, *peer, turn);
        }
        let lacking = self.census(function).is_some_and(|(live, _, least, _)| live < least);
        if lacking && let Some(hosting) = self.hosting.get_mut(&function) {
            hosting.heal_at = turn.now + turn.config.repair_backoff;
            self.timers.add(hosting.heal_at, Timer::Heal(function));
        }
    }
}
