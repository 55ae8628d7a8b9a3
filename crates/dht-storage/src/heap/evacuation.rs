//! Emptying spans that hold little.
//!
//! Slots that were freed wait for a record of their own class. Where lengths change, or half of all
//! records go because a hash range moves to another node, many wait long, and hardly any span
//! becomes empty by itself. So once less than 7/8 of the touched memory is in use, each size class
//! keeps as many of its fullest spans as its records need. The others become *victims*: they hand
//! out no slots any more, and whoever owns the records (an index; a record does not know its own)
//! moves them, a few at a time. An empty victim is closed.
//!
//! That costs a look at each record of the shard, for an eighth of their bytes that was freed since
//! the last time; and fewer bytes are moved than become free, because the fullest spans stay.

use std::cmp::Reverse;

use super::{Full, Heap, SlotRef, region::SpanId};

/// A heap with less than this is left alone: there is little to gain.
const TOUCHED_BYTES_MIN: u64 = 128 << 10;

/// Victims are looked for once this part of the touched bytes was freed since the last time,
/// whether or not the slots found new records meanwhile.
const FREED_PART: u64 = 8;

/// What the victims leave free must be at least this part of the touched bytes: the last span of
/// each class is seldom full, and no look at all records changes that.
const GAIN_PART: u64 = 32;

impl Heap {
    /// Chooses victims, if memory is sparse and that has not just been tried; whether there are
    /// any.
    #[inline]
    pub(crate) fn start_evacuation(&mut self) -> bool {
        let (in_use, touched) = (self.in_use.record_bytes, self.in_use.touched_bytes);
        8 * in_use < 7 * touched
            && FREED_PART * self.freed_bytes >= touched
            && touched >= TOUCHED_BYTES_MIN
            && self.choose_victims()
    }

    /// Whether a record lies in a span that is to be emptied.
    #[inline]
    pub(crate) fn is_victim(&self, slot: SlotRef) -> bool {
        slot.large().is_none() && {
            let region = self.region(slot.region());
            region.span(region.head(slot.block())).is_victim
        }
    }

    /// Copies a record, not a large one, to another slot of its class. The old slot is still to be
    /// freed.
    pub(crate) fn copy(&mut self, from: SlotRef) -> Result<SlotRef, Full> {
        let region = self.region(from.region());
        let class = region.span(region.head(from.block())).class;
        let to = self.alloc(class)?;
        let bytes = class.shape().slot_bytes as usize;
        let (source, target) = (from.offset()..from.offset() + bytes, to.offset());
        match self.regions.get_disjoint_mut([from.region(), to.region()]) {
            Ok([Some(from), Some(to)]) => {
                to.bytes_mut()[target..][..bytes].copy_from_slice(&from.bytes()[source]);
            }
            _ => self.region_mut(to.region()).bytes_mut().copy_within(source, target),
        }
        Ok(to)
    }

    fn choose_victims(&mut self) -> bool {
        self.freed_bytes = 0;
        let mut spans = self.spans_in_use();
        spans.sort_unstable_by_key(|&(class, live, _)| (class, Reverse(live)));
        let (mut gain, mut victims) = (0, Vec::new());
        for spans in spans.chunk_by(|a, b| a.0 == b.0) {
            let live: u32 = spans.iter().map(|&(_, live, _)| live).sum();
            let shape = self.span(spans[0].2).class.shape();
            for &(_, live, id) in &spans[live.div_ceil(shape.slots) as usize..] {
                gain += u64::from((self.span(id).bump - live) * shape.slot_bytes);
                victims.push(id);
            }
        }
        if victims.is_empty() || GAIN_PART * gain < self.in_use.touched_bytes {
            return false;
        }
        for id in victims {
            let span = *self.span(id);
            if span.has_room() {
                self.unlist(id, span.class);
            }
            self.span_mut(id).is_victim = true;
        }
        true
    }

    /// The spans with records: number of the class, slots in use, and which span it is.
    fn spans_in_use(&self) -> Vec<(usize, u32, SpanId)> {
        let mut spans = Vec::new();
        for (at, region) in self.regions.iter().enumerate() {
            for (head, span) in region.iter().flat_map(|region| region.spans()) {
                if span.live > 0 && !span.class.is_index() && !span.is_victim {
                    spans.push((span.class.number(), span.live, SpanId::new(at, head)));
                }
            }
        }
        spans
    }
}
