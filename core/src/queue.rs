//! The calls that wait for a slot of this host: fair among owners of functions, for each of them among
//! callers, and in order for each of these.
//!
//! They take turns (Nagle 1987, "On packet switches with infinite storage"), so that one that floods
//! waits for itself.

use alloc::collections::BTreeMap;

use crate::idle::Empty;
use crate::key::{Name, Owner, Peer};
use crate::time::Time;
use crate::turn::Call;

/// A call that waits.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Waiting<P> {
    pub(crate) call: Call,
    pub(crate) caller: P,
    pub(crate) pool: Pool,
    pub(crate) function: Name,
    pub(crate) arrived: Time,
    pub(crate) deadline: Time,
}

/// Whose functions' calls share places: those of an owner that this host knows, and those of all others
/// together, so that who makes up owners gains nothing.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Pool {
    Of(Owner),
    Unknown,
}

/// All calls that wait. Everything takes O(log n), but for the pools, which are few: as many as owners
/// are known whose functions are hosted here.
#[derive(Debug)]
pub(crate) struct Queue<P> {
    /// Each with its place among its caller's.
    waiting: BTreeMap<Call, (u64, Waiting<P>)>,
    lines: BTreeMap<(Pool, P), Line>,
    /// Callers that have calls here, by their turns in their pools.
    turns: BTreeMap<(Pool, u64), P>,
    /// Pools that have calls here: the turn of each, and how many.
    pools: BTreeMap<Pool, (u64, u16)>,
    /// The next place or turn.
    next: u64,
}

impl<P: Peer> Empty for Queue<P> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

/// What waits of one caller.
#[derive(Debug)]
struct Line {
    turn: u64,
    calls: BTreeMap<u64, Call>,
}

impl<P: Peer> Queue<P> {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            lines: BTreeMap::new(),
            turns: BTreeMap::new(),
            pools: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn contains(&self, call: Call) -> bool {
        self.waiting.contains_key(&call)
    }

    /// How many calls of a caller wait, for functions of any owner.
    pub(crate) fn of_caller(&self, caller: P) -> usize {
        let lines = self.pools.keys().filter_map(|pool| self.lines.get(&(*pool, caller)));
        lines.map(|line| line.calls.len()).sum()
    }

    /// How many calls of a pool wait.
    pub(crate) fn of_pool(&self, pool: Pool) -> usize {
        self.pools.get(&pool).map_or(0, |(_, n)| usize::from(*n))
    }

    /// Whether a call of a function waits.
    pub(crate) fn has(&self, function: Name) -> bool {
        self.waiting.values().any(|(_, waiting)| waiting.function == function)
    }

    /// How many calls of a function wait.
    pub(crate) fn of_function(&self, function: Name) -> usize {
        self.waiting.values().filter(|(_, waiting)| waiting.function == function).count()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// At the end of its caller's line; a caller that had none waiting has its turn after the others.
    pub(crate) fn push(&mut self, waiting: Waiting<P>) {
        let (call, caller, place) = (waiting.call, waiting.caller, self.number());
        let pool = waiting.pool;
        let last = self.number();
        self.pools.entry(pool).or_insert((last, 0)).1 += 1;
        let turns = &mut self.turns;
        let line = self.lines.entry((pool, caller)).or_insert_with(|| {
            turns.insert((pool, last), caller);
            Line { turn: last, calls: BTreeMap::new() }
        });
        line.calls.insert(place, call);
        self.waiting.insert(call, (place, waiting));
    }

    pub(crate) fn remove(&mut self, call: Call) -> Option<Waiting<P>> {
        let (place, waiting) = self.waiting.remove(&call)?;
        let (pool, caller) = (waiting.pool, waiting.caller);
        let line = self.lines.get_mut(&(pool, caller)).expect("who waits has a line");
        line.calls.remove(&place);
        if line.calls.is_empty() {
            self.turns.remove(&(pool, line.turn));
            self.lines.remove(&(pool, caller));
        }
        let (_, n) = self.pools.get_mut(&pool).expect("whose calls wait has a pool");
        *n -= 1;
        if *n == 0 {
            self.pools.remove(&pool);
        }
        Some(waiting)
    }

    /// The first call of the caller whose turn it is, of the pool whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<Waiting<P>> {
        let last = self.number();
        let (turn, pool) = self.pools.iter().map(|(pool, (turn, _))| (*turn, *pool)).min()?;
        debug_assert!(turn < last, "turns are given in order");
        self.pools.get_mut(&pool).expect("it was just found").0 = last;
        let next = self.turns.range((pool, 0)..=(pool, u64::MAX)).next();
        let (&key, &caller) = next.expect("a pool has callers");
        self.turns.remove(&key);
        self.turns.insert((pool, last), caller);
        let line = self.lines.get_mut(&(pool, caller)).expect("who has a turn has a line");
        line.turn = last;
        let call = *line.calls.first_key_value().expect("no line is empty").1;
        self.remove(call)
    }
}
