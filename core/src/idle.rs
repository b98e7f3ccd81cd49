//! What most peers of a large network never use costs each of them a pointer.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

use crate::few::{Map, Set};

/// A value that is empty to begin with, and shared by all that still are.
pub(crate) trait Empty: 'static {
    /// The empty value.
    const EMPTY: &'static Self;

    /// A new one.
    fn empty() -> Self;
}

impl<T: 'static> Empty for Vec<T> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

impl<T: 'static> Empty for Set<T> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

impl<K: 'static, V: 'static> Empty for Map<K, V> {
    const EMPTY: &'static Self = &Self::new();

    fn empty() -> Self {
        Self::new()
    }
}

/// A value that takes memory from its first change on. Reading it takes none.
#[derive(Clone, Debug)]
pub(crate) struct Idle<T>(Option<Box<T>>);

impl<T> Idle<T> {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Gives the memory back: to be called only when the value is empty again.
    pub(crate) fn release(&mut self) {
        self.0 = None;
    }
}

impl<T: Empty> Deref for Idle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Idle<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(T::empty()))
    }
}
