//! Going through a table in the order of places.

use std::ops::ControlFlow;

use super::{Table, entry::Entry};
use crate::{
    heap::{Heap, SlotRef},
    record,
};

/// Segments that one step looks into. Only in a table that lost nearly all of its records does a
/// step end here.
const SEGMENTS_MAX: usize = 64;

/// What a step found.
pub(crate) struct Chunk {
    /// Records in order: tag, low part, slot.
    pub(crate) records: Vec<(u32, u32, SlotRef)>,
    /// The tag to go on at; `None` at the end of the table.
    pub(crate) next: Option<u32>,
}

impl Table {
    /// Collects at least `count` records (or all that are left, or those of [`SEGMENTS_MAX`]
    /// segments) from a place on. Records of one tag are never parted.
    pub(crate) fn chunk(&self, heap: &Heap, tag: u32, low: u32, count: usize) -> Chunk {
        let (entries, next) = self.entries_from(heap, tag, count);
        let lines = self.usage.record_lines();
        entries.iter().for_each(|entry| _ = heap.prefetch(entry.slot(), lines));
        let with_low =
            |entry: Entry| (entry.tag(), record::low(heap.bytes(entry.slot())), entry.slot());
        let mut records: Vec<_> = entries.into_iter().map(with_low).collect();
        // The index does not order equal tags, and the scan may start between two of them.
        records.sort_unstable_by_key(|&(tag, low, _)| (tag, low));
        let passed = records.partition_point(|record| (record.0, record.1) < (tag, low));
        records.drain(..passed);
        Chunk { records, next }
    }

    /// Moves records out of spans that are to be emptied: looks at about `count` entries from a tag
    /// on, and returns the tag to go on at.
    pub(crate) fn evacuate(&mut self, heap: &mut Heap, tag: u32, count: usize) -> Option<u32> {
        let (mut entries, next) = self.entries_from(heap, tag, count);
        entries.retain(|entry| heap.is_victim(entry.slot()));
        let lines = self.usage.record_lines();
        entries.iter().for_each(|entry| _ = heap.prefetch(entry.slot(), lines));
        for entry in entries {
            // Without memory it stays where it is, until the next evacuation.
            let Ok(slot) = heap.copy(entry.slot()) else { continue };
            self.segments[self.locate(entry.tag())].replace(heap, entry, slot);
            heap.free(entry.slot());
        }
        next
    }

    fn entries_from(&self, heap: &Heap, tag: u32, count: usize) -> (Vec<Entry>, Option<u32>) {
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        let mut tag = tag;
        for _ in 0..SEGMENTS_MAX {
            let segment = &self.segments[self.locate(tag)];
            let stopped = segment.from(heap, tag, |entry| {
                let is_new_tag = entries.last().is_none_or(|last| last.tag() < entry.tag());
                if is_new_tag && entries.len() >= count {
                    tag = entry.tag();
                    return ControlFlow::Break(());
                }
                entries.push(entry);
                ControlFlow::Continue(())
            });
            if stopped.is_break() {
                return (entries, Some(tag));
            }
            match first_tag_behind(tag, segment.depth()) {
                Some(next) => tag = next,
                None => return (entries, None),
            }
        }
        (entries, Some(tag))
    }
}

/// The first tag that does not share the first `depth` bits of `tag`, from there on.
fn first_tag_behind(tag: u32, depth: u8) -> Option<u32> {
    let last = u64::from(tag) | (u64::from(u32::MAX) >> depth);
    u32::try_from(last + 1).ok()
}
