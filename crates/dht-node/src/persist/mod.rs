//! From dump files into the store at start, and back: periodically, and at shutdown.
//!
//! ```text
//! load.rs       every dump file, at start
//! dump.rs       a channel into its dump file; all of them at shutdown
//! dumper.rs     the thread that does so while the node serves
//! schedule.rs   when which channel
//! progress.rs   how far a start is: the log's lines, and a bar on a terminal
//! dumps.rs      what became of it; what RemoveChannel and a dump must not do at a time
//! ```

mod dump;
mod dumper;
mod dumps;
mod load;
mod percent;
mod progress;
mod schedule;

pub(crate) use dump::DumpTarget;
#[cfg(test)]
pub(crate) use dump::LogCut;
pub(crate) use dumper::Dumper;
pub(crate) use dumps::{Dumps, Positions, RemoveError};
pub(crate) use load::{LoadError, LoadOptions, LoadedChannel, LogView, Origin, load_all};
pub(crate) use progress::Progress;
pub(crate) use schedule::Schedule;

pub use load::OutOfRange;

/// The log name of everything that happens to dump files. Source: spec `node` 8.2.
const DUMP_LOG: &str = "dhtnode.storage.DumpManager";
/// The log name of loading and closing as a whole.
const CHANNELS_LOG: &str = "dhtnode.storage.MemoryStorageChannels";
