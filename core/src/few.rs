//! Ordered maps and sets that are as large as what is in them. A leaf of the standard library's trees
//! has room for eleven entries from the first one on; nearly every peer of a large network has one or two.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::ops::{Index, RangeInclusive};

/// Up to so many entries a sorted vector is searched; beyond them a tree.
const FEW: usize = 24;

/// A map in the order of its keys: `BTreeMap`'s contract and names, in as much memory as the entries
/// need, and a pointer where there is none.
#[derive(Clone)]
pub struct Map<K, V>(Option<Box<Entries<K, V>>>);

/// At least one.
#[derive(Clone)]
enum Entries<K, V> {
    /// Sorted by key.
    Few(Vec<(K, V)>),
    #[expect(clippy::box_collection, reason = "in line it would make the few larger")]
    Many(Box<BTreeMap<K, V>>),
}

use Entries::{Few, Many};

impl<K, V> Map<K, V> {
    /// An empty one, which takes no memory.
    pub const fn new() -> Self {
        Self(None)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self.0.as_deref() {
            None => 0,
            Some(Few(few)) => few.len(),
            Some(Many(many)) => many.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// All entries.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let (few, many) = match self.0.as_deref() {
            None => (&[][..], None),
            Some(Few(few)) => (&few[..], None),
            Some(Many(many)) => (&[][..], Some(many.iter())),
        };
        few.iter().map(|(key, value)| (key, value)).chain(many.into_iter().flatten())
    }

    /// All keys.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> Map<K, V> {
    /// The value under a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match self.0.as_deref()? {
            Few(few) => place(few, key).ok().map(|at| &few[at].1),
            Many(many) => many.get(key),
        }
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self.0.as_deref_mut()? {
            Few(few) => place(few, key).ok().map(|at| &mut few[at].1),
            Many(many) => many.get_mut(key),
        }
    }

    /// Whether there is a value under a key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Puts a value under a key; the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let entries = self.0.get_or_insert_with(|| Box::new(Few(Vec::new())));
        match &mut **entries {
            Few(few) => match place(few, &key) {
                Ok(at) => return Some(mem::replace(&mut few[at].1, value)),
                Err(at) => insert_exact(few, at, (key, value)),
            },
            Many(many) => return many.insert(key, value),
        }
        if let Few(few) = &mut **entries
            && few.len() > FEW
        {
            **entries = Many(Box::new(mem::take(few).into_iter().collect()));
        }
        None
    }

    /// The value under a key, which is made where there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V
    where
        K: Copy,
    {
        if !self.contains_key(&key) {
            self.insert(key, make());
        }
        self.get_mut(&key).expect("it was just put there")
    }

    /// The same with the type's standard value.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        K: Copy,
        V: Default,
    {
        self.get_or_insert_with(key, V::default)
    }

    /// Takes out what is under a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let value = match self.0.as_deref_mut()? {
            Few(few) => few.remove(place(few, key).ok()?).1,
            Many(many) => many.remove(key)?,
        };
        self.shrink();
        Some(value)
    }

    /// Takes out the first entry.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let entry = match self.0.as_deref_mut()? {
            Few(few) => few.remove(0),
            Many(many) => many.pop_first()?,
        };
        self.shrink();
        Some(entry)
    }

    /// Drops the entries of which `keep` does not hold.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        match self.0.as_deref_mut() {
            None => {}
            Some(Few(few)) => few.retain_mut(|(key, value)| keep(key, value)),
            Some(Many(many)) => many.retain(keep),
        }
        self.shrink();
    }

    /// The entries with keys in a range; none where its start lies behind its end.
    pub fn range(&self, range: RangeInclusive<K>) -> impl DoubleEndedIterator<Item = (&K, &V)>
    where
        K: Copy,
    {
        let (first, last) = range.into_inner();
        let (few, many) = match self.0.as_deref() {
            None => (&[][..], None),
            Some(Few(few)) => {
                let from = few.partition_point(|(key, _)| *key < first);
                let to = few.partition_point(|(key, _)| *key <= last);
                (few.get(from..to).unwrap_or_default(), None)
            }
            Some(Many(many)) => (&[][..], (first <= last).then(|| many.range(first..=last))),
        };
        few.iter().map(|(key, value)| (key, value)).chain(many.into_iter().flatten())
    }

    /// Gives back what is not needed any more.
    fn shrink(&mut self) {
        match self.0.as_deref_mut() {
            Some(Few(few)) if few.is_empty() => self.0 = None,
            Some(Few(few)) if few.capacity() > 2 * few.len() => few.shrink_to_fit(),
            Some(entries @ Many(_)) => {
                if let Many(many) = entries
                    && many.len() <= FEW / 2
                {
                    *entries = Few(mem::take(&mut **many).into_iter().collect());
                }
            }
            Some(Few(_)) | None => {}
        }
    }
}

fn place<K: Ord, V>(few: &[(K, V)], key: &K) -> Result<usize, usize> {
    few.binary_search_by(|(other, _)| other.cmp(key))
}

/// As [`Vec::insert`], with less room to spare.
pub(crate) fn insert_exact<T>(all: &mut Vec<T>, at: usize, one: T) {
    if all.len() == all.capacity() {
        all.reserve_exact(1 + all.len() / 2);
    }
    all.insert(at, one);
}

/// As [`Vec::push`], with less room to spare.
pub(crate) fn push_exact<T>(all: &mut Vec<T>, one: T) {
    insert_exact(all, all.len(), one);
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> Index<&K> for Map<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("there is a value under the key")
    }
}

/// A set in the order of its members: `BTreeSet`'s contract and names, as [`Map`].
#[derive(Clone, Debug)]
pub struct Set<T>(Map<T, ()>);

impl<T> Set<T> {
    /// An empty one, which takes no memory.
    pub const fn new() -> Self {
        Self(Map::new())
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops all members.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All members.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.keys()
    }
}

impl<T: Ord> Set<T> {
    /// Whether this is a member.
    pub fn contains(&self, member: &T) -> bool {
        self.0.contains_key(member)
    }

    /// Adds a member; whether it is new.
    pub fn insert(&mut self, member: T) -> bool {
        self.0.insert(member, ()).is_none()
    }

    /// Takes a member out; whether it was one.
    pub fn remove(&mut self, member: &T) -> bool {
        self.0.remove(member).is_some()
    }

    /// Takes out the first member.
    pub fn pop_first(&mut self) -> Option<T> {
        self.0.pop_first().map(|(member, ())| member)
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Also across the border between few and many, in both directions.
        #[test]
        fn is_the_standard_map(
            steps in proptest::collection::vec((0..16u8, 0..64u8), 0..400), grows in any::<bool>(),
        ) {
            let (mut map, mut model) = (Map::new(), BTreeMap::new());
            for (n, (what, key)) in steps.into_iter().enumerate() {
                let inserts = if grows { 12 } else { 6 };
                match what {
                    0 => prop_assert_eq!(map.pop_first(), model.pop_first()),
                    1 => {
                        map.retain(|other, value| *other % 8 != key % 8 || *value > 200);
                        model.retain(|other, value| *other % 8 != key % 8 || *value > 200);
                    }
                    2 => {
                        *map.get_or_default(key) += 1;
                        *model.entry(key).or_default() += 1;
                    }
                    3 => prop_assert_eq!(map.get_mut(&key), model.get_mut(&key)),
                    _ if what < inserts => {
                        prop_assert_eq!(map.insert(key, n), model.insert(key, n));
                    }
                    _ => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(map.contains_key(&key), model.contains_key(&key));
                prop_assert!(map.iter().eq(model.iter()) && map.iter().rev().eq(model.iter().rev()));
                prop_assert!(map.range(key..=40).eq(model.iter().filter(|(k, _)| (key..=40).contains(*k))));
                if let Some(Few(few)) = map.0.as_deref() {
                    prop_assert!(few.len() <= FEW && few.capacity() <= 2 * few.len());
                }
            }
        }
    }

    #[test]
    fn an_empty_map_is_a_pointer_and_one_entry_takes_no_room_for_more() {
        let mut map = Map::new();
        assert_eq!(size_of_val(&map), size_of::<usize>());
        map.insert([7_u8; 32], 1_u64);
        assert!(matches!(map.0.as_deref(), Some(Few(few)) if few.capacity() == 1));
        map.remove(&[7; 32]);
        assert!(map.0.is_none());
    }
}
