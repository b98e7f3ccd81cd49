//! Brings a manycall's items to the core, as many as it wants and as the results are taken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use peerless_core::{Input, Ticket};
use tokio::sync::{Semaphore, mpsc};

use super::items::{Found, Items};
use crate::calls::{Outgoing, Source};
use crate::node::Node;

/// Items whose results were not taken. The core allows more; this bounds the memory of a user who
/// sends fast and reads slowly.
const ITEMS_MAX: usize = 4096;
/// KiB of such items and of the results that they are expected to have.
const KIB_MAX: usize = 64 * 1024;
/// The size of a result while none has come.
const EXPECTED_BYTES: usize = 256 * 1024;
/// Results over which their size is averaged.
const AVERAGED: usize = 8;
/// Items told to the core at once.
const BATCH_MAX: u32 = 256;

/// Something that was no item.
pub(super) enum Bad {
    /// A line.
    Item {
        /// Its index among the items.
        at: u64,
        /// Counted from 1; 0 where items are no lines.
        line: u64,
        why: String,
    },
    /// The body itself.
    Broken(String),
}

/// What the feeder and the writer of results share.
pub(super) struct Feed {
    node: Arc<Node>,
    ticket: Ticket,
    outgoing: Arc<Outgoing>,
    /// The core's credit.
    wanted: Semaphore,
    items: Semaphore,
    kib: Semaphore,
    /// By the core's number: the user's number and the KiB that were taken.
    open: Mutex<HashMap<u64, (u64, u32)>>,
    /// Items and lines that were none, so far.
    came: AtomicU64,
    /// How many bytes a result has, going by those that came. Items are fed only as fast as their
    /// results find room, so that a host seldom waits with an answer for a user who reads slowly.
    expected: AtomicUsize,
}

impl Feed {
    pub(super) fn new(node: Arc<Node>, ticket: Ticket, outgoing: Arc<Outgoing>) -> Self {
        Self {
            node,
            ticket,
            outgoing,
            wanted: Semaphore::new(0),
            items: Semaphore::new(ITEMS_MAX),
            kib: Semaphore::new(KIB_MAX),
            open: Mutex::default(),
            came: AtomicU64::new(0),
            expected: AtomicUsize::new(EXPECTED_BYTES),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, (u64, u32)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bodies(&self) -> MutexGuard<'_, HashMap<u64, Bytes>> {
        let Source::Items(items) = &self.outgoing.source else {
            unreachable!("a manycall's bodies are its items");
        };
        items.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core has room for more.
    pub(super) fn want(&self, n: u32) {
        self.wanted.add_permits(n as usize);
    }

    /// How many items and lines that were none came so far.
    pub(super) fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// An item has its result, of so many bytes if it was answered: it is dropped, and another may
    /// come. Returns the user's number of it.
    pub(super) fn done(&self, number: u64, bytes: Option<usize>) -> u64 {
        if let Some(bytes) = bytes {
            // One task reads results, so nothing comes between.
            let before = self.expected.load(Ordering::Relaxed);
            let now = before - before / AVERAGED + bytes / AVERAGED;
            self.expected.store(now, Ordering::Relaxed);
        }
        self.bodies().remove(&number);
        let Some((at, kib)) = self.open().remove(&number) else {
            return number;
        };
        self.items.add_permits(1);
        self.kib.add_permits(kib as usize);
        at
    }

    /// KiB that an item takes, with its result.
    fn kib(&self, item: &Bytes) -> u32 {
        let bytes = item.len() + self.expected.load(Ordering::Relaxed);
        (bytes / 1024 + 1).min(KIB_MAX) as u32
    }
}

/// Items laid down and not yet told.
struct Batch<'a> {
    feed: &'a Feed,
    n: u32,
}

impl Batch<'_> {
    async fn flush(&mut self) {
        if self.n > 0 {
            let items = Input::Items { ticket: self.feed.ticket, n: self.n, ended: false };
            self.feed.node.tell(items).await;
            self.n = 0;
        }
    }

    /// Takes `n` places, telling the core what it has so far before waiting for them.
    async fn take(&mut self, places: &Semaphore, n: u32) {
        let place = if let Ok(place) = places.try_acquire_many(n) {
            place
        } else {
            self.flush().await;
            places.acquire_many(n).await.expect("it is never closed")
        };
        place.forget();
    }
}

/// Feeds all items, and says when they have ended.
pub(super) async fn run(feed: Arc<Feed>, mut items: Items, bad: mpsc::Sender<Bad>) {
    let (mut number, mut at) = (0, 0);
    let mut batch = Batch { feed: &feed, n: 0 };
    loop {
        while let Some(Found { line, item }) = items.ready() {
            feed.came.store(at + 1, Ordering::Relaxed);
            match item {
                Ok(bytes) => {
                    batch.take(&feed.wanted, 1).await;
                    batch.take(&feed.items, 1).await;
                    let kib = feed.kib(&bytes);
                    batch.take(&feed.kib, kib).await;
                    feed.open().insert(number, (at, kib));
                    feed.bodies().insert(number, bytes);
                    number += 1;
                    batch.n += 1;
                    if batch.n == BATCH_MAX {
                        batch.flush().await;
                    }
                }
                Err(why) => {
                    batch.flush().await;
                    if bad.send(Bad::Item { at, line, why }).await.is_err() {
                        return;
                    }
                }
            }
            at += 1;
        }
        batch.flush().await;
        match items.more().await {
            Ok(true) => {}
            Ok(false) => break,
            Err(why) => {
                let _ = bad.send(Bad::Broken(why)).await;
                return;
            }
        }
    }
    feed.node.tell(Input::Items { ticket: feed.ticket, n: 0, ended: true }).await;
}
