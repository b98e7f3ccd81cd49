//! Tags: each is of a slot, and of its uses before.

use alloc::format;
use core::fmt;

use super::{Law, Verdict, must};
use crate::idle::Empty;
use crate::message::Tag;
use crate::narrow::Narrow;

/// The slots of a core's tags: how often each was used.
#[derive(Clone, Debug, Default)]
pub(super) struct Tags {
    epochs: Narrow,
}

impl Tags {
    pub(super) const fn new() -> Self {
        Self { epochs: Narrow::new() }
    }

    /// A tag is used for the first time.
    pub(super) fn take(&mut self, tag: Tag) -> Verdict {
        let slot = tag.slot as usize;
        let expected = match self.epochs.get(slot) {
            Some(epoch) => {
                let next = epoch.wrapping_add(1);
                self.epochs.set(slot, next);
                Some(next)
            }
            // Slots can be indexed: there is none beyond the next.
            None if slot == self.epochs.len() => {
                self.epochs.push(0);
                Some(0)
            }
            None => None,
        };
        must(expected == Some(tag.epoch), Law::Tag, || match expected {
            Some(epoch) => format!("{} where the slot's next use is {epoch}", Short(tag)),
            None => format!("{} where there are {} slots", Short(tag), self.epochs.len()),
        })
    }
}

impl Empty for Tags {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

/// A tag in few characters.
pub(super) struct Short(pub(super) Tag);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.0.slot, self.0.epoch)
    }
}
