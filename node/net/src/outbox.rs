//! Events of connections that wait for a slow node: merged, so bounded by the peers connected.

use std::collections::{BTreeMap, VecDeque};

use libp2p::Multiaddr;

use crate::{Event, PeerKey};

/// What [`Event::Met`] says of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// Whether it has said what it is: before that it serves nobody, as far as is known.
    pub(crate) identified: bool,
    pub(crate) serves: bool,
    pub(crate) addresses: Vec<Multiaddr>,
    pub(crate) observed: Multiaddr,
}

/// Peers whose state the node has yet to hear, each at most once in the queue.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<PeerKey>,
    /// The state to tell; `None` = lost. A peer is here exactly if it is in the queue.
    news: BTreeMap<PeerKey, Option<Met>>,
    /// What the node knows.
    told: BTreeMap<PeerKey, Met>,
}

impl Outbox {
    pub(crate) fn met(&mut self, peer: PeerKey, met: Met) {
        if self.news.contains_key(&peer) || self.told.get(&peer) != Some(&met) {
            self.tell(peer, Some(met));
        }
    }

    pub(crate) fn lost(&mut self, peer: PeerKey) {
        if self.told.contains_key(&peer) {
            self.tell(peer, None);
        } else if self.news.remove(&peer).is_some() {
            self.queue.retain(|other| *other != peer);
        }
    }

    /// What the node has heard of a peer that is here, or is about to.
    pub(crate) fn state(&self, peer: &PeerKey) -> Option<&Met> {
        self.news.get(peer).map_or_else(|| self.told.get(peer), Option::as_ref)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next event; the caller has a place for it.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let peer = self.queue.pop_front()?;
        let Some(met) = self.news.remove(&peer)? else {
            self.told.remove(&peer);
            return Some(Event::Lost { peer });
        };
        self.told.insert(peer, met.clone());
        let Met { serves, addresses, observed, .. } = met;
        Some(Event::Met { peer, serves, addresses, observed })
    }

    /// Nobody listens any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn tell(&mut self, peer: PeerKey, news: Option<Met>) {
        if self.news.insert(peer, news).is_none() {
            self.queue.push_back(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(serves: bool) -> Met {
        let (addresses, observed) = (Vec::new(), Multiaddr::empty());
        Met { identified: true, serves, addresses, observed }
    }

    fn drain(outbox: &mut Outbox) -> String {
        let event = |event| match event {
            Event::Met { peer, serves, .. } => format!("met {} {serves}; ", peer[0]),
            Event::Lost { peer } => format!("lost {}; ", peer[0]),
            _ => unreachable!("an outbox tells of peers alone"),
        };
        std::iter::from_fn(|| outbox.next()).map(event).collect()
    }

    #[test]
    fn a_peer_met_and_lost_unseen_leaves_no_trace() {
        let mut outbox = Outbox::default();
        outbox.met([1; 32], met(true));
        outbox.met([2; 32], met(true));
        outbox.lost([1; 32]);
        assert_eq!(drain(&mut outbox), "met 2 true; ");
        outbox.lost([1; 32]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn news_are_told_once_and_the_last_wins() {
        let mut outbox = Outbox::default();
        outbox.met([1; 32], met(false));
        outbox.met([1; 32], met(true));
        assert_eq!(drain(&mut outbox), "met 1 true; ");
        outbox.met([1; 32], met(true));
        assert_eq!(drain(&mut outbox), "");
        outbox.lost([1; 32]);
        outbox.met([1; 32], met(false));
        assert_eq!(drain(&mut outbox), "met 1 false; ");
        outbox.lost([1; 32]);
        assert_eq!(drain(&mut outbox), "lost 1; ");
    }
}
