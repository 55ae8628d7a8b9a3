//! A segment: the index entries of one range of tags, as a sorted array with gaps.
//!
//! ```text
//!          line 0            line 1            line 2                   last line
//!        | 03 11 12 14 .. .. | 26 27 31 31 38 39 | 39 45 51 .. .. .. | ... | overflow |
//!
//! home of a tag = the line at (its bits behind the segment's prefix, as a fraction) * lines
//! ```
//!
//! Invariants: tags never decrease from left to right; no entry is left of the line that is its
//! home; no gap is between an entry and the start of its home. So a look-up goes from there
//! rightwards until it meets the tag, a larger one or a gap, and a scan in position order is a scan
//! in tag order. A line has eight entries, as many as a cache line: with a load of 7/8 at most,
//! about seven in eight are in their home, where one comparison of the whole line finds them.
//!
//! A full segment gets more positions and spreads its entries anew; records are not touched by
//! that.
#![expect(clippy::cast_possible_truncation, reason = "positions are at most CAPACITY_MAX")]

use std::ops::ControlFlow;

use super::entry::Entry;
use crate::{
    heap::{Full, Heap, INDEX_SLOTS, SlotRef},
    raw::{self, LINE},
    record,
};

/// Most positions of a segment, and so the most entries that one operation can move.
pub(super) const CAPACITY_MAX: usize = INDEX_SLOTS[INDEX_SLOTS.len() - 1];

/// Positions by which a large segment grows: a page of the system.
const GROWTH: usize = INDEX_SLOTS[INDEX_SLOTS.len() - 2];

/// Index lines in which an entry nearly always finds its gap.
const GAP_LINES: usize = 3;

/// How often a segment that loses its records one by one is tried to be made smaller, at most.
const SHRINK_TRIES: usize = 16;

/// One range of tags. It owns its slot; [`Segment::free`] returns it. Kept small: the headers of
/// all segments should stay in a near cache.
pub(super) struct Segment {
    slot: SlotRef,
    capacity: u16,
    /// Positions of lines that are homes, a multiple of [`LINE`].
    homes: u16,
    len: u16,
    /// Leading bits that all its tags share.
    depth: u8,
}

/// Where an entry was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position(usize);

/// The entries of one cache line.
pub(crate) struct IndexLine<'h>(&'h [[u8; 8]; LINE]);

impl IndexLine<'_> {
    /// Fetches it ahead.
    #[inline]
    pub(crate) fn prefetch(&self) {
        raw::prefetch(self.0.as_flattened());
    }

    /// What it tells about a tag whose home is here, or in a line before that told nothing.
    #[inline]
    pub(crate) fn guess(&self, tag: u32) -> Guess {
        let at = raw::tag_mask(self.0, tag).trailing_zeros() as usize;
        // The gaps look like the largest tag.
        if let Some(&bytes) = self.0.get(at) {
            let entry = Entry::read(bytes);
            return if entry.is_empty() { Guess::Absent } else { Guess::Slot(entry.slot()) };
        }
        let last = Entry::read(self.0[LINE - 1]);
        let is_passed = last.is_empty() || last.tag() > tag;
        if is_passed { Guess::Absent } else { Guess::Behind }
    }
}

/// What one index line tells about a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guess {
    /// The slot of the first entry with this tag. That it is the wanted one is likely, not sure.
    Slot(SlotRef),
    /// There is no entry with this tag.
    Absent,
    /// If there is one, then in a line behind.
    Behind,
}

/// There is no place for an entry: the segment is full, or has no gap right of the entry's place.
#[derive(Debug)]
pub(super) struct NoGap;

impl Segment {
    /// A segment with these entries, which are in order and share `depth` bits.
    pub(super) fn build(heap: &mut Heap, depth: u8, entries: &[Entry]) -> Result<Self, Full> {
        let (capacity, homes) = layout(depth, entries)?;
        let slot = heap.alloc_index(capacity)?;
        let (capacity, homes, len) = (capacity as u16, homes as u16, entries.len() as u16);
        let segment = Self { slot, capacity, homes, len, depth };
        segment.place(heap, entries);
        Ok(segment)
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity as usize
    }

    pub(super) const fn depth(&self) -> u8 {
        self.depth
    }

    /// Returns its slot.
    pub(super) fn free(self, heap: &mut Heap) {
        self.free_slot(heap);
    }

    /// A large slot may wait long for its next user: it keeps its first page only.
    fn free_slot(&self, heap: &mut Heap) {
        if self.capacity() > GROWTH {
            heap.discard_index(self.slot, GROWTH..self.capacity());
        }
        heap.free(self.slot);
    }

    /// The entry with this tag whose record has this low part, and that record's bytes.
    #[inline]
    pub(super) fn find<'h>(
        &self,
        heap: &'h Heap,
        tag: u32,
        low: u32,
    ) -> Option<(Position, SlotRef, &'h [u8])> {
        let mut start = self.home(tag);
        loop {
            let line = heap.index_line(self.slot, start);
            let mut mask = raw::tag_mask(line, tag);
            while mask != 0 {
                let at = mask.trailing_zeros() as usize;
                let entry = Entry::read(line[at]);
                // The gaps look like the largest tag.
                if entry.is_empty() {
                    return None;
                }
                let record = heap.bytes(entry.slot());
                if record::low(record) == low {
                    return Some((Position(start + at), entry.slot(), record));
                }
                mask &= mask - 1;
            }
            start += LINE;
            let last = Entry::read(line[LINE - 1]);
            if last.is_empty() || last.tag() > tag || start == self.capacity() {
                return None;
            }
        }
    }

    /// The home line of a tag.
    #[inline(always)]
    pub(super) fn line<'h>(&self, heap: &'h Heap, tag: u32) -> IndexLine<'h> {
        IndexLine(heap.index_line(self.slot, self.home(tag)))
    }

    /// The line behind the home of a tag.
    pub(super) fn line_behind<'h>(&self, heap: &'h Heap, tag: u32) -> Option<IndexLine<'h>> {
        let start = self.home(tag) + LINE;
        (start < self.capacity()).then(|| IndexLine(heap.index_line(self.slot, start)))
    }

    /// Fetches the first lines ahead in which there may be a gap for an entry with this tag.
    #[inline]
    pub(super) fn prefetch_for_insert(&self, heap: &Heap, tag: u32) {
        let positions = &self.positions(heap)[self.home(tag)..];
        for line in positions.as_chunks::<LINE>().0.iter().take(GAP_LINES) {
            raw::prefetch(line.as_flattened());
        }
    }

    /// Calls `f` with each entry whose tag is at least `tag`, in order, until it breaks.
    pub(super) fn from(
        &self,
        heap: &Heap,
        tag: u32,
        mut f: impl FnMut(Entry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let entries =
            self.positions(heap)[self.home(tag)..].iter().map(|&bytes| Entry::read(bytes));
        for entry in entries.filter(|entry| !entry.is_empty() && entry.tag() >= tag) {
            f(entry)?;
        }
        ControlFlow::Continue(())
    }

    /// The entries at `count` positions from `first` on, gaps left out.
    pub(super) fn entries(&self, heap: &Heap, first: usize, count: usize) -> Vec<Entry> {
        let positions = self.positions(heap).get(first..).unwrap_or_default();
        let positions = &positions[..count.min(positions.len())];
        // One more: for the gaps behind the last one, and for who adds an entry.
        let mut entries = vec![Entry::EMPTY; positions.len().min(self.len()) + 1];
        let mut len = 0;
        // Without a branch on what is a gap: nothing could foresee it.
        for &bytes in positions {
            let entry = Entry::read(bytes);
            entries[len] = entry;
            len += usize::from(!entry.is_empty());
        }
        entries.truncate(len);
        entries
    }

    /// Lets the entry at `position` refer to another slot.
    pub(super) fn set_slot(&self, heap: &mut Heap, position: Position, slot: SlotRef) {
        let bytes = &mut self.positions_mut(heap)[position.0];
        *bytes = Entry::new(Entry::read(*bytes).tag(), slot).bytes();
    }

    /// Lets an entry, which is here, refer to another slot.
    pub(super) fn replace(&self, heap: &mut Heap, entry: Entry, slot: SlotRef) {
        let entries = &mut self.positions_mut(heap)[self.home(entry.tag())..];
        let found = entries.iter_mut().find(|bytes| **bytes == entry.bytes());
        *found.expect("the entry is here") = Entry::new(entry.tag(), slot).bytes();
    }

    /// Inserts an entry behind those of its tag; returns how many it moved.
    pub(super) fn insert(&mut self, heap: &mut Heap, entry: Entry) -> Result<usize, NoGap> {
        if !fits(self.len() + 1, self.capacity()) {
            return Err(NoGap);
        }
        let home = self.home(entry.tag());
        let entries = &mut self.positions_mut(heap)[home..];
        let gap = first_gap(entries).ok_or(NoGap)?;
        let is_before = |bytes: &[u8; 8]| Entry::read(*bytes).tag() <= entry.tag();
        let place = entries[..gap].partition_point(is_before);
        entries.copy_within(place..gap, place + 1);
        entries[place] = entry.bytes();
        self.len += 1;
        Ok(gap - place)
    }

    /// Removes the entry at `position` and moves those behind it back as far as their homes allow;
    /// returns how many were moved.
    pub(super) fn remove(&mut self, heap: &mut Heap, Position(hole): Position) -> usize {
        let stays = |(at, bytes): (usize, &[u8; 8])| {
            let entry = Entry::read(*bytes);
            entry.is_empty() || self.home(entry.tag()) == hole + 1 + at
        };
        let behind = &self.positions(heap)[hole + 1..];
        let moved = behind.iter().enumerate().position(stays);
        let moved = moved.unwrap_or(behind.len());
        let entries = &mut self.positions_mut(heap)[hole..];
        entries.copy_within(1..moved + 1, 0);
        entries[moved] = Entry::EMPTY.bytes();
        self.len -= 1;
        moved
    }

    /// Whether it has so few entries that a smaller capacity would do. Not at each of them: entries
    /// that lie close together need more, and to find that out takes as long as a rebuild. So it is
    /// when records go in the order of a scan.
    pub(super) fn is_sparse(&self) -> bool {
        2 * self.len() < self.capacity()
            && capacity_for(self.len()) < self.capacity()
            && self.len().is_multiple_of((self.capacity() / SHRINK_TRIES).max(1))
    }

    /// Replaces all entries by these, which are in order and share `depth` bits, with a capacity
    /// that suits them. On [`Full`] nothing has changed.
    pub(super) fn rebuild(
        &mut self,
        heap: &mut Heap,
        depth: u8,
        entries: &[Entry],
    ) -> Result<(), Full> {
        let (capacity, homes) = layout(depth, entries)?;
        if Heap::is_same_index_slot(self.capacity(), capacity) {
            heap.discard_index(self.slot, capacity..self.capacity().max(capacity));
        } else {
            let slot = heap.alloc_index(capacity)?;
            self.free_slot(heap);
            self.slot = slot;
        }
        (self.capacity, self.homes) = (capacity as u16, homes as u16);
        (self.len, self.depth) = (entries.len() as u16, depth);
        self.place(heap, entries);
        Ok(())
    }

    /// Writes the entries to their positions, and gaps between them.
    fn place(&self, heap: &mut Heap, entries: &[Entry]) {
        let (depth, homes) = (self.depth, self.homes.into());
        let bytes = self.positions_mut(heap);
        bytes.fill(Entry::EMPTY.bytes());
        for (at, entry) in spread(depth, entries, homes).zip(entries) {
            bytes[at] = entry.bytes();
        }
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        home(tag, self.depth, self.homes.into())
    }

    #[inline]
    fn positions<'h>(&self, heap: &'h Heap) -> &'h [[u8; 8]] {
        heap.index(self.slot, self.capacity())
    }

    #[inline]
    fn positions_mut<'h>(&self, heap: &'h mut Heap) -> &'h mut [[u8; 8]] {
        heap.index_mut(self.slot, self.capacity())
    }
}

/// The first gap in whole lines.
#[inline]
fn first_gap(entries: &[[u8; 8]]) -> Option<usize> {
    for (number, line) in entries.as_chunks::<LINE>().0.iter().enumerate() {
        let mut mask = raw::tag_mask(line, Entry::EMPTY.tag());
        while mask != 0 {
            let at = mask.trailing_zeros() as usize;
            // An entry may have that tag, too.
            if Entry::read(line[at]).is_empty() {
                return Some(number * LINE + at);
            }
            mask &= mask - 1;
        }
    }
    None
}

/// Where the line starts that a tag belongs to.
#[inline]
fn home(tag: u32, depth: u8, homes: usize) -> usize {
    let fraction = tag << depth;
    ((u64::from(fraction) * homes as u64) >> 32) as usize / LINE * LINE
}

/// The positions of entries in order: each in its home line, or right of the one before.
fn spread(depth: u8, entries: &[Entry], homes: usize) -> impl Iterator<Item = usize> {
    let mut free_from = 0;
    entries.iter().map(move |entry| {
        let at = home(entry.tag(), depth, homes).max(free_from);
        free_from = at + 1;
        at
    })
}

/// The capacity that suits these entries, and how many of its positions are homes.
fn layout(depth: u8, entries: &[Entry]) -> Result<(usize, usize), Full> {
    let fits_all = |capacity, homes| all_fit(depth, entries, capacity, homes);
    let mut capacity = capacity_for(entries.len());
    while !fits_all(capacity, homes_for(capacity)) {
        if capacity == CAPACITY_MAX {
            // Keys chosen to meet in one place: a sorted array without a search aid holds them too.
            return if entries.len() <= capacity { Ok((capacity, LINE)) } else { Err(Full) };
        }
        capacity = round_up(capacity + 1);
    }
    Ok((capacity, homes_for(capacity)))
}

/// Whether [`spread`] places all of them below `capacity`. Behind an entry at its home the others
/// need at least a position each; so the last is at the greatest of these sums. Written so that
/// several are computed at a time: no branch, and differences whose highest bit tells of a negative
/// one.
fn all_fit(depth: u8, entries: &[Entry], capacity: usize, homes: usize) -> bool {
    let (last, homes) = (capacity as u64 - 1, homes as u64);
    let mut behind = entries.len() as u64;
    let mut negative = 0;
    for entry in entries {
        behind -= 1;
        let fraction = u64::from(entry.tag() << depth);
        let home = ((fraction * homes) >> 32) & !(LINE as u64 - 1);
        negative |= last.wrapping_sub(home + behind);
    }
    negative >> 63 == 0
}

/// The positions of lines that are homes; those behind them take what overflows at the end. Where
/// they do not suffice, the segment grows early.
const fn homes_for(capacity: usize) -> usize {
    match capacity {
        0..64 => capacity,
        64..1024 => capacity - LINE,
        _ => capacity - 2 * LINE,
    }
}

/// Whether so many entries may share so many positions: load at most 7/8.
const fn fits(len: usize, capacity: usize) -> bool {
    8 * len <= 7 * capacity
}

/// The smallest capacity for so many entries that leaves room for one more.
fn capacity_for(len: usize) -> usize {
    round_up((8 * (len + 1)).div_ceil(7)).min(CAPACITY_MAX)
}

/// The next capacity that there is.
fn round_up(capacity: usize) -> usize {
    let small = INDEX_SLOTS.iter().find(|&&slots| slots >= capacity && slots <= GROWTH);
    small.copied().unwrap_or(capacity.next_multiple_of(GROWTH))
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;

    #[test]
    fn entries_fit_if_the_last_one_gets_a_position() {
        for_seeds(if cfg!(miri) { 3 } else { 300 }, |rng| {
            let capacity = *rng.pick(&INDEX_SLOTS);
            let (homes, depth) = (homes_for(capacity), rng.below(8) as u8);
            // Many near the end, where they overflow.
            let from = *rng.pick(&[0, u32::MAX - u32::MAX / 8]) >> depth;
            let tags = u64::from((u32::MAX >> depth) - from) + 1;
            let count = rng.within(0..capacity / 8 * 7 + 1);
            let mut tags: Vec<u32> = (0..count).map(|_| from + rng.below(tags) as u32).collect();
            tags.sort_unstable();
            let entries: Vec<_> = tags.iter().map(|&tag| Entry::new(tag, SlotRef(0))).collect();
            let last = spread(depth, &entries, homes).last();
            let expected = last.is_none_or(|last| last < capacity);
            assert_eq!(all_fit(depth, &entries, capacity, homes), expected, "{capacity} {count}");
        });
    }
}
