//! The store: channels by name, over a common set of shards.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, Ordering},
};

use dht_types::{ChannelName, Key};
use rustc_hash::FxHashMap;

use crate::{
    batch::{self, BATCH},
    channel::Channel,
    sequence::Sequence,
    shard::Shards,
    usage::{MemoryUse, Usage},
};

/// Most channels that a store has at a time.
pub const CHANNELS_MAX: usize = 65_536;

/// How a store is laid out.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// The number of shards is two to the power of this, at most 10. Many times the number of
    /// workers, so that two seldom meet.
    pub shard_bits: u32,
    /// Decides the scan order and where records lie. Random in production: it keeps peers from
    /// choosing keys that meet in one place, and a store from loading a dump in its own order.
    pub seed: u64,
}

impl Default for StoreOptions {
    /// 64 shards, and a seed for tests.
    fn default() -> Self {
        Self { shard_bits: 6, seed: 0 }
    }
}

/// There are [`CHANNELS_MAX`] channels already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are {CHANNELS_MAX} channels already")]
pub struct TooManyChannels;

/// Records in memory, by channel and key. Shared by all workers.
pub struct Store {
    shards: Arc<Shards>,
    names: RwLock<Names>,
    generation: AtomicU64,
}

#[derive(Default)]
struct Names {
    channels: FxHashMap<ChannelName, Arc<Channel>>,
    /// Numbers below `ids` that no channel uses.
    ids_free: Vec<usize>,
    /// The first number that was never used.
    ids: usize,
    /// The greatest incarnation of a channel so far.
    incarnations: u64,
}

impl Store {
    /// An empty store.
    ///
    /// # Panics
    ///
    /// With more than 10 shard bits.
    #[must_use]
    pub fn new(options: StoreOptions) -> Self {
        let shards = Arc::new(Shards::new(options));
        Self { shards, names: RwLock::default(), generation: AtomicU64::new(0) }
    }

    /// The channel of this name, if it exists.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<Arc<Channel>> {
        self.read().channels.get(name).cloned()
    }

    /// The channel of this name; made if it does not exist.
    pub fn channel_or_create(&self, name: &ChannelName) -> Result<Arc<Channel>, TooManyChannels> {
        if let Some(channel) = self.channel(name) {
            return Ok(channel);
        }
        let mut names = self.write();
        if let Some(channel) = names.channels.get(name) {
            return Ok(Arc::clone(channel));
        }
        if names.channels.len() >= CHANNELS_MAX {
            return Err(TooManyChannels);
        }
        let id = names.take_id();
        names.incarnations += 1;
        let incarnation = names.incarnations;
        let channel = Channel::new(name.clone(), incarnation, id, Arc::clone(&self.shards));
        let channel = Arc::new(channel);
        names.channels.insert(name.clone(), Arc::clone(&channel));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(channel)
    }

    /// Removes a channel with all its records; whether it existed. Its records, its share of
    /// [`Store::usage`] and its subscriptions end at once; its memory comes back with later writes
    /// and with [`Store::reclaim`]. Handles on it stay valid and find nothing.
    pub fn remove_channel(&self, name: &str) -> bool {
        let Some(channel) = self.write().channels.remove(name) else { return false };
        self.generation.fetch_add(1, Ordering::Release);
        channel.close();
        // Only now no shard has a table of this number, and another channel may use it.
        self.write().ids_free.push(channel.id());
        true
    }

    /// The greatest incarnation of a channel so far.
    #[must_use]
    pub fn last_incarnation(&self) -> u64 {
        self.read().incarnations
    }

    /// Goes on with the channels of an earlier store, before anybody else uses this one: each is
    /// given the incarnation that `known` says, or else a new one; all of them, and those of
    /// channels that are made later, are greater than `last` if they are new.
    pub fn restore_incarnations(&self, last: u64, known: impl Fn(&ChannelName) -> Option<u64>) {
        let mut names = self.write();
        let names = &mut *names;
        names.incarnations = names.incarnations.max(last);
        for channel in names.channels.values() {
            let incarnation = known(channel.name()).unwrap_or_else(|| {
                names.incarnations += 1;
                names.incarnations
            });
            channel.set_incarnation(incarnation);
            names.incarnations = names.incarnations.max(incarnation);
        }
    }

    /// A number that divides all changes of records in two: those that had happened when this
    /// returns have it or a smaller one, or they happened while it ran; those that begin
    /// afterwards have greater ones. And a change with this number or a smaller one is seen by
    /// every scan that begins afterwards.
    ///
    /// It is `at_least` so great. Takes each shard's lock, twice.
    pub fn cut(&self, at_least: Sequence) -> Sequence {
        self.shards.cut(at_least)
    }

    /// All channels, sorted by name.
    #[must_use]
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        let mut channels: Vec<_> = self.read().channels.values().cloned().collect();
        channels.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        channels
    }

    /// How many channels there are.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.read().channels.len()
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.shards.count()
    }

    /// Changes whenever a channel is made or removed: a look-up may be kept while it stays the
    /// same.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What all channels hold. Takes no lock: a load for each shard.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shards.usage()
    }

    /// Fetches the cache lines of records of any channels of this store ahead: worth it before two
    /// or more look-ups that are known together, such as the requests of one read.
    pub fn prefetch(&self, keys: &[(&Channel, Key)]) {
        keys.chunks(BATCH).for_each(|keys| batch::prefetch(&self.shards, keys));
    }

    /// Gives memory back: frees records of removed channels, and moves records out of memory that
    /// is mostly empty. Looks at up to about `budget` records; true while there is more to do.
    /// Holds a shard's lock for at most 64 of them. Writes do the same on the way, so this is for
    /// idle times.
    pub fn reclaim(&self, budget: usize) -> bool {
        self.shards.reclaim(budget)
    }

    /// Where the memory is. Takes each shard's lock, and goes through its tables: for statistics.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        let mut sum = MemoryUse::default();
        for shard in 0..self.shards.count() {
            let shard = self.shards.lock(shard);
            let (heap, in_use) = (shard.heap(), shard.heap().in_use());
            sum.mapped += heap.mapped_bytes();
            sum.touched += in_use.touched_bytes;
            sum.records += in_use.record_bytes;
            sum.index += shard.all_tables().map(|table| table.index_bytes() as u64).sum::<u64>();
            sum.large += in_use.large_bytes;
            sum.tables += shard.all_tables().map(|table| table.own_bytes() as u64).sum::<u64>();
        }
        sum
    }

    /// What each of these channels holds, as [`Channel::usage`] tells, but with fewer locks: a
    /// shard's is taken once for 64 channels.
    #[must_use]
    pub fn usages(&self, channels: &[Arc<Channel>]) -> Vec<Usage> {
        const CHANNELS_PER_LOCK: usize = 64;
        let mut usages = vec![Usage::default(); channels.len()];
        let chunks = channels.chunks(CHANNELS_PER_LOCK).zip(usages.chunks_mut(CHANNELS_PER_LOCK));
        for (channels, usages) in chunks {
            for shard in 0..self.shards.count() {
                let shard = self.shards.lock(shard);
                for (channel, usage) in channels.iter().zip(&mut *usages) {
                    // The number of one that was removed may be another's by now.
                    if !channel.is_removed()
                        && let Some(table) = shard.table(channel.id())
                    {
                        *usage = *usage + table.usage();
                    }
                }
            }
        }
        usages
    }

    /// The most index entries that a single operation has moved; at most
    /// [`ENTRIES_MOVED_MAX`](crate::ENTRIES_MOVED_MAX). For tests and statistics.
    #[must_use]
    pub fn entries_moved_max(&self) -> usize {
        let of_shard = |shard| {
            let shard = self.shards.lock(shard);
            shard.all_tables().map(|table| table.moved_max()).max().unwrap_or(0)
        };
        (0..self.shards.count()).map(of_shard).max().unwrap_or(0)
    }

    fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn take_id(&mut self) -> usize {
        self.ids_free.pop().unwrap_or_else(|| {
            self.ids += 1;
            self.ids - 1
        })
    }
}
