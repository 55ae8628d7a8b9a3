//! A region: 4 MiB of memory from the system, cut in 64 blocks, and the spans that live there.
//!
//! ```text
//! | block 0 | block 1 | block 2 | block 3 | ...  | block 63 |
//!   span A    free      span B (2 blocks)
//! ```
//!
//! A span of 2^i blocks starts at a multiple of 2^i. It hands out its slots in address order first,
//! so that pages never reached cost nothing, and then whatever was freed: the freed slots form a
//! list, each holding the reference of the next in its first four bytes.

use std::{num::NonZeroU32, ops::Range};

use super::{SlotRef, class::BLOCK_BYTES, class::Class};
use crate::raw::Pages;

/// Blocks of a region: as many as a `u64` has bits.
pub(super) const BLOCKS: usize = 64;
/// Bytes of a region.
pub(super) const REGION_BYTES: usize = BLOCKS * BLOCK_BYTES;

/// A span by its first block: 1 + region number * [`BLOCKS`] + block, so that none at all takes no
/// more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanId(NonZeroU32);

impl SpanId {
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^17 spans")]
    pub(super) fn new(region: usize, block: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add((region * BLOCKS + block) as u32))
    }

    pub(super) const fn region(self) -> usize {
        (self.0.get() - 1) as usize / BLOCKS
    }

    pub(super) const fn block(self) -> usize {
        (self.0.get() - 1) as usize % BLOCKS
    }
}

/// A run of blocks that serves one size class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) class: Class,
    /// Slots in use.
    pub(super) live: u32,
    /// Slots handed out at least once; those from here on were never touched.
    pub(super) bump: u32,
    /// First of the freed slots.
    pub(super) freed: Option<SlotRef>,
    /// It is being emptied: it hands out nothing, and is in no list.
    pub(super) is_victim: bool,
    /// Neighbours in the class's list of spans with room; meaningless while there is none.
    pub(super) before: Option<SpanId>,
    pub(super) after: Option<SpanId>,
}

impl Span {
    pub(super) const fn new(class: Class) -> Self {
        Self { class, live: 0, bump: 0, freed: None, is_victim: false, before: None, after: None }
    }

    /// Whether it can hand out another slot, and so is in its class's list.
    pub(super) const fn has_room(&self) -> bool {
        self.freed.is_some() || self.bump < self.class.shape().slots
    }
}

/// One mapping and its spans.
pub(super) struct Region {
    pages: Pages<REGION_BYTES>,
    /// A bit for each block that belongs to no span.
    free: u64,
    /// The first block of the span that a block belongs to.
    heads: Box<[u8; BLOCKS]>,
    /// The spans, each at its first block.
    spans: Box<[Option<Span>; BLOCKS]>,
}

impl Region {
    /// Maps a region; `None` if the system has no memory.
    pub(super) fn map() -> Option<Self> {
        Some(Self {
            pages: Pages::map()?,
            free: u64::MAX,
            heads: Box::new([0; BLOCKS]),
            spans: Box::new([None; BLOCKS]),
        })
    }

    /// All of its memory. The length is part of the type: an offset below it needs no check.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8; REGION_BYTES] {
        &self.pages
    }

    /// As [`Region::bytes`].
    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8; REGION_BYTES] {
        &mut self.pages
    }

    /// Whether no block is in use.
    pub(super) const fn is_free(&self) -> bool {
        self.free == u64::MAX
    }

    /// The first block of the span around `block`.
    pub(super) fn head(&self, block: usize) -> usize {
        usize::from(self.heads[block])
    }

    /// The span whose first block is `head`.
    pub(super) fn span(&self, head: usize) -> &Span {
        self.spans[head].as_ref().expect("a span is alive while something refers to it")
    }

    /// All spans, each with its first block.
    pub(super) fn spans(&self) -> impl Iterator<Item = (usize, &Span)> {
        let spans = self.spans.iter().enumerate();
        spans.filter_map(|(head, span)| Some((head, span.as_ref()?)))
    }

    /// The span whose first block is `head`, to be changed.
    pub(super) fn span_mut(&mut self, head: usize) -> &mut Span {
        self.spans[head].as_mut().expect("a span is alive while something refers to it")
    }

    /// Makes a span in the lowest free place; returns its first block, `None` if none is free.
    pub(super) fn open_span(&mut self, class: Class) -> Option<usize> {
        let blocks_log2 = class.shape().blocks_log2;
        let starts = aligned_runs(self.free, blocks_log2);
        if starts == 0 {
            return None;
        }
        let head = starts.trailing_zeros();
        self.free &= !run(head, blocks_log2);
        let head = head as usize;
        self.heads[head..][..1 << blocks_log2].fill(u8::try_from(head).expect("below 64"));
        self.spans[head] = Some(Span::new(class));
        Some(head)
    }

    /// Gives memory back to the system; what was there is lost.
    pub(super) fn discard(&mut self, range: Range<usize>) {
        self.pages.discard(range);
    }

    /// Gives the blocks of an empty span back, and their memory to the system.
    pub(super) fn close_span(&mut self, head: usize) {
        let span = self.spans[head].take().expect("a span is closed once");
        let blocks_log2 = span.class.shape().blocks_log2;
        self.free |= run(u32::try_from(head).expect("below 64"), blocks_log2);
        let start = head * BLOCK_BYTES;
        self.pages.discard(start..start + (BLOCK_BYTES << blocks_log2));
    }
}

/// The bits of 2^`log2` blocks from `head` on.
const fn run(head: u32, log2: u32) -> u64 {
    ((1 << (1 << log2)) - 1) << head
}

/// The bits at which 2^`log2` free blocks start, at multiples of their number.
const fn aligned_runs(free: u64, log2: u32) -> u64 {
    const STARTS: [u64; 5] = [
        u64::MAX,
        0x5555_5555_5555_5555,
        0x1111_1111_1111_1111,
        0x0101_0101_0101_0101,
        0x0001_0001_0001_0001,
    ];
    let (mut free, mut doubled) = (free, 0);
    while doubled < log2 {
        free &= free >> (1 << doubled);
        doubled += 1;
    }
    free & STARTS[log2 as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_at_multiples_of_their_length() {
        assert_eq!(aligned_runs(u64::MAX, 4), 0x0001_0001_0001_0001);
        assert_eq!(aligned_runs(0b0111_1110, 1), 0b0001_0100);
        assert_eq!(aligned_runs(0b1111_1110, 2), 0b0001_0000);
        assert_eq!(aligned_runs(u64::MAX << 1, 4), 0x0001_0001_0001_0000);
        assert_eq!(aligned_runs(0, 0), 0);
        assert_eq!((run(4, 2), run(48, 4)), (0xf0, 0xffff << 48));
    }
}
