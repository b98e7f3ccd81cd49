//! What happens next: a queue ordered by (time, destination, source, the source's own counter).
//!
//! No global sequence takes part, so the order does not depend on who was stepped first. Entries of
//! 65.5 µs share a bucket that is sorted when its turn comes; those beyond the current second wait
//! unsorted in their own second. What is to happen lies in a slab, so that sorting moves 32 bytes;
//! of a million peers each waits for its own next wake, which is nothing but an entry.

use std::collections::BTreeMap;

/// When and where something happens, and by whose doing.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct When {
    /// Nanoseconds.
    pub time: u64,
    /// To whom.
    pub to: u32,
    /// By whom; the peer itself for what its own machine does.
    pub from: u32,
    /// The source's own counter: it never gives one twice.
    pub counter: u64,
}

#[derive(Copy, Clone)]
struct Entry {
    when: When,
    /// Where what happens lies; `BARE`: the entry is all.
    slot: u32,
}

/// The slot of an entry that says when and where, and no more.
const BARE: u32 = u32::MAX;

/// Room of an emptied bucket that is kept, in entries: the instant at which all peers start takes more.
const SPARE_MAX: usize = 1 << 12;

const BUCKET_BITS: u32 = 16;
const BUCKETS_LOG2: u32 = 14;
const BUCKETS: usize = 1 << BUCKETS_LOG2;
const ERA_BITS: u32 = BUCKET_BITS + BUCKETS_LOG2;

/// The queue.
pub struct Agenda<T> {
    /// The bucket that is being emptied, sorted; `head` of it is done.
    ready: Vec<Entry>,
    head: usize,
    /// Number of the bucket in `ready`, counted from time 0.
    current: u64,
    /// The buckets of the current era that come after `current`.
    buckets: Vec<Vec<Entry>>,
    /// Room of buckets that were emptied: the next to be filled take it, while it is in the cache.
    spare: Vec<Vec<Entry>>,
    /// A bit for each bucket that is not empty.
    filled: Vec<u64>,
    /// What lies beyond the current era, by era.
    far: BTreeMap<u64, Vec<Entry>>,
    slab: Vec<Option<T>>,
    free: Vec<u32>,
    /// How many entries wait.
    waiting: usize,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Agenda<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            ready: Vec::new(),
            head: 0,
            current: 0,
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            spare: Vec::new(),
            filled: vec![0; BUCKETS / 64],
            far: BTreeMap::new(),
            slab: Vec::new(),
            free: Vec::new(),
            waiting: 0,
        }
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry, which must not lie before the last one popped. Without a `what` it takes little
    /// memory.
    pub fn push(&mut self, when: When, what: impl Into<Option<T>>) {
        let slot = what.into().map_or(BARE, |what| self.store(what));
        self.waiting += 1;
        let entry = Entry { when, slot };
        let bucket = when.time >> BUCKET_BITS;
        if bucket <= self.current {
            // Into the bucket that is being emptied: among what is left of it.
            let rest = &self.ready[self.head..];
            let place = self.head + rest.partition_point(|other| other.when <= when);
            assert!(
                self.head == 0 || self.ready[self.head - 1].when.time <= when.time,
                "nothing can happen in the past"
            );
            self.ready.insert(place, entry);
        } else if bucket >> BUCKETS_LOG2 == self.current >> BUCKETS_LOG2 {
            self.put(entry);
        } else {
            let era = self.far.entry(when.time >> ERA_BITS).or_default();
            if era.len() == era.capacity() {
                era.reserve_exact(4 + era.len() / 4);
            }
            era.push(entry);
        }
    }

    /// Takes the earliest entry.
    pub fn pop(&mut self) -> Option<(When, Option<T>)> {
        self.advance()?;
        let Entry { when, slot } = self.ready[self.head];
        self.head += 1;
        self.waiting -= 1;
        if slot == BARE {
            return Some((when, None));
        }
        self.free.push(slot);
        let what = self.slab[slot as usize].take();
        assert!(what.is_some(), "an entry's slot is full until it is popped");
        Some((when, what))
    }

    /// When the earliest entry is due.
    pub fn next_time(&mut self) -> Option<u64> {
        self.advance()?;
        Some(self.ready[self.head].when.time)
    }

    /// When and where the earliest entry is due.
    pub fn upcoming(&mut self) -> Option<When> {
        self.advance()?;
        Some(self.ready[self.head].when)
    }

    /// Some of what comes next, at most `n`, without disturbing the order.
    pub fn ahead(&self, n: usize) -> impl Iterator<Item = (When, Option<&T>)> {
        let entries = self.ready[self.head..].iter().take(n);
        entries
            .map(|entry| (entry.when, self.slab.get(entry.slot as usize).and_then(Option::as_ref)))
    }

    fn store(&mut self, what: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slab[slot as usize] = Some(what);
            return slot;
        }
        self.slab.push(Some(what));
        let slot = u32::try_from(self.slab.len() - 1).ok().filter(|slot| *slot != BARE);
        slot.expect("fewer than 2³² entries wait")
    }

    fn put(&mut self, entry: Entry) {
        let bucket = (entry.when.time >> BUCKET_BITS) as usize % BUCKETS;
        let entries = &mut self.buckets[bucket];
        if entries.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *entries = spare;
        }
        entries.push(entry);
        self.filled[bucket / 64] |= 1 << (bucket % 64);
    }

    /// Makes `ready[head]` the earliest entry.
    fn advance(&mut self) -> Option<()> {
        if self.head < self.ready.len() {
            return Some(());
        }
        self.ready.clear();
        self.head = 0;
        let first = self.current as usize % BUCKETS;
        let bucket = match self.next_filled(first) {
            Some(bucket) => bucket,
            None => self.next_era()?,
        };
        let ready = std::mem::take(&mut self.buckets[bucket]);
        let emptied = std::mem::replace(&mut self.ready, ready);
        if emptied.capacity() <= SPARE_MAX {
            self.spare.push(emptied);
        }
        self.filled[bucket / 64] &= !(1 << (bucket % 64));
        self.current = (self.current >> BUCKETS_LOG2 << BUCKETS_LOG2) + bucket as u64;
        self.ready.sort_by_key(|entry| entry.when);
        Some(())
    }

    fn next_filled(&self, first: usize) -> Option<usize> {
        let mut word = first / 64;
        let mut bits = self.filled[word] & (u64::MAX << (first % 64));
        while bits == 0 {
            word += 1;
            bits = *self.filled.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// Spreads the next era that holds anything over the buckets.
    fn next_era(&mut self) -> Option<usize> {
        let (era, entries) = self.far.pop_first()?;
        self.current = era << BUCKETS_LOG2;
        for entry in entries {
            self.put(entry);
        }
        self.next_filled(0)
    }
}
