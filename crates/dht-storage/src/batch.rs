//! Looking many records up, or putting them, at a time, so that their cache misses overlap.
//!
//! ```text
//! 1  lock the shards of up to 16 keys, each once
//! 2  for each key: directory, segment        fetch the index line ahead
//! 3  for each key: tag in the index line     fetch the record ahead
//! 4  for each key: the record
//! 5  release the locks; what could not be locked at once is looked up one by one
//! ```
//!
//! A single look-up waits for two misses, one after the other; here sixteen wait together. All
//! locks are taken with `try_lock`: whoever holds one never waits for another, so nothing can
//! deadlock, in whatever order they are taken.
//!
//! Records that are put come in runs of one shard, so one lock does: index lines are fetched ahead,
//! then the records are put one after another.
#![expect(clippy::cast_possible_truncation, reason = "a batch and its shards are few")]

use std::sync::MutexGuard;

use dht_types::Key;

use crate::{
    channel::{Change, Channel, PutError},
    heap::SlotRef,
    mix::Place,
    shard::{Shard, Shards},
    table::IndexLine,
};

/// Keys that are looked up together: about as many misses as a processor keeps in flight, few
/// enough that their lines stay in its first cache, and that the locks are held for a microsecond
/// or two.
pub(crate) const BATCH: usize = 16;

/// Marks a key whose shard is not locked.
const NOT_LOCKED: u8 = u8::MAX;

/// Keys of one batch, and the locks of their shards.
struct Batch<'a> {
    keys: &'a [(&'a Channel, Key)],
    places: [Place; BATCH],
    guards: [Option<MutexGuard<'a, Shard>>; BATCH],
    /// For each key the number of its guard.
    guard_of: [u8; BATCH],
}

/// Fetches the index and record lines of up to [`BATCH`] keys ahead.
pub(crate) fn prefetch(shards: &Shards, keys: &[(&Channel, Key)]) {
    let batch = Batch::lock(shards, keys);
    batch.slots(&batch.lines());
}

/// Looks up to [`BATCH`] keys up, and calls `f` for each in order. `f` may run under several locks.
pub(crate) fn get(
    shards: &Shards,
    keys: &[(&Channel, Key)],
    mut f: impl FnMut(usize, Option<&[u8]>),
) {
    let batch = Batch::lock(shards, keys);
    let slots = batch.slots(&batch.lines());
    let all_locked = batch.guard_of[..keys.len()].iter().all(|&guard| guard != NOT_LOCKED);
    if all_locked {
        for (at, &slot) in slots[..keys.len()].iter().enumerate() {
            f(at, batch.value(at, slot));
        }
        return;
    }
    // The order of the calls is a promise, and so is not to wait for a lock while holding others.
    drop(batch);
    for (at, &(channel, key)) in keys.iter().enumerate() {
        if channel.get(key, |value| f(at, Some(value))).is_none() {
            f(at, None);
        }
    }
}

/// Puts records of a channel in their order, in runs of up to [`BATCH`] neighbours in one shard.
pub(crate) fn put_many<'v>(
    shards: &Shards,
    channel: &Channel,
    records: impl IntoIterator<Item = (Key, &'v [u8])>,
) -> Result<(), PutError> {
    let mut run = [(Place { shard: 0, tag: 0, low: 0 }, &[][..]); BATCH];
    let mut len = 0;
    for (key, value) in records {
        let place = shards.mixer.place(key);
        if len == BATCH || (len > 0 && run[0].0.shard != place.shard) {
            put_run(shards, channel, &run[..len])?;
            len = 0;
        }
        run[len] = (place, value);
        len += 1;
    }
    if len == 0 { Ok(()) } else { put_run(shards, channel, &run[..len]) }
}

/// Puts records of one shard under one lock.
fn put_run(shards: &Shards, channel: &Channel, run: &[(Place, &[u8])]) -> Result<(), PutError> {
    shards.write(run[0].0.shard, |shard| {
        if channel.is_removed() {
            return Err(PutError::Closed);
        }
        if let Some(table) = shard.table(channel.id()) {
            for (place, _) in run {
                table.index_line(shard.heap(), place.tag).prefetch();
            }
        }
        for &(place, value) in run {
            shard.update(channel.id(), place, |_| Change::Put(value, ()))?;
        }
        Ok(())
    })
}

impl<'a> Batch<'a> {
    fn lock(shards: &'a Shards, keys: &'a [(&'a Channel, Key)]) -> Self {
        let mut batch = Self {
            keys,
            places: [Place { shard: 0, tag: 0, low: 0 }; BATCH],
            guards: [const { None }; BATCH],
            guard_of: [NOT_LOCKED; BATCH],
        };
        let (mut locked, mut count) = ([0_u16; BATCH], 0);
        for (at, &(_, key)) in keys.iter().enumerate() {
            let place = shards.mixer.place(key);
            batch.places[at] = place;
            let shard = place.shard as u16;
            if let Some(guard) = locked[..count].iter().position(|&other| other == shard) {
                batch.guard_of[at] = guard as u8;
            } else if let Some(guard) = shards.try_lock(place.shard) {
                (batch.guards[count], locked[count]) = (Some(guard), shard);
                batch.guard_of[at] = count as u8;
                count += 1;
            }
        }
        batch
    }

    /// The shard of a key, if it is locked and the channel still owns its number there.
    #[inline]
    fn shard(&self, at: usize) -> Option<&Shard> {
        let guard = self.guards.get(usize::from(self.guard_of[at]))?.as_deref()?;
        if self.keys[at].0.is_removed() { None } else { Some(guard) }
    }

    /// The index lines of the keys, fetched ahead.
    #[inline]
    fn lines(&self) -> [Option<IndexLine<'_>>; BATCH] {
        let mut lines = [const { None }; BATCH];
        for (at, (channel, _)) in self.keys.iter().enumerate() {
            let Some(shard) = self.shard(at) else { continue };
            let Some(table) = shard.table(channel.id()) else { continue };
            let line = table.index_line(shard.heap(), self.places[at].tag);
            line.prefetch();
            lines[at] = Some(line);
        }
        lines
    }

    /// The slots that the keys' records are in, most likely, fetched ahead.
    #[inline]
    fn slots(&self, lines: &[Option<IndexLine<'_>>; BATCH]) -> [Option<SlotRef>; BATCH] {
        let mut slots = [None; BATCH];
        for (at, line) in lines.iter().enumerate().take(self.keys.len()) {
            let slot = line.as_ref().and_then(|line| line.guess(self.places[at].tag));
            if let (Some(slot), Some(shard)) = (slot, self.shard(at)) {
                shard.heap().prefetch(slot);
            }
            slots[at] = slot;
        }
        slots
    }

    /// The value of a key whose shard is locked.
    #[inline]
    fn value(&self, at: usize, guess: Option<SlotRef>) -> Option<&[u8]> {
        let (shard, place) = (self.shard(at)?, self.places[at]);
        match guess.and_then(|slot| shard.value_at(slot, place.low)) {
            Some(value) => Some(value),
            None => shard.get(self.keys[at].0.id(), place),
        }
    }
}
