//! A converged start: every peer's table straight from the sorted positions, without a join.

use crate::chance::{Chance, Concern};
use crate::peer::{Index, limb};

/// All peers in the order of their positions.
pub struct Population<'a> {
    sorted: &'a [u32],
    chance: &'a Chance,
    k: usize,
    /// The position of the peer before, and the ranges that share 0, 1, 2 … bits with it: who comes
    /// next in the order of positions shares most of them.
    before: u64,
    ranges: Vec<(usize, usize)>,
}

impl<'a> Population<'a> {
    /// The peers `sorted` by position; buckets hold `k`.
    pub fn new(sorted: &'a [u32], chance: &'a Chance, k: u16) -> Self {
        let ranges = vec![(0, sorted.len())];
        Self { sorted, chance, k: usize::from(k), before: 0, ranges }
    }

    /// Appends to `table` what `peer`'s table, who need not be among the peers, holds once the network has converged: of each half of
    /// the key space that it is not in, up to k peers drawn at random, and so on inwards.
    pub fn table(&mut self, peer: u32, table: &mut Vec<Index>) {
        let mine = limb(peer);
        self.ranges.truncate((mine ^ self.before).leading_zeros() as usize + 1);
        self.before = mine;
        let is_one = self.sorted.binary_search_by_key(&mine, |other| limb(*other)).is_ok();
        for bucket in 0.. {
            let (start, end) = self.ranges[bucket];
            if end - start <= usize::from(is_one) {
                return;
            }
            let bit = 1 << (63 - bucket);
            if self.ranges.len() == bucket + 1 {
                let range = &self.sorted[start..end];
                let middle = start + range.partition_point(|other| limb(*other) & bit == 0);
                let own = if mine & bit == 0 { (start, middle) } else { (middle, end) };
                self.ranges.push(own);
            }
            let own = self.ranges[bucket + 1];
            let other = if own.0 == start { (own.1, end) } else { (start, own.0) };
            self.draw(peer, bucket as u64, &self.sorted[other.0..other.1], table);
        }
    }

    /// Draws k of a bucket's peers, or takes all of them where there are no more.
    fn draw(&self, peer: u32, bucket: u64, range: &[u32], table: &mut Vec<Index>) {
        if range.len() <= self.k {
            table.extend(range.iter().map(|other| Index(*other)));
            return;
        }
        // Floyd's sampling: k distinct places in k draws.
        let start = table.len();
        let n = range.len() as u64;
        for (draw, last) in (n - self.k as u64..n).enumerate() {
            let arguments = (u64::from(peer), bucket, draw as u64);
            let (a, b, c) = arguments;
            let place = self.chance.below(last + 1, Concern::Table, a, b, c);
            let drawn = Index(range[place as usize]);
            let fresh = !table[start..].contains(&drawn);
            table.push(if fresh { drawn } else { Index(range[last as usize]) });
        }
    }
}
