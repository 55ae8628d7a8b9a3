//! Numbers of changes, by which a log of them can be put in order again.
//!
//! ```text
//! change of a record:   number = max(the shard's, the writer's) + 1      under the shard's lock
//! cut:                  cut = greatest number of all shards; then every shard goes on above it
//! ```
//!
//! Two clocks as Lamport's: one in each shard, one with each writer. So of two changes of a record
//! the later one has the greater number, and so it is with two changes by one writer; no memory is
//! shared that is not locked anyway. Changes of different records by different writers may have
//! the same number.

/// The number of a change. As a variable of a writer: the number of its last change, from which it
/// goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);
