//! Slots with epochs: from a tag to what it stands for in O(1), and never to something else.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::message::Tag;
use crate::narrow::Narrow;

/// Values under tags. A slot's epoch grows with every use, so that a stale tag finds nothing; it
/// wraps after 2³² uses, long after the last answer to the first use could come.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// None until the first use.
    slots: Option<Box<Slots<T>>>,
}

#[derive(Debug)]
struct Slots<T> {
    /// Two numbers a slot: its epoch; and, while it is free, one more than the slot that is to be
    /// taken after it, or zero.
    uses: Narrow,
    /// Not longer than the slots; shorter where the last slots are empty.
    values: Vec<Option<T>>,
    /// One more than the free slot that is to be taken next: the one that was freed last; or zero.
    free: u32,
    live: u32,
    /// Of the core, which is part of each tag.
    incarnation: u32,
}

impl<T> Slots<T> {
    const fn new(incarnation: u32) -> Self {
        Self { uses: Narrow::new(), values: Vec::new(), free: 0, live: 0, incarnation }
    }

    fn has(&self, tag: Tag) -> bool {
        self.epoch(tag.slot) == Some(tag.epoch) && self.incarnation == tag.incarnation
    }

    fn epoch(&self, slot: u32) -> Option<u32> {
        self.uses.get(2 * slot as usize)
    }

    /// A slot that nobody has.
    fn take(&mut self) -> u32 {
        self.live += 1;
        let Some(slot) = self.free.checked_sub(1) else {
            self.uses.push(0);
            self.uses.push(0);
            return self.uses.len() as u32 / 2 - 1;
        };
        self.free = self.uses.get(2 * slot as usize + 1).expect("a free slot is one of them");
        slot
    }

    fn give_back(&mut self, slot: u32) {
        self.live -= 1;
        let epoch = self.epoch(slot).expect("only a slot that was taken is given back");
        self.uses.set(2 * slot as usize, epoch.wrapping_add(1));
        self.uses.set(2 * slot as usize + 1, self.free);
        self.free = slot + 1;
        if self.live == 0 && self.values.capacity() * size_of::<Option<T>>() > ROOM_KEPT {
            self.values = Vec::new();
        }
    }
}

/// So many bytes of room for values stay when the last one leaves: a busy moment costs nothing for
/// ever after.
const ROOM_KEPT: usize = 32;

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: None }
    }

    /// Puts a value in, in a core of this incarnation.
    pub(crate) fn insert(&mut self, incarnation: u32, value: T) -> Tag {
        let slots = self.slots.get_or_insert_with(|| Box::new(Slots::new(incarnation)));
        let slot = slots.take();
        let at = slot as usize;
        if slots.values.capacity() == 0 {
            slots.values.reserve_exact(at + 1);
        }
        if slots.values.len() <= at {
            slots.values.resize_with(at + 1, || None);
        }
        slots.values[at] = Some(value);
        let epoch = slots.epoch(slot).expect("it was just taken");
        Tag { slot, epoch, incarnation }
    }

    pub(crate) fn get(&self, tag: Tag) -> Option<&T> {
        let slots = self.slots.as_ref()?;
        let value = slots.values.get(tag.slot as usize)?.as_ref();
        let same = slots.has(tag);
        value.filter(|_| same)
    }

    pub(crate) fn get_mut(&mut self, tag: Tag) -> Option<&mut T> {
        let slots = self.slots.as_mut()?;
        let same = slots.has(tag);
        let value = slots.values.get_mut(tag.slot as usize)?.as_mut();
        value.filter(|_| same)
    }

    pub(crate) fn remove(&mut self, tag: Tag) -> Option<T> {
        self.get(tag)?;
        let slots = self.slots.as_mut()?;
        let value = slots.values[tag.slot as usize].take();
        slots.give_back(tag.slot);
        value
    }

    /// Everything, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Tag, &T)> {
        let slots = self.slots.as_deref().into_iter();
        slots.flat_map(|slots| {
            (0..).zip(&slots.values).filter_map(|(slot, value)| {
                let incarnation = slots.incarnation;
                let tag = Tag { slot, epoch: slots.epoch(slot)?, incarnation };
                value.as_ref().map(|value| (tag, value))
            })
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.as_ref().map_or(0, |slots| slots.live as usize)
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
            let (mut slab, mut model, mut ever) = (Slab::new(), BTreeMap::new(), Vec::new());
            for (insert, n) in steps {
                if insert || ever.is_empty() {
                    let tag = slab.insert(3, n);
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
        let mut slab = Slab::new();
        let first = slab.insert(7, 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert(7, 'b');
        assert_eq!(first.slot, second.slot);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(Tag { incarnation: 6, ..second }), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn epochs_wrap() {
        let mut slab = Slab::new();
        slab.insert(0, ());
        slab.slots.as_mut().expect("it was used").uses.set(0, u32::MAX);
        let last = Tag { slot: 0, epoch: u32::MAX, incarnation: 0 };
        assert!(slab.remove(last).is_some());
        assert_eq!(slab.insert(0, ()).epoch, 0);
        assert!(slab.get(last).is_none());
    }
}
