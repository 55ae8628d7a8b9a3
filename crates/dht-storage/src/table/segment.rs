//! A segment: the index entries of one range of tags, as a sorted array with gaps.
//!
//! ```text
//!          line 0            line 1            line 2                   last line
//!        | 03 11 12 14 .. .. | 26 27 31 31 38 39 | 39 45 51 .. .. .. | ... | overflow |
//!
//! home of a tag = the line at (its bits behind the segment's prefix, as a fraction) * lines
//! ```
//!
//! Invariants: tags never decrease from left to right; no entry is left of the line that is its home;
//! no gap is between an entry and the start of its home. So a look-up goes from there rightwards until
//! it meets the tag, a larger one or a gap, and a scan in position order is a scan in tag order. A
//! line has eight entries, as many as a cache line: with a load of 7/8 at most, about seven in eight
//! are in their home, where one comparison of the whole line finds them.
//!
//! The positions live in index pages of [`PAGE`] entries (a single smaller one while that is enough).
//! A full segment gets one page more and spreads its entries anew; records are not touched by that.
#![expect(clippy::cast_possible_truncation, reason = "positions are at most CAPACITY_MAX")]

use std::ops::{ControlFlow, Range};

use super::entry::Entry;
use crate::{
    heap::{Full, Heap, INDEX_SLOTS, SlotRef},
    raw::{self, LINE},
    record,
};

/// Entries of a full index page.
const PAGE: usize = INDEX_SLOTS[INDEX_SLOTS.len() - 1];
const PAGES_MAX: usize = 32;

/// Most positions of a segment, and so the most entries that one operation can move.
pub(super) const CAPACITY_MAX: usize = PAGE * PAGES_MAX;

/// One range of tags. It owns its pages; [`Segment::free`] returns them. In this order a look-up
/// reads one cache line of it, or two.
#[repr(C)]
pub(super) struct Segment {
    capacity: u16,
    /// Positions of lines that are homes, a multiple of [`LINE`].
    homes: u16,
    len: u16,
    /// Leading bits that all its tags share.
    depth: u8,
    pages: [SlotRef; PAGES_MAX],
}

/// Where an entry was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position(usize);

/// There is no place for an entry: the segment is full, or has no gap right of the entry's place.
#[derive(Debug)]
pub(super) struct NoGap;

impl Segment {
    /// A segment with these entries, which are in order and share `depth` bits.
    pub(super) fn build(heap: &mut Heap, depth: u8, entries: &[Entry]) -> Result<Self, Full> {
        let pages = [SlotRef(0); PAGES_MAX];
        let mut segment = Self { pages, capacity: 0, homes: 0, len: 0, depth };
        segment.rebuild(heap, depth, entries)?;
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

    /// Returns its pages. The segment must not be used any more.
    pub(super) fn free(&mut self, heap: &mut Heap) {
        self.take_pages(heap, 0).expect("giving pages back needs no memory");
        (self.capacity, self.homes, self.len) = (0, 0, 0);
    }

    /// The entry with this tag whose record has this low part.
    #[inline]
    pub(super) fn find(&self, heap: &Heap, tag: u32, low: u32) -> Option<(Position, SlotRef)> {
        let is_wanted = |slot: SlotRef| record::low(heap.bytes(slot)) == low;
        match self.guess(heap, tag) {
            Some((position, slot)) if is_wanted(slot) => Some((position, slot)),
            _ => self.find_stepwise(heap, tag, is_wanted),
        }
    }

    /// The first entry with this tag in the line that is its home.
    #[inline]
    pub(super) fn guess(&self, heap: &Heap, tag: u32) -> Option<(Position, SlotRef)> {
        let home = self.home(tag);
        let line = self.page(heap, home / PAGE)[home % PAGE..].first_chunk::<LINE>()?;
        let at = raw::tag_mask(line, tag).trailing_zeros() as usize;
        let entry = Entry::read(*line.get(at)?);
        // The gaps look like the largest tag.
        (!entry.is_empty()).then_some((Position(home + at), entry.slot()))
    }

    fn find_stepwise(
        &self,
        heap: &Heap,
        tag: u32,
        is_wanted: impl Fn(SlotRef) -> bool,
    ) -> Option<(Position, SlotRef)> {
        let found = self.walk(heap, self.home(tag), |at, entry| {
            if entry.is_empty() || entry.tag() > tag {
                ControlFlow::Break(None)
            } else if entry.tag() == tag && is_wanted(entry.slot()) {
                ControlFlow::Break(Some((Position(at), entry.slot())))
            } else {
                ControlFlow::Continue(())
            }
        });
        found.flatten()
    }

    /// Fetches the index line of a tag ahead.
    #[inline]
    pub(super) fn prefetch(&self, heap: &Heap, tag: u32) {
        let home = self.home(tag);
        raw::prefetch(&heap.bytes(self.pages[home / PAGE])[home % PAGE * 8..]);
    }

    /// Calls `f` with each entry whose tag is at least `tag`, in order, until it breaks.
    pub(super) fn from(
        &self,
        heap: &Heap,
        tag: u32,
        mut f: impl FnMut(Entry) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let broke = self.walk(heap, self.home(tag), |_, entry| {
            if entry.is_empty() || entry.tag() < tag { ControlFlow::Continue(()) } else { f(entry) }
        });
        broke.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    /// All entries, in order.
    pub(super) fn entries(&self, heap: &Heap, room_for_more: usize) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(self.len() + room_for_more);
        for page in 0..self.capacity().div_ceil(PAGE) {
            let page = self.page(heap, page).iter().map(|&bytes| Entry::read(bytes));
            entries.extend(page.filter(|entry| !entry.is_empty()));
        }
        entries
    }

    /// The entries at the positions of `range`, gaps left out.
    pub(super) fn entries_at(&self, heap: &Heap, range: Range<usize>) -> Vec<Entry> {
        let positions = range.start..range.end.min(self.capacity());
        let entries = positions.map(|at| Entry::read(self.page(heap, at / PAGE)[at % PAGE]));
        entries.filter(|entry| !entry.is_empty()).collect()
    }

    /// Lets the entry at `position` refer to another slot.
    pub(super) fn set_slot(&self, heap: &mut Heap, position: Position, slot: SlotRef) {
        let bytes = &mut self.page_mut(heap, position.0 / PAGE)[position.0 % PAGE];
        *bytes = Entry::new(Entry::read(*bytes).tag(), slot).bytes();
    }

    /// Inserts an entry behind those of its tag; returns how many it moved.
    pub(super) fn insert(&mut self, heap: &mut Heap, entry: Entry) -> Result<usize, NoGap> {
        if !fits(self.len() + 1, self.capacity()) {
            return Err(NoGap);
        }
        // The first position right of everything up to this tag, and the first gap from there on.
        let mut place = None;
        let gap = self.walk(heap, self.home(entry.tag()), |at, other| {
            if other.is_empty() {
                return ControlFlow::Break(at);
            }
            if place.is_none() && other.tag() > entry.tag() {
                place = Some(at);
            }
            ControlFlow::Continue(())
        });
        let gap = gap.ok_or(NoGap)?;
        let place = place.unwrap_or(gap);
        self.shift_right(heap, place..gap, entry);
        self.len += 1;
        Ok(gap - place)
    }

    /// Removes the entry at `position` and moves those behind it back as far as their homes allow;
    /// returns how many were moved.
    pub(super) fn remove(&mut self, heap: &mut Heap, Position(hole): Position) -> usize {
        let stop = self.walk(heap, hole + 1, |at, entry| {
            if entry.is_empty() || self.home(entry.tag()) == at {
                ControlFlow::Break(at)
            } else {
                ControlFlow::Continue(())
            }
        });
        let last = stop.unwrap_or(self.capacity()) - 1;
        self.shift_left(heap, hole..last);
        self.len -= 1;
        last - hole
    }

    /// Whether it has so few entries that smaller pages would do.
    pub(super) fn is_sparse(&self) -> bool {
        2 * self.len() < self.capacity() && capacity_for(self.len()) < self.capacity()
    }

    /// Replaces all entries by these, which are in order and share `depth` bits, with a capacity that
    /// suits them. On [`Full`] nothing has changed.
    pub(super) fn rebuild(
        &mut self,
        heap: &mut Heap,
        depth: u8,
        entries: &[Entry],
    ) -> Result<(), Full> {
        let mut capacity = capacity_for(entries.len());
        let homes = homes_for(capacity);
        let end = positions(entries, depth, homes).last().map_or(0, |last| last + 1);
        if end > capacity {
            // Many equal tags at the very end. With the homes unchanged they fit as computed.
            capacity = round_up(end);
        }
        if capacity > CAPACITY_MAX {
            return Err(Full);
        }
        self.take_pages(heap, capacity)?;
        (self.capacity, self.homes) = (capacity as u16, homes as u16);
        (self.len, self.depth) = (entries.len() as u16, depth);
        self.place(heap, entries);
        Ok(())
    }

    /// Writes the entries to their positions, and gaps between them.
    fn place(&self, heap: &mut Heap, entries: &[Entry]) {
        let mut placed = positions(entries, self.depth, self.homes.into()).zip(entries).peekable();
        for page in 0..self.capacity().div_ceil(PAGE) {
            let bytes = self.page_mut(heap, page);
            bytes.fill(Entry::EMPTY.bytes());
            while let Some((at, entry)) = placed.next_if(|(at, _)| at / PAGE == page) {
                bytes[at % PAGE] = entry.bytes();
            }
        }
    }

    /// Changes the pages to those of `capacity` positions. On [`Full`] nothing has changed; else the
    /// contents are unspecified.
    fn take_pages(&mut self, heap: &mut Heap, capacity: usize) -> Result<(), Full> {
        let (old, new) = (self.capacity().div_ceil(PAGE), capacity.div_ceil(PAGE));
        let is_same = |page| page_entries(self.capacity(), page) == page_entries(capacity, page);
        let kept = (0..old.min(new)).take_while(|&page| is_same(page)).count();
        let mut pages = self.pages;
        for page in kept..new {
            match heap.alloc_page(page_entries(capacity, page)) {
                Ok(slot) => pages[page] = slot,
                Err(full) => {
                    pages[kept..page].iter().for_each(|&slot| heap.free(slot));
                    return Err(full);
                }
            }
        }
        self.pages[kept..old].iter().for_each(|&slot| heap.free(slot));
        self.pages = pages;
        Ok(())
    }

    fn shift_right(&self, heap: &mut Heap, range: Range<usize>, entry: Entry) {
        let (mut at, mut carry) = (range.start, entry.bytes());
        while at <= range.end {
            let (first, last) = (at % PAGE, (range.end - at + at % PAGE).min(PAGE - 1));
            let page = self.page_mut(heap, at / PAGE);
            let carried_on = page[last];
            page.copy_within(first..last, first + 1);
            page[first] = carry;
            carry = carried_on;
            at += last - first + 1;
        }
    }

    /// Moves the entries behind `range.start` up to `range.end` one to the left, and leaves a gap at
    /// the end.
    fn shift_left(&self, heap: &mut Heap, range: Range<usize>) {
        let mut at = range.start;
        loop {
            let (first, last) = (at % PAGE, (range.end - at + at % PAGE).min(PAGE - 1));
            let (page, next) = (at / PAGE, at + last - first + 1);
            let carry =
                if next <= range.end { self.page(heap, page + 1)[0] } else { Entry::EMPTY.bytes() };
            let page = self.page_mut(heap, page);
            page.copy_within(first + 1..last + 1, first);
            page[last] = carry;
            if next > range.end {
                return;
            }
            at = next;
        }
    }

    /// Calls `f` with each position from `from` on and what is there, until it breaks.
    #[inline]
    fn walk<R>(
        &self,
        heap: &Heap,
        from: usize,
        mut f: impl FnMut(usize, Entry) -> ControlFlow<R>,
    ) -> Option<R> {
        let mut at = from;
        while at < self.capacity() {
            for &bytes in &self.page(heap, at / PAGE)[at % PAGE..] {
                if let ControlFlow::Break(result) = f(at, Entry::read(bytes)) {
                    return Some(result);
                }
                at += 1;
            }
        }
        None
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        home(tag, self.depth, self.homes.into())
    }

    #[inline]
    fn page<'h>(&self, heap: &'h Heap, page: usize) -> &'h [[u8; 8]] {
        heap.page(self.pages[page], page_entries(self.capacity(), page))
    }

    fn page_mut<'h>(&self, heap: &'h mut Heap, page: usize) -> &'h mut [[u8; 8]] {
        heap.page_mut(self.pages[page], page_entries(self.capacity(), page))
    }
}

/// Where the line starts that a tag belongs to.
#[inline]
fn home(tag: u32, depth: u8, homes: usize) -> usize {
    let fraction = tag << depth;
    ((u64::from(fraction) * homes as u64) >> 32) as usize / LINE * LINE
}

/// The positions of entries in order: each at its home, or right of the one before.
fn positions(entries: &[Entry], depth: u8, homes: usize) -> impl Iterator<Item = usize> {
    let mut free_from = 0;
    entries.iter().map(move |entry| {
        let at = home(entry.tag(), depth, homes).max(free_from);
        free_from = at + 1;
        at
    })
}

/// Whether so many entries may share so many positions: load at most 7/8.
const fn fits(len: usize, capacity: usize) -> bool {
    8 * len <= 7 * capacity
}

/// The smallest capacity for so many entries that leaves room for one more, and on large segments for
/// a quarter of a page more: a segment that was just rebuilt is not rebuilt at once.
fn capacity_for(len: usize) -> usize {
    let room = (len / 32).clamp(1, PAGE / 4);
    round_up((8 * (len + room)).div_ceil(7))
}

/// The next capacity that pages can make up.
fn round_up(capacity: usize) -> usize {
    match INDEX_SLOTS.iter().find(|&&slots| slots >= capacity) {
        Some(&slots) => slots,
        None => capacity.next_multiple_of(PAGE),
    }
}

/// The positions of lines that are homes; those behind them take what overflows at the end. Where it
/// does not suffice, the segment grows early.
const fn homes_for(capacity: usize) -> usize {
    match capacity {
        0..64 => capacity,
        64..1024 => capacity - LINE,
        _ => capacity - 2 * LINE,
    }
}

/// Entries of a page of a segment.
#[inline]
const fn page_entries(capacity: usize, page: usize) -> usize {
    let rest = capacity - page * PAGE;
    if rest < PAGE { rest } else { PAGE }
}
