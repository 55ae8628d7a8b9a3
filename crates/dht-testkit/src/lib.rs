//! Seeds, hex, golden files, real node processes, both protocols by hand: for tests only, a leaf
//! that any crate's tests may use.

mod golden;
mod hex;
pub mod instructions;
pub mod legacy;
pub mod neo;
mod node_process;
mod rng;
mod small_disk;

pub use golden::{GoldenRecord, golden_dump, golden_dump_names, testdata};
pub use hex::{from_hex, to_hex};
pub use node_process::{NodeProcess, NodeSettings, Peer, free_port, wait_for};
pub use rng::{Rng, for_seeds};
pub use small_disk::SmallDisk;
