//! Emptying spans that hold little.
//!
//! When records go that were spread over all spans, as half of them do when a hash range moves to
//! another node, hardly any span becomes empty, and nothing is given back. So once less than half
//! of the touched memory is in use, each size class keeps as many of its fullest spans as its
//! records need. The others become *victims*: they hand out no slots any more, and whoever owns the
//! records (an index; a record does not know its own) moves them, a few at a time. An empty victim
//! is closed.
//!
//! That costs each record one look, at a time when at least as many were removed.

use std::cmp::Reverse;

use super::{BLOCKS, Heap, SlotRef, region::SpanId};

/// A heap with less than this is left alone: there is little to gain.
const TOUCHED_BYTES_MIN: u64 = 1 << 20;

impl Heap {
    /// Chooses victims, if memory is sparse and that has not just been tried; whether there are
    /// any.
    #[inline]
    pub(crate) fn start_evacuation(&mut self) -> bool {
        let (in_use, touched) = (self.in_use.record_bytes, self.in_use.touched_bytes);
        in_use < self.evacuate_below
            && 2 * in_use < touched
            && touched >= TOUCHED_BYTES_MIN
            && self.choose_victims()
    }

    /// Whether a record lies in a span that is to be emptied.
    pub(crate) fn is_victim(&self, slot: SlotRef) -> bool {
        slot.large().is_none() && {
            let region = self.region(slot.region());
            region.span(region.head(slot.block())).is_victim
        }
    }

    /// Lets the next evacuation wait until a quarter of what is now in use was removed.
    #[inline]
    pub(super) fn expect_growth(&mut self) {
        self.evacuate_below = self.evacuate_below.max(self.in_use.record_bytes / 4 * 3);
    }

    fn choose_victims(&mut self) -> bool {
        self.evacuate_below = self.in_use.record_bytes / 4 * 3;
        let mut spans = self.spans_in_use();
        spans.sort_unstable_by_key(|&(class, live, _)| (class, Reverse(live)));
        let mut any = false;
        for spans in spans.chunk_by(|a, b| a.0 == b.0) {
            let live: u32 = spans.iter().map(|&(_, live, _)| live).sum();
            let class = self.span(spans[0].2).class;
            let needed = live.div_ceil(class.shape().slots) as usize;
            for &(_, _, id) in &spans[needed..] {
                if self.span(id).has_room() {
                    self.unlist(id, class);
                }
                self.span_mut(id).is_victim = true;
                any = true;
            }
        }
        any
    }

    /// The spans with records: number of the class, slots in use, and which span it is.
    fn spans_in_use(&self) -> Vec<(usize, u32, SpanId)> {
        let mut spans = Vec::new();
        for (at, region) in self.regions.iter().enumerate() {
            for (head, span) in region.iter().flat_map(|region| region.spans()) {
                if span.live > 0 && !span.class.is_index() && !span.is_victim {
                    let id = u32::try_from(at * BLOCKS + head).expect("at most 2^17 spans");
                    spans.push((span.class.number(), span.live, SpanId(id)));
                }
            }
        }
        spans
    }
}
