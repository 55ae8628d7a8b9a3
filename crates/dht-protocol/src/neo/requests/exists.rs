//! Exists: whether there is a record.
//!
//! ```text
//! client -> node   07 00, array channel, key     trailing bytes are ignored
//! node -> client   fd, then a status
//! ```

use dht_types::{ChannelName, Key};

use super::{
    Arguments, ArgumentsError, Reader, Writer, channel_and_key, encode_channel_and_key, statuses,
};

/// Source: spec `protocol-neo` 10.3. Answered by one [`ExistsReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exists<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key.
    pub key: Key,
}

statuses! {
    /// The answer of an Exists.
    pub enum ExistsReply {
        /// There is one, be its value empty or not.
        RecordExists = 1,
        /// There is none.
        NoRecord = 2,
        /// The key is outside the node's hash range.
        WrongNode = 3,
        /// The node could not do it.
        Error = 4,
    }
}

impl<'a> Arguments<'a> for Exists<'a> {
    const ERROR_STATUS: Option<u8> = Some(ExistsReply::Error.code());

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
    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    #[test]
    fn exists_has_the_bytes_of_the_specification() {
        check_request(
            Exists { channel: "test", key: Key(0xdead) },
            "07 00  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00",
            Trailing::Ignored,
        );
        check_payload(&ExistsReply::RecordExists, &[1]);
        check_payload(&ExistsReply::NoRecord, &[2]);
        check_payload(&ExistsReply::WrongNode, &[3]);
        check_payload(&ExistsReply::Error, &[4]);
    }
}
