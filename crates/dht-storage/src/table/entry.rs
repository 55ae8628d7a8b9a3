//! An index entry: where one record lies.
//!
//! ```text
//! | tag: the high 32 bits | slot reference: the low 32 bits |
//! ```
#![expect(
    clippy::cast_possible_truncation,
    reason = "cutting a number into bit fields is the point"
)]

use crate::heap::SlotRef;

/// A tag and a slot, or [`Entry::EMPTY`]. Little-endian in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// No record. No slot reference has all bits set.
    pub(super) const EMPTY: Self = Self(u64::MAX);

    pub(super) const fn new(tag: u32, slot: SlotRef) -> Self {
        Self((tag as u64) << 32 | slot.0 as u64)
    }

    pub(crate) const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn slot(self) -> SlotRef {
        SlotRef(self.0 as u32)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == u64::MAX
    }

    #[inline]
    pub(super) const fn read(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    #[inline]
    pub(super) const fn bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}
