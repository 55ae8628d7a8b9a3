//! GetHashRange: the node's range, and from then on every change of it.
//!
//! ```text
//! client -> node   01 00     anything behind it is ignored
//! node -> client   fd
//!                  u64 min, u64 max                              no type byte in front
//!                  02, u64 min, u64 max                          the node's range is another now
//!                  01, IPv4 address, port, u64 min, u64 max      there is another node
//! ```
//!
//! Address and port alone are most significant byte first. The request never ends by itself; a
//! message of the client ends it without a word.

use core::net::{Ipv4Addr, SocketAddrV4};

use dht_types::HashRange;

use super::{Arguments, ArgumentsError, DecodeError, Payload, Reader, Writer, message_end};

/// Source: spec `protocol-neo` 13. Answered by a [`ResponsibleRange`], then [`HashRangeUpdate`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetHashRange;

/// The first answer: the range of the node that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponsibleRange(pub HashRange);

/// A later answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashRangeUpdate {
    /// Another node exists, or has a new range. The port is that of its neo listener.
    NewNode(SocketAddrV4, HashRange),
    /// The range of the node that is asked has changed.
    ChangeHashRange(HashRange),
}

impl HashRangeUpdate {
    const NEW_NODE: u8 = 1;
    const CHANGE_HASH_RANGE: u8 = 2;
}

fn encode_range(w: &mut Writer<'_>, range: HashRange) {
    w.u64(range.min());
    w.u64(range.max());
}

fn range(r: &mut Reader<'_>) -> Result<HashRange, DecodeError> {
    let (min, max) = (r.u64()?, r.u64()?);
    HashRange::new(min, max).map_err(|_| DecodeError::Malformed { field: "hash range" })
}

/// A port in network byte order.
fn port(r: &mut Reader<'_>) -> Result<u16, DecodeError> {
    Ok(u16::from(r.u8()?) << 8 | u16::from(r.u8()?))
}

impl Payload<'_> for ResponsibleRange {
    fn encode(&self, w: &mut Writer<'_>) {
        encode_range(w, self.0);
    }

    /// Trailing bytes are ignored.
    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        range(&mut Reader::new(payload)).map(Self)
    }
}

impl Payload<'_> for HashRangeUpdate {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::NewNode(address, range) => {
                w.u8(Self::NEW_NODE);
                w.bytes(&address.ip().octets());
                let [low, high] = address.port().to_le_bytes();
                w.bytes(&[high, low]);
                encode_range(w, *range);
            }
            Self::ChangeHashRange(range) => {
                w.u8(Self::CHANGE_HASH_RANGE);
                encode_range(w, *range);
            }
        }
    }

    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let update = match r.u8()? {
            Self::NEW_NODE => {
                let ip = Ipv4Addr::new(r.u8()?, r.u8()?, r.u8()?, r.u8()?);
                Self::NewNode(SocketAddrV4::new(ip, port(&mut r)?), range(&mut r)?)
            }
            Self::CHANGE_HASH_RANGE => Self::ChangeHashRange(range(&mut r)?),
            other => {
                return Err(DecodeError::Unknown { field: "message type", value: other.into() });
            }
        };
        message_end(&r)?;
        Ok(update)
    }
}

impl<'a> Arguments<'a> for GetHashRange {
    const ERROR_STATUS: Option<u8> = None;

    fn decode(_: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        Ok(Self)
    }

    fn encode(&self, _: &mut Writer<'_>) {}
}

#[cfg(test)]
mod tests {
    use dht_testkit::from_hex;

    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    #[test]
    fn get_hash_range_has_the_bytes_of_the_specification() {
        check_request(GetHashRange, "01 00", Trailing::Ignored);
        let full = from_hex("0000000000000000 ffffffffffffffff");
        check_payload(&ResponsibleRange(HashRange::FULL), &full);
        let empty = from_hex("ffffffffffffffff 0000000000000000");
        check_payload(&ResponsibleRange(HashRange::EMPTY), &empty);
        let upper_half = HashRange::new(1 << 63, u64::MAX).expect("valid");
        check_payload(
            &HashRangeUpdate::NewNode(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 10101), upper_half),
            &from_hex("01  7f 00 00 01  27 75  00 00 00 00 00 00 00 80  ff ff ff ff ff ff ff ff"),
        );
        check_payload(
            &HashRangeUpdate::ChangeHashRange(upper_half),
            &from_hex("02  00 00 00 00 00 00 00 80  ff ff ff ff ff ff ff ff"),
        );
    }

    #[test]
    fn trailing_bytes_are_refused_in_updates_only() {
        let first = from_hex("0000000000000000 ffffffffffffffff 00");
        assert_eq!(ResponsibleRange::decode(&first), Ok(ResponsibleRange(HashRange::FULL)));
        let update = from_hex("02 0000000000000000 ffffffffffffffff 00");
        assert!(HashRangeUpdate::decode(&update).is_err());
    }

    #[test]
    fn limits_that_are_no_range_and_unknown_types_are_refused() {
        let inverted = from_hex("0200000000000000 0100000000000000");
        assert!(ResponsibleRange::decode(&inverted).is_err());
        let error = DecodeError::Unknown { field: "message type", value: 3 };
        assert_eq!(HashRangeUpdate::decode(&[3]), Err(error));
    }
}
