//! Puts the records of one file into the store, with several threads if the file is large.
//!
//! ```text
//! reader: sink.put --> a batch for each thread, its records sorted by shard
//!                        |- thread 0: shards 0, n, 2n, ...      <-- emptied batches come back
//!                        '- thread 1: shards 1, n + 1, ...
//! ```
//!
//! A shard belongs to one thread, and a batch keeps the order of the file within each shard. So of
//! two records with one key the later one wins, and no two threads wait for one lock. Records of a
//! shard are put together, which is quicker: see [`Channel::put_many`].

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel as queue, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use dht_storage::{Channel, PutError, VALUE_BYTES_MAX};
use dht_types::Key;

/// A batch is handed over when it has so many bytes of values, or so many records.
const BATCH_BYTES: usize = 512 << 10;
const BATCH_RECORDS: usize = 8192;
/// Batches that wait for a thread. With the one that it works on and the one that is filled, a
/// thread takes two megabytes, or four of the largest records.
const BATCHES_QUEUED: usize = 2;

/// Runs `read`, which gives records to the sink, and returns when all of them are in the channel:
/// also those before an error of `read`. With one thread they are put by the calling one.
pub(super) fn fill<E: From<PutError>>(
    channel: &Channel,
    shards: usize,
    threads: usize,
    read: impl FnOnce(&mut Sink<'_, '_>) -> Result<(), E>,
) -> Result<(), E> {
    scope(|scope| {
        let lanes = match threads {
            0 | 1 => vec![Lane::new(channel, shards)],
            _ => (0..threads).map(|_| Lane::spawn(scope, channel, shards)).collect(),
        };
        let mut sink = Sink { channel, lanes };
        let read = read(&mut sink);
        let put = sink.finish();
        read?;
        Ok(put?)
    })
}

/// Where a reader puts records.
pub(super) struct Sink<'a, 'scope> {
    channel: &'a Channel,
    lanes: Vec<Lane<'a, 'scope>>,
}

impl Sink<'_, '_> {
    /// Puts a record, sooner or later. The error may be that of an earlier one.
    pub(super) fn put(&mut self, key: Key, value: &[u8]) -> Result<(), PutError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(PutError::TooBig);
        }
        let (shard, lanes) = (self.channel.shard_of(key), self.lanes.len());
        let lane = &mut self.lanes[shard % lanes];
        lane.batch.push(shard, key, value);
        if lane.batch.is_full() { lane.hand_over() } else { Ok(()) }
    }

    fn finish(self) -> Result<(), PutError> {
        self.lanes.into_iter().try_for_each(Lane::finish)
    }
}

/// The way of some shards' records.
struct Lane<'a, 'scope> {
    channel: &'a Channel,
    batch: Batch,
    thread: Option<LaneThread<'scope>>,
}

struct LaneThread<'scope> {
    filled: SyncSender<Batch>,
    emptied: Receiver<Batch>,
    handle: ScopedJoinHandle<'scope, Result<(), PutError>>,
}

impl<'a, 'scope> Lane<'a, 'scope> {
    /// Without a thread.
    fn new(channel: &'a Channel, shards: usize) -> Self {
        Self { channel, batch: Batch::new(shards), thread: None }
    }

    fn spawn(scope: &'scope Scope<'scope, '_>, channel: &'a Channel, shards: usize) -> Self
    where
        'a: 'scope,
    {
        let (filled, batches) = sync_channel(BATCHES_QUEUED);
        let (back, emptied) = queue();
        let handle = scope.spawn(move || put_all(channel, &batches, &back));
        let thread = Some(LaneThread { filled, emptied, handle });
        Self { channel, batch: Batch::new(shards), thread }
    }

    /// Has the batch put, and goes on with an empty one.
    fn hand_over(&mut self) -> Result<(), PutError> {
        let Some(thread) = &self.thread else { return self.batch.put(self.channel) };
        let empty = thread.emptied.try_recv();
        let empty = empty.unwrap_or_else(|_| Batch::new(self.batch.by_shard.len()));
        match thread.filled.send(std::mem::replace(&mut self.batch, empty)) {
            Ok(()) => Ok(()),
            // It has ended, and says why.
            Err(_) => self.thread.take().map_or(Ok(()), LaneThread::join),
        }
    }

    fn finish(mut self) -> Result<(), PutError> {
        self.hand_over()?;
        self.thread.take().map_or(Ok(()), LaneThread::join)
    }
}

impl LaneThread<'_> {
    /// Waits until all batches are put.
    fn join(self) -> Result<(), PutError> {
        drop(self.filled);
        self.handle.join().expect("a panic while loading is our own bug")
    }
}

fn put_all(
    channel: &Channel,
    batches: &Receiver<Batch>,
    back: &Sender<Batch>,
) -> Result<(), PutError> {
    for mut batch in batches {
        batch.put(channel)?;
        // The reader may be done already.
        let _ = back.send(batch);
    }
    Ok(())
}

/// Records on their way, sorted by shard.
struct Batch {
    by_shard: Vec<Vec<Waiting>>,
    records: usize,
    /// Their values, one behind the other.
    values: Vec<u8>,
}

/// A record of a batch.
struct Waiting {
    key: Key,
    /// Where its value is.
    start: usize,
    end: usize,
}

impl Batch {
    fn new(shards: usize) -> Self {
        let by_shard = (0..shards).map(|_| Vec::new()).collect();
        Self { by_shard, records: 0, values: Vec::new() }
    }

    fn push(&mut self, shard: usize, key: Key, value: &[u8]) {
        let start = self.values.len();
        self.values.extend_from_slice(value);
        self.by_shard[shard].push(Waiting { key, start, end: self.values.len() });
        self.records += 1;
    }

    const fn is_full(&self) -> bool {
        self.values.len() >= BATCH_BYTES || self.records >= BATCH_RECORDS
    }

    /// Puts all records; it is empty then.
    fn put(&mut self, channel: &Channel) -> Result<(), PutError> {
        let values = &self.values;
        for waiting in self.by_shard.iter_mut().filter(|waiting| !waiting.is_empty()) {
            let records = waiting.iter().map(|record| {
                let Waiting { key, start, end } = *record;
                (key, &values[start..end])
            });
            channel.put_many(records)?;
            waiting.clear();
        }
        self.records = 0;
        self.values.clear();
        if self.values.capacity() > 2 * BATCH_BYTES {
            self.values = Vec::new(); // One large record is no reason to keep that much.
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dht_storage::{Store, StoreOptions};
    use dht_testkit::for_seeds;

    use super::*;

    /// Few keys, so that they come again: the last one of each has to win, whichever thread it is.
    #[test]
    fn a_channel_holds_the_last_record_of_each_key() {
        for_seeds(20, |rng| {
            let threads = usize::try_from(rng.below(5)).unwrap();
            let store = Store::new(StoreOptions { shard_bits: 3, seed: rng.next() });
            let channel = store.channel_or_create(&"ch".parse().unwrap()).unwrap();
            let mut model = std::collections::BTreeMap::new();
            let records = (0..30_000).map(|_| {
                let large = rng.one_in(5000);
                let value = rng.bytes(if large { 600_000..700_000 } else { 0..50 });
                (Key(rng.below(5000)), value)
            });
            let records: Vec<_> = records.collect();
            fill(&channel, store.shard_count(), threads, |sink| -> Result<(), PutError> {
                records.iter().try_for_each(|(key, value)| sink.put(*key, value))
            })
            .unwrap();
            model.extend(records);
            assert_eq!(channel.usage().records, model.len() as u64);
            for (key, value) in model {
                assert_eq!(channel.get(key, <[u8]>::to_vec), Some(value));
            }
        });
    }

    #[test]
    fn an_error_of_the_reader_keeps_what_it_has_read_and_one_of_the_store_ends_it() {
        #[derive(Debug, PartialEq)]
        enum Error {
            Reader,
            Store(PutError),
        }
        impl From<PutError> for Error {
            fn from(error: PutError) -> Self {
                Self::Store(error)
            }
        }
        for threads in [1, 3] {
            let store = Store::new(StoreOptions { shard_bits: 3, seed: 1 });
            let channel = store.channel_or_create(&"ch".parse().unwrap()).unwrap();
            let fill = |work: &dyn Fn(&mut Sink<'_, '_>) -> Result<(), Error>| {
                fill(&channel, store.shard_count(), threads, work)
            };
            let stopped = fill(&|sink| {
                (0..10).try_for_each(|key| sink.put(Key(key), b"value"))?;
                Err(Error::Reader)
            });
            assert_eq!((stopped, channel.usage().records), (Err(Error::Reader), 10));

            store.remove_channel("ch");
            let stopped = fill(&|sink| {
                for key in 0.. {
                    sink.put(Key(key), b"value")?;
                }
                Ok(())
            });
            assert_eq!(stopped, Err(Error::Store(PutError::Closed)));
        }
    }
}
