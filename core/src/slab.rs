//! Slots with epochs: from a tag to what it stands for in O(1), and never to something else.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::message::Tag;

/// Values under tags. A slot's epoch grows with every use, so that a stale tag finds nothing; it
/// wraps after 2³² uses, long after the last answer to the first use could come.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// None until the first use.
    slots: Option<Box<Slots<T>>>,
    incarnation: u32,
}

#[derive(Debug)]
struct Slots<T> {
    epochs: Vec<u32>,
    /// Not longer than the epochs; shorter where the last slots are empty.
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

/// Room for so many values stays when the last one leaves: a gateway's busy moment costs it nothing
/// for ever after.
const ROOM_KEPT: usize = 4;

impl<T> Slab<T> {
    pub(crate) const fn new(incarnation: u32) -> Self {
        Self { slots: None, incarnation }
    }

    /// An empty one of the same start.
    pub(crate) const fn sibling<U>(&self) -> Slab<U> {
        Slab::new(self.incarnation)
    }

    pub(crate) fn insert(&mut self, value: T) -> Tag {
        let slots = self.slots.get_or_insert_with(|| {
            let values = Vec::with_capacity(1);
            Box::new(Slots { epochs: Vec::with_capacity(1), values, free: Vec::new() })
        });
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.epochs.push(0);
            slots.epochs.len() as u32 - 1
        });
        let at = slot as usize;
        if slots.values.len() <= at {
            slots.values.resize_with(at + 1, || None);
        }
        slots.values[at] = Some(value);
        Tag { slot, epoch: slots.epochs[at], incarnation: self.incarnation }
    }

    pub(crate) fn get(&self, tag: Tag) -> Option<&T> {
        let slots = self.slots.as_ref()?;
        let value = slots.values.get(tag.slot as usize)?.as_ref();
        let same = slots.epochs[tag.slot as usize] == tag.epoch;
        value.filter(|_| same && self.incarnation == tag.incarnation)
    }

    pub(crate) fn get_mut(&mut self, tag: Tag) -> Option<&mut T> {
        let slots = self.slots.as_mut()?;
        let value = slots.values.get_mut(tag.slot as usize)?.as_mut();
        let same = slots.epochs[tag.slot as usize] == tag.epoch;
        value.filter(|_| same && self.incarnation == tag.incarnation)
    }

    pub(crate) fn remove(&mut self, tag: Tag) -> Option<T> {
        self.get(tag)?;
        let slots = self.slots.as_mut()?;
        let at = tag.slot as usize;
        slots.epochs[at] = slots.epochs[at].wrapping_add(1);
        slots.free.push(tag.slot);
        let value = slots.values[at].take();
        if slots.free.len() == slots.epochs.len() && slots.values.capacity() > ROOM_KEPT {
            slots.values = Vec::new();
        }
        value
    }

    /// Everything, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tag, &T)> {
        let slots = self.slots.as_deref().into_iter();
        let entries = slots.flat_map(|slots| slots.epochs.iter().zip(&slots.values));
        entries.enumerate().filter_map(|(slot, (epoch, value))| {
            let incarnation = self.incarnation;
            let tag = Tag { slot: slot as u32, epoch: *epoch, incarnation };
            value.as_ref().map(|value| (tag, value))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.as_ref().map_or(0, |slots| slots.epochs.len() - slots.free.len())
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn is_a_map_whose_keys_never_come_back(
            steps in proptest::collection::vec(any::<(bool, u8)>(), 0..200),
        ) {
            let (mut slab, mut model, mut ever) = (Slab::new(3), BTreeMap::new(), Vec::new());
            for (insert, n) in steps {
                if insert || ever.is_empty() {
                    let tag = slab.insert(n);
                    prop_assert!(!ever.contains(&tag));
                    ever.push(tag);
                    model.insert(tag, n);
                } else {
                    let tag = ever[usize::from(n) % ever.len()];
                    prop_assert_eq!(slab.remove(tag), model.remove(&tag));
                }
                prop_assert_eq!(slab.len(), model.len());
                prop_assert!(ever.iter().all(|tag| slab.get(*tag) == model.get(tag)));
                prop_assert!(slab.iter().eq(model.iter().map(|(tag, value)| (*tag, value))));
            }
        }
    }

    #[test]
    fn a_stale_tag_finds_nothing() {
        let mut slab = Slab::new(7);
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.slot, second.slot);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(Tag { incarnation: 6, ..second }), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn epochs_wrap() {
        let mut slab = Slab::new(0);
        slab.insert(());
        slab.slots.as_mut().expect("it was used").epochs[0] = u32::MAX;
        let last = Tag { slot: 0, epoch: u32::MAX, incarnation: 0 };
        assert!(slab.remove(last).is_some());
        assert_eq!(slab.insert(()).epoch, 0);
        assert!(slab.get(last).is_none());
    }
}
