//! Brings a manycall's items to the core, as many as it wants and as the results are taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use peerless_core::{Input, Ticket};
use tokio::sync::{Semaphore, mpsc};

use super::items::{Items, Line};
use crate::calls::{Outgoing, Source};
use crate::node::Node;

/// Items whose results were not taken. The core allows more; this bounds the memory of a user who
/// sends fast and reads slowly.
const ITEMS_MAX: usize = 4096;
/// KiB of such items.
const KIB_MAX: usize = 64 * 1024;
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
    /// By the core's number: the user's number and the item's KiB.
    open: Mutex<HashMap<u64, (u64, u32)>>,
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
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, (u64, u32)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bodies(&self) -> MutexGuard<'_, HashMap<u64, Bytes>> {
        let Source::Items(items) = &self.outgoing.source else {
            unreachable!("a manycall's bodies are its items");
        };
        items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core has room for more.
    pub(super) fn want(&self, n: u32) {
        self.wanted.add_permits(n as usize);
    }

    /// The user's number of an item.
    pub(super) fn at(&self, number: u64) -> u64 {
        self.open().get(&number).map_or(number, |(at, _)| *at)
    }

    /// An item has its result: it is dropped, and another may come.
    pub(super) fn done(&self, number: u64) -> u64 {
        self.bodies().remove(&number);
        let Some((at, kib)) = self.open().remove(&number) else {
            return number;
        };
        self.items.add_permits(1);
        self.kib.add_permits(kib as usize);
        at
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
        while let Some(Line { number: line, item }) = items.ready() {
            match item {
                Ok(bytes) => {
                    let kib = (bytes.len() / 1024 + 1).min(KIB_MAX) as u32;
                    batch.take(&feed.wanted, 1).await;
                    batch.take(&feed.items, 1).await;
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
