//! What dump files guarantee, on the real file system and on one that fails.

// These files are tests from end to end; clippy knows only functions with `#[test]` as such.
#![allow(clippy::unwrap_used)]

mod bit_flips;
mod crash;
mod faults;
mod folder;
mod golden;
mod manifest;
mod reader;
mod support;
mod writer;
