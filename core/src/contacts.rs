//! Contacts: addresses that a user named or the host remembers. Which peer stands behind one shows
//! when it is dialled; the core says when that is done, and how often.

use alloc::vec::Vec;

use crate::idle::Empty;
use crate::key::Peer;
use crate::machine::{Core, Work};
use crate::message::Tag;
use crate::planted::{self, Bug};
use crate::regain::Gone;
use crate::slab::Slab;
use crate::time::Span;
use crate::timers::Timer;
use crate::turn::{Contact, Dialled, Effect, Event, Failure, Ticket, Turn};

/// Contacts that are remembered. How many are dialled for users at once, `asks_max` bounds.
const CONTACTS_MAX: usize = 64;
/// Waits after dials that were turned away: a busy peer has room for newcomers when others have
/// gone.
const DIAL_AGAIN: [Span; 5] =
    [Span::ms(200), Span::ms(400), Span::ms(800), Span::ms(1600), Span::ms(3200)];

/// Ways into the network, and back into it.
#[derive(Debug)]
pub(crate) struct Ways<P> {
    /// What was asked for, in the order of asking, each with the peer that was last met there.
    contacts: Vec<(Contact, Option<P>)>,
    /// Whose turn it is to be dialled again.
    next: usize,
    pub(crate) dials: Slab<Dial>,
    pub(crate) gone: Gone<P>,
}

impl<P: Peer> Ways<P> {
    const NONE: Self = Self { contacts: Vec::new(), next: 0, dials: Slab::new(), gone: Gone::NONE };
}

impl<P: Peer> Empty for Ways<P> {
    const EMPTY: &'static Self = &Self::NONE;

    fn empty() -> Self {
        Self::NONE
    }
}

/// A dial under way, or about to be repeated.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Dial {
    contact: Contact,
    /// Who waits for it; `None`: the core dials for itself.
    ticket: Option<Ticket>,
    /// How often it was turned away.
    refused: u8,
}

impl<P: Peer> Core<P> {
    pub(crate) fn meet(&mut self, ticket: Ticket, contact: Contact, turn: &mut Turn<'_, P>) {
        if self.ways.contacts.iter().all(|(other, _)| *other != contact) {
            self.remember(contact);
        }
        let tag = self
            .ways
            .dials
            .insert(self.incarnation, Dial { contact, ticket: Some(ticket), refused: 0 });
        self.asks.insert(ticket, Work::Dial(tag));
        turn.push(Effect::Dial { tag, contact });
    }

    fn remember(&mut self, contact: Contact) {
        let ways = &mut *self.ways;
        if ways.contacts.len() >= CONTACTS_MAX {
            // The oldest where nobody was ever met gives way, else the oldest.
            let met_nobody = ways.contacts.iter().position(|(_, met)| met.is_none());
            ways.contacts.remove(met_nobody.unwrap_or(0));
        }
        ways.contacts.push((contact, None));
    }

    /// A dial ended. What nobody waits for any more may still have met somebody.
    pub(crate) fn dialled(&mut self, tag: Tag, outcome: Dialled<P>, turn: &mut Turn<'_, P>) {
        let dial = self.ways.dials.remove(tag);
        if let Dialled::Met(peer) = outcome {
            if let Some(dial) = dial
                && let Some((_, met)) =
                    self.ways.contacts.iter_mut().find(|(contact, _)| *contact == dial.contact)
            {
                *met = Some(peer);
            }
            self.met(peer, true, None, turn);
        }
        let Some(Dial { contact, ticket: Some(ticket), refused }) = dial else {
            return;
        };
        let again = DIAL_AGAIN.get(usize::from(refused));
        match (outcome, again) {
            (Dialled::Met(peer), _) => self.conclude(ticket, Event::Met(peer), turn),
            (Dialled::Busy, Some(wait)) if !planted::is(Bug::DialsOnce) => {
                let next = Dial { contact, ticket: Some(ticket), refused: refused + 1 };
                let tag = self.ways.dials.insert(self.incarnation, next);
                self.asks.insert(ticket, Work::Dial(tag));
                self.timers.add(turn.now + *wait, Timer::Dial(tag));
            }
            (Dialled::Busy | Dialled::Nobody, _) => {
                self.conclude(ticket, Event::Failed(Failure::NobodyThere), turn);
                self.regain_if_lost(turn);
            }
        }
    }

    pub(crate) fn dial_due(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        if let Some(dial) = self.ways.dials.get(tag) {
            turn.push(Effect::Dial { tag, contact: dial.contact });
        }
    }

    /// Dials the next contacts in turn, at most `n`, of which nobody is known to live: once each.
    pub(crate) fn dial_contacts(&mut self, n: usize, turn: &mut Turn<'_, P>) {
        let all = self.ways.contacts.len();
        let lost = self.table.is_lost();
        let mut left = n;
        for step in 0..all {
            let at = (self.ways.next + step) % all;
            if left == 0 {
                self.ways.next = at;
                return;
            }
            let (contact, met) = self.ways.contacts[at];
            let known = met.is_some_and(|peer| self.table.contains(self.me.key(), peer));
            let dialling = self.ways.dials.iter().any(|(_, dial)| dial.contact == contact);
            if (known && !lost) || dialling {
                continue;
            }
            left -= 1;
            let tag = self
                .ways
                .dials
                .insert(self.incarnation, Dial { contact, ticket: None, refused: 0 });
            turn.push(Effect::Dial { tag, contact });
        }
    }
}
