//! What a node keeps through a crash: records, what it hosts, and peers it has met.
//!
//! One thread owns the writing. It takes all that waits, writes it in one transaction, and says
//! `Kept` after the commit: under load many writes share one flush to the disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use peerless_core::{Input, Item, ItemKey, Tag};
use peerless_net::{Multiaddr, PeerKey};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use crate::clock::{self, Stopwatch};
use crate::id::NodeId;
use crate::record;

/// The layout of the tables; another one is not touched.
const SCHEMA: u64 = 1;
/// Peers that are remembered; those met longest ago go first.
const PEERS_MAX: u64 = 256;
/// A peer that changes what it says is written down no more often than this.
const MET_PERIOD: Duration = Duration::from_secs(10);
/// And one that says the same again, no more often than this: only the order of peers profits.
const SAME_PERIOD: Duration = Duration::from_mins(10);
/// Peers of which that is known; more in [`MET_PERIOD`] are not written down.
const LATELY_MAX: u64 = 4 * PEERS_MAX;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Kind (1 record, 2 hosting) and the function's name → the record's bytes.
const ITEMS: TableDefinition<(u8, [u8; 32]), &[u8]> = TableDefinition::new("items");
/// Public key → when it was met last (Unix milliseconds), and its addresses, one a line.
const PEERS: TableDefinition<[u8; 32], (u64, &str)> = TableDefinition::new("peers");

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("another node uses the store {0}")]
    InUse(String),
    #[error("the store {path} has schema {found}, and this version of peerless reads {SCHEMA}")]
    Schema { path: String, found: u64 },
    #[error("cannot use the store {path}: {cause}")]
    Database { path: String, cause: redb::Error },
}

/// What was found at the start.
pub(crate) struct Opened {
    database: Database,
    /// How often this node was started before.
    pub(crate) incarnation: u32,
    /// For the core.
    pub(crate) items: Vec<Item>,
    /// For the book, those met last first.
    pub(crate) peers: Vec<(PeerKey, Vec<Multiaddr>)>,
}

/// Opens the store, or makes one.
pub(crate) fn open(path: &Path) -> Result<Opened, StoreError> {
    let shown = || path.display().to_string();
    let database = Database::create(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(shown()),
        other => StoreError::Database { path: shown(), cause: other.into() },
    })?;
    let failed = |cause| StoreError::Database { path: shown(), cause };
    let (schema, incarnation) = begin(&database).map_err(failed)?;
    if schema != SCHEMA {
        return Err(StoreError::Schema { path: shown(), found: schema });
    }
    let (items, peers) = read(&database).map_err(failed)?;
    Ok(Opened { database, incarnation, items, peers })
}

/// Makes the tables and counts the start.
fn begin(database: &Database) -> Result<(u64, u32), redb::Error> {
    let transaction = database.begin_write()?;
    let (schema, incarnation) = {
        let mut meta = transaction.open_table(META)?;
        let schema = meta.get("schema")?.map_or(SCHEMA, |value| value.value());
        let incarnation = meta.get("incarnation")?.map_or(0, |value| value.value() + 1);
        if schema == SCHEMA {
            meta.insert("schema", SCHEMA)?;
            meta.insert("incarnation", incarnation)?;
            transaction.open_table(ITEMS)?;
            transaction.open_table(PEERS)?;
        }
        (schema, incarnation)
    };
    transaction.commit()?;
    Ok((schema, incarnation as u32))
}

type Found = (Vec<Item>, Vec<(PeerKey, Vec<Multiaddr>)>);

fn read(database: &Database) -> Result<Found, redb::Error> {
    let transaction = database.begin_read()?;
    let mut items = Vec::new();
    for row in transaction.open_table(ITEMS)?.iter()? {
        let (key, bytes) = row?;
        match record::verify(bytes.value()) {
            Ok(record) if key.value().0 == 1 => items.push(Item::Record(record)),
            Ok(record) => items.push(Item::Hosting(record)),
            Err(error) => tracing::warn!(%error, "a kept record is dropped"),
        }
    }
    let mut peers = Vec::new();
    for row in transaction.open_table(PEERS)?.iter()? {
        let (key, value) = row?;
        let (met, addresses) = value.value();
        let addresses = addresses.lines().filter_map(|line| line.parse().ok()).collect();
        peers.push((std::cmp::Reverse(met), key.value(), addresses));
    }
    peers.sort_by_key(|(met, ..)| *met);
    Ok((items, peers.into_iter().map(|(_, key, addresses)| (key, addresses)).collect()))
}

/// One thing to write.
enum Write {
    Keep(Tag, Item),
    Forget(ItemKey),
    Met(PeerKey, Vec<Multiaddr>),
}

/// What waits for the thread. Its length is bounded by what the core has in flight, and by
/// [`PEERS_MAX`] peers met.
#[derive(Default)]
struct Waiting {
    writes: Vec<Write>,
    /// The last that each peer said.
    met: BTreeMap<PeerKey, Vec<Multiaddr>>,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

impl Queue {
    fn push(&self, write: Write) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.writes.push(write);
        self.more.notify_one();
    }

    fn met(&self, peer: PeerKey, addresses: Vec<Multiaddr>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.met.contains_key(&peer) || (waiting.met.len() as u64) < PEERS_MAX {
            waiting.met.insert(peer, addresses);
            self.more.notify_one();
        }
    }

    /// All that waits, as soon as there is something; `None` at the end.
    fn take(&self) -> Option<Vec<Write>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.writes.is_empty() && waiting.met.is_empty() && !waiting.closed {
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let mut writes = std::mem::take(&mut waiting.writes);
        let met = std::mem::take(&mut waiting.met);
        writes.extend(met.into_iter().map(|(peer, addresses)| Write::Met(peer, addresses)));
        (!writes.is_empty()).then_some(writes)
    }
}

/// The running store. Dropping it writes what waits, and ends the thread.
pub(crate) struct Store {
    queue: Arc<Queue>,
    /// What was written down of peers met lately, and when.
    lately: Mutex<BTreeMap<PeerKey, (Stopwatch, Vec<Multiaddr>)>>,
    thread: Option<JoinHandle<()>>,
    /// Its other end lives as long as the thread.
    ended: watch::Receiver<()>,
}

impl Store {
    /// Starts the thread, which answers on `inputs`.
    pub(crate) fn start(opened: Opened, inputs: Sender<Input<NodeId>>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writes = queue.clone();
        let (alive, ended) = watch::channel(());
        let run = move || {
            let _alive = alive;
            while let Some(batch) = writes.take() {
                let kept = write(&opened.database, &batch);
                if let Err(error) = &kept {
                    tracing::error!(%error, "the store failed");
                }
                for write in batch {
                    if let Write::Keep(tag, _) = write {
                        let said =
                            if kept.is_ok() { Input::Kept { tag } } else { Input::NotKept { tag } };
                        let _ = inputs.blocking_send(said);
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("store".into()).spawn(run)?;
        Ok(Self { queue, lately: Mutex::default(), thread: Some(thread), ended })
    }

    /// Waits for the end of the thread, which only a fault of ours can bring about before the store
    /// is dropped.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut ended = self.ended.clone();
        async move { while ended.changed().await.is_ok() {} }
    }

    /// Keeps an item; `Kept` or `NotKept` follows.
    pub(crate) fn keep(&self, tag: Tag, item: Item) {
        self.queue.push(Write::Keep(tag, item));
    }

    /// Drops an item.
    pub(crate) fn forget(&self, key: ItemKey) {
        self.queue.push(Write::Forget(key));
    }

    /// Remembers where a peer was reached, unless that was done lately: each write is one to the
    /// disk, and a peer may say what it likes as often as it likes.
    pub(crate) fn met(&self, peer: PeerKey, addresses: Vec<Multiaddr>) {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, said)) = lately.get(&peer) {
            let period = if *said == addresses { SAME_PERIOD } else { MET_PERIOD };
            if since.elapsed() < period {
                return;
            }
        }
        if lately.len() as u64 >= LATELY_MAX {
            lately.retain(|_, (since, _)| since.elapsed() < MET_PERIOD);
            if lately.len() as u64 >= LATELY_MAX {
                return;
            }
        }
        lately.insert(peer, (Stopwatch::start(), addresses.clone()));
        self.queue.met(peer, addresses);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.queue.more.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(database: &Database, batch: &[Write]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut items = transaction.open_table(ITEMS)?;
        for write in batch {
            match write {
                Write::Keep(_, item) => {
                    let (Item::Record(record) | Item::Hosting(record)) = item;
                    items.insert(row_key(&item.key()), &*record.bytes)?;
                }
                Write::Forget(key) => {
                    items.remove(row_key(key))?;
                }
                Write::Met(peer, addresses) => remember(&transaction, peer, addresses)?,
            }
        }
    }
    Ok(transaction.commit()?)
}

fn row_key(key: &ItemKey) -> (u8, [u8; 32]) {
    match key {
        ItemKey::Record(name) => (1, name.0),
        ItemKey::Hosting(name) => (2, name.0),
    }
}

fn remember(
    transaction: &WriteTransaction,
    peer: &PeerKey,
    addresses: &[Multiaddr],
) -> Result<(), redb::Error> {
    let mut peers = transaction.open_table(PEERS)?;
    let text = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    peers.insert(peer, (clock::unix_ms(), text.as_str()))?;
    if redb::ReadableTableMetadata::len(&peers)? > PEERS_MAX {
        let mut oldest = None;
        for row in peers.iter()? {
            let (key, value) = row?;
            let row = (value.value().0, key.value());
            oldest = Some(oldest.map_or(row, |least: (u64, [u8; 32])| least.min(row)));
        }
        if let Some((_, key)) = oldest {
            peers.remove(key)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use peerless_core::Name;
    use tokio::sync::mpsc;

    use super::*;
    use crate::record::{Details, tests::a_key};

    fn item(name: &str) -> Item {
        let key = a_key();
        let details = Details {
            name: name.into(),
            owner: crate::keys::owner(&key),
            version: 1,
            expires_ms: 1,
            what: None,
        };
        Item::Record(record::sign(&details, &key).unwrap())
    }

    fn tag(slot: u32) -> Tag {
        Tag { slot, epoch: 0, incarnation: 0 }
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let (inputs, mut said) = mpsc::channel(16);
        let opened = open(&path).unwrap();
        assert_eq!((opened.incarnation, opened.items.len()), (0, 0));
        let store = Store::start(opened, inputs.clone()).unwrap();
        assert!(matches!(open(&path), Err(StoreError::InUse(_))));
        store.keep(tag(1), item("one"));
        store.keep(tag(2), item("two"));
        assert_eq!(said.blocking_recv(), Some(Input::Kept { tag: tag(1) }));
        assert_eq!(said.blocking_recv(), Some(Input::Kept { tag: tag(2) }));
        store.forget(item("two").key());
        store.forget(ItemKey::Hosting(Name([1; 32])));
        store.met([5; 32], vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()]);
        drop(store);

        let opened = open(&path).unwrap();
        assert_eq!(opened.incarnation, 1);
        assert_eq!(opened.items, [item("one")]);
        assert_eq!(opened.peers[0].0, [5; 32]);
        assert_eq!(opened.peers[0].1.len(), 1);
    }

    #[test]
    fn a_peer_that_repeats_itself_is_written_down_once() {
        let dir = tempfile::tempdir().unwrap();
        let (inputs, _said) = mpsc::channel(16);
        let store = Store::start(open(&dir.path().join("store.redb")).unwrap(), inputs).unwrap();
        let queue = store.queue.clone();
        let address =
            |port: u16| format!("/ip4/192.0.2.1/tcp/{port}").parse::<Multiaddr>().unwrap();
        let mut queued = 0;
        for port in 1..1000 {
            store.met([7; 32], vec![address(port)]);
            queued += queue.waiting.lock().unwrap().met.remove(&[7; 32]).map_or(0, |_| 1);
        }
        assert!(queued <= 1, "{queued}");
        let lately = store.lately.lock().unwrap();
        assert_eq!(
            lately[&[7; 32]].1,
            [address(1)],
            "the first was taken, the others came too soon"
        );
    }

    #[test]
    fn old_acquaintances_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let (inputs, _said) = mpsc::channel(16);
        let store = Store::start(open(&path).unwrap(), inputs).unwrap();
        for n in 0..300_u16 {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            store.met(key, Vec::new());
        }
        drop(store);
        assert_eq!(open(&path).unwrap().peers.len() as u64, PEERS_MAX);
    }
}
