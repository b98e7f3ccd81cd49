//! Placement is sticky, but not for ever: when a host has told the holders again that it serves a
//! function, it may hand its place on to a peer with more room, which installs the function before
//! this one leaves.

use alloc::vec::Vec;

use crate::key::{Name, Peer};
use crate::machine::Core;
use crate::membership::{PARTS, part_of};
use crate::note::Note;
use crate::planted::{self, Bug};
use crate::turn::Turn;

/// Permille of the mean use beyond which a host hands functions on: more than that at which it
/// declines, so that what it accepted stays.
const FULL_PERMILLE: u32 = 1300;
/// Permille of the mean use below which a peer that is closer is handed functions: a newcomer.
const EMPTY_PERMILLE: u32 = 500;
/// Offers that are made to hand one function on.
pub(crate) const OFFERS_MAX: usize = 16;

impl<P: Peer> Core<P> {
    /// So many permille of the mean use of other hosts, in millionths of their room, by what they said
    /// lately, if enough did.
    ///
    /// It is the mean over equal parts of the key space: a peer hears most from its neighbours, which
    /// are as full or empty as it is itself, since they are offered the same functions.
    pub(crate) fn mean_use(&self, permille: u32, turn: &Turn<'_, P>) -> Option<u64> {
        if self.loads.len() < usize::from(turn.config.loads_min) {
            return None;
        }
        let mut parts = [(0_u64, 0_u64); PARTS];
        for (peer, load) in self.loads.iter() {
            let (hosted, room) = &mut parts[part_of(*peer)];
            *hosted += u64::from(load.hosted);
            *room += u64::from(load.room);
        }
        let uses = parts.iter().filter(|(_, room)| *room > 0);
        let uses = uses.map(|(hosted, room)| hosted * 1000 * u64::from(permille) / room);
        let heard = uses.clone().count() as u64;
        Some(uses.sum::<u64>() / heard)
    }

    /// The function's record was renewed: its place is handed on, if it is better elsewhere. One at a
    /// time, and only where no host is lacking.
    pub(crate) fn hand_on(&mut self, function: Name, turn: &mut Turn<'_, P>) {
        let (full, empty) =
            (self.mean_use(FULL_PERMILLE, turn), self.mean_use(EMPTY_PERMILLE, turn));
        let Some((full, empty)) = full.zip(empty).filter(|_| turn.config.repair) else {
            return;
        };
        if !self.hosting[&function].record.is_for_any() {
            return;
        }
        let busy = self.lately.handing.is_some() || self.installs_under_way() > 0;
        let arriving = self.arriving.contains_key(&function);
        if busy || arriving || self.suspicion.is_on() || !self.has_enough_hosts(function, turn) {
            return;
        }
        if planted::is(Bug::NeverHandsOn) {
            return;
        }
        let load = self.load();
        // What it accepted by its own share stays.
        let most = (full * u64::from(load.room) / 1_000_000).max(self.share(turn));
        let to = if u64::from(load.hosted) > most {
            None
        } else {
            let emptier = self.emptier(function, empty);
            if emptier.is_empty() {
                return;
            }
            Some(emptier)
        };
        self.lately.handing = Some(function);
        turn.note(|| Note::HandsOn { function, full: to.is_none() });
        self.place_instead(function, to, turn);
    }

    /// Peers with far more room than most that are closer to a function than this one, the closest
    /// first.
    fn emptier(&self, function: Name, most: u64) -> Vec<P> {
        let position = P::position(&function);
        let mine = self.me.key().distance(position);
        let hosting = &self.hosting[&function];
        let empty = self.loads.iter().filter(|(peer, used)| {
            u64::from(used.permille()) * 1000 < most
                && peer.key().distance(position) < mine
                && !hosting.mates.iter().any(|mate| mate.peer == *peer)
        });
        let mut empty: Vec<P> = empty.map(|(peer, _)| *peer).collect();
        empty.sort_by_key(|peer| peer.key().distance(position));
        empty.truncate(OFFERS_MAX);
        empty
    }

    /// The handing on ended: if another peer serves the function now, this one leaves.
    pub(crate) fn handed_on(&mut self, function: Name, placed: &[P], turn: &mut Turn<'_, P>) {
        self.lately.handing = None;
        let Some(to) = placed.first().copied() else {
            return;
        };
        // Who has died meanwhile is not made up for by leaving as well.
        if self.has_enough_hosts(function, turn) {
            turn.note(|| Note::HandedOn { function, to });
            self.retire(function, turn);
        } else {
            self.meet_mate(function, to, turn);
        }
    }
}
