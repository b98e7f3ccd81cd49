//! Every reader of others' bytes, over its corpus and over seeded bytes.

use std::path::Path;

use peerless_node::fuzz::TARGETS;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Bytes that are changed in a few places, or were never anything else.
fn bytes(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = if random.next().is_multiple_of(2) {
        (0..random.next() % 200).map(|_| random.next() as u8).collect()
    } else {
        seeds[random.next() as usize % seeds.len()].clone()
    };
    for _ in 0..=random.next() % 4 {
        if !bytes.is_empty() {
            let at = random.next() as usize % bytes.len();
            match random.next() % 4 {
                0 => bytes[at] = random.next() as u8,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, random.next() as u8),
                _ => bytes[at] ^= 1 << (random.next() % 8),
            }
        }
    }
    bytes
}

#[test]
fn no_bytes_make_a_reader_panic() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for (name, target) in TARGETS {
        let files = std::fs::read_dir(corpora.join(name)).unwrap();
        let seeds: Vec<Vec<u8>> =
            files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(!seeds.is_empty(), "{name} has a corpus");
        for bytes in &seeds {
            target(bytes);
        }
        let mut random = Random(1);
        for _ in 0..20_000 {
            target(&bytes(&mut random, &seeds));
        }
    }
}
