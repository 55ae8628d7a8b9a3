//! Storing many records of a channel at once.
//!
//! ```text
//! records --by_shard--> runs of one shard --Channel::put_many_numbered--> numbers --> the log
//! ```
//!
//! The records of a run are put under one lock and their cache misses overlap: it takes less than
//! half the time of putting them one by one.

use dht_storage::{Channel, Sequence};
use dht_types::Key;

use crate::context::{ChangeError, Context, PUT_TRIES_MAX, WriteError, change_error};

impl Context {
    /// Stores records that come from another node, and counts them. Nobody who listens is told. On
    /// an error some of them are stored.
    pub(crate) fn put_many(
        &mut self,
        channel: &str,
        records: &[(Key, &[u8])],
    ) -> Result<(), WriteError> {
        for _ in 0..PUT_TRIES_MAX {
            let channel = self.channel_or_create(channel)?;
            match self.put_all(&channel, &by_shard(&channel, records)) {
                Ok(()) => return Ok(()),
                Err(ChangeError::Closed) => {} // All of them go into a new channel.
                Err(ChangeError::Failed(error)) => return Err(error),
            }
        }
        Err(WriteError::NoChannel)
    }

    /// The same, sorted, into one channel; and logs that.
    fn put_all(&mut self, channel: &Channel, records: &[(Key, &[u8])]) -> Result<(), ChangeError> {
        let mut unlogged = Sequence::default();
        let sequence = match &mut self.journal {
            None => &mut unlogged,
            Some(journal) => {
                journal.admits(channel).map_err(|error| ChangeError::Failed(error.into()))?;
                journal.sequence()
            }
        };
        let mut numbers = Vec::with_capacity(records.len());
        let result = channel.put_many_numbered(records.iter().copied(), sequence, &mut numbers);
        for (&(key, value), &number) in records.iter().zip(&numbers) {
            self.counters.actions.written.record(value.len());
            if let Some(journal) = &mut self.journal {
                journal.record_numbered(channel, key, Some(value), number);
            }
        }
        result.map_err(change_error)
    }
}

/// The same records, those of a shard side by side and in their order: each run of them is put
/// under one lock.
fn by_shard<'v>(channel: &Channel, records: &[(Key, &'v [u8])]) -> Vec<(Key, &'v [u8])> {
    let shards: Vec<usize> = records.iter().map(|(key, _)| channel.shard_of(*key)).collect();
    // Where the next record of each shard goes: behind all those of the shards before.
    let mut next = vec![0; shards.iter().max().map_or(0, |max| max + 1)];
    shards.iter().for_each(|shard| next[*shard] += 1);
    let mut sum = 0;
    next.iter_mut().for_each(|at| sum += std::mem::replace(at, sum));
    let mut sorted = vec![(Key(0), &[][..]); records.len()];
    for (&shard, &record) in shards.iter().zip(records) {
        sorted[next[shard]] = record;
        next[shard] += 1;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use dht_storage::{Store, StoreOptions};
    use dht_testkit::for_seeds;

    use super::*;

    #[test]
    fn records_of_a_shard_lie_side_by_side_in_their_order() {
        for_seeds(50, |rng| {
            let store = Store::new(StoreOptions { shard_bits: 3, seed: rng.next() });
            let channel = store.channel_or_create(&"ch".parse().expect("valid")).expect("room");
            let values: Vec<[u8; 8]> = (0..rng.below(500)).map(|n| n.to_le_bytes()).collect();
            let mut records: Vec<(Key, &[u8])> =
                values.iter().map(|value| (Key(rng.below(100)), &value[..])).collect();
            let sorted = by_shard(&channel, &records);
            records.sort_by_key(|(key, _)| channel.shard_of(*key));
            assert_eq!(sorted, records);
        });
    }
}
