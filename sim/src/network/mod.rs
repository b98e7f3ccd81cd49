//! What the network does to a packet: pure functions of the seed and the packet's own arguments.

use peerless_core::{Span, Time};

use crate::chance::{Chance, Concern, Share};
use crate::scenario::{Size, section};

section! {
    /// How the network behaves.
    "network" => pub struct Settings {
        /// From one peer to another, one way.
        latency: Span = Span::ms(25),
        /// Share of the messages between peers that are lost, each way; calls lose time instead.
        loss: Share = Share::NONE,
        /// After how long a lost packet of a call is sent again; doubles each time.
        retransmit: Span = Span::ms(200),
        /// After how long dialling a machine that is silent is given up.
        connect_timeout: Span = Span::secs(3),
        /// After how long a kept connection to a machine that fell silent counts as broken.
        keep_alive: Span = Span::secs(5),
        /// Bytes a second that code is fetched with.
        bandwidth: Size = Size(12 << 20),
    }
}

/// A message that leaves its source: all that its fate may depend on, beside the seed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Passage {
    /// Who sends it.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// The source's own counter: messages and packets of calls have one each.
    pub counter: u64,
    /// When it leaves.
    pub time: Time,
    /// How long it is.
    pub bytes: u64,
}

/// What the network does to a message.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It comes after this long.
    Deliver(Span),
    /// It never comes, and nobody is told.
    Drop,
}

/// The network between the peers of one world.
#[derive(Clone, Debug)]
pub struct Network {
    settings: Settings,
    chance: Chance,
}

/// A retransmission is tried this often before the connection would be given up.
const RESENDS_MAX: u64 = 8;

impl Network {
    /// A network with these settings.
    pub fn new(settings: Settings, chance: Chance) -> Self {
        Self { settings, chance }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Nothing is lost from now on.
    pub(crate) fn calm(&mut self) {
        self.settings.loss = Share::NONE;
    }

    /// What becomes of a message between peers.
    #[inline]
    pub fn judge(&self, passage: &Passage) -> Verdict {
        let Passage { from, to, counter, .. } = *passage;
        if !self.settings.loss.is_zero() {
            let bits = self.chance.bits(Concern::Loss, u64::from(from), u64::from(to), counter);
            if self.settings.loss.takes(bits) {
                return Verdict::Drop;
            }
        }
        Verdict::Deliver(self.settings.latency)
    }

    /// How long a packet of a call takes: it rides on a reliable transport, so that loss costs time.
    pub fn reliable(&self, passage: &Passage) -> Span {
        let Passage { from, to, counter, .. } = *passage;
        if from == to {
            return Span::ZERO;
        }
        let mut took = self.settings.latency;
        let mut pause = self.settings.retransmit;
        for trial in 0..RESENDS_MAX {
            let packet = counter * RESENDS_MAX + trial;
            let bits = self.chance.bits(Concern::Resend, u64::from(from), u64::from(to), packet);
            if !self.settings.loss.takes(bits) {
                break;
            }
            took = took + pause;
            pause = pause.times(2);
        }
        took
    }

    /// How long a transfer of `bytes` takes.
    pub fn transfer(&self, bytes: u64) -> Span {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.settings.bandwidth.0);
        self.settings.latency.times(2) + Span(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
