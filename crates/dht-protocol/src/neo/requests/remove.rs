//! Remove: deletes a record.
//!
//! ```text
//! client -> node   08 00, array channel, key     trailing bytes are refused
//! node -> client   fd, then a status
//! ```

use dht_types::{ChannelName, Key};

use super::{
    Arguments, ArgumentsError, Reader, Writer, channel_and_key, encode_channel_and_key,
    message_end, statuses,
};

/// Source: spec `protocol-neo` 10.4. Answered by one [`RemoveReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remove<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key.
    pub key: Key,
}

statuses! {
    /// The answer of a Remove.
    pub enum RemoveReply {
        /// There was none.
        NoRecord = 1,
        /// There was one, now it is gone.
        Removed = 2,
        /// The key is outside the node's hash range.
        WrongNode = 3,
        /// The node could not do it.
        Error = 4,
    }
}

impl<'a> Arguments<'a> for Remove<'a> {
    const ERROR_STATUS: Option<u8> = Some(RemoveReply::Error.code());

    #[inline(always)]
    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        let (channel, key) = channel_and_key(r)?;
        message_end(r)?;
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
    fn remove_has_the_bytes_of_the_specification() {
        check_request(
            Remove { channel: "test", key: Key(0xdead) },
            "08 00  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00",
            Trailing::Refused,
        );
        check_payload(&RemoveReply::NoRecord, &[1]);
        check_payload(&RemoveReply::Removed, &[2]);
        check_payload(&RemoveReply::WrongNode, &[3]);
        check_payload(&RemoveReply::Error, &[4]);
    }
}
