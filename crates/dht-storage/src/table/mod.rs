//! One channel's index in one shard: extendible hashing over [segments](segment).
//!
//! ```text
//! directory, by the first `depth` bits of a tag      segments
//!   00 ----------------------------------------->    tags 00...
//!   01 ----------------------------------------->    tags 01...
//!   10 --+-------------------------------------->    tags 1...
//!   11 --+
//! ```
//!
//! A segment with more than [`SPLIT_AT`] entries is split by its next bit. A split, like the growth
//! of a segment, moves that segment's entries and nothing else: no operation moves more than
//! [`ENTRIES_MOVED_MAX`] entries, however large the table is, and none touches other records.

mod entry;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

pub(crate) use segment::{Guess, IndexLine};
use segment::{NoGap, Position, Segment};

use self::entry::Entry;
use crate::{
    heap::{Full, Heap, SlotRef},
    record,
    usage::Usage,
};

/// The most index entries that one operation moves.
pub const ENTRIES_MOVED_MAX: usize = segment::CAPACITY_MAX;

/// A segment that would have more entries than this is split. A little less than fit, so that
/// nearly all halves fit into half the capacity.
const SPLIT_AT: usize = segment::CAPACITY_MAX / 32 * 27;

/// Most bits of the directory: 4 MiB of it, enough for a billion records in a shard. A segment this
/// deep grows up to its largest capacity, and then refuses entries; only keys chosen by someone who
/// knows the seed get there.
const DEPTH_MAX: u8 = 20;

/// One channel's records in one shard. It owns index pages and record slots of the shard's heap.
pub(crate) struct Table {
    /// Segment numbers by the first `depth` bits of a tag.
    directory: Vec<u32>,
    segments: Vec<Segment>,
    depth: u8,
    usage: Usage,
    /// The most entries that one operation has moved.
    moved_max: usize,
}

/// A record that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    segment: usize,
    position: Position,
    slot: SlotRef,
}

impl Table {
    /// A table without records.
    pub(crate) fn new(heap: &mut Heap) -> Result<Self, Full> {
        // `vec!` reserves one element, where a first push would reserve four: most tables of small
        // channels never have a second segment.
        let segments = vec![Segment::build(heap, 0, &[])?];
        let directory = vec![0];
        Ok(Self { directory, segments, depth: 0, usage: Usage::default(), moved_max: 0 })
    }

    pub(crate) const fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) const fn moved_max(&self) -> usize {
        self.moved_max
    }

    /// Bytes outside the heap.
    pub(crate) const fn own_bytes(&self) -> usize {
        size_of::<Self>()
            + self.segments.capacity() * size_of::<Segment>()
            + self.directory.capacity() * size_of::<u32>()
    }

    /// Bytes of its index in the heap.
    pub(crate) fn index_bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.capacity() * size_of::<Entry>()).sum()
    }

    /// Looks a record up: where it is, and its value.
    #[inline]
    pub(crate) fn find<'h>(&self, heap: &'h Heap, tag: u32, low: u32) -> Option<(Found, &'h [u8])> {
        let segment = self.locate(tag);
        let (position, slot, record) = self.segments[segment].find(heap, tag, low)?;
        Some((Found { segment, position, slot }, record::value(record)))
    }

    /// Looks a record up: its value. Nearly all are found, or seen to be absent, in one index line.
    #[inline]
    pub(crate) fn get<'h>(&self, heap: &'h Heap, tag: u32, low: u32) -> Option<&'h [u8]> {
        match self.index_line(heap, tag).guess(tag) {
            Guess::Slot(slot) => {
                let record = heap.bytes(slot);
                if record::low(record) == low {
                    return Some(record::value(record));
                }
            }
            Guess::Absent => return None,
            Guess::Behind => {}
        }
        self.get_from_any_line(heap, tag, low)
    }

    /// Apart, so that it costs the usual case no registers.
    #[cold]
    fn get_from_any_line<'h>(&self, heap: &'h Heap, tag: u32, low: u32) -> Option<&'h [u8]> {
        self.find(heap, tag, low).map(|(_, value)| value)
    }

    /// The index line in which a tag has its home.
    #[inline(always)]
    pub(crate) fn index_line<'h>(&self, heap: &'h Heap, tag: u32) -> IndexLine<'h> {
        self.segments[self.locate(tag)].line(heap, tag)
    }

    /// The index line behind the one in which a tag has its home, if there is one.
    pub(crate) fn index_line_behind<'h>(&self, heap: &'h Heap, tag: u32) -> Option<IndexLine<'h>> {
        self.segments[self.locate(tag)].line_behind(heap, tag)
    }

    /// Fetches the index lines ahead that adding a record with this tag most likely looks into.
    #[inline]
    pub(crate) fn prefetch_for_insert(&self, heap: &Heap, tag: u32) {
        self.segments[self.locate(tag)].prefetch_for_insert(heap, tag);
    }

    /// Adds a record that is not there yet. On [`Full`] nothing has changed.
    pub(crate) fn insert(
        &mut self,
        heap: &mut Heap,
        tag: u32,
        low: u32,
        value: &[u8],
    ) -> Result<(), Full> {
        let slot = heap.alloc_record(record::record_bytes(value.len()))?;
        if let Err(full) = self.insert_entry(heap, Entry::new(tag, slot)) {
            heap.free(slot);
            return Err(full);
        }
        record::write(heap.bytes_mut(slot), low, value);
        self.usage.records += 1;
        self.usage.value_bytes += value.len() as u64;
        Ok(())
    }

    /// Gives a record another value. On [`Full`] nothing has changed.
    pub(crate) fn replace(
        &mut self,
        heap: &mut Heap,
        found: Found,
        low: u32,
        value: &[u8],
    ) -> Result<(), Full> {
        let old_len = record::value(heap.bytes(found.slot)).len();
        let bytes = record::record_bytes(value.len());
        if Heap::is_same_slot(record::record_bytes(old_len), bytes) {
            record::write(heap.bytes_mut(found.slot), low, value);
        } else {
            let slot = heap.alloc_record(bytes)?;
            record::write(heap.bytes_mut(slot), low, value);
            self.segments[found.segment].set_slot(heap, found.position, slot);
            heap.free(found.slot);
        }
        self.usage.value_bytes = self.usage.value_bytes - old_len as u64 + value.len() as u64;
        Ok(())
    }

    /// Removes a record.
    pub(crate) fn remove(&mut self, heap: &mut Heap, found: Found) {
        self.usage.records -= 1;
        self.usage.value_bytes -= record::value(heap.bytes(found.slot)).len() as u64;
        heap.free(found.slot);
        let segment = &mut self.segments[found.segment];
        let mut moved = segment.remove(heap, found.position);
        if segment.is_sparse() {
            let entries = segment.entries(heap, 0, segment.capacity());
            // A smaller segment may need a slot of a smaller size; without one it stays as it is.
            if segment.rebuild(heap, segment.depth(), &entries).is_ok() {
                moved += entries.len();
            }
        }
        self.moved_max = self.moved_max.max(moved);
    }

    /// Returns the index pages of a table without records.
    pub(crate) fn free_index(&mut self, heap: &mut Heap) {
        self.segments.drain(..).for_each(|segment| segment.free(heap));
    }

    /// Takes up to `budget` positions of the index apart and frees their records; true when nothing
    /// is left. Only for a table that nobody looks into any more.
    pub(crate) fn dismantle(&mut self, heap: &mut Heap, at: &mut usize, budget: usize) -> bool {
        let Some(segment) = self.segments.last() else { return true };
        for entry in segment.entries(heap, *at, budget) {
            heap.free(entry.slot());
        }
        *at += budget;
        if *at >= segment.capacity() {
            self.segments.pop().expect("the last one is there").free(heap);
            *at = 0;
        }
        self.segments.is_empty()
    }

    #[inline(always)]
    fn locate(&self, tag: u32) -> usize {
        self.directory[(u64::from(tag) << self.depth >> 32) as usize] as usize
    }

    fn insert_entry(&mut self, heap: &mut Heap, entry: Entry) -> Result<(), Full> {
        let at = self.locate(entry.tag());
        let moved = match self.segments[at].insert(heap, entry) {
            Ok(moved) => moved,
            Err(NoGap) => self.make_room(heap, at, entry)?,
        };
        self.moved_max = self.moved_max.max(moved);
        Ok(())
    }

    /// Grows or splits a segment, the new entry included; returns how many entries were moved.
    fn make_room(&mut self, heap: &mut Heap, at: usize, entry: Entry) -> Result<usize, Full> {
        let segment = &mut self.segments[at];
        let mut entries = segment.entries(heap, 0, segment.capacity());
        entries.insert(entries.partition_point(|other| other.tag() <= entry.tag()), entry);
        let depth = segment.depth();
        if entries.len() > SPLIT_AT && depth < DEPTH_MAX {
            self.split(heap, at, &entries)?;
        } else {
            segment.rebuild(heap, depth, &entries)?;
        }
        Ok(entries.len())
    }

    /// Splits a segment by its next bit, giving it these entries.
    fn split(&mut self, heap: &mut Heap, at: usize, entries: &[Entry]) -> Result<(), Full> {
        let depth = self.segments[at].depth() + 1;
        let bit = 1 << (32 - depth);
        let (zeros, ones) = entries.split_at(entries.partition_point(|e| e.tag() & bit == 0));
        let sibling = Segment::build(heap, depth, ones)?;
        if let Err(full) = self.segments[at].rebuild(heap, depth, zeros) {
            sibling.free(heap);
            return Err(full);
        }
        if depth > self.depth {
            self.directory = self.directory.iter().flat_map(|&segment| [segment; 2]).collect();
            self.depth = depth;
        }
        let ones_from = self.directory_at(entries[0].tag() | bit, depth);
        let number = u32::try_from(self.segments.len()).expect("at most 2^DEPTH_MAX segments");
        self.directory[ones_from..][..1 << (self.depth - depth)].fill(number);
        self.segments.push(sibling);
        Ok(())
    }

    /// The first place in the directory of the tags that share `depth` bits with `tag`.
    fn directory_at(&self, tag: u32, depth: u8) -> usize {
        let prefix = (u64::from(tag) << depth >> 32) as usize;
        prefix << (self.depth - depth)
    }
}
