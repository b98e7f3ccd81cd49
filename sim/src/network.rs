//! What the network does to a packet: pure functions of the seed and the packet's own arguments.

use peerless_core::Span;

use crate::chance::{Chance, Concern, Share};

/// How the network behaves; the keys of `[network]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One way.
    pub latency: Span,
    /// Of messages between peers, each way.
    pub loss: Share,
    /// After how long a lost packet of a call is sent again; doubles each time.
    pub retransmit: Span,
    /// After how long dialling a machine that is silent is given up.
    pub connect_timeout: Span,
    /// After how long a kept connection to a machine that fell silent counts as broken.
    pub keep_alive: Span,
    /// Bytes a second that code is fetched with.
    pub bandwidth: u64,
}

/// The network between the peers of one world.
#[derive(Clone, Debug)]
pub struct Network {
    settings: Settings,
    chance: Chance,
    /// One message, by source and counter, that comes a nanosecond later than it would: the proof
    /// that the digest sees everything.
    pub nudged: Option<(u32, u64)>,
}

/// A retransmission is tried this often before the connection would be given up.
const RESENDS_MAX: u64 = 8;

impl Network {
    /// A network with these settings.
    pub fn new(settings: Settings, chance: Chance) -> Self {
        Self { settings, chance, nudged: None }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How long a message takes; `None`: it is lost.
    #[inline]
    pub fn message(&self, from: u32, to: u32, counter: u64) -> Option<Span> {
        let arguments = (u64::from(from), u64::from(to), counter);
        if !self.settings.loss.is_zero() {
            let bits = self.chance.bits(Concern::Loss, arguments.0, arguments.1, arguments.2);
            if self.settings.loss.takes(bits) {
                return None;
            }
        }
        let late = u64::from(self.nudged == Some((from, counter)));
        Some(Span(self.settings.latency.0 + late))
    }

    /// How long a packet of a call takes: it rides on a reliable transport, so that loss costs time.
    pub fn reliable(&self, from: u32, to: u32, counter: u64) -> Span {
        if from == to {
            return Span::ZERO;
        }
        let mut took = self.settings.latency.0;
        let mut pause = self.settings.retransmit.0;
        for trial in 0..RESENDS_MAX {
            let packet = counter * RESENDS_MAX + trial;
            let bits = self.chance.bits(Concern::Resend, u64::from(from), u64::from(to), packet);
            if !self.settings.loss.takes(bits) {
                break;
            }
            took += pause;
            pause *= 2;
        }
        Span(took)
    }

    /// How long a transfer of `bytes` takes.
    pub fn transfer(&self, bytes: u64) -> Span {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.settings.bandwidth);
        Span(self.settings.latency.0 * 2 + nanos as u64)
    }
}
