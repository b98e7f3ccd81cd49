//! What each peer may have in a minute.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::id::NodeId;

const PERIOD: Duration = Duration::from_mins(1);
/// Peers that are counted at a time: more than there are connections, so that a peer which comes
/// and goes finds its count again. Over it nobody new is let in until somebody's minute is over.
const PEERS_MAX: usize = 4096;

/// Counts for each peer.
pub(crate) struct Quota {
    max: u32,
    period: Duration,
    peers: Mutex<BTreeMap<NodeId, (Stopwatch, u32)>>,
}

impl Quota {
    pub(crate) fn new(max: u32) -> Self {
        Self { max, period: PERIOD, peers: Mutex::default() }
    }

    /// Takes `cost` of what the peer has left; false if that is not enough.
    pub(crate) fn take(&self, peer: NodeId, cost: u32) -> bool {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if !peers.contains_key(&peer) && peers.len() >= PEERS_MAX {
            peers.retain(|_, (since, _)| since.elapsed() < self.period);
            if peers.len() >= PEERS_MAX {
                return false;
            }
        }
        let (since, used) = peers.entry(peer).or_insert_with(|| (Stopwatch::start(), 0));
        if since.elapsed() >= self.period {
            (*since, *used) = (Stopwatch::start(), 0);
        }
        let enough = used.saturating_add(cost) <= self.max;
        if enough {
            *used += cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_and_has_it_again_later() {
        let period = Duration::from_millis(50);
        let quota = Quota { period, ..Quota::new(10) };
        let (one, other) = (NodeId::new([1; 32]), NodeId::new([2; 32]));
        assert!(quota.take(one, 8) && !quota.take(one, 3) && quota.take(one, 2));
        assert!(!quota.take(one, 1) && quota.take(other, 10));
        std::thread::sleep(period);
        assert!(quota.take(one, 10));
    }
}
