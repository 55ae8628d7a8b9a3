//! No acknowledged write is lost: the log of changes, from the worker that makes them to the next
//! start.
//!
//! ```text
//! config.rs      [Log]: the durability level of each channel
//! journal.rs     Journal   a worker's: gathers what a turn changes, writes it before the answers
//! syncer.rs      Syncer    level `disk`: a thread that syncs what a worker wrote, for all who wait
//! keeper.rs      Keeper    all workers': which segments the dumps make useless; what is wrong
//! recovery.rs    at start: what the log holds, and its way back into the store
//! ```
//!
//! The bytes are dht-log's, see docs/log-format.md. docs/durability.md tells operators.

mod config;
mod journal;
mod keeper;
mod recovery;
mod syncer;

pub use config::{DurabilityConfig, Level};
pub(crate) use journal::{Fate, Journal, JournalOptions, NotLogged};
pub(crate) use keeper::{Keeper, LogReport};
pub(crate) use recovery::{
    Position, Recovery, RecoveryError, ReplayOptions, boot_id, position_of_dump,
};

#[cfg(test)]
mod power_cut_tests;

/// The log name of everything that happens to the log of changes.
const CHANGES_LOG: &str = "dhtnode.storage.ChangeLog";
