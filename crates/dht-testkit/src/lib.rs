//! Seeds, hex, golden files: for tests only, a leaf that any crate's tests may use.

mod golden;
mod hex;
mod rng;

pub use golden::{GoldenRecord, golden_dump, golden_dump_names, testdata};
pub use hex::{from_hex, to_hex};
pub use rng::{Rng, for_seeds};
