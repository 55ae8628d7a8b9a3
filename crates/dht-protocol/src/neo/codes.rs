//! What every request has: an id, and the first byte of the node's answer.

use std::num::NonZeroU64;

use super::frame;
use crate::wire::Writer;

/// Which request of a connection a message belongs to. The client chooses it, and never 0.
/// Source: spec `protocol-neo` 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(NonZeroU64);

impl RequestId {
    /// Bytes on the wire.
    pub const BYTES: usize = 8;

    /// The id of a number; `None` for 0.
    #[must_use]
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Appends the number.
    pub fn encode(self, w: &mut Writer<'_>) {
        w.u64(self.get());
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The first message of a node for each request. Source: spec `protocol-neo` 8.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supported {
    /// The request runs.
    Yes,
    /// The node knows the request, but not this version of it.
    NotThisVersion,
    /// The node does not know the request.
    No,
    /// A byte that no node sends. It counts as [`Self::No`].
    Other(u8),
}

impl Supported {
    /// The byte on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Yes => 0xfd,
            Self::NotThisVersion => 0xfe,
            Self::No => 0xff,
            Self::Other(code) => code,
        }
    }

    /// What a byte means.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0xfd => Self::Yes,
            0xfe => Self::NotThisVersion,
            0xff => Self::No,
            other => Self::Other(other),
        }
    }

    /// Appends the whole message.
    pub fn write(self, id: RequestId, out: &mut Vec<u8>) {
        frame::write_byte(out, id, self.code());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        for code in 0..=255 {
            assert_eq!(Supported::from_code(code).code(), code);
        }
        assert_eq!(Supported::from_code(253), Supported::Yes);
    }
}
