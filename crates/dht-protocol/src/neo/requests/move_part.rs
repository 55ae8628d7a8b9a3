//! MovePart, of our own: has a node give a part of its hash range to another one.
//!
//! ```text
//! client -> node   d3 00, u64 min, u64 max, array address, u16 legacy port     of the taker
//!                  01                                     give it up, if that is still possible
//! node -> client   fd
//!                  01, 5 x u64                            progress, several times a second
//!                  02, 5 x u64                            done: the end
//!                  03, array reason                       not done: the end
//!                  04                                     not permitted: the end
//! ```
//!
//! The part is a lower or upper end of the node's range, or all of it, and joins the taker's. Only
//! the client named admin may ask for it. The request is given up with its connection. The legacy
//! protocol has the same request, and the messages between the nodes:
//! [`crate::legacy::requests::MovePart`].

use dht_types::HashRange;

use super::{Arguments, ArgumentsError, DecodeError, Payload, Reader, Writer, array, message_end};
use crate::legacy::requests::MoveProgress;

/// Answered by [`MoveUpdate`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovePart<'a> {
    /// What goes.
    pub part: HashRange,
    /// The taker's IPv4 address.
    pub address: &'a str,
    /// The taker's legacy port.
    pub port: u16,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveUpdate<'a> {
    /// On its way.
    Progress(MoveProgress),
    /// The part is the taker's.
    Finished(MoveProgress),
    /// The part is still here, whole; why, for a person.
    Refused(&'a str),
    /// The client may not ask for it.
    NotPermitted,
}

/// The client's only further message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelMove;

impl<'a> Arguments<'a> for MovePart<'a> {
    const ERROR_STATUS: Option<u8> = None;

    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        let (min, max) = (r.u64()?, r.u64()?);
        let address = text(r, "address")?;
        let port = r.u16()?;
        message_end(r)?;
        let part =
            HashRange::new(min, max).map_err(|_| DecodeError::Malformed { field: "hash range" })?;
        Ok(Self { part, address, port })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.u64(self.part.min());
        w.u64(self.part.max());
        w.array(self.address.as_bytes());
        w.u16(self.port);
    }
}

fn text<'a>(r: &mut Reader<'a>, field: &'static str) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(array(r, field)?).map_err(|_| DecodeError::Malformed { field })
}

impl<'a> Payload<'a> for MoveUpdate<'a> {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Progress(progress) => {
                w.u8(1);
                progress.encode(w);
            }
            Self::Finished(progress) => {
                w.u8(2);
                progress.encode(w);
            }
            Self::Refused(reason) => {
                w.u8(3);
                w.array(reason.as_bytes());
            }
            Self::NotPermitted => w.u8(4),
        }
    }

    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let update = match r.u8()? {
            1 => Self::Progress(MoveProgress::decode(&mut r)?),
            2 => Self::Finished(MoveProgress::decode(&mut r)?),
            3 => Self::Refused(text(&mut r, "reason")?),
            4 => Self::NotPermitted,
            kind => {
                return Err(DecodeError::Unknown { field: "message type", value: kind.into() });
            }
        };
        message_end(&r)?;
        Ok(update)
    }
}

impl Payload<'_> for CancelMove {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u8(1);
    }

    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        match r.u8()? {
            1 => message_end(&r).map(|()| Self),
            kind => Err(DecodeError::Unknown { field: "message type", value: kind.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::from_hex;

    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    #[test]
    fn move_part_has_the_bytes_of_the_documentation() {
        let part = HashRange::new(1 << 63, u64::MAX).expect("valid");
        check_request(
            MovePart { part, address: "127.0.0.1", port: 10_001 },
            "d3 00  00 00 00 00 00 00 00 80  ff ff ff ff ff ff ff ff
             09 00 00 00 00 00 00 00  31 32 37 2e 30 2e 30 2e 31  11 27",
            Trailing::Refused,
        );
        let progress = MoveProgress { records: 1, value_bytes: 2, ..MoveProgress::default() };
        let numbers = "0100000000000000 0200000000000000 0000000000000000 0000000000000000
                       0000000000000000";
        check_payload(&MoveUpdate::Progress(progress), &from_hex(&format!("01 {numbers}")));
        check_payload(&MoveUpdate::Finished(progress), &from_hex(&format!("02 {numbers}")));
        check_payload(&MoveUpdate::Refused("no"), &from_hex("03 0200000000000000 6e 6f"));
        check_payload(&MoveUpdate::NotPermitted, &[4]);
        check_payload(&CancelMove, &[1]);
    }
}
