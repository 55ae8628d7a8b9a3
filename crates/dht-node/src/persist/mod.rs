//! From dump files into the store at start, and back at shutdown.

mod dump;
mod load;
mod percent;

pub(crate) use dump::dump_all;
pub(crate) use load::{LoadError, LoadOptions, load_all};

pub use load::OutOfRange;

/// The log name of everything that happens to dump files. Source: spec `node` 8.2.
const DUMP_LOG: &str = "dhtnode.storage.DumpManager";
/// The log name of loading and closing as a whole.
const CHANNELS_LOG: &str = "dhtnode.storage.MemoryStorageChannels";
