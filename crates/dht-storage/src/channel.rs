//! A channel: a named set of records, and everything that can be done with them.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dht_types::{ChannelName, Key};

use crate::{
    batch::{self, BATCH},
    cursor::Cursor,
    events::{Event, Interest, Listeners, Subscription, Wake, Wakes},
    mix::Place,
    sequence::Sequence,
    shard::{Effect, Shard, Shards},
    usage::Usage,
};

/// A handle on a channel. It stays valid when the channel is removed: then it has no records and
/// takes none.
pub struct Channel {
    name: ChannelName,
    /// See [`Channel::incarnation`].
    incarnation: AtomicU64,
    /// Number of its tables in the shards. Used again once the channel is removed.
    id: usize,
    /// Set once, before the tables are taken out of the shards. Whoever finds it unset under a
    /// shard's lock still owns `id` there.
    is_removed: AtomicBool,
    shards: Arc<Shards>,
    listeners: Arc<Listeners>,
}

/// Why a record was not put. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The channel was removed; a look-up by its name finds or makes the one that took its place.
    #[error("the channel was removed")]
    Closed,
    /// The value is longer than [`VALUE_BYTES_MAX`](crate::VALUE_BYTES_MAX).
    #[error("a value has at most 2^31 - 1 bytes")]
    TooBig,
    /// No memory is left, or a shard's 8 GiB of slots are used up.
    #[error("no memory is left")]
    Full,
}

impl From<crate::heap::Full> for PutError {
    fn from(_: crate::heap::Full) -> Self {
        Self::Full
    }
}

/// What a put found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOutcome {
    /// Whether the record existed before.
    pub replaced: bool,
}

/// Whether a change is told to the channel's subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// Never: PutBatch, and loading a dump.
    No,
    /// If there was a change.
    IfPresent,
    /// Even if the record to be removed did not exist.
    /// Compat: so does the legacy Remove request. Source: spec `node` 11.5.
    Always,
}

/// What an update does with a record, and what it returns.
#[derive(Debug)]
pub enum Change<'v, R> {
    /// Leaves it alone.
    Keep(R),
    /// Puts this value.
    Put(&'v [u8], R),
    /// Removes it.
    Remove(R),
}

impl Channel {
    pub(crate) fn new(name: ChannelName, incarnation: u64, id: usize, shards: Arc<Shards>) -> Self {
        let (is_removed, listeners) = (AtomicBool::new(false), Arc::default());
        Self { name, incarnation: incarnation.into(), id, is_removed, shards, listeners }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Which of the channels that have had this name it is: greater than those of all channels that
    /// the store has had before, so that what belongs to a removed one is told from what belongs to
    /// the one that took its place.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Relaxed)
    }

    /// Before anybody has asked for it.
    pub(crate) fn set_incarnation(&self, incarnation: u64) {
        self.incarnation.store(incarnation, Ordering::Relaxed);
    }

    pub(crate) const fn id(&self) -> usize {
        self.id
    }

    /// Whether it was removed from the store.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    /// What it holds. Exact, but for writes that happen meanwhile; takes each shard's lock once.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let shards = 0..self.shards.count();
        let usages = shards.filter_map(|shard| {
            let guard = self.shards.lock(shard);
            if self.is_removed() { None } else { Some(guard.table(self.id)?.usage()) }
        });
        usages.fold(Usage::default(), std::ops::Add::add)
    }

    /// Calls `f` with the value of a record, if it exists. The shard's lock is held meanwhile: `f`
    /// must be short and must not use the store.
    #[inline]
    pub fn get<R>(&self, key: Key, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let place = self.shards.mixer.place(key);
        self.read(place.shard, |shard| shard.get(self.id, place).map(f)).flatten()
    }

    /// Whether a record exists.
    #[must_use]
    pub fn contains(&self, key: Key) -> bool {
        self.get(key, |_| ()).is_some()
    }

    /// Looks many records up, overlapping their cache misses, and calls `f` for each with its
    /// position in `keys`, in order. `f` runs under the locks of up to 16 shards: it must be short
    /// and must not use the store.
    pub fn get_many(&self, keys: &[Key], mut f: impl FnMut(usize, Option<&[u8]>)) {
        for (at, keys) in keys.chunks(BATCH).enumerate() {
            let pairs = self.pairs(keys);
            batch::get(&self.shards, &pairs[..keys.len()], |key, value| f(at * BATCH + key, value));
        }
    }

    /// Fetches the cache lines of these records ahead, so that look-ups soon after find them. Worth
    /// it from two keys on. See also [`Store::prefetch`](crate::Store::prefetch).
    pub fn prefetch(&self, keys: &[Key]) {
        for keys in keys.chunks(BATCH) {
            batch::prefetch(&self.shards, &self.pairs(keys)[..keys.len()]);
        }
    }

    /// A batch of keys, each with this channel.
    fn pairs(&self, keys: &[Key]) -> [(&Self, Key); BATCH] {
        let mut pairs = [(self, Key(0)); BATCH];
        pairs.iter_mut().zip(keys).for_each(|(pair, &key)| pair.1 = key);
        pairs
    }

    /// Inserts or replaces a record. On an error nothing has changed.
    pub fn put(&self, key: Key, value: &[u8], notify: Notify) -> Result<PutOutcome, PutError> {
        self.update(key, notify, |old| Change::Put(value, PutOutcome { replaced: old.is_some() }))
    }

    /// The number of the shard that a key lies in, below [`Store::shard_count`]: records that are
    /// to be [put together](Channel::put_many) should be of one shard.
    ///
    /// [`Store::shard_count`]: crate::Store::shard_count
    #[must_use]
    pub fn shard_of(&self, key: Key) -> usize {
        self.shards.mixer.place(key).shard
    }

    /// Inserts or replaces many records in their order, telling no subscriber: for loading. Quick
    /// if neighbours lie in [one shard](Channel::shard_of): each run of up to 64 takes its lock
    /// once, and their cache misses overlap. On an error those before the one that failed are
    /// there.
    pub fn put_many<'v>(
        &self,
        records: impl IntoIterator<Item = (Key, &'v [u8])>,
    ) -> Result<(), PutError> {
        batch::put_many(&self.shards, self, records, |_, _| {})
    }

    /// As [`Channel::put_many`], and each change has a number, which goes to the end of `numbers`:
    /// after an error, of those before the one that failed. Told are those who want to know of
    /// [every](Interest::Every) change. See [`Sequence`].
    pub fn put_many_numbered<'v>(
        &self,
        records: impl IntoIterator<Item = (Key, &'v [u8])>,
        sequence: &mut Sequence,
        numbers: &mut Vec<Sequence>,
    ) -> Result<(), PutError> {
        let mut wakes = Wakes::default();
        let result = batch::put_many(&self.shards, self, records, |shard, place| {
            shard.number(sequence);
            numbers.push(*sequence);
            wakes.add(self.tell_put(place, Notify::No));
        });
        wakes.wake();
        result
    }

    /// Puts records as so many calls of [`Channel::update_numbered`] would, telling subscribers;
    /// but the locks of up to 16 are taken once, if they are free, and cache misses overlap. Calls
    /// `numbered` for each with its number, under the locks: it must be short and must not use the
    /// store. On an error those before the one that failed are there.
    pub fn put_together(
        &self,
        records: &[(Key, &[u8])],
        sequence: &mut Sequence,
        mut numbered: impl FnMut(Sequence),
    ) -> Result<(), PutError> {
        for records in records.chunks(BATCH) {
            let mut wakes = Wakes::default();
            let result = batch::put(&self.shards, self, records, |shard, place| {
                shard.number(sequence);
                numbered(*sequence);
                wakes.add(self.tell_put(place, Notify::Always));
            });
            wakes.wake();
            if !result? {
                for &(key, value) in records {
                    let put = |_: Option<&[u8]>| Change::Put(value, ());
                    self.update_numbered(key, Notify::Always, sequence, put)?;
                    numbered(*sequence);
                }
            }
        }
        Ok(())
    }

    /// Tells of a record that was put, under its shard's lock.
    fn tell_put(&self, place: Place, notify: Notify) -> Wakes {
        let event = Event::Put(self.shards.mixer.key(place));
        self.listeners.tell(event, notify == Notify::No)
    }

    /// Removes a record; whether it existed.
    pub fn remove(&self, key: Key, notify: Notify) -> bool {
        // A removed channel has no records.
        self.update(key, notify, |old| Change::Remove(old.is_some())).unwrap_or(false)
    }

    /// Reads a record, lets `decide` choose what becomes of it, and does that, all under the
    /// shard's lock: `decide` must be short and must not use the store. On an error nothing has
    /// changed; the errors are those of [`Channel::put`], and a removed channel is an error for
    /// every update.
    pub fn update<'v, R>(
        &self,
        key: Key,
        notify: Notify,
        decide: impl FnOnce(Option<&[u8]>) -> Change<'v, R>,
    ) -> Result<R, PutError> {
        self.update_numbered(key, notify, &mut Sequence::default(), decide)
    }

    /// As [`Channel::update`]; and if the record changed, `sequence` is the number of this change
    /// from then on. See [`Sequence`].
    #[inline]
    pub fn update_numbered<'v, R>(
        &self,
        key: Key,
        notify: Notify,
        sequence: &mut Sequence,
        decide: impl FnOnce(Option<&[u8]>) -> Change<'v, R>,
    ) -> Result<R, PutError> {
        let place = self.shards.mixer.place(key);
        let (result, wakes) = self.shards.write(place.shard, |shard| {
            if self.is_removed() {
                return Err(PutError::Closed);
            }
            let mut asked_to_remove = false;
            let (result, effect) = shard.update(self.id, place, |old| {
                let change = decide(old);
                asked_to_remove = matches!(change, Change::Remove(_));
                change
            })?;
            if effect != Effect::None {
                shard.number(sequence);
            }
            let event = match (notify, effect) {
                (_, Effect::Put) => Some(Event::Put(key)),
                (_, Effect::Removed) => Some(Event::Removed(key)),
                (Notify::Always, Effect::None) if asked_to_remove => Some(Event::Removed(key)),
                (_, Effect::None) => None,
            };
            let silent = notify == Notify::No;
            Ok((result, event.map(|event| self.listeners.tell(event, silent))))
        })?;
        if let Some(wakes) = wakes {
            wakes.wake();
        }
        Ok(result)
    }

    /// Visits at most `budget` records from `from` on, in scan order; returns where to go on,
    /// `None` at the end. If `f` breaks, it did not take that record, and the scan goes on at it.
    ///
    /// Every record that is there during a whole scan is visited once, none twice, whatever else is
    /// put or removed meanwhile. `f` runs under a shard's lock, which is held for at most 64
    /// records: it must be short and must not use the store.
    pub fn scan(
        &self,
        from: Cursor,
        budget: usize,
        mut f: impl FnMut(Key, &[u8]) -> ControlFlow<()>,
    ) -> Option<Cursor> {
        let mixer = self.shards.mixer;
        let mut place = mixer.cut(from.mixed()?);
        let mut budget = budget;
        while budget > 0 {
            let step = self.read(place.shard, |shard| {
                shard.visit(self.id, place, budget, |place, value| f(mixer.key(place), value))
            })?;
            budget -= step.taken;
            match step.next {
                Some(next) => {
                    place = next;
                    if step.refused || step.taken == 0 {
                        break;
                    }
                }
                None if place.shard + 1 < self.shards.count() => {
                    place = Place { shard: place.shard + 1, tag: 0, low: 0 };
                }
                None => return None,
            }
        }
        Some(Cursor::at(mixer.join(place)))
    }

    /// The position right behind `key`, whether or not it exists.
    #[must_use]
    pub fn cursor_after(&self, key: Key) -> Cursor {
        Cursor::after(self.shards.mixer.mixed(key))
    }

    /// Subscribes to changes. At most `capacity` events are kept until they are drained; more are
    /// counted and dropped. `wake` is called, with no lock held, when there is something to drain
    /// again or the channel is removed. A removed channel's subscription is finished from the
    /// start.
    #[must_use]
    pub fn subscribe(&self, interest: Interest, capacity: usize, wake: Wake) -> Subscription {
        self.listeners.subscribe(interest, capacity, wake)
    }

    /// Number of subscriptions.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.listeners.count()
    }

    /// Takes the tables out of all shards and ends the subscriptions. Called once.
    pub(crate) fn close(&self) {
        self.is_removed.store(true, Ordering::Release);
        (0..self.shards.count()).for_each(|shard| self.shards.bury(shard, self.id));
        self.listeners.finish().wake();
    }

    /// Runs `f` under a shard's lock, unless the channel was removed.
    #[inline]
    fn read<R>(&self, shard: usize, f: impl FnOnce(&Shard) -> R) -> Option<R> {
        let guard = self.shards.lock(shard);
        if self.is_removed() { None } else { Some(f(&guard)) }
    }
}
