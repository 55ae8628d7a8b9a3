//! Looking many records up, or putting them, at a time, so that their cache misses overlap.
//!
//! ```text
//! 1  lock the shards of up to 16 keys, each once
//! 2  for each key: directory, segment        fetch the index line ahead
//! 3  for each key: tag in the index line     fetch the record ahead
//! 4  for each key: the record, which is read or put
//! 5  release the locks; if not all could be had at once, what they are for is done one by one
//! ```
//!
//! A single look-up waits for two misses, one after the other; here sixteen wait together. All
//! locks are taken with `try_lock`: whoever holds one never waits for another, so nothing can
//! deadlock, in whatever order they are taken.
//!
//! Records that are loaded come in runs of one shard, so one lock does: the index lines of those
//! that come next are fetched ahead while one is put.
#![expect(clippy::cast_possible_truncation, reason = "a batch and its shards are few")]

use std::sync::MutexGuard;

use arrayvec::ArrayVec;
use dht_types::Key;

use crate::{
    channel::{Change, Channel, PutError},
    mix::Place,
    record,
    shard::{CHUNK_RECORDS, Shard, Shards},
    table::{Guess, IndexLine},
};

/// Keys that are looked up or put together: about as many misses as a processor keeps in flight,
/// few enough that their lines stay in its first cache, and that the locks are held for a
/// microsecond or two.
pub(crate) const BATCH: usize = 16;

/// Most records that are put under one lock: as many as a step of a scan visits.
const RUN: usize = CHUNK_RECORDS;

/// No more of them once their values have so many bytes: to copy them takes a few microseconds.
const RUN_BYTES: usize = 64 * 1024;

/// The index lines of so many records are fetched together, while those before them are put: the
/// processor looks up several of their pages at a time.
const AHEAD: usize = 8;

/// Marks a key whose shard is not locked.
const NOT_LOCKED: u8 = u8::MAX;

/// The locks of the shards of a batch, as far as they were free.
struct Locks<'a> {
    guards: ArrayVec<MutexGuard<'a, Shard>, BATCH>,
    /// For each key its place, and the number of its guard.
    keys: ArrayVec<(Place, u8), BATCH>,
}

/// One key on its way through the steps.
struct LookUp<'a> {
    shard: Option<&'a Shard>,
    channel: usize,
    place: Place,
    state: State<'a>,
}

/// How far a look-up got.
enum State<'a> {
    /// Its index line is on the way.
    Line(IndexLine<'a>),
    /// Its record is on the way, most likely this one.
    Record(&'a [u8]),
    /// It does not exist.
    Absent,
    /// It has to be looked up as a single one.
    Unknown,
}

/// Fetches the index and record lines of up to [`BATCH`] keys ahead.
pub(crate) fn prefetch(shards: &Shards, keys: &[(&Channel, Key)]) {
    let locks = Locks::take(shards, keys);
    locks.look_up(keys, &mut ArrayVec::new());
}

/// Looks up to [`BATCH`] keys up, and calls `f` for each in order. `f` may run under several locks.
pub(crate) fn get(
    shards: &Shards,
    keys: &[(&Channel, Key)],
    mut f: impl FnMut(usize, Option<&[u8]>),
) {
    let locks = Locks::take(shards, keys);
    let mut lookups = ArrayVec::new();
    locks.look_up(keys, &mut lookups);
    if locks.are_complete() {
        lookups.iter().enumerate().for_each(|(at, lookup)| f(at, lookup.value()));
        return;
    }
    // The order of the calls is a promise, and so is not to wait for a lock while holding others.
    drop(lookups);
    drop(locks);
    for (at, &(channel, key)) in keys.iter().enumerate() {
        if channel.get(key, |value| f(at, Some(value))).is_none() {
            f(at, None);
        }
    }
}

/// Puts up to [`BATCH`] records of a channel in their order, and calls `done` for each behind it,
/// under all of their locks: it must be short and must not use the store. On an error those before
/// the one that failed are there. False: somebody else has one of the locks, and nothing is done.
pub(crate) fn put(
    shards: &Shards,
    channel: &Channel,
    records: &[(Key, &[u8])],
    mut done: impl FnMut(&mut Shard, Place),
) -> Result<bool, PutError> {
    let keys: ArrayVec<_, BATCH> = records.iter().map(|&(key, _)| (channel, key)).collect();
    let mut locks = Locks::take(shards, &keys);
    locks.look_up(&keys, &mut ArrayVec::new());
    if !locks.are_complete() {
        return Ok(false);
    }
    if channel.is_removed() {
        return Err(PutError::Closed);
    }
    for (&(_, value), &(place, guard)) in records.iter().zip(&locks.keys) {
        let shard = &mut *locks.guards[usize::from(guard)];
        let result = shard.update(channel.id(), place, |_| Change::Put(value, ()));
        if result.is_ok() {
            done(shard, place);
        }
        shards.after_write(place.shard, shard);
        result?;
    }
    Ok(true)
}

/// Puts records of a channel in their order, in runs of up to [`RUN`] neighbours in one shard.
/// `done` is called behind each, under the lock: it must be short and must not use the store.
pub(crate) fn put_many<'v>(
    shards: &Shards,
    channel: &Channel,
    records: impl IntoIterator<Item = (Key, &'v [u8])>,
    mut done: impl FnMut(&mut Shard, Place),
) -> Result<(), PutError> {
    let (mut run, mut bytes) = (ArrayVec::<(Place, &[u8]), RUN>::new(), 0);
    for (key, value) in records {
        let place = shards.mixer.place(key);
        let is_of_another = run.first().is_some_and(|(first, _)| first.shard != place.shard);
        if is_of_another || run.is_full() || bytes >= RUN_BYTES {
            put_run(shards, channel, &run, &mut done)?;
            run.clear();
            bytes = 0;
        }
        bytes += value.len();
        run.push((place, value));
    }
    if run.is_empty() { Ok(()) } else { put_run(shards, channel, &run, &mut done) }
}

/// Puts records of one shard under one lock.
fn put_run(
    shards: &Shards,
    channel: &Channel,
    run: &[(Place, &[u8])],
    done: &mut impl FnMut(&mut Shard, Place),
) -> Result<(), PutError> {
    let number = run[0].0.shard;
    let shard = &mut *shards.lock(number);
    if channel.is_removed() {
        return Err(PutError::Closed);
    }
    let id = channel.id();
    let fetch = |shard: &Shard, records: &[(Place, &[u8])]| {
        let Some(table) = shard.table(id) else { return };
        for (place, _) in records {
            table.prefetch_for_insert(shard.heap(), place.tag);
        }
    };
    let mut chunks = run.chunks(AHEAD).peekable();
    fetch(shard, chunks.peek().copied().unwrap_or_default());
    while let Some(records) = chunks.next() {
        fetch(shard, chunks.peek().copied().unwrap_or_default());
        let result: Result<(), PutError> = records.iter().try_for_each(|&(place, value)| {
            shard.update(id, place, |_| Change::Put(value, ()))?;
            done(shard, place);
            Ok(())
        });
        shards.after_write(number, shard);
        result?;
    }
    Ok(())
}

impl<'a> Locks<'a> {
    fn take(shards: &'a Shards, keys: &[(&Channel, Key)]) -> Self {
        let mut locks = Self { guards: ArrayVec::new(), keys: ArrayVec::new() };
        for &(_, key) in keys {
            let place = shards.mixer.place(key);
            let guard = match shards.try_lock(place.shard) {
                Some(guard) => {
                    locks.guards.push(guard);
                    locks.guards.len() as u8 - 1
                }
                // Somebody else has it, or a key before this one.
                None => locks.guard_of(place.shard),
            };
            locks.keys.push((place, guard));
        }
        locks
    }

    fn guard_of(&self, shard: usize) -> u8 {
        let same = self.keys.iter().find(|(place, _)| place.shard == shard);
        same.map_or(NOT_LOCKED, |&(_, guard)| guard)
    }

    fn are_complete(&self) -> bool {
        self.keys.iter().all(|&(_, guard)| guard != NOT_LOCKED)
    }

    /// Steps 2 and 3. Fills `lookups` in place: returned, they would be copied.
    #[inline]
    fn look_up<'s>(&'s self, keys: &[(&Channel, Key)], lookups: &mut ArrayVec<LookUp<'s>, BATCH>) {
        for (&(channel, _), &(place, guard)) in keys.iter().zip(&self.keys) {
            let shard = self.guards.get(usize::from(guard)).map(|guard| &**guard);
            lookups.push(LookUp::start(shard, channel, place));
        }
        let lines = self.guards.first().map_or(1, |shard| shard.usage().record_lines());
        let mut any_behind = false;
        lookups.iter_mut().for_each(|lookup| any_behind |= lookup.read_line(lines));
        if any_behind {
            lookups.iter_mut().for_each(|lookup| lookup.read_line_behind(lines));
        }
    }
}

impl<'a> LookUp<'a> {
    /// Fetches the index line ahead.
    #[inline]
    fn start(shard: Option<&'a Shard>, channel: &Channel, place: Place) -> Self {
        let id = channel.id();
        let state = match shard {
            None => State::Unknown,
            // It no longer owns its number.
            Some(_) if channel.is_removed() => State::Absent,
            Some(shard) => match shard.table(id) {
                None => State::Absent,
                Some(table) => {
                    let line = table.index_line(shard.heap(), place.tag);
                    line.prefetch();
                    State::Line(line)
                }
            },
        };
        Self { shard, channel: id, place, state }
    }

    /// Fetches the record ahead, or the next index line; then it returns true.
    #[inline]
    fn read_line(&mut self, lines: usize) -> bool {
        let (State::Line(line), Some(shard)) = (&self.state, self.shard) else { return false };
        let guess = line.guess(self.place.tag);
        self.state = match guess {
            Guess::Slot(slot) => State::Record(shard.heap().prefetch(slot, lines)),
            Guess::Absent => State::Absent,
            Guess::Behind => match shard.index_line_behind(self.channel, self.place.tag) {
                None => State::Absent,
                Some(line) => {
                    line.prefetch();
                    State::Line(line)
                }
            },
        };
        guess == Guess::Behind
    }

    /// Fetches the record ahead that the second index line knows. A third one is rare.
    fn read_line_behind(&mut self, lines: usize) {
        let (State::Line(line), Some(shard)) = (&self.state, self.shard) else { return };
        self.state = match line.guess(self.place.tag) {
            Guess::Slot(slot) => State::Record(shard.heap().prefetch(slot, lines)),
            Guess::Absent => State::Absent,
            Guess::Behind => State::Unknown,
        };
    }

    /// The value, step 4.
    #[inline]
    fn value(&self) -> Option<&'a [u8]> {
        match self.state {
            State::Record(record) if record::low(record) == self.place.low => {
                Some(record::value(record))
            }
            State::Absent => None,
            _ => self.shard?.get(self.channel, self.place),
        }
    }
}
