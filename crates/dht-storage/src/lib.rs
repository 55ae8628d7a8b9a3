//! Records in memory, shared by all workers. No wire types, no files.
//!
//! ```text
//! store.rs     Store     channels by name                    events.rs  who is told of changes
//!   channel.rs   Channel   get, put, remove, update, scan    cursor.rs  a position of a scan
//!     batch.rs     many look-ups at a time                   mix.rs     key <-> shard, tag, low
//!     shard.rs     Shard     a lock; heap and tables
//!       table/       Table     one channel's index: directory, segments, entries
//!       heap/        Heap      regions, spans, slots         record.rs  one record's bytes
//!     sequence.rs  numbers of changes                        raw.rs     the only unsafe code
//! ```
//!
//! A channel is split by (mixed) key into shards, each behind a small lock that is held for one
//! record or one bounded scan step. A record costs 8 bytes of index at a load near 0.85, 4 of the 8
//! bytes of its key, 1 to 5 of length, and the rounding of its slot. Nothing is ever moved in bulk:
//! growth is a matter of one segment of at most [`ENTRIES_MOVED_MAX`] index entries.

mod batch;
mod channel;
mod cursor;
mod events;
mod heap;
mod mix;
mod raw;
mod record;
mod sequence;
mod shard;
mod store;
mod table;
mod usage;

pub use channel::{Change, Channel, Notify, PutError, PutOutcome};
pub use cursor::Cursor;
pub use events::{Event, Interest, Subscription, SubscriptionMeter, Wake};
pub use record::VALUE_BYTES_MAX;
pub use sequence::Sequence;
pub use store::{CHANNELS_MAX, Store, StoreOptions, TooManyChannels};
pub use table::ENTRIES_MOVED_MAX;
pub use usage::{MemoryUse, Usage};
