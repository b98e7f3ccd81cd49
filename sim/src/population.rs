//! A converged start: every peer's table straight from the sorted positions, without a join.

use crate::chance::{Chance, Concern};
use crate::peer::{Index, limb};

/// All peers in the order of their positions.
pub struct Population<'a> {
    sorted: &'a [u32],
    chance: &'a Chance,
    k: usize,
}

impl<'a> Population<'a> {
    /// The peers `sorted` by position; buckets hold `k`.
    pub fn new(sorted: &'a [u32], chance: &'a Chance, k: u16) -> Self {
        Self { sorted, chance, k: usize::from(k) }
    }

    /// Appends to `table` what `peer`'s table holds once the network has converged: of each half of
    /// the key space that it is not in, up to k peers drawn at random, and so on inwards.
    pub fn table(&self, peer: u32, table: &mut Vec<Index>) {
        let mine = limb(peer);
        let mut range = self.sorted;
        let mut bit = 1 << 63;
        let mut bucket = 0;
        while range.len() > 1 {
            // A range of n even positions splits near its middle: search outwards from there.
            let middle = range.partition_point(|other| limb(*other) & bit == 0);
            let (zeros, ones) = range.split_at(middle);
            let (own, other) = if mine & bit == 0 { (zeros, ones) } else { (ones, zeros) };
            self.draw(peer, bucket, other, table);
            range = own;
            bit >>= 1;
            bucket += 1;
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
