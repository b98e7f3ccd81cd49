//! Ways back: peers that left the table are asked again, seldom, and contacts dialled again. What a
//! partition parted finds together when it has healed, and who lost everybody does not stay alone.

use alloc::vec::Vec;

use crate::key::{Peer, Target};
use crate::machine::Core;
use crate::message::Query;
use crate::planted::{self, Bug};
use crate::queries::Purpose;
use crate::search::{Kind, Then};
use crate::time::{Span, Time};
use crate::timers::Timer;
use crate::turn::Turn;

/// Peers that left the table and are remembered.
const GONE_MAX: usize = 16;
/// How often one of them is asked before it is forgotten.
const ASKED_MAX: u8 = 16;
/// Contacts that are dialled at once where everybody is lost.
const DIALS_MAX: usize = 8;
/// How soon who lost everybody, or has just regained somebody, asks again.
const SOON: Span = Span::secs(5);
/// The longest wait of one who lost everybody.
const LOST_WAIT: Span = Span::secs(30);
/// How soon after the first left, and the longest wait.
const FIRST_WAIT: Span = Span::secs(30);
const MOST_WAIT: Span = Span::minutes(2);

/// Peers that left the table because they did not answer.
#[derive(Debug)]
pub(crate) struct Gone<P> {
    /// Each with how often it was asked since.
    peers: Vec<(P, u8)>,
    /// When one of them is asked next.
    at: Time,
    /// How long that was waited for.
    wait: Span,
}

impl<P> Gone<P> {
    pub(crate) const NONE: Self = Self { peers: Vec::new(), at: Time::NEVER, wait: Span::ZERO };
}

impl<P: Peer> Core<P> {
    /// A peer left the table. Of more than can be remembered, chance decides: in a partition as in
    /// common churn some of the old ones stay.
    pub(crate) fn left(&mut self, peer: P, turn: &Turn<'_, P>) {
        if self.ways.gone.peers.iter().any(|(other, _)| *other == peer) {
            return;
        }
        if self.ways.gone.peers.len() < GONE_MAX {
            self.ways.gone.peers.push((peer, 0));
        } else {
            let at = self.random.below(GONE_MAX as u64) as usize;
            self.ways.gone.peers[at] = (peer, 0);
        }
        self.regain_within(FIRST_WAIT, turn);
    }

    /// Who has just lost everybody looks for a way back soon.
    pub(crate) fn regain_soon(&mut self, turn: &Turn<'_, P>) {
        self.regain_within(SOON, turn);
    }

    /// And who has not met anybody yet, unless it is looking already.
    pub(crate) fn regain_if_lost(&mut self, turn: &Turn<'_, P>) {
        if self.table.is_lost() && self.ways.gone.at == Time::NEVER {
            self.regain_within(SOON, turn);
        }
    }

    fn regain_within(&mut self, wait: Span, turn: &Turn<'_, P>) {
        let at = turn.now + wait;
        if at < self.ways.gone.at && turn.config.refresh_period > Span::ZERO {
            (self.ways.gone.at, self.ways.gone.wait) = (at, wait);
            self.timers.add(at, Timer::Regain);
        }
    }

    /// It is there again.
    pub(crate) fn is_back(&mut self, peer: P) {
        if !self.ways.gone.peers.is_empty() {
            self.ways.gone.peers.retain(|(other, _)| *other != peer);
        }
    }

    /// Asks one of those that are gone, or all of them where there is nobody else.
    pub(crate) fn regain(&mut self, turn: &mut Turn<'_, P>) {
        // Meanwhile it may have been put off.
        if turn.now < self.ways.gone.at {
            return;
        }
        self.ways.gone.at = Time::NEVER;
        let lost = self.table.is_lost();
        let wait = self.ways.gone.wait;
        if planted::is(Bug::NeverRegains) || !lost && self.ways.gone.peers.is_empty() {
            return;
        }
        if lost {
            for at in 0..self.ways.gone.peers.len() {
                self.ask_gone(self.ways.gone.peers[at].0, turn);
            }
            self.dial_contacts(DIALS_MAX, turn);
            if self.table.depth() > 0 {
                self.search(Target::Peer(self.me), Kind::Find, Then::Nothing, turn);
            }
        } else {
            let at = self.random.below(self.ways.gone.peers.len() as u64) as usize;
            let (peer, asked) = &mut self.ways.gone.peers[at];
            *asked += 1;
            let (peer, asked) = (*peer, *asked);
            if asked >= ASKED_MAX {
                self.ways.gone.peers.swap_remove(at);
            }
            self.ask_gone(peer, turn);
            self.dial_contacts(1, turn);
        }
        let most = if lost { LOST_WAIT } else { MOST_WAIT };
        if lost || !self.ways.gone.peers.is_empty() {
            self.regain_within(wait.times(2).min(most), turn);
        }
    }

    fn ask_gone(&mut self, peer: P, turn: &mut Turn<'_, P>) {
        self.query(peer, Query::Find(Target::Peer(self.me)), Purpose::Regain, turn);
    }

    /// One that was gone answers: others will be back, too, and have to hear of this peer.
    pub(crate) fn regained(&mut self, peer: P, turn: &mut Turn<'_, P>) {
        let lost = self.table.is_lost();
        self.met(peer, true, None, turn);
        if !lost {
            self.search(Target::Peer(self.me), Kind::Find, Then::Nothing, turn);
        }
        if !self.ways.gone.peers.is_empty() {
            self.regain_within(SOON, turn);
        }
    }
}
