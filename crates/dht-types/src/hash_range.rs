//! The part of the hash space that a node owns.

use std::fmt;

use crate::Key;

/// An inclusive range of positions ([`Key::position`]), or the empty range.
///
/// Source: spec `protocol-legacy` 5.2. The empty range is written `min = ff..ff, max = 0`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashRange {
    min: u64,
    max: u64,
}

/// Two limits that are no range: `min > max`, and not the empty range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid hash range {min:#018x}..{max:#018x}: the first limit is above the second")]
pub struct HashRangeError {
    /// The lower limit as given.
    pub min: u64,
    /// The upper limit as given.
    pub max: u64,
}

impl HashRange {
    /// Every position.
    pub const FULL: Self = Self { min: 0, max: u64::MAX };
    /// No position at all: a node that waits for its share.
    pub const EMPTY: Self = Self { min: u64::MAX, max: 0 };

    /// The range `[min, max]`, or the empty range in its one spelling.
    pub const fn new(min: u64, max: u64) -> Result<Self, HashRangeError> {
        let range = Self { min, max };
        if min <= max || range.is_empty() { Ok(range) } else { Err(HashRangeError { min, max }) }
    }

    /// Lower limit, inclusive; all ones if empty.
    #[must_use]
    pub const fn min(self) -> u64 {
        self.min
    }

    /// Upper limit, inclusive; zero if empty.
    #[must_use]
    pub const fn max(self) -> u64 {
        self.max
    }

    /// Whether no key falls into it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.min == u64::MAX && self.max == 0
    }

    /// Whether a node with this range is responsible for `key`.
    #[must_use]
    pub const fn contains(self, key: Key) -> bool {
        self.min <= key.position() && key.position() <= self.max
    }

    /// Whether all positions of another one, which has some, lie in it.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        !other.is_empty() && self.min <= other.min && other.max <= self.max
    }

    /// Whether some position lies in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.min <= other.max && other.min <= self.max
    }
}

impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}..{:#018x}", self.min, self.max)
    }
}

impl fmt::Debug for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashRange({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responsibility_is_decided_on_the_reversed_key() {
        let upper_half = HashRange::new(1 << 63, u64::MAX).expect("valid");
        assert!(upper_half.contains(Key(1)) && !upper_half.contains(Key(2)));
        let (first, last) = (Key(0x1000_u64.reverse_bits()), Key(0x2000_u64.reverse_bits()));
        let range = HashRange::new(0x1000, 0x2000).expect("valid");
        assert!(range.contains(first) && range.contains(last));
        assert!(!range.contains(Key(0x0fff_u64.reverse_bits())));
        assert!(!range.contains(Key(0x2001_u64.reverse_bits())));
        assert!(HashRange::FULL.covers(range) && range.covers(range));
        assert!(!range.covers(HashRange::FULL) && !range.covers(upper_half));
    }

    #[test]
    fn only_one_inverted_pair_is_a_range_and_it_holds_nothing() {
        assert_eq!(HashRange::new(u64::MAX, 0), Ok(HashRange::EMPTY));
        assert_eq!(HashRange::new(2, 1), Err(HashRangeError { min: 2, max: 1 }));
        for key in [0, 1, u64::MAX].map(Key) {
            assert!(!HashRange::EMPTY.contains(key) && HashRange::FULL.contains(key));
        }
        assert!(!HashRange::EMPTY.overlaps(HashRange::FULL));
        assert!(!HashRange::FULL.covers(HashRange::EMPTY));
        assert!(!HashRange::EMPTY.covers(HashRange::FULL));
    }
}
