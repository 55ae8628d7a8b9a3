//! How much a store or a channel holds.

use std::ops::{Add, Sub};

use crate::record;

/// Most cache lines that are fetched ahead of one record.
const RECORD_LINES_MAX: usize = 4;

/// Records and the bytes of their values. Keys and overhead are not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of records.
    pub records: u64,
    /// Sum of the lengths of their values.
    pub value_bytes: u64,
}

impl Usage {
    /// Cache lines that hold a record of the mean length, wherever in its first one it begins. Of a
    /// long one the processor expects the rest by itself.
    #[expect(clippy::cast_possible_truncation, reason = "a length in memory")]
    pub(crate) fn record_lines(self) -> usize {
        let value_bytes = (self.value_bytes / self.records.max(1)) as usize;
        record::record_bytes(value_bytes).div_ceil(64).min(RECORD_LINES_MAX - 1) + 1
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            value_bytes: self.value_bytes + other.value_bytes,
        }
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            records: self.records - other.records,
            value_bytes: self.value_bytes - other.value_bytes,
        }
    }
}

/// Where a store's memory is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Address space taken from the system for slots. Costs memory only where it was touched.
    pub mapped: u64,
    /// Slots of records that were handed out since their memory was last given back to the system:
    /// what it backs with memory, but for the rounding to its pages.
    pub touched: u64,
    /// Slots of records in use.
    pub records: u64,
    /// Index entries and the gaps between them.
    pub index: u64,
    /// Records too large for a slot.
    pub large: u64,
    /// Directories and segment headers, on the ordinary heap.
    pub tables: u64,
}
