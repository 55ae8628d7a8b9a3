//! Put: stores a record, replacing the one that is there.
//!
//! ```text
//! client -> node   02 00, array channel, key, array value     trailing bytes are ignored
//! node -> client   fd, then a status
//! ```

use dht_types::{ChannelName, Key};

use super::{
    Arguments, ArgumentsError, Reader, Writer, array, channel_and_key, encode_channel_and_key,
    statuses,
};

/// Source: spec `protocol-neo` 10.1. Answered by one [`PutReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key.
    pub key: Key,
    /// The record's value. It may be empty.
    pub value: &'a [u8],
}

statuses! {
    /// The answer of a Put.
    pub enum PutReply {
        /// Stored.
        Put = 1,
        /// The key is outside the node's hash range.
        WrongNode = 2,
        /// The node could not do it.
        Error = 3,
    }
}

impl<'a> Arguments<'a> for Put<'a> {
    const ERROR_STATUS: Option<u8> = Some(PutReply::Error.code());

    #[inline(always)]
    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        let (channel, key) = channel_and_key(r)?;
        let value = array(r, "value")?;
        Ok(Self { channel: ChannelName::check(channel)?, key, value })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        encode_channel_and_key(w, self.channel, self.key);
        w.array(self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    #[test]
    fn put_has_the_bytes_of_the_specification() {
        check_request(
            Put { channel: "test", key: Key(0xdead), value: b"abc" },
            "02 00  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00
             03 00 00 00 00 00 00 00 61 62 63",
            Trailing::Ignored,
        );
        check_request(
            Put { channel: "test", key: Key(0xdead), value: b"" },
            "02 00  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00
             00 00 00 00 00 00 00 00",
            Trailing::Ignored,
        );
        check_payload(&PutReply::Put, &[1]);
        check_payload(&PutReply::WrongNode, &[2]);
        check_payload(&PutReply::Error, &[3]);
    }
}
