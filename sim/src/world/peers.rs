//! Peers: how they start, come, go and come back.

use std::sync::Arc;

use peerless_core::few::Map;
use peerless_core::{Accept, Core, Input, Item, Owner, Setup, Span, Time};

use super::{START, Seat, World};
use crate::chance::Concern;
use crate::peer::{Index, mix};
use crate::population::Population;
use crate::scenario::Silence;

impl World {
    pub(super) fn populate(&mut self) {
        let sorted = self.oracle.sorted().to_vec();
        let chance = self.chance.clone();
        for peer in 0..self.scenario.first_peers() {
            self.hide(peer);
        }
        let serving = self.serving_of(&sorted);
        let mut population = Population::new(&serving, &chance, self.config.k);
        let mut table = Vec::new();
        for peer in &sorted {
            table.clear();
            population.table(*peer, &mut table);
            let mut core = self.make_core(*peer);
            core.seed_table(table.iter().copied());
            self.seats[*peer as usize].core = Some(core);
        }
        if self.config.refresh_period > Span::ZERO || self.scenario.functions.is_some() {
            for peer in 0..self.scenario.first_peers() {
                self.wake_at(peer, START);
            }
        }
    }

    /// Who is behind NAT serves nobody: no search is to find it.
    fn hide(&mut self, peer: u32) {
        if self.is_hidden(peer) {
            self.oracle.hide(peer);
        }
    }

    /// Those of some peers that serve others.
    pub(crate) fn serving_of(&self, peers: &[u32]) -> Vec<u32> {
        peers.iter().copied().filter(|peer| !self.is_hidden(*peer)).collect()
    }

    fn make_core(&mut self, peer: u32) -> Core<Index> {
        let incarnation = self.incarnations[peer as usize];
        let (a, b) = (u64::from(peer), u64::from(incarnation));
        let slots = self.scenario.slots_of(peer);
        self.laws.started(peer, slots);
        let setup = Setup {
            owner: self.scenario.owner_of(peer).map(owner),
            slots,
            queue: self.scenario.host.queue,
            room: self.scenario.room_of(peer, &self.chance),
            accept: Accept::Anyone,
            labels: self.constraints(self.carries(peer)),
        };
        let seed = self.chance.bits(Concern::Core, a, b, 0);
        if *self.setup != setup {
            self.setup = Arc::new(setup);
        }
        Core::new(Index(peer), self.setup.clone(), seed, incarnation)
    }

    /// A new peer starts; it knows nobody. Its number.
    pub fn add(&mut self) -> u32 {
        let peer = self.oracle.ever();
        self.add_as(peer);
        peer
    }

    /// A new peer of this number starts; it knows nobody. Numbers in between are of peers that never
    /// were.
    pub fn add_as(&mut self, peer: u32) {
        let at = peer as usize;
        if at >= self.seats.len() {
            self.incarnations.resize(at + 1, 0);
            self.desks.resize_with(at + 1, || None);
            self.disks.resize_with(at + 1, Map::new);
            while self.seats.len() <= at {
                push_exact(&mut self.seats, Seat::EMPTY);
            }
        }
        assert!(self.seats[at].core.is_none(), "a new peer has a number of its own");
        let core = self.make_core(peer);
        let seat = &mut self.seats[at];
        seat.digest.birth(self.now.0, 0);
        seat.core = Some(core);
        self.hide(peer);
        self.oracle.joined(self.now.0, peer);
        self.census.joined(peer);
    }

    /// A peer that was gone starts again, with what its disk kept.
    pub fn restart(&mut self, peer: u32) {
        let at = peer as usize;
        assert!(!self.is_up(peer), "only a peer that is gone starts again");
        self.incarnations[at] += 1;
        self.seats[at].digest.birth(self.now.0, self.incarnations[at]);
        self.gone.remove(&peer);
        let core = self.make_core(peer);
        self.seats[at].core = Some(core);
        self.oracle.joined(self.now.0, peer);
        let items: Vec<Item> = self.disks[at].values().cloned().collect();
        for item in items {
            self.turn(peer, Input::Restored(item), 0);
        }
    }

    /// A peer is gone, and others see `silence` of it.
    pub fn remove(&mut self, peer: u32, silence: Silence) {
        let at = peer as usize;
        if self.seats[at].core.take().is_none() {
            return;
        }
        self.gone.insert(peer, silence);
        self.seats[at].digest.death(self.now.0, silence);
        if let Some(recorder) = &mut self.recorder {
            let name = recorder.words.peer(Index(peer));
            recorder.remark(self.now, &format!("{name}  is gone"));
        }
        self.seats[at].wake = Time::NEVER;
        self.oracle.left(self.now.0, peer);
        self.census.leaving(peer, self.count.offers);
        for function in self.census.left(self.now.0, peer) {
            self.hosts_changed(function, peer, false);
        }
        self.laws.crashed(peer);
        self.chains.crashed(peer);
        self.desk(peer).met.clear();
        self.desk(peer).fetching.clear();
        self.unwire(peer, silence);
        self.break_calls(peer, silence);
        self.work_lost(peer);
    }

    /// Whether a peer ever was there.
    pub(crate) fn was_there(&self, peer: u32) -> bool {
        self.is_up(peer) || self.gone.contains_key(&peer)
    }

    /// The peers that were there and are gone, ascending.
    pub(crate) fn those_gone(&self) -> Vec<u32> {
        self.gone.keys().copied().collect()
    }

    /// The peers that are there, ascending.
    pub(crate) fn those_up(&self) -> Vec<u32> {
        (0..self.seats.len() as u32).filter(|peer| self.is_up(*peer)).collect()
    }

    /// How long, beside the way, others that are connected to a peer take to notice that it is gone.
    pub(crate) fn noticed_after(&self, silence: Silence) -> Span {
        match silence {
            Silence::Machine => self.network.settings().keep_alive,
            Silence::Process => Span::ZERO,
        }
    }

    /// What others see of a peer that is gone.
    pub(crate) fn silence_of(&self, peer: u32) -> Silence {
        self.gone.get(&peer).copied().unwrap_or(Silence::Machine)
    }
}

/// Appends where memory would not bear twice the vector.
fn push_exact<T>(all: &mut Vec<T>, one: T) {
    if all.len() == all.capacity() {
        all.reserve_exact(1 + all.len() / 16);
    }
    all.push(one);
}

/// The owner key of this number.
pub fn owner(number: u32) -> Owner {
    let mut bytes = [0; 32];
    for (limb, chunk) in (1..).zip(bytes.as_chunks_mut::<8>().0) {
        let word = mix(u64::from(number) << 8 | limb);
        *chunk = word.to_be_bytes();
    }
    Owner(bytes)
}
