//! A position of a scan.

/// A position in the scan order of one store: "the next mixed key", or the end. It stays right
/// whatever happens to the records around it, and means nothing to another store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(Position);

/// The derived order is the scan order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Position {
    At(u64),
    End,
}

impl Cursor {
    /// Before all records.
    pub const START: Self = Self(Position::At(0));
    /// Behind all records.
    pub const END: Self = Self(Position::End);

    /// At a mixed key.
    pub(crate) const fn at(mixed: u64) -> Self {
        Self(Position::At(mixed))
    }

    /// Right behind a mixed key.
    pub(crate) const fn after(mixed: u64) -> Self {
        match mixed.checked_add(1) {
            Some(next) => Self::at(next),
            None => Self::END,
        }
    }

    /// The mixed key to go on at; `None` at the end.
    pub(crate) const fn mixed(self) -> Option<u64> {
        match self.0 {
            Position::At(mixed) => Some(mixed),
            Position::End => None,
        }
    }
}
