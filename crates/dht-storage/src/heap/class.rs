//! Size classes: which slot a record or an index page goes to.
//!
//! ```text
//! bytes of a slot   8 ..= 512 in steps of 4     records
//!                     ..= 1024 in steps of 8
//!                     ..= 32 KiB in steps of 1/32 of the power of two below
//!                  64 ..= 4096, and 32 KiB      the entries of a segment, see `INDEX_SLOTS`
//! ```
//!
//! A span is what a class takes from a region at a time: 64 KiB, or as many times two of it as it
//! takes to leave at most 1/256 of the span unused behind the last slot, up to 1 MiB.
#![expect(clippy::cast_possible_truncation, reason = "classes and sizes are below 2^16")]

/// Longest record in a slot. A longer one has memory of its own.
pub(crate) const SLOT_BYTES_MAX: usize = 32 << 10;

/// A block: the unit in which regions give memory to spans.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// A span has at most 2^4 blocks.
const SPAN_BLOCKS_LOG2_MAX: u32 = 4;

/// Sizes of index slots, in entries of 8 bytes. A segment with more entries than the last but one
/// has a slot of the last size, and grows in it: the pages of the system that it does not reach yet
/// cost nothing.
pub(crate) const INDEX_SLOTS: [usize; 21] =
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 4096];

/// Records of up to 512 bytes: class = size / 4. The classes 0 and 1 stay unused.
const FINE: usize = 512 / 4;
/// Up to 1024 bytes, in steps of 8.
const MIDDLE: usize = FINE + 512 / 8;
/// Up to 32 KiB: five doublings with 32 steps each.
const RECORD_CLASSES: usize = MIDDLE + 5 * 32 + 1;

/// Number of classes.
pub(crate) const CLASSES: usize = RECORD_CLASSES + INDEX_SLOTS.len();

/// A size class by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class(u16);

/// What all spans of a class have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Bytes of a slot.
    pub(crate) slot_bytes: u32,
    /// Slots of a span.
    pub(crate) slots: u32,
    /// Blocks of a span, as a power of two.
    pub(crate) blocks_log2: u32,
}

impl Class {
    /// The smallest class for a record of so many bytes, at most [`SLOT_BYTES_MAX`].
    #[inline]
    pub(crate) const fn of_record(bytes: usize) -> Self {
        debug_assert!(bytes <= SLOT_BYTES_MAX);
        Self(match bytes {
            0..=512 => bytes.div_ceil(4),
            513..=1024 => FINE + (bytes - 512).div_ceil(8),
            _ => {
                let doubling = (bytes - 1).ilog2() as usize;
                let step = 1 << (doubling - 5);
                MIDDLE + (doubling - 10) * 32 + (bytes - (1 << doubling)).div_ceil(step)
            }
        } as u16)
    }

    /// The class for so many index entries, at most as many as the last of [`INDEX_SLOTS`].
    pub(crate) fn of_index(entries: usize) -> Self {
        let at = INDEX_SLOTS.partition_point(|&slots| slots < entries);
        assert!(at < INDEX_SLOTS.len(), "a segment has a largest capacity");
        Self((RECORD_CLASSES + at) as u16)
    }

    pub(crate) const fn is_index(self) -> bool {
        self.0 as usize >= RECORD_CLASSES
    }

    pub(crate) const fn number(self) -> usize {
        self.0 as usize
    }

    #[inline]
    pub(crate) const fn shape(self) -> Shape {
        SHAPES[self.0 as usize]
    }
}

static SHAPES: [Shape; CLASSES] = {
    let mut shapes = [Shape { slot_bytes: 0, slots: 0, blocks_log2: 0 }; CLASSES];
    let mut class = 2;
    while class < CLASSES {
        shapes[class] = shape(slot_bytes(class));
        class += 1;
    }
    shapes
};

const fn slot_bytes(class: usize) -> usize {
    if class <= FINE {
        class * 4
    } else if class <= MIDDLE {
        512 + (class - FINE) * 8
    } else if class < RECORD_CLASSES {
        let (doubling, step) = ((class - MIDDLE - 1) / 32, (class - MIDDLE - 1) % 32 + 1);
        (1024 + 32 * step) << doubling
    } else {
        8 * INDEX_SLOTS[class - RECORD_CLASSES]
    }
}

const fn shape(slot_bytes: usize) -> Shape {
    let mut blocks_log2 = 0;
    while blocks_log2 < SPAN_BLOCKS_LOG2_MAX {
        let span = BLOCK_BYTES << blocks_log2;
        if span % slot_bytes <= span / 256 {
            break;
        }
        blocks_log2 += 1;
    }
    let slots = (BLOCK_BYTES << blocks_log2) / slot_bytes;
    Shape { slot_bytes: slot_bytes as u32, slots: slots as u32, blocks_log2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_gets_the_smallest_slot_that_holds_it() {
        let mut before = 0;
        for bytes in 5..=SLOT_BYTES_MAX {
            let class = Class::of_record(bytes);
            let slot = class.shape().slot_bytes as usize;
            assert!(slot >= bytes && slot.is_multiple_of(4) && !class.is_index(), "{bytes}");
            assert!(slot_bytes(class.number() - 1) < bytes, "{bytes}: a smaller one would do");
            assert!(slot - bytes <= 3 || slot - bytes <= bytes / 32, "{bytes}: {slot}");
            assert!(slot >= before);
            before = slot;
        }
        assert_eq!(before, SLOT_BYTES_MAX);
        assert_eq!(Class::of_record(SLOT_BYTES_MAX).number() + 1, RECORD_CLASSES);
    }

    #[test]
    fn spans_waste_little_behind_their_last_slot() {
        for (class, shape) in SHAPES.iter().enumerate().skip(2) {
            let span = BLOCK_BYTES << shape.blocks_log2;
            let tail = span - (shape.slots * shape.slot_bytes) as usize;
            assert!(tail <= span / 256 || shape.blocks_log2 == SPAN_BLOCKS_LOG2_MAX, "{class}");
        }
        for entries in INDEX_SLOTS {
            let shape = Class::of_index(entries).shape();
            assert_eq!(shape.slot_bytes as usize, entries * 8);
            assert!(shape.slot_bytes.is_multiple_of(64), "slots start at cache lines");
        }
    }
}
