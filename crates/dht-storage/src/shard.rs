//! A shard: the part of every channel whose mixed keys begin with the same bits.
//!
//! ```text
//! Shards  [ lock | Shard ]  [ lock | Shard ]  ...  one for each value of the first `shard_bits`
//!                    |- heap     memory of all records and indexes here, of whatever channel
//!                    |- tables   by channel number; made by the first put, freed with the last
//!                    '- dying    tables of removed channels, taken apart a few records at a time
//! ```
//!
//! A lock is held for one record operation, a [batch](crate::batch) of them, or one scan step of at
//! most [`CHUNK_RECORDS`] records.

use std::{
    ops::ControlFlow,
    sync::{
        Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    channel::{Change, PutError},
    heap::Heap,
    mix::{Mixer, Place},
    record::{self, VALUE_BYTES_MAX},
    sequence::Sequence,
    store::StoreOptions,
    table::{Found, IndexLine, Table},
    usage::Usage,
};

/// Records that a scan visits under one lock.
pub(crate) const CHUNK_RECORDS: usize = 64;

/// Index positions that each write takes apart (of removed channels) or looks at (for evacuation)
/// on the way, while there is something to give back.
const RECLAIMED_PER_WRITE: usize = 16;

/// All shards of a store.
pub(crate) struct Shards {
    pub(crate) mixer: Mixer,
    cells: Box<[Cell]>,
    /// A bit for each shard: whether it has memory to be given back. Written under its lock.
    garbage: Box<[AtomicU64]>,
}

/// A shard behind its lock, on cache lines of its own: two, because processors fetch them in pairs.
#[repr(align(128))]
struct Cell {
    shard: Mutex<Shard>,
    records: AtomicU64,
    value_bytes: AtomicU64,
}

/// What a lock protects.
pub(crate) struct Shard {
    heap: Heap,
    tables: Vec<Option<Box<Table>>>,
    dying: Vec<Dying>,
    /// How far the evacuation got that is going on: channel and tag.
    evacuation: Option<(usize, u32)>,
    /// Sum over `tables`.
    usage: Usage,
    /// The number of the last change here, or greater.
    sequence: Sequence,
}

/// A table that is being taken apart, and how far that got.
struct Dying {
    table: Box<Table>,
    position: usize,
}

/// What an update did to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is as it was; or it was to be removed and is not there.
    None,
    /// It has a new value.
    Put,
    /// It is gone.
    Removed,
}

/// Records on from a cursor, visited under one lock.
pub(crate) struct Step {
    /// Records that the visitor took.
    pub(crate) taken: usize,
    /// Where to go on in this shard; `None` at its end.
    pub(crate) next: Option<Place>,
    /// Whether the visitor refused the record at `next`.
    pub(crate) refused: bool,
}

impl Shards {
    pub(crate) fn new(options: StoreOptions) -> Self {
        let mixer = Mixer::new(options.seed, options.shard_bits);
        let cells = (0..mixer.shards()).map(|_| Cell::new()).collect();
        let garbage = (0..mixer.shards().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { mixer, cells, garbage }
    }

    pub(crate) fn count(&self) -> usize {
        self.cells.len()
    }

    /// Locks a shard to look into it.
    #[inline]
    pub(crate) fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.cells[shard].shard.lock().expect("a panic under this lock is our own bug")
    }

    /// Locks a shard to look into it, unless somebody else has it locked.
    #[inline]
    pub(crate) fn try_lock(&self, shard: usize) -> Option<MutexGuard<'_, Shard>> {
        match self.cells[shard].shard.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("a panic under this lock is our own bug"),
        }
    }

    /// Runs a write to one shard under its lock.
    #[inline]
    pub(crate) fn write<R>(&self, shard: usize, f: impl FnOnce(&mut Shard) -> R) -> R {
        let mut guard = self.lock(shard);
        let result = f(&mut guard);
        self.after_write(shard, &mut guard);
        result
    }

    /// Behind every write, still under its lock: gives some memory back, and tells of the usage.
    #[inline(always)]
    pub(crate) fn after_write(&self, number: usize, shard: &mut Shard) {
        if shard.evacuation.is_none() && shard.heap.start_evacuation() {
            shard.evacuation = Some((0, 0));
            self.note_garbage(number, true);
        }
        if shard.has_garbage() {
            self.reclaim_in(number, shard, RECLAIMED_PER_WRITE);
        }
        self.cells[number].publish(shard.usage);
    }

    /// Takes a removed channel's table out of a shard; its memory is reclaimed later.
    pub(crate) fn bury(&self, shard: usize, channel: usize) {
        let mut guard = self.lock(shard);
        let Some(table) = guard.tables.get_mut(channel).and_then(Option::take) else { return };
        guard.usage = guard.usage - table.usage();
        guard.dying.push(Dying { table, position: 0 });
        self.note_garbage(shard, true);
        self.cells[shard].publish(guard.usage);
    }

    /// Frees records of removed channels and evacuates sparse memory, looking at up to about
    /// `budget` records; true while there is more to do.
    pub(crate) fn reclaim(&self, budget: usize) -> bool {
        let mut left = budget;
        while left > 0
            && let Some(shard) = self.first_with_garbage()
        {
            let mut guard = self.lock(shard);
            // Another worker may have been quicker.
            if guard.has_garbage() {
                let step = left.min(CHUNK_RECORDS);
                self.reclaim_in(shard, &mut guard, step);
                left -= step;
            }
        }
        self.first_with_garbage().is_some()
    }

    /// See [`Store::cut`](crate::Store::cut).
    pub(crate) fn cut(&self, at_least: Sequence) -> Sequence {
        let shards = || 0..self.cells.len();
        let last = shards().map(|shard| self.lock(shard).sequence).fold(at_least, Ord::max);
        shards().for_each(|shard| {
            let mut shard = self.lock(shard);
            shard.sequence = shard.sequence.max(last);
        });
        last
    }

    /// Sum over all shards, without their locks.
    pub(crate) fn usage(&self) -> Usage {
        self.cells.iter().map(Cell::usage).fold(Usage::default(), std::ops::Add::add)
    }

    /// Apart, so that writes with nothing to reclaim are short.
    #[inline(never)]
    fn reclaim_in(&self, number: usize, shard: &mut Shard, budget: usize) {
        match shard.dying.last_mut() {
            Some(Dying { table, position }) => {
                if table.dismantle(&mut shard.heap, position, budget) {
                    shard.dying.pop();
                }
            }
            None => shard.evacuate(budget),
        }
        if !shard.has_garbage() {
            self.note_garbage(number, false);
        }
    }

    /// Only whoever holds the shard's lock may say.
    fn note_garbage(&self, shard: usize, has_garbage: bool) {
        let (word, bit) = (&self.garbage[shard / 64], 1 << (shard % 64));
        if has_garbage {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn first_with_garbage(&self) -> Option<usize> {
        let words = self.garbage.iter().map(|word| word.load(Ordering::Relaxed)).enumerate();
        let mut found = words.filter(|&(_, word)| word != 0);
        found.next().map(|(at, word)| at * 64 + word.trailing_zeros() as usize)
    }
}

impl Cell {
    fn new() -> Self {
        Self {
            shard: Mutex::new(Shard {
                heap: Heap::new(),
                tables: Vec::new(),
                dying: Vec::new(),
                evacuation: None,
                usage: Usage::default(),
                sequence: Sequence::default(),
            }),
            records: AtomicU64::new(0),
            value_bytes: AtomicU64::new(0),
        }
    }

    /// Only whoever holds the lock writes, so plain stores do.
    fn publish(&self, usage: Usage) {
        self.records.store(usage.records, Ordering::Relaxed);
        self.value_bytes.store(usage.value_bytes, Ordering::Relaxed);
    }

    fn usage(&self) -> Usage {
        Usage {
            records: self.records.load(Ordering::Relaxed),
            value_bytes: self.value_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Shard {
    /// Gives a change its number.
    #[inline]
    pub(crate) fn number(&mut self, sequence: &mut Sequence) {
        let next = Sequence(self.sequence.max(*sequence).0 + 1);
        (self.sequence, *sequence) = (next, next);
    }

    /// The table of a channel, if it has records here.
    #[inline]
    pub(crate) fn table(&self, channel: usize) -> Option<&Table> {
        self.tables.get(channel)?.as_deref()
    }

    /// All tables, those of removed channels included.
    pub(crate) fn all_tables(&self) -> impl Iterator<Item = &Table> {
        let dying = self.dying.iter().map(|dying| &*dying.table);
        self.tables.iter().filter_map(Option::as_deref).chain(dying)
    }

    /// Whether there is memory to be given back.
    fn has_garbage(&self) -> bool {
        !self.dying.is_empty() || self.evacuation.is_some()
    }

    /// Goes on with an evacuation, if there is one.
    fn evacuate(&mut self, budget: usize) {
        let Some((channel, tag)) = self.evacuation else { return };
        self.evacuation = self.tables.get_mut(channel).map(|table| {
            let table = table.as_mut();
            let next = table.and_then(|table| table.evacuate(&mut self.heap, tag, budget));
            next.map_or((channel + 1, 0), |tag| (channel, tag))
        });
    }

    /// What all tables here hold.
    pub(crate) const fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) const fn heap(&self) -> &Heap {
        &self.heap
    }

    /// See [`Table::index_line_behind`].
    pub(crate) fn index_line_behind(&self, channel: usize, tag: u32) -> Option<IndexLine<'_>> {
        self.table(channel)?.index_line_behind(&self.heap, tag)
    }

    /// The value of a record.
    #[inline]
    pub(crate) fn get(&self, channel: usize, place: Place) -> Option<&[u8]> {
        let table = self.table(channel)?;
        table.get(&self.heap, place.tag, place.low)
    }

    /// Reads a record, lets `decide` choose what becomes of it, and does that. On an error nothing
    /// has changed.
    pub(crate) fn update<'v, R>(
        &mut self,
        channel: usize,
        place: Place,
        decide: impl FnOnce(Option<&[u8]>) -> Change<'v, R>,
    ) -> Result<(R, Effect), PutError> {
        let table = self.table(channel);
        let found = table.and_then(|table| table.find(&self.heap, place.tag, place.low));
        let change = decide(found.map(|(_, value)| value));
        let found = found.map(|(found, _)| found);
        match (change, found) {
            (Change::Keep(result), _) | (Change::Remove(result), None) => {
                Ok((result, Effect::None))
            }
            (Change::Put(value, result), found) => {
                self.put(channel, place, found, value)?;
                Ok((result, Effect::Put))
            }
            (Change::Remove(result), Some(found)) => {
                self.remove(channel, found);
                Ok((result, Effect::Removed))
            }
        }
    }

    fn put(
        &mut self,
        channel: usize,
        place: Place,
        found: Option<Found>,
        value: &[u8],
    ) -> Result<(), PutError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(PutError::TooBig);
        }
        if self.tables.len() <= channel {
            self.tables.resize_with(channel + 1, || None);
        }
        let (heap, entry) = (&mut self.heap, &mut self.tables[channel]);
        let table = match entry {
            Some(table) => table,
            None => entry.insert(Box::new(Table::new(heap)?)),
        };
        let before = table.usage();
        let result = match found {
            Some(found) => table.replace(heap, found, place.low, value),
            None => table.insert(heap, place.tag, place.low, value),
        };
        self.usage = self.usage + table.usage() - before;
        if result.is_err() {
            self.drop_if_empty(channel);
        }
        Ok(result?)
    }

    fn remove(&mut self, channel: usize, found: Found) {
        let table = self.tables[channel].as_mut().expect("something was found in it");
        let before = table.usage();
        table.remove(&mut self.heap, found);
        self.usage = self.usage + table.usage() - before;
        self.drop_if_empty(channel);
    }

    /// A table without records keeps no memory.
    fn drop_if_empty(&mut self, channel: usize) {
        let entry = &mut self.tables[channel];
        if let Some(mut table) = entry.take_if(|table| table.usage().records == 0) {
            table.free_index(&mut self.heap);
        }
    }

    /// Visits up to `budget` records of a channel from `from` on.
    pub(crate) fn visit(
        &self,
        channel: usize,
        from: Place,
        budget: usize,
        mut f: impl FnMut(Place, &[u8]) -> ControlFlow<()>,
    ) -> Step {
        let Some(table) = self.table(channel) else {
            return Step { taken: 0, next: None, refused: false };
        };
        let count = budget.min(CHUNK_RECORDS);
        let chunk = table.chunk(&self.heap, from.tag, from.low, count);
        for (taken, &(tag, low, slot)) in chunk.records.iter().enumerate() {
            let place = Place { tag, low, ..from };
            let refused =
                taken < count && f(place, record::value(self.heap.bytes(slot))).is_break();
            if refused || taken == count {
                return Step { taken, next: Some(place), refused };
            }
        }
        let next = chunk.next.map(|tag| Place { tag, low: 0, ..from });
        Step { taken: chunk.records.len(), next, refused: false }
    }
}
