//! The hosts of a function look after each other: repair by rank where there are too few of them,
//! and fewer where there are too many.

use alloc::vec::Vec;

use crate::key::{Name, Peer};
use crate::machine::Core;
use crate::note::Note;
use crate::planted::{self, Bug};
use crate::probing::Mate;
use crate::record::Load;
use crate::time::Time;
use crate::timers::Timer;
use crate::turn::Turn;

/// Installs that one host or holder has others make at once.
pub(crate) const INSTALLS_MAX: u16 = 2;
/// Probe periods for which a fellow host must have answered before it makes another one needless.
const STEADY_PERIODS: u64 = 3;

/// The hosts of a function, as one of them sees it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
struct Count {
    live: u16,
    /// How many of them are closer to the function than this one.
    rank: u16,
    wanted: u16,
}

impl Count {
    const fn is_lacking(self) -> bool {
        self.live < self.wanted
    }

    /// Whether there are more than wanted, and this is the farthest.
    fn is_surplus(self) -> bool {
        let farthest = self.rank + 1 == self.live || planted::is(Bug::RetiresOutOfTurn);
        self.live > self.wanted && farthest
    }
}

impl<P: Peer> Core<P> {
    /// Another host of a function was heard of. Hearsay is kept for at most k peers, those first
    /// that miss no probe.
    pub(crate) fn meet_mate(&mut self, function: Name, peer: P, turn: &mut Turn<'_, P>) {
        self.add_mate(function, Mate::hearsay(peer), turn);
    }

    fn add_mate(&mut self, function: Name, new: Mate<P>, turn: &mut Turn<'_, P>) {
        let Some(hosting) = self.hosting.get_mut(&function) else {
            return;
        };
        let mates = &mut hosting.mates;
        if new.peer == self.me || mates.iter().any(|mate| mate.peer == new.peer) {
            return;
        }
        let hearsay = |mate: &Mate<P>| !mate.is_trusted(turn.now);
        let unproven = mates.iter().filter(|mate| hearsay(mate)).count();
        let crowded = hearsay(&new) && unproven >= usize::from(turn.config.k);
        if crowded || mates.len() >= usize::from(turn.config.hosts_max) {
            let silent = mates.iter().enumerate().filter(|(_, m)| hearsay(m) && m.missed > 0);
            let Some((worst, _)) = silent.max_by_key(|(_, mate)| mate.missed) else {
                return;
            };
            mates.remove(worst);
        }
        mates.push(new);
        self.look_after(function, turn);
    }

    fn mate(&mut self, function: Name, peer: P) -> Option<&mut Mate<P>> {
        let hosting = self.hosting.get_mut(&function)?;
        hosting.mates.iter_mut().find(|mate| mate.peer == peer)
    }

    /// A fellow host answered that it serves the function, and how busy it is.
    pub(crate) fn prove_mate(&mut self, function: Name, peer: P, load: Load, turn: &Turn<'_, P>) {
        if let Some(mate) = self.mate(function, peer) {
            mate.missed = 0;
            mate.busy = load.busy();
            if mate.proven_at.is_none() {
                mate.proven_at = Some(turn.now);
                self.look_after(function, turn);
            }
        }
    }

    /// It answered that it does not serve the function: not yet, or no longer, or not yet again. One
    /// that did serve it may just have started anew.
    pub(crate) fn doubt_mate(&mut self, function: Name, peer: P, turn: &mut Turn<'_, P>) {
        let Some(mate) = self.mate(function, peer) else {
            return;
        };
        if mate.proven_at.is_some() {
            self.miss_mate(function, peer, turn);
        } else if mate.expected_until <= turn.now {
            self.lose_mate(function, peer, turn);
        } else {
            mate.missed = 0;
        }
    }

    /// It did not answer.
    pub(crate) fn miss_mate(&mut self, function: Name, peer: P, turn: &mut Turn<'_, P>) {
        if let Some(mate) = self.mate(function, peer) {
            mate.missed = mate.missed.saturating_add(1);
            if mate.missed >= turn.config.probes_missed_max && !planted::is(Bug::NeverLost) {
                self.lose_mate(function, peer, turn);
            }
        }
    }

    fn lose_mate(&mut self, function: Name, peer: P, turn: &mut Turn<'_, P>) {
        let Some(hosting) = self.hosting.get_mut(&function) else {
            return;
        };
        hosting.mates.retain(|mate| mate.peer != peer);
        hosting.lower_lease();
        self.known.drop_host(function, peer);
        turn.note(|| Note::Lost { function, peer });
        self.look_after(function, turn);
    }

    /// Counts the hosts. Hearsay counts only against a lack of them; and only who has answered for
    /// a while makes another one needless.
    fn count(&self, function: Name, turn: &Turn<'_, P>) -> Option<Count> {
        let hosting = self.hosting.get(&function).filter(|hosting| !hosting.is_leaving())?;
        let wanted = hosting.wanted()?;
        let position = P::position(&function);
        let mine = self.me.key().distance(position);
        let closer = |mate: &&Mate<P>| mate.peer.key().distance(position) < mine;
        let heard_of = hosting.mates.len() as u16 + 1;
        if heard_of < wanted {
            let rank = hosting.mates.iter().filter(closer).count() as u16;
            return Some(Count { live: heard_of, rank, wanted });
        }
        let least_proven = turn.config.probe_period.times(STEADY_PERIODS);
        let long = |at| turn.now.since(at) >= least_proven || planted::is(Bug::RetiresAtOnce);
        let steady = |mate: &&Mate<P>| mate.proven_at.is_some_and(long);
        let live = hosting.mates.iter().filter(steady).count() as u16 + 1;
        // Whoever is farther goes first, as soon as it is known as well.
        let proven = || hosting.mates.iter().filter(|mate| mate.proven_at.is_some());
        let farthest = proven().all(|mate| closer(&mate));
        let rank = if farthest { live - 1 } else { 0 };
        Some(Count { live: live.max(wanted), rank, wanted })
    }

    /// Whether there are enough hosts without this one.
    pub(crate) fn is_needless(&self, function: Name, turn: &Turn<'_, P>) -> bool {
        !turn.config.repair
            || self.count(function, turn).is_none_or(|count| count.live > count.wanted)
    }

    /// Whether a function that is hosted here has as many hosts as are wanted, each of which answers,
    /// and nothing is being done about it.
    pub(crate) fn has_enough_hosts(&self, function: Name, turn: &Turn<'_, P>) -> bool {
        let Some(hosting) = self.hosting.get(&function) else {
            return false;
        };
        let proven =
            hosting.mates.iter().filter(|mate| mate.proven_at.is_some() && mate.missed == 0);
        let proven = proven.count() as u16 + 1;
        hosting.healing == 0
            && self.count(function, turn).is_some_and(|it| !it.is_lacking() && proven >= it.wanted)
    }

    /// Whether hosts are lacking, or too many; if so, when this one will act. The closest acts
    /// first, and each farther one waits for the closer ones to have made it needless.
    pub(crate) fn look_after(&mut self, function: Name, turn: &Turn<'_, P>) {
        let Some(count) = self.count(function, turn) else {
            return;
        };
        let hosting = self.hosting.get_mut(&function).expect("it was counted");
        let proven = hosting.mates.iter().filter(|mate| mate.proven_at.is_some()).count() as u16;
        let delay = if count.is_lacking() && turn.config.repair {
            let rank = if planted::is(Bug::NoRank) { 0 } else { count.rank };
            let rank = rank.saturating_sub(u16::from(planted::is(Bug::RanksOffByOne)));
            turn.config.rank_delay.times(u64::from(rank))
        } else if proven + 1 > count.wanted {
            turn.config.retire_after
        } else {
            hosting.heal_at = Time::NEVER;
            return;
        };
        if hosting.heal_at == Time::NEVER && hosting.healing == 0 {
            self.heal_at(function, turn.now + delay);
        }
    }

    /// What was put off while this host suspected itself is looked at.
    pub(crate) fn look_after_all(&mut self, turn: &Turn<'_, P>) {
        let functions: Vec<Name> = self.hosting.keys().copied().collect();
        for function in functions {
            if let Some(hosting) = self.hosting.get_mut(&function)
                && hosting.heal_at <= turn.now
            {
                hosting.heal_at = Time::NEVER;
            }
            self.look_after(function, turn);
        }
    }

    fn heal_at(&mut self, function: Name, at: Time) {
        if let Some(hosting) = self.hosting.get_mut(&function) {
            hosting.heal_at = at;
            self.timers.add(at, Timer::Heal(function));
        }
    }

    /// The time to act has come, if hosts are still lacking or too many.
    pub(crate) fn heal(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let Some(count) = self.count(function, turn) else {
            return;
        };
        let hosting = self.hosting.get_mut(&function).expect("it was counted");
        if hosting.heal_at > turn.now || hosting.healing > 0 {
            return;
        }
        let soon = turn.now + turn.config.probe_period;
        if self.suspicion.is_on() {
            self.heal_at(function, soon);
        } else if count.is_lacking() {
            self.install_next(turn);
        } else if count.is_surplus() {
            let again = turn.now.since(self.lately.retired_at) < turn.config.probe_period;
            if again || self.arriving.contains_key(&function) {
                return self.heal_at(function, soon);
            }
            self.lately.retired_at = turn.now;
            turn.note(|| Note::Retire { function, live: count.live });
            self.retire(function, turn);
        } else {
            hosting.heal_at = Time::NEVER;
            self.look_after(function, turn);
        }
    }

    /// Installs that this peer, as a host or as a holder, has others make now.
    pub(crate) fn installs_under_way(&self) -> u16 {
        let watches = self.guard.watches.values().map(|watch| watch.installs);
        self.hosting.values().map(|hosting| hosting.healing).chain(watches).sum()
    }

    /// Installs may have ended: what waited for that goes on, first the functions that have no host.
    pub(crate) fn install_next(&mut self, turn: &mut Turn<'_, P>) {
        self.heal_lost(turn);
        self.heal_next(turn);
    }

    /// Repairs what is due, the functions with the fewest hosts first, as far as installs are free;
    /// the others wait until some have ended.
    fn heal_next(&mut self, turn: &mut Turn<'_, P>) {
        while turn.config.repair && !self.suspicion.is_on() {
            let busy = self.installs_under_way();
            let due = self.hosting.iter().filter(|(_, h)| h.heal_at <= turn.now && h.healing == 0);
            let due = due.filter_map(|(name, _)| Some((*name, self.count(*name, turn)?)));
            let due = due.filter(|(_, count)| count.is_lacking());
            let neediest = due.min_by_key(|(_, count)| count.live);
            let most = if planted::is(Bug::RepairsAllAtOnce) { u16::MAX } else { INSTALLS_MAX };
            let free = most.saturating_sub(busy);
            let Some((function, count)) = neediest.filter(|_| free > 0) else {
                return;
            };
            let Count { live, rank, wanted } = count;
            let installs = free.min(wanted - live);
            let hosting = self.hosting.get_mut(&function).expect("it was counted");
            hosting.heal_at = Time::NEVER;
            hosting.healing = installs;
            turn.note(|| Note::Repair { function, rank, live, wanted });
            self.place_lacking(function, installs, turn);
        }
    }

    /// A repair ended; these host the function now. If it was not enough, it goes on: at once where
    /// it found a place, else later.
    pub(crate) fn healed(&mut self, function: Name, placed: &[P], turn: &mut Turn<'_, P>) {
        if let Some(hosting) = self.hosting.get_mut(&function) {
            hosting.healing = 0;
            let until = turn.now + turn.config.install_timeout;
            for peer in placed {
                self.add_mate(function, Mate::expected(*peer, until), turn);
            }
            // Where there is no place for more than the owner wants at least, that has to do.
            if placed.is_empty()
                && let Some(hosting) = self.hosting.get_mut(&function)
            {
                hosting.lower_lease();
            }
            if self.drains {
                return self.handed_over(function, turn);
            }
            if self.count(function, turn).is_some_and(Count::is_lacking) {
                let pause = turn.config.repair_backoff;
                let at = if placed.is_empty() { turn.now + pause } else { turn.now };
                if !(placed.is_empty() && planted::is(Bug::RepairsOnce)) {
                    self.heal_at(function, at);
                }
            }
        }
        self.install_next(turn);
    }
}
