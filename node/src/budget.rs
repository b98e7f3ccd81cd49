//! Memory that many share: a number of bytes, taken piece by piece and given back together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// What is counted: a permit is so many bytes.
const UNIT_BYTES: usize = 1024;

/// A number of bytes for what is held at the same time.
///
/// Whoever waits for more holds some already, and if all did, none would ever finish. So one share
/// at a time may go on beyond the budget: what is held is at most the budget and one share.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    beyond: Arc<Semaphore>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let units = Arc::new(Semaphore::new(bytes / UNIT_BYTES));
        Self { units, beyond: Arc::new(Semaphore::new(1)) }
    }

    /// A share of nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), units: None, beyond: None, bytes: 0 }
    }
}

/// What one holder has of a [`Budget`]; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    units: Option<OwnedSemaphorePermit>,
    /// It need not ask any more.
    beyond: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Share {
    /// Takes `bytes` more; waits until there are some, or until it is the one that may go on.
    pub(crate) async fn grow(&mut self, bytes: usize) {
        if self.try_grow(bytes) {
            return;
        }
        let wanted = self.missing(bytes);
        tokio::select! {
            more = self.budget.units.clone().acquire_many_owned(wanted) => {
                self.add(more.expect("it is never closed"));
            }
            turn = self.budget.beyond.clone().acquire_owned() => {
                self.beyond = Some(turn.expect("it is never closed"));
            }
        }
        self.bytes += bytes;
    }

    /// Takes `bytes` more if there are as many.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let wanted = self.missing(bytes);
        if wanted > 0 && self.beyond.is_none() {
            match self.budget.units.clone().try_acquire_many_owned(wanted) {
                Ok(more) => self.add(more),
                Err(TryAcquireError::NoPermits) => return false,
                Err(TryAcquireError::Closed) => unreachable!("it is never closed"),
            }
        }
        self.bytes += bytes;
        true
    }

    /// Units to take for `bytes` more: small pieces share one.
    fn missing(&self, bytes: usize) -> u32 {
        let held = self.units.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = (self.bytes + bytes).div_ceil(UNIT_BYTES);
        u32::try_from(wanted.saturating_sub(held)).unwrap_or(u32::MAX)
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.units {
            Some(units) => units.merge(more),
            None => self.units = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn one_share_goes_on_beyond_the_budget_and_others_wait() {
        let budget = Budget::new(4 * UNIT_BYTES);
        let (mut one, mut two, mut three) = (budget.share(), budget.share(), budget.share());
        assert!(one.try_grow(100) && one.try_grow(900), "within one unit");
        assert_eq!(budget.units.available_permits(), 3);
        assert!(two.try_grow(2 * UNIT_BYTES) && three.try_grow(UNIT_BYTES));
        assert!(!one.try_grow(UNIT_BYTES));
        assert!(one.grow(UNIT_BYTES).now_or_never().is_some(), "the one that may");
        assert!(one.grow(9 * UNIT_BYTES).now_or_never().is_some(), "and may again");
        assert!(two.grow(UNIT_BYTES).now_or_never().is_none());
        drop(three);
        assert!(two.grow(UNIT_BYTES).now_or_never().is_some(), "what was given back");
        assert!(two.grow(UNIT_BYTES).now_or_never().is_none());
        drop(one);
        assert!(two.grow(UNIT_BYTES).now_or_never().is_some());
        drop(two);
        assert_eq!(budget.units.available_permits(), 4);
        assert_eq!(budget.beyond.available_permits(), 1);
    }
}
