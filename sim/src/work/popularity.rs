//! Which function is called: few often, most seldom.

/// Zipf's law over so many functions.
#[derive(Clone, Debug)]
pub struct Popularity {
    /// The weights of the functions up to and with each, the first one's being [`FIRST`].
    sums: Vec<u64>,
}

/// The weight of the most popular function.
const FIRST: f64 = (1_u64 << 31) as f64;

impl Popularity {
    /// The nth of `count` functions is called n to the power of `exponent` times as seldom as the
    /// first.
    pub fn new(count: u32, exponent: f64) -> Self {
        let mut sum = 0;
        let sums = (1..=count).map(|n| {
            let weight = FIRST / libm::pow(f64::from(n), exponent);
            sum += (weight as u64).max(1);
            sum
        });
        Self { sums: sums.collect() }
    }

    /// The number of a function, by 64 random bits.
    pub fn draw(&self, bits: u64) -> usize {
        let whole = self.sums.last().copied().unwrap_or(0);
        let at = ((u128::from(bits) * u128::from(whole)) >> 64) as u64;
        self.sums.partition_point(|sum| *sum <= at)
    }
}
