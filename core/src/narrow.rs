//! Numbers that are small in nearly every peer: how often a slot was used, and which slot comes next.

use alloc::vec::Vec;

/// A vector of numbers, in as many bytes each as the largest so far takes: one, two or four.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrow {
    /// First how many bytes a number takes, then the numbers; nothing where there is none.
    bytes: Vec<u8>,
}

impl Narrow {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    fn width(&self) -> usize {
        self.bytes.first().map_or(1, |width| usize::from(*width))
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len().saturating_sub(1) / self.width()
    }

    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<u32> {
        let [width, numbers @ ..] = &self.bytes[..] else {
            return None;
        };
        match width {
            1 => numbers.get(at).map(|byte| u32::from(*byte)),
            2 => numbers.as_chunks().0.get(at).map(|bytes| u16::from_le_bytes(*bytes).into()),
            _ => numbers.as_chunks().0.get(at).map(|bytes| u32::from_le_bytes(*bytes)),
        }
    }

    /// Changes a number that is there.
    pub(crate) fn set(&mut self, at: usize, number: u32) {
        self.widen(number);
        let width = self.width();
        let start = 1 + at * width;
        self.bytes[start..start + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }

    pub(crate) fn push(&mut self, number: u32) {
        self.widen(number);
        let width = self.width();
        if self.bytes.is_empty() {
            self.bytes.reserve_exact(1 + width);
            self.bytes.push(width as u8);
        }
        if self.bytes.capacity() - self.bytes.len() < width {
            self.bytes.reserve_exact((self.bytes.len() / 4).max(8 * width));
        }
        self.bytes.extend_from_slice(&number.to_le_bytes()[..width]);
    }

    /// Makes room for a number in each place.
    fn widen(&mut self, number: u32) {
        let needed = match number {
            0..=0xFF => 1,
            0x100..=0xFFFF => 2,
            _ => 4,
        };
        if needed <= self.width() {
            return;
        }
        let numbers = (0..self.len()).filter_map(|at| self.get(at));
        let mut bytes = Vec::with_capacity(1 + (1 + self.len()) * needed);
        bytes.push(needed as u8);
        numbers.for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()[..needed]));
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn is_a_vector_of_numbers(
            steps in proptest::collection::vec((any::<bool>(), any::<u8>(), any::<u32>(), 0..32_u32), 0..100),
        ) {
            let (mut narrow, mut model) = (Narrow::new(), Vec::new());
            for (push, at, number, shift) in steps {
                let number = number >> shift;
                if push || model.is_empty() {
                    narrow.push(number);
                    model.push(number);
                } else {
                    let at = usize::from(at) % model.len();
                    narrow.set(at, number);
                    model[at] = number;
                }
                prop_assert_eq!(narrow.len(), model.len());
                let all: Vec<u32> = (0..).map_while(|at| narrow.get(at)).collect();
                prop_assert_eq!(&all, &model);
            }
        }
    }

    #[test]
    fn forty_slots_take_a_byte_each() {
        let mut narrow = Narrow::new();
        (0..40).for_each(|number| narrow.push(number));
        assert!(narrow.bytes.capacity() <= 1 + 40 + 10);
    }
}
