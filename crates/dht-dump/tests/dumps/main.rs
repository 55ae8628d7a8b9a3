//! What dump files guarantee, on the real file system and on one that fails.

mod crash;
mod faults;
mod folder;
mod golden;
mod memory_disk;
mod reader;
mod support;
mod writer;
