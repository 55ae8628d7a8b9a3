//! Seeded randomness: the same seed gives the same run on every machine.

use std::ops::Range;

/// A small, fast generator (SplitMix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose whole future is `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `limit`, which must not be 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        ((self.next() as u128 * limit as u128) >> 64) as u64
    }

    /// A number in `range`, which must not be empty.
    pub const fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below((range.end - range.start) as u64) as usize
    }

    /// True once in `n` times.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Random bytes; the length is drawn from `len`.
    pub fn bytes(&mut self, len: Range<usize>) -> Vec<u8> {
        (0..self.within(len)).map(|_| self.next() as u8).collect()
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.within(0..items.len())]
    }
}

/// Runs `test` once for each of the seeds 0..`count`; with `SEED=17` in the environment, for that
/// one alone. A panic is passed on after the seed was printed.
pub fn for_seeds(count: u64, test: impl Fn(&mut Rng) + std::panic::RefUnwindSafe) {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("SEED is a decimal number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| test(&mut Rng::new(seed)));
        if let Err(panic) = run {
            eprintln!("failed with SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
