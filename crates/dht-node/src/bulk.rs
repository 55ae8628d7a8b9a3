//! Storing many records of a channel at once.
//!
//! ```text
//! from a node:   records --by_shard--> runs of one shard --Channel::put_many_numbered--.
//! from clients:  Puts that came together ----------------Channel::put_together---------+
//!                                                               numbers --> the log <--'
//! ```
//!
//! The records of a run are put under one lock and their cache misses overlap: it takes less than
//! half the time of putting them one by one. Those that came together are of many shards: up to 16
//! are put under one set of locks.

use arrayvec::ArrayVec;
use dht_storage::{Channel, Sequence, Usage};
use dht_types::Key;

use crate::context::{ChangeError, Context, PUT_TRIES_MAX, WriteError, change_error};
use crate::durability::{Journal, NotLogged};
use crate::session::BATCH_REQUESTS;

/// Values that are stored under one set of locks have at most so many bytes: more would be a long
/// time to hold them, beside which taking each by itself is nothing.
const TOGETHER_BYTES_MAX: usize = 64 * 1024;

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
            let shard_count = self.shared.store.shard_count();
            match self.put_all(&channel, &by_shard(&channel, shard_count, records)) {
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
        let sequence = clock(&mut self.journal, channel, &mut unlogged)
            .map_err(|error| ChangeError::Failed(error.into()))?;
        let mut numbers = Vec::with_capacity(records.len());
        let result = channel.put_many_numbered(records.iter().copied(), sequence, &mut numbers);
        self.have_put(channel, &records[..numbers.len()], &numbers);
        result.map_err(change_error)
    }

    /// Stores records that clients have put, as so many calls of [`Context::put`] would, and
    /// returns how many, from the first on. The next one must be put by itself: it may be too much,
    /// or there is no such channel, or it fails.
    pub(crate) fn put_together(&mut self, channel: &str, records: &[(Key, &[u8])]) -> usize {
        let Some(channel) = self.channel(channel) else { return 0 };
        let mut bytes = 0;
        let fits = records.iter().take_while(|(_, value)| {
            bytes += value.len();
            bytes <= TOGETHER_BYTES_MAX
        });
        let records = &records[..fits.count()];
        // If all of them together do not exceed it, none does behind those before it.
        let usage = usage_of(records);
        if self.exceeds_limit(self.shared.settings.bytes(0, usage)) {
            return 0;
        }
        let mut unlogged = Sequence::default();
        let Ok(sequence) = clock(&mut self.journal, &channel, &mut unlogged) else { return 0 };
        let mut numbers = ArrayVec::<Sequence, BATCH_REQUESTS>::new();
        let number = |number| numbers.push(number);
        // What keeps one from being stored is told when it is put by itself.
        let _ = channel.put_together(records, sequence, number);
        self.have_put(&channel, &records[..numbers.len()], &numbers);
        numbers.len()
    }

    /// These records are stored, with these numbers: counts and logs them.
    fn have_put(&mut self, channel: &Channel, records: &[(Key, &[u8])], numbers: &[Sequence]) {
        let Usage { records: count, value_bytes } = usage_of(records);
        self.counters.actions.written.add(count, value_bytes);
        if let Some(journal) = &mut self.journal {
            for (&(key, value), &number) in records.iter().zip(numbers) {
                journal.record_numbered(channel, key, Some(value), number);
            }
        }
    }
}

fn usage_of(records: &[(Key, &[u8])]) -> Usage {
    let value_bytes = records.iter().map(|(_, value)| value.len() as u64).sum();
    Usage { records: records.len() as u64, value_bytes }
}

/// The clock by which changes of a channel are numbered, if they may be made.
fn clock<'s>(
    journal: &'s mut Option<Journal>,
    channel: &Channel,
    unlogged: &'s mut Sequence,
) -> Result<&'s mut Sequence, NotLogged> {
    let Some(journal) = journal else { return Ok(unlogged) };
    journal.admits(channel)?;
    Ok(journal.sequence())
}

/// The same records, those of a shard side by side and in their order: each run of them is put
/// under one lock. The shard of the first record comes first, and behind the last shard they go on
/// with number 0, so that workers with batches of their own seldom meet at a lock.
fn by_shard<'v>(
    channel: &Channel,
    shard_count: usize,
    records: &[(Key, &'v [u8])],
) -> Vec<(Key, &'v [u8])> {
    let mut shards: Vec<usize> = records.iter().map(|(key, _)| channel.shard_of(*key)).collect();
    let first = shards.first().copied().unwrap_or(0);
    for shard in &mut shards {
        *shard = if *shard >= first { *shard - first } else { *shard + shard_count - first };
    }
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
            let sorted = by_shard(&channel, store.shard_count(), &records);
            let first = records.first().map_or(0, |(key, _)| channel.shard_of(*key));
            records.sort_by_key(|(key, _)| (channel.shard_of(*key) + 8 - first) % 8);
            assert_eq!(sorted, records);
        });
    }
}
