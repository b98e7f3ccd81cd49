//! What is remembered of peers and of addresses beyond their connections: rates and faults.
//! Closing a connection and opening another makes nobody a newcomer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::{Limits, clock};

/// Accounts of peers, and as many of sources, that are kept without a connection; the least
/// recently used is forgotten over it. To flush one within ten minutes takes seven connections a
/// second from ever new peers, which the rate of a source does not allow.
const ACCOUNTS_MAX: usize = 4_096;

/// So many refusals are one strike: a peer that never heeds them is cut off in the end.
const REFUSALS_A_STRIKE: usize = 256;

/// What a peer may say of itself at once; then once in ten seconds.
const NEWS_BURST: u32 = 8;

/// Streams of our protocols that a peer may open at once and a second, however low the rate of
/// what it says on them.
const STREAMS_BURST: u32 = 1_024;
const STREAMS_PER_SECOND: u32 = 256;

/// How many peers one address is good for: homes and offices.
const PEERS_A_SOURCE: u32 = 4;

/// The rates and faults of one peer, or of one source of connections.
#[derive(Debug)]
pub(crate) struct Account {
    patience: Bucket,
    connections: Bucket,
    streams: Bucket,
    requests: Bucket,
    calls: Bucket,
    news: Bucket,
    refused: AtomicUsize,
}

impl Account {
    /// The account of so many peers together.
    fn new(limits: &Limits, peers: u32) -> Self {
        let (requests, burst) = (limits.requests_per_second_max, limits.requests_burst_max);
        let connections = limits.connections_per_minute_max.saturating_mul(peers);
        Self {
            patience: Bucket::a_minute(limits.strikes_max.saturating_mul(peers), 1),
            connections: Bucket::a_minute(connections, connections),
            streams: Bucket::new(
                burst.saturating_mul(2).max(STREAMS_BURST),
                requests.saturating_mul(2).max(STREAMS_PER_SECOND),
            ),
            requests: Bucket::new(burst, requests),
            calls: Bucket::new(limits.calls_burst_max, limits.calls_per_second_max),
            news: Bucket::a_minute(NEWS_BURST, 6),
            refused: AtomicUsize::new(0),
        }
    }

    /// Takes a new connection from the rate; false when it is over. So do the others.
    pub(crate) fn connection(&self) -> bool {
        self.connections.take()
    }

    /// A new inbound stream, for whatever it is.
    pub(crate) fn stream(&self) -> bool {
        self.streams.take()
    }

    pub(crate) fn request(&self) -> bool {
        self.requests.take()
    }

    pub(crate) fn call(&self) -> bool {
        self.calls.take()
    }

    /// Something that a peer says of itself.
    pub(crate) fn news(&self) -> bool {
        self.news.take()
    }

    /// Counts a refusal; true when it is one that makes a strike.
    pub(crate) fn refusal(&self) -> bool {
        self.refused.fetch_add(1, Relaxed) % REFUSALS_A_STRIKE == REFUSALS_A_STRIKE - 1
    }

    /// Counts a fault; true when it is one too many.
    pub(crate) fn strike(&self) -> bool {
        self.patience.take();
        self.patience.is_empty()
    }
}

/// Accounts by peer, or by source.
#[derive(Debug)]
pub(crate) struct Accounts<K> {
    /// How many peers share one.
    peers: u32,
    kept: BTreeMap<K, (u64, Arc<Account>)>,
    /// The same keys by when they were used.
    order: BTreeMap<u64, K>,
    clock: u64,
}

impl<K: Copy + Ord> Accounts<K> {
    fn new(peers: u32) -> Self {
        Self { peers, kept: BTreeMap::new(), order: BTreeMap::new(), clock: 0 }
    }

    /// Accounts of peers.
    pub(crate) fn of_peers() -> Self {
        Self::new(1)
    }

    /// Accounts of sources.
    pub(crate) fn of_sources() -> Self {
        Self::new(PEERS_A_SOURCE)
    }

    /// The account of a peer or source; a fresh one for who is new here.
    pub(crate) fn of(&mut self, key: K, limits: &Limits) -> Arc<Account> {
        self.clock += 1;
        let clock = self.clock;
        let fresh = || (clock, Arc::new(Account::new(limits, self.peers)));
        let (used, account) = self.kept.entry(key).or_insert_with(fresh);
        self.order.remove(used);
        *used = clock;
        let account = account.clone();
        self.order.insert(clock, key);
        if self.order.len() > ACCOUNTS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.kept.remove(&oldest);
        }
        account
    }
}

/// A token bucket in integers: millionths of a token.
#[derive(Debug)]
pub(crate) struct Bucket(Mutex<State>);

#[derive(Debug)]
struct State {
    level: u64,
    full: u64,
    per_second: u64,
    at: Option<Instant>,
}

const TOKEN: u64 = 1_000_000;

impl Bucket {
    /// A full bucket of `burst`, refilled by `rate` a second.
    pub(crate) fn new(burst: u32, rate: u32) -> Self {
        Self::of_millionths(burst, u64::from(rate) * TOKEN)
    }

    /// The same, refilled by `rate` a minute.
    fn a_minute(burst: u32, rate: u32) -> Self {
        Self::of_millionths(burst, u64::from(rate) * TOKEN / 60)
    }

    fn of_millionths(burst: u32, per_second: u64) -> Self {
        let full = u64::from(burst) * TOKEN;
        Self(Mutex::new(State { level: full, full, per_second, at: None }))
    }

    /// Takes one; false if there is none.
    pub(crate) fn take(&self) -> bool {
        self.state().take(clock::now())
    }

    fn is_empty(&self) -> bool {
        self.state().level < TOKEN
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        // A day fills any bucket, and keeps the product far from its limit.
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min(86_400_000);
        // Only whole milliseconds count, so the rest of one must not be thrown away.
        if ms > 0 || self.at.is_none() {
            self.level = (self.level + ms.saturating_mul(self.per_second) / 1_000).min(self.full);
            self.at = Some(now);
        }
        let enough = self.level >= TOKEN;
        if enough {
            self.level -= TOKEN;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = clock::now();
        let bucket = Bucket::new(3, 10);
        let take = |ms| bucket.state().take(start + Duration::from_millis(ms));
        assert!(take(0) && take(0) && take(0));
        assert!(!take(0));
        assert!(!take(99));
        assert!(take(100));
        assert!(!take(100));
        assert!(take(10_000) && take(10_000) && take(10_000));
        assert!(!take(10_000));
    }

    #[test]
    fn accounts_are_kept_and_bounded() {
        let limits = Limits { strikes_max: 2, ..Limits::default() };
        let mut accounts = Accounts::of_peers();
        assert!(!accounts.of(0, &limits).strike());
        for other in 1..ACCOUNTS_MAX {
            accounts.of(other, &limits);
        }
        assert!(accounts.of(0, &limits).strike(), "the first strike is remembered");
        for other in 0..2 * ACCOUNTS_MAX {
            accounts.of(10 * ACCOUNTS_MAX + other, &limits);
        }
        assert_eq!((accounts.kept.len(), accounts.order.len()), (ACCOUNTS_MAX, ACCOUNTS_MAX));
        assert!(!accounts.of(0, &limits).strike(), "long forgotten");
    }
}
