//! GetChannels: the names of all channels.
//!
//! ```text
//! client -> node   06 00     anything behind it is ignored
//! node -> client   fd
//!                  02, array name     for each channel, in any order
//!                  03                 finished
//!                  01                 error; the request is over
//! ```

use super::{Arguments, ArgumentsError, DecodeError, Payload, Reader, Writer, array, message_end};

/// Source: spec `protocol-neo` 12.1. Answered by [`GetChannelsMessage`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetChannels;

/// A piece of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetChannelsMessage<'a> {
    /// The node could not do it: the request is over. No node sends it.
    Error,
    /// One name. An original node can have channels whose names break the rule.
    ChannelName(&'a [u8]),
    /// That was all: the request is over.
    Finished,
}

impl<'a> GetChannelsMessage<'a> {
    const ERROR: u8 = 1;
    const CHANNEL_NAME: u8 = 2;
    const FINISHED: u8 = 3;
}

impl<'a> Payload<'a> for GetChannelsMessage<'a> {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Error => w.u8(Self::ERROR),
            Self::ChannelName(name) => {
                w.u8(Self::CHANNEL_NAME);
                w.array(name);
            }
            Self::Finished => w.u8(Self::FINISHED),
        }
    }

    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let message = match r.u8()? {
            Self::ERROR => Self::Error,
            Self::CHANNEL_NAME => Self::ChannelName(array(&mut r, "channel")?),
            Self::FINISHED => Self::Finished,
            other => {
                return Err(DecodeError::Unknown { field: "message type", value: other.into() });
            }
        };
        message_end(&r)?;
        Ok(message)
    }
}

impl<'a> Arguments<'a> for GetChannels {
    const ERROR_STATUS: Option<u8> = Some(GetChannelsMessage::ERROR);

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
    fn get_channels_has_the_bytes_of_the_original() {
        check_request(GetChannels, "06 00", Trailing::Ignored);
        let name = from_hex("02 0800000000000000 6368616e6e656c31");
        check_payload(&GetChannelsMessage::ChannelName(b"channel1"), &name);
        check_payload(&GetChannelsMessage::Finished, &[3]);
        check_payload(&GetChannelsMessage::Error, &[1]);
    }
}
