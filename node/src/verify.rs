//! Questions with records in them: their signatures are checked apart from the task that listens,
//! a few at a time, and one peer's questions stay in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::id::NodeId;
use crate::node::Node;
use crate::peers::{self, Asking};
use crate::wire;

/// Messages whose signatures are checked at a time.
const CHECKING_MAX: usize = 2;
/// Messages that may wait for it, of all peers; at most 64 KiB each. Over it they are refused.
const WAITING_MAX: usize = 256;

/// What is being checked, and what waits.
pub(crate) struct Verifier {
    places: Arc<Semaphore>,
    checking: Arc<Semaphore>,
    /// Each peer's last question under way.
    last: BTreeMap<NodeId, JoinHandle<()>>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            checking: Arc::new(Semaphore::new(CHECKING_MAX)),
            last: BTreeMap::new(),
        }
    }
}

impl Verifier {
    /// Whether a question of this peer is under way, behind which the next must wait.
    pub(crate) fn is_busy_with(&mut self, peer: NodeId) -> bool {
        let busy = self.last.get(&peer).is_some_and(|last| !last.is_finished());
        if !busy {
            self.last.remove(&peer);
        }
        busy
    }

    /// Reads a question, after those of the same peer that came before.
    pub(crate) fn verify(&mut self, node: &Arc<Node>, asking: Asking) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::debug!(peer = %asking.from, "too many records wait");
            return asking.reply.refuse();
        };
        let (node, checking) = (node.clone(), self.checking.clone());
        let (from, before) = (asking.from, self.last.remove(&asking.from));
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                // However that ended, it is this one's turn.
                let _ = before.await;
            }
            let Asking { from, kind, body, reply } = asking;
            let decoded = {
                let _turn = checking.acquire().await;
                let decode = move || wire::decode_query(kind, from, &body);
                tokio::task::spawn_blocking(decode).await
            };
            if let Ok(decoded) = decoded {
                peers::heard(&node, from, reply, decoded).await;
            }
            drop(place);
        });
        if self.last.len() > WAITING_MAX {
            self.last.retain(|_, last| !last.is_finished());
        }
        self.last.insert(from, task);
    }
}
