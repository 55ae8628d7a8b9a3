//! The memory of one shard: slots for the records and indexes of all its channels.
//!
//! ```text
//! slot reference, u32  | 0 | region: 11 bits | offset in the region in units of 4 bytes: 20 bits |
//!                      | 1 | number of a large record: 31 bits                                  |
//! ```
//!
//! Slots come from [size classes](class), which take spans from [regions](region). Channels share
//! them, so that a channel of ten records costs ten slots. An empty span gives its memory back to
//! the system, except for one per heap that is kept against churn; an empty heap keeps nothing.
//! What to do about many spans that are nearly empty is in [evacuation].
#![expect(
    clippy::cast_possible_truncation,
    reason = "references and counts are bounded by REGIONS_MAX"
)]

mod class;
mod evacuation;
mod region;
mod spans;
#[cfg(test)]
mod tests;

pub(crate) use class::INDEX_SLOTS;
use class::{BLOCK_BYTES, CLASSES, Class, SLOT_BYTES_MAX};
use region::{BLOCKS, REGION_BYTES, Region, SpanId};

use std::ops::Range;

use crate::raw::{self, LINE};

/// References have 31 bits for units of 4 bytes: 8 GiB in regions.
const REGIONS_MAX: usize = (8 << 30) / REGION_BYTES;
/// Marks the reference of a large record.
const LARGE: u32 = 1 << 31;
/// Large records of a shard; one less than fit, so that no reference has all bits set.
const LARGE_MAX: usize = LARGE as usize - 1;
/// A cache line.
const LINE_BYTES: usize = 64;
/// A page of the system, or a multiple: only whole ones can be given back.
const PAGE_BYTES: usize = 4096;
/// Units of 4 bytes in a region, and in a block.
const REGION_UNITS_LOG2: u32 = (REGION_BYTES / 4).ilog2();
const BLOCK_UNITS_LOG2: u32 = (BLOCK_BYTES / 4).ilog2();

/// No memory is left: the system gave none, or the shard's address space is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Where a record or an index lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRef(pub(crate) u32);

impl SlotRef {
    const fn large(self) -> Option<usize> {
        if self.0 & LARGE == 0 { None } else { Some((self.0 & !LARGE) as usize) }
    }

    const fn region(self) -> usize {
        (self.0 >> REGION_UNITS_LOG2) as usize
    }

    const fn block(self) -> usize {
        (self.0 >> BLOCK_UNITS_LOG2) as usize % BLOCKS
    }

    /// Offset in the region, in bytes.
    const fn offset(self) -> usize {
        (self.0 as usize * 4) % REGION_BYTES
    }
}

/// Bytes in use, for statistics and tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeapUse {
    /// Slots in use, large records left out.
    pub(crate) slots: u64,
    /// Bytes of record slots in use.
    pub(crate) record_bytes: u64,
    /// Bytes of record slots that were handed out since their memory was last given back: what the
    /// system has to back with memory, but for the rounding to its pages.
    pub(crate) touched_bytes: u64,
    /// Bytes of large records.
    pub(crate) large_bytes: u64,
}

/// Slots for records and indexes.
pub(crate) struct Heap {
    regions: Vec<Option<Region>>,
    /// For each class the first span with room.
    rooms: Box<[Option<SpanId>; CLASSES]>,
    large: Vec<Option<Box<[u8]>>>,
    /// Unused places in `large`.
    large_free: Vec<u32>,
    /// The one empty span that is kept.
    idle: Option<SpanId>,
    /// Bytes of record slots that were freed since victims were last looked for.
    freed_bytes: u64,
    /// [`REGIONS_MAX`], but in tests.
    regions_max: usize,
    in_use: HeapUse,
}

impl Heap {
    pub(crate) fn new() -> Self {
        Self::with_regions(REGIONS_MAX)
    }

    /// A heap that is full with so many regions.
    pub(crate) fn with_regions(regions_max: usize) -> Self {
        Self {
            regions: Vec::new(),
            rooms: Box::new([None; CLASSES]),
            large: Vec::new(),
            large_free: Vec::new(),
            idle: None,
            freed_bytes: 0,
            regions_max,
            in_use: HeapUse::default(),
        }
    }

    pub(crate) const fn in_use(&self) -> HeapUse {
        self.in_use
    }

    /// Bytes of address space taken from the system for slots.
    pub(crate) fn mapped_bytes(&self) -> u64 {
        self.regions.iter().flatten().count() as u64 * REGION_BYTES as u64
    }

    /// Takes a slot for a record of so many bytes.
    pub(crate) fn alloc_record(&mut self, bytes: usize) -> Result<SlotRef, Full> {
        if bytes <= SLOT_BYTES_MAX {
            self.alloc(Class::of_record(bytes))
        } else {
            self.alloc_large(bytes)
        }
    }

    /// Takes a slot for so many index entries, at most the last of [`INDEX_SLOTS`].
    pub(crate) fn alloc_index(&mut self, entries: usize) -> Result<SlotRef, Full> {
        self.alloc(Class::of_index(entries))
    }

    /// Whether records of these lengths go to the same slots.
    pub(crate) fn is_same_slot(old_bytes: usize, new_bytes: usize) -> bool {
        old_bytes == new_bytes
            || (old_bytes <= SLOT_BYTES_MAX
                && new_bytes <= SLOT_BYTES_MAX
                && Class::of_record(old_bytes) == Class::of_record(new_bytes))
    }

    /// Whether so many index entries go to the same slots as that many.
    pub(crate) fn is_same_index_slot(old_entries: usize, new_entries: usize) -> bool {
        Class::of_index(old_entries) == Class::of_index(new_entries)
    }

    /// The bytes from a slot's start on: its own, and for slots in regions whatever lies behind.
    #[inline]
    pub(crate) fn bytes(&self, slot: SlotRef) -> &[u8] {
        match slot.large() {
            None => &self.region(slot.region()).bytes()[slot.offset()..],
            Some(at) => self.large_bytes(at),
        }
    }

    /// As [`Heap::bytes`]; writing behind the end of the slot is a bug.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, slot: SlotRef) -> &mut [u8] {
        match slot.large() {
            None => &mut self.region_mut(slot.region()).bytes_mut()[slot.offset()..],
            Some(at) => self.large[at].as_deref_mut().expect("a reference is valid until freed"),
        }
    }

    /// The first `entries` entries of an index slot, eight bytes each.
    #[inline]
    pub(crate) fn index(&self, slot: SlotRef, entries: usize) -> &[[u8; 8]] {
        let index = &self.region(slot.region()).bytes()[slot.offset()..][..entries * 8];
        index.as_chunks().0
    }

    /// The cache line of an index slot that begins with this entry.
    #[inline]
    pub(crate) fn index_line(&self, slot: SlotRef, entry: usize) -> &[[u8; 8]; LINE] {
        let line = self.region(slot.region()).bytes()[slot.offset() + entry * 8..].as_chunks().0;
        line.first_chunk().expect("slots end with whole lines")
    }

    /// As [`Heap::index`].
    #[inline]
    pub(crate) fn index_mut(&mut self, slot: SlotRef, entries: usize) -> &mut [[u8; 8]] {
        let index = &mut self.region_mut(slot.region()).bytes_mut()[slot.offset()..];
        index[..entries * 8].as_chunks_mut().0
    }

    /// Gives the memory of the entries of `range` in an index slot back to the system, as far as
    /// they fill its pages. What they held is lost.
    pub(crate) fn discard_index(&mut self, slot: SlotRef, range: Range<usize>) {
        let bytes = (range.start * 8).next_multiple_of(PAGE_BYTES)..range.end * 8;
        if bytes.start < bytes.end {
            let offset = slot.offset();
            let region = self.region_mut(slot.region());
            region.discard(offset + bytes.start..offset + bytes.end);
        }
    }

    /// Fetches the first `lines` cache lines of a record ahead, and returns its bytes as
    /// [`Heap::bytes`] does.
    #[inline]
    pub(crate) fn prefetch(&self, slot: SlotRef, lines: usize) -> &[u8] {
        let bytes = self.bytes(slot);
        for line in 0..lines {
            raw::prefetch(bytes.get(line * LINE_BYTES..).unwrap_or_default());
        }
        bytes
    }

    /// Gives a slot back.
    pub(crate) fn free(&mut self, slot: SlotRef) {
        if let Some(at) = slot.large() {
            let bytes = self.large[at].take().expect("a slot is freed once").len();
            self.in_use.large_bytes -= bytes as u64;
            self.large_free.push(at as u32);
            if self.large_free.len() == self.large.len() {
                (self.large, self.large_free) = (Vec::new(), Vec::new());
            }
            return;
        }
        let region = self.region_mut(slot.region());
        let head = region.head(slot.block());
        let span = region.span_mut(head);
        let (class, next) = (span.class, span.freed);
        let is_listed = span.has_room() || span.is_victim;
        span.freed = Some(slot);
        span.live -= 1;
        let is_empty = span.live == 0;
        let next = next.map_or(u32::MAX, |slot| slot.0);
        region.bytes_mut()[slot.offset()..][..4].copy_from_slice(&next.to_le_bytes());
        let id = SpanId::new(slot.region(), head);
        if !is_listed {
            self.list(id, class);
        }
        self.count(class, false);
        if is_empty {
            self.on_empty(id);
        }
    }

    fn alloc(&mut self, class: Class) -> Result<SlotRef, Full> {
        let id = match self.rooms[class.number()] {
            Some(id) => id,
            None => self.open_span(class)?,
        };
        if self.idle == Some(id) {
            self.idle = None;
        }
        let region = self.region_mut(id.region());
        let span = region.span_mut(id.block());
        span.live += 1;
        let slot = match span.freed {
            Some(slot) => {
                let next =
                    region.bytes()[slot.offset()..].first_chunk().expect("a slot has 8 bytes");
                let next = u32::from_le_bytes(*next);
                let span = region.span_mut(id.block());
                span.freed = (next != u32::MAX).then_some(SlotRef(next));
                slot
            }
            None => {
                let offset = span.bump * class.shape().slot_bytes;
                span.bump += 1;
                if !class.is_index() {
                    self.in_use.touched_bytes += u64::from(class.shape().slot_bytes);
                }
                let block = (id.region() * BLOCKS + id.block()) as u32;
                SlotRef((block << BLOCK_UNITS_LOG2) + offset / 4)
            }
        };
        if !self.span(id).has_room() {
            self.unlist(id, class);
        }
        self.count(class, true);
        Ok(slot)
    }

    fn alloc_large(&mut self, bytes: usize) -> Result<SlotRef, Full> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(bytes).map_err(|_| Full)?;
        memory.resize(bytes, 0);
        let memory = Some(memory.into_boxed_slice());
        let at = match self.large_free.pop() {
            Some(at) => {
                self.large[at as usize] = memory;
                at
            }
            None if self.large.len() < LARGE_MAX => {
                self.large.push(memory);
                self.large.len() as u32 - 1
            }
            None => return Err(Full),
        };
        self.in_use.large_bytes += bytes as u64;
        Ok(SlotRef(LARGE | at))
    }

    /// Keeps the counters.
    fn count(&mut self, class: Class, is_more: bool) {
        let bytes = if class.is_index() { 0 } else { u64::from(class.shape().slot_bytes) };
        if is_more {
            self.in_use.record_bytes += bytes;
            self.in_use.slots += 1;
        } else {
            self.in_use.record_bytes -= bytes;
            self.freed_bytes += bytes;
            self.in_use.slots -= 1;
        }
    }

    fn span(&self, id: SpanId) -> &region::Span {
        self.region(id.region()).span(id.block())
    }

    fn span_mut(&mut self, id: SpanId) -> &mut region::Span {
        self.region_mut(id.region()).span_mut(id.block())
    }

    #[inline]
    fn region(&self, at: usize) -> &Region {
        self.regions[at].as_ref().expect("a reference is valid until freed")
    }

    #[inline]
    fn region_mut(&mut self, at: usize) -> &mut Region {
        self.regions[at].as_mut().expect("a reference is valid until freed")
    }

    fn large_bytes(&self, at: usize) -> &[u8] {
        self.large[at].as_deref().expect("a reference is valid until freed")
    }
}
