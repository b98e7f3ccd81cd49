//! Tags: each is of a slot, and of its uses before.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use super::{Law, Verdict, must};
use crate::message::Tag;

/// The slots of a core's tags: how often each was used.
#[derive(Clone, Debug, Default)]
pub(super) struct Tags {
    epochs: Vec<u32>,
}

impl Tags {
    pub(super) const fn new() -> Self {
        Self { epochs: Vec::new() }
    }

    /// A tag is used for the first time.
    pub(super) fn take(&mut self, tag: Tag) -> Verdict {
        let slot = tag.slot as usize;
        // Slots can be indexed: there is none beyond the next.
        if slot == self.epochs.len() {
            self.epochs.push(u32::MAX);
        }
        let expected = self.epochs.get_mut(slot).map(|epoch| {
            *epoch = epoch.wrapping_add(1);
            *epoch
        });
        must(expected == Some(tag.epoch), Law::Tag, || match expected {
            Some(epoch) => format!("{} where the slot's next use is {epoch}", Short(tag)),
            None => format!("{} where there are {} slots", Short(tag), self.epochs.len()),
        })
    }
}

/// A tag in few characters.
pub(super) struct Short(pub(super) Tag);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.0.slot, self.0.epoch)
    }
}
