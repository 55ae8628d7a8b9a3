//! What the log guarantees, on a disk that fails, fills up, loses power and flips bits.

// These files are tests from end to end; clippy knows only functions with `#[test]` as such.
#![allow(clippy::unwrap_used)]

mod damage;
mod model;
mod power_cut;
mod world;
