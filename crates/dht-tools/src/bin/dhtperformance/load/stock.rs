//! Which request comes next.

use dht_types::Key;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use rand_distr::{Distribution as _, Exp1, Zipf};

use super::{Kind, Op, Plan};

/// Which keys the requests have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Keys {
    /// Always the same.
    Single(Key),
    /// 0, 1, ... `count` - 1, and again.
    Sequential { count: u64 },
    /// Each of 0 ... `count` - 1 as often as the others.
    Uniform { count: u64 },
    /// Key k in proportion to 1 / (k + 1)^`exponent`.
    Zipfian { count: u64, exponent: f64 },
}

impl Keys {
    /// How many different keys there are.
    pub(crate) const fn count(self) -> u64 {
        match self {
            Self::Single(_) => 1,
            Self::Sequential { count } | Self::Uniform { count } | Self::Zipfian { count, .. } => {
                count
            }
        }
    }

    /// As `--keys` spells it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Single(_) => "single",
            Self::Sequential { .. } => "sequential",
            Self::Uniform { .. } => "uniform",
            Self::Zipfian { .. } => "zipfian",
        }
    }
}

/// The requests of one thread.
#[derive(Debug)]
pub(super) struct Stock {
    rng: SmallRng,
    mix: Vec<(Kind, u32)>,
    weights: u32,
    keys: Keys,
    zipf: Option<Zipf<f64>>,
    /// The next of a sequence, and how far it is from one of ours to the next.
    at: u64,
    stride: u64,
}

impl Stock {
    /// For thread `thread` of the plan's.
    pub(super) fn new(plan: &Plan, thread: usize) -> Self {
        let (thread, stride) = (thread as u64, plan.threads as u64);
        let zipf = match plan.keys {
            #[expect(clippy::cast_precision_loss, reason = "a weight, not an identity")]
            Keys::Zipfian { count, exponent } => {
                Some(Zipf::new(count as f64, exponent).expect("checked with the options"))
            }
            _ => None,
        };
        Self {
            rng: SmallRng::seed_from_u64(plan.seed.wrapping_add(thread)),
            weights: plan.mix.iter().map(|(_, weight)| weight).sum(),
            mix: plan.mix.clone(),
            keys: plan.keys,
            zipf,
            at: thread,
            stride,
        }
    }

    pub(super) fn next(&mut self) -> Op {
        Op { kind: self.kind(), key: self.key() }
    }

    fn kind(&mut self) -> Kind {
        if let [(kind, _)] = self.mix[..] {
            return kind;
        }
        let mut at = self.rng.random_range(0..self.weights);
        for (kind, weight) in &self.mix {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *kind,
            }
        }
        unreachable!("at is below the sum of the weights")
    }

    fn key(&mut self) -> Key {
        Key(match (self.keys, &self.zipf) {
            (Keys::Single(key), _) => return key,
            (Keys::Sequential { count }, _) => {
                let key = self.at % count;
                self.at += self.stride;
                key
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1..=n")]
            (Keys::Zipfian { count, .. }, Some(zipf)) => {
                (zipf.sample(&mut self.rng) as u64).clamp(1, count) - 1
            }
            (Keys::Uniform { count } | Keys::Zipfian { count, .. }, _) => {
                self.rng.random_range(0..count)
            }
        })
    }

    /// A gap of a Poisson process whose gaps have a mean of 1.
    pub(super) fn gap(&mut self) -> f64 {
        Exp1.sample(&mut self.rng)
    }
}
