//! Payloads: what a message carries behind its request id.

use crate::neo::{RequestId, frame};
use crate::wire::{DecodeError, Reader, Writer};

/// The payload of a message that belongs to a running request.
pub trait Payload<'a>: Sized {
    /// Appends the payload.
    fn encode(&self, w: &mut Writer<'_>);

    /// Reads a whole payload. [`DecodeError::Unknown`]: its type or status means nothing.
    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError>;

    /// Appends the whole message.
    fn write(&self, id: RequestId, out: &mut Vec<u8>) {
        frame::write_message(out, id, |w| self.encode(w));
    }
}

/// Refuses trailing bytes, where a message is strict about them.
pub(super) fn message_end(r: &Reader<'_>) -> Result<(), DecodeError> {
    if r.is_empty() { Ok(()) } else { Err(DecodeError::Malformed { field: "end of message" }) }
}

/// Makes an enum of one-byte messages, each a message of its own.
macro_rules! statuses {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$status_meta:meta])* $status:ident = $code:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$status_meta])* $status = $code,)*
        }

        impl $name {
            /// Every status, by code.
            pub const ALL: &[Self] = &[$(Self::$status,)*];

            /// The code on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The status of a code, if there is one.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$status),)*
                    _ => None,
                }
            }
        }

        impl $crate::neo::Payload<'_> for $name {
            fn encode(&self, w: &mut $crate::wire::Writer<'_>) {
                w.u8(self.code());
            }

            fn decode(payload: &[u8]) -> Result<Self, $crate::wire::DecodeError> {
                let mut r = $crate::wire::Reader::new(payload);
                let code = r.u8()?;
                $crate::neo::requests::payload::message_end(&r)?;
                Self::from_code(code).ok_or($crate::wire::DecodeError::Unknown {
                    field: "status",
                    value: code.into(),
                })
            }

            fn write(&self, id: $crate::neo::RequestId, out: &mut Vec<u8>) {
                $crate::neo::frame::write_byte(out, id, self.code());
            }
        }
    };
}

pub(super) use statuses;
