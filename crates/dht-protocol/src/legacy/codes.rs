//! Status codes: the first four bytes of every answer.

use crate::wire::{DecodeError, Reader, Writer};

/// How a request ended. Source: spec `protocol-legacy` 4.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Status {
    /// Done; the answer follows.
    Ok = 200,
    /// Never sent by a node, understood by clients.
    InvalidRequest = 400,
    /// The key is outside the node's hash range.
    WrongNode = 404,
    /// Never sent by a node, understood by clients.
    NotSupported = 406,
    /// The node's `size_limit` would be exceeded.
    OutOfMemory = 407,
    /// A record without a value cannot be put.
    EmptyValue = 408,
    /// The channel's name breaks the rule.
    BadChannelName = 409,
    /// The value is longer than the node's `batch_size` allows.
    ValueTooBig = 410,
    /// The node could not do it; clients close the connection.
    Error = 500,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::InvalidRequest,
        Self::WrongNode,
        Self::NotSupported,
        Self::OutOfMemory,
        Self::EmptyValue,
        Self::BadChannelName,
        Self::ValueTooBig,
        Self::Error,
    ];

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// Appends the code.
    pub fn encode(self, w: &mut Writer<'_>) {
        w.u32(self.code());
    }

    /// Reads a code. A code that nobody sends is an error: the connection is out of step.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = r.u32()?;
        let known = Self::ALL.into_iter().find(|status| status.code() == code);
        known.ok_or(DecodeError::Unknown { field: "status", value: code.into() })
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::Ok => "ok",
            Self::InvalidRequest => "invalid request",
            Self::WrongNode => "wrong node: the key is outside the node's hash range",
            Self::NotSupported => "not supported",
            Self::OutOfMemory => "out of memory: the node's size limit is reached",
            Self::EmptyValue => "empty value: a record needs at least one byte",
            Self::BadChannelName => "bad channel name",
            Self::ValueTooBig => "value too big for the legacy protocol",
            Self::Error => "error in the node",
        };
        write!(f, "{text} ({})", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_others_are_refused() {
        for status in Status::ALL {
            let bytes = status.code().to_le_bytes();
            assert_eq!(Status::decode(&mut Reader::new(&bytes)), Ok(status));
        }
        for code in [0_u32, 199, 201, 405, u32::MAX] {
            let bytes = code.to_le_bytes();
            assert!(Status::decode(&mut Reader::new(&bytes)).is_err(), "{code}");
        }
    }
}
