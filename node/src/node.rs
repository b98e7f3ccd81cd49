//! What all parts of a running node share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use peerless_core::{Input, Owner};
use peerless_net::identity::Keypair;
use peerless_net::{Multiaddr, Net};
use tokio::sync::{Semaphore, broadcast, mpsc};

use crate::api;
use crate::asks::Asks;
use crate::budget::Budget;
use crate::calls::Calls;
use crate::clock::Clock;
use crate::contacts::Contacts;
use crate::fetch::Given;
use crate::functions::Functions;
use crate::id::NodeId;
use crate::modules::Modules;
use crate::peers::{Quotas, Replies};
use crate::serve::Served;
use crate::settings::Settings;
use crate::store::Store;
use crate::wire::Addresses;

/// Inputs that wait for the core.
pub(crate) const INPUTS_MAX: usize = 1024;
/// Notes that a slow watcher may be behind before it misses some.
pub(crate) const NOTES_MAX: usize = 1024;

/// A running node; everything but its core.
pub(crate) struct Node {
    pub(crate) me: NodeId,
    pub(crate) owner: Owner,
    pub(crate) owner_key: Keypair,
    pub(crate) settings: Settings,
    pub(crate) contacts: Contacts,
    pub(crate) clock: Clock,
    pub(crate) inputs: mpsc::Sender<Input<NodeId>>,
    pub(crate) asks: Asks,
    pub(crate) calls: Calls,
    pub(crate) served: Served,
    pub(crate) given: Arc<Given>,
    pub(crate) replies: Replies,
    pub(crate) quotas: Quotas,
    pub(crate) functions: Functions,
    pub(crate) modules: Modules,
    pub(crate) store: Store,
    pub(crate) notes: broadcast::Sender<Arc<str>>,
    /// Memory of users' JSON documents and of the results that wait for their end.
    pub(crate) documents: Budget,
    /// Places for modules that are being checked.
    pub(crate) checks: Semaphore,
    /// Set once the network has started, before anything else runs.
    pub(crate) net: OnceLock<Net>,
    versions: AtomicU64,
}

/// What a node is made of; see [`Node::new`].
pub(crate) struct Parts {
    pub(crate) me: NodeId,
    pub(crate) owner: Owner,
    pub(crate) owner_key: Keypair,
    pub(crate) settings: Settings,
    pub(crate) contacts: Contacts,
    pub(crate) inputs: mpsc::Sender<Input<NodeId>>,
    pub(crate) functions: Functions,
    pub(crate) modules: Modules,
    pub(crate) store: Store,
}

impl Node {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { me, owner, owner_key, settings, contacts, inputs, functions, modules, store } =
            parts;
        Self {
            me,
            owner,
            owner_key,
            settings,
            contacts,
            clock: Clock::start(),
            inputs,
            asks: Asks::default(),
            calls: Calls::default(),
            served: Served::default(),
            given: Arc::default(),
            replies: Replies::default(),
            quotas: Quotas::default(),
            functions,
            modules,
            store,
            notes: broadcast::channel(NOTES_MAX).0,
            documents: Budget::new(api::DOCUMENTS_BYTES_MAX),
            checks: Semaphore::new(api::CHECKS_MAX),
            net: OnceLock::new(),
            versions: AtomicU64::new(0),
        }
    }

    pub(crate) fn net(&self) -> &Net {
        self.net.get().expect("the network starts before anything that uses it")
    }

    /// Tells the core something; waits while it is behind.
    pub(crate) async fn tell(&self, input: Input<NodeId>) {
        // It fails only while the node goes down, when nobody is left to care.
        let _ = self.inputs.send(input).await;
    }

    /// A version for a record that replaces `seen`: at least the clock's milliseconds, and never
    /// the same twice.
    pub(crate) fn next_version(&self, seen: u64) -> u64 {
        let least = crate::clock::unix_ms().max(seen + 1);
        let before = self
            .versions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(least.max(last + 1)));
        least.max(before.unwrap_or(0) + 1)
    }
}

/// The node as the wire's book of addresses.
impl Addresses for Node {
    fn addresses(&self, peer: &NodeId) -> Vec<Multiaddr> {
        if *peer == self.me {
            self.net().own_addresses()
        } else {
            self.net().addresses_of(peer.key_bytes())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{keys, settings, store};

    /// A node without a core or a network: what it tells the core comes out of the receiver, which
    /// holds `inputs_max`.
    pub(crate) fn a_node(
        dir: &std::path::Path,
        inputs_max: usize,
    ) -> (Arc<Node>, mpsc::Receiver<Input<NodeId>>) {
        let args = crate::cli::UpArgs { data_dir: Some(dir.to_owned()), ..Default::default() };
        let settings = settings::Settings::read(args).unwrap();
        let owner_key = Keypair::generate_ed25519();
        let owner = keys::owner(&owner_key);
        let (inputs, received) = mpsc::channel(inputs_max);
        let mut sandbox = peerless_wasm::Settings::standard();
        sandbox.instances_max = 1;
        let store = store::open(&dir.join("store.redb")).unwrap();
        let node = Node::new(Parts {
            me: NodeId::new(owner.0),
            owner,
            owner_key,
            settings,
            contacts: Contacts::default(),
            inputs: inputs.clone(),
            functions: Functions::new(peerless_wasm::Sandbox::new(sandbox).unwrap(), 1 << 20),
            modules: Modules::open(dir.join("modules"), 1 << 20, 1 << 20).unwrap(),
            store: Store::start(store, inputs).unwrap(),
        });
        (Arc::new(node), received)
    }
}
