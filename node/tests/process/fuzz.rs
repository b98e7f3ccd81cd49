//! The decoders of what strangers send, over a corpus and over seeded bytes.

use std::path::Path;

use peerless_node::wire;

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

#[test]
fn no_bytes_make_a_decoder_panic() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/wire");
    let mut seeds = Vec::new();
    for file in std::fs::read_dir(corpus).unwrap() {
        seeds.push(std::fs::read(file.unwrap().path()).unwrap());
    }
    assert!(seeds.len() >= 4, "the corpus is there");
    for bytes in &seeds {
        wire::fuzz(bytes);
    }

    let mut random = Random(1);
    for round in 0..20_000_u64 {
        let mut bytes = if round % 2 == 0 {
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
        wire::fuzz(&bytes);
    }
}
