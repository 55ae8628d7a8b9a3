//! Get: reads a record.
//!
//! ```text
//! client -> node   03 00, array channel, key     trailing bytes are ignored
//! node -> client   fd, then a status, and after Got one more message: array value
//! ```

use dht_types::{ChannelName, Key};

use super::{
    Arguments, ArgumentsError, DecodeError, Payload, Reader, Writer, array, channel_and_key,
    encode_channel_and_key, message_end, statuses,
};
use crate::neo::{RequestId, frame};

/// Source: spec `protocol-neo` 10.2. Answered by a [`GetReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key.
    pub key: Key,
}

/// The answer of a Get: one message, or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetReply<'a> {
    /// There is no such record.
    NoRecord,
    /// The record's value. (The original never answers if it is empty; its clients can read it.)
    Got(&'a [u8]),
    /// The key is outside the node's hash range.
    WrongNode,
    /// The node could not do it.
    Error,
}

statuses! {
    /// The first message of a [`GetReply`].
    pub enum GetStatus {
        /// There is no such record.
        NoRecord = 1,
        /// The value follows.
        Got = 2,
        /// The key is outside the node's hash range.
        WrongNode = 3,
        /// The node could not do it.
        Error = 4,
    }
}

/// The second message of a [`GetReply::Got`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GotValue<'a>(pub &'a [u8]);

impl GetReply<'_> {
    /// Appends the one or two messages.
    #[inline]
    pub fn write(&self, id: RequestId, out: &mut Vec<u8>) {
        match self {
            Self::NoRecord => GetStatus::NoRecord.write(id, out),
            Self::WrongNode => GetStatus::WrongNode.write(id, out),
            Self::Error => GetStatus::Error.write(id, out),
            Self::Got(value) => {
                frame::write_byte_and_array(out, id, GetStatus::Got.code(), value);
            }
        }
    }
}

impl<'a> Payload<'a> for GotValue<'a> {
    fn encode(&self, w: &mut Writer<'_>) {
        w.array(self.0);
    }

    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let value = array(&mut r, "value")?;
        message_end(&r)?;
        Ok(Self(value))
    }
}

impl<'a> Arguments<'a> for Get<'a> {
    const ERROR_STATUS: Option<u8> = Some(GetStatus::Error.code());

    #[inline(always)]
    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        let (channel, key) = channel_and_key(r)?;
        Ok(Self { channel: ChannelName::check(channel)?, key })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        encode_channel_and_key(w, self.channel, self.key);
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::{from_hex, to_hex};

    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    #[test]
    fn get_has_the_bytes_of_the_specification() {
        check_request(
            Get { channel: "test", key: Key(0xdead) },
            "03 00  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00",
            Trailing::Ignored,
        );
        for (status, code) in GetStatus::ALL.iter().zip([1, 2, 3, 4]) {
            check_payload(status, &[code]);
        }
        check_payload(&GotValue(b"abc"), &from_hex("03 00 00 00 00 00 00 00 61 62 63"));
    }

    #[test]
    fn a_value_travels_in_a_message_of_its_own() {
        let id = RequestId::new(3).expect("not 0");
        let mut out = Vec::new();
        GetReply::Got(b"abc").write(id, &mut out);
        let expected = from_hex(
            "01 09 00 00 00 00 00 00 00 08   03 00 00 00 00 00 00 00   02
             01 13 00 00 00 00 00 00 00 12   03 00 00 00 00 00 00 00
             03 00 00 00 00 00 00 00 61 62 63",
        );
        assert_eq!(to_hex(&out), to_hex(&expected));
        for (reply, code) in
            [(GetReply::NoRecord, 1), (GetReply::WrongNode, 3), (GetReply::Error, 4)]
        {
            out.clear();
            reply.write(id, &mut out);
            assert_eq!(out[18..], [code]);
        }
    }
}
