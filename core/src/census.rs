//! Before a user hears who hosts a function, its hosts are asked: what holders say of them may be
//! as old as a host record's life.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Name, Peer};
use crate::machine::{Core, Work};
use crate::message::{Query, Tag};
use crate::queries::Purpose;
use crate::record::{Load, Record};
use crate::turn::{Cost, Event, Ticket, Turn};

/// Hosts being asked whether they serve a function.
#[derive(Debug)]
pub(crate) struct Census<P> {
    ticket: Ticket,
    record: Arc<Record>,
    cost: Cost,
    waiting: usize,
    hosts: Vec<(P, Option<Load>)>,
}

impl<P: Peer> Core<P> {
    pub(crate) fn take_census(
        &mut self,
        ticket: Ticket,
        record: Arc<Record>,
        hosts: &[P],
        cost: Cost,
        turn: &mut Turn<'_, P>,
    ) {
        // Version 0: the asker does not host it itself.
        let versions = alloc::vec![(record.function, 0)];
        let mut census = Census { ticket, record, cost, waiting: 0, hosts: Vec::new() };
        let others: Vec<P> = hosts.iter().copied().filter(|host| *host != self.me).collect();
        if others.len() < hosts.len() {
            census.hosts.push((self.me, Some(self.load())));
        }
        census.waiting = others.len();
        let tag = self.censuses.insert(self.incarnation, census);
        if let Some(work) = self.asks.get_mut(&ticket) {
            *work = Work::Census(tag);
        }
        for host in others {
            self.query(host, Query::Probe(versions.clone()), Purpose::Census(tag), turn);
        }
        self.count_on(tag, turn);
    }

    pub(crate) fn counted(
        &mut self,
        tag: Tag,
        from: P,
        serving: &[(Name, u64)],
        load: Option<Load>,
        turn: &mut Turn<'_, P>,
    ) {
        let Some(census) = self.censuses.get_mut(tag) else {
            return;
        };
        census.waiting -= 1;
        let function = census.record.function;
        if serving.iter().any(|(name, _)| *name == function) {
            census.hosts.push((from, load));
        }
        self.count_on(tag, turn);
    }

    fn count_on(&mut self, tag: Tag, turn: &mut Turn<'_, P>) {
        if self.censuses.get(tag).is_none_or(|census| census.waiting > 0) {
            return;
        }
        let census = self.censuses.remove(tag).expect("it was just found");
        let mut hosts = census.hosts;
        // Least busy first.
        hosts.sort_by_key(|(host, load)| (load.map_or(0, Load::taken), *host));
        let live = hosts.iter().map(|(host, _)| *host).collect();
        self.known.put(census.record.clone(), live, true, turn);
        let event = Event::Hosts { record: census.record, hosts, cost: census.cost };
        self.conclude(census.ticket, event, turn);
    }
}
