//! Mirror: every change of a channel from now on, and all its records now and then.
//!
//! ```text
//! client -> node   04 00, bool start suspended, array channel, bool initial refresh,
//!                  u32 seconds between refreshes     strict
//! node -> client   fd, then 05 Started, or 06 Error: it is over
//!                  07, key, array value     the record has changed
//!                  08, key                  the record was deleted
//!                  09, array batch          refreshed records; see `neo::batch`
//!                  0b                       at least one change was lost
//!                  0a                       the channel was removed; the client answers: Ack
//!                  04                       Ack of a control message; see `neo::suspendable`
//! ```

use dht_types::{ChannelName, Key};

use super::{
    Arguments, ArgumentsError, DecodeError, Payload, Reader, Writer, array, key, message_end,
};

/// Source: spec `protocol-neo` 14.2, 14.5. Answered by [`MirrorMessage`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror<'a> {
    /// Start as if a Suspend had been received right after Started, without its Ack.
    pub start_suspended: bool,
    /// A valid channel name.
    pub channel: &'a str,
    /// Send all records at the start.
    pub initial_refresh: bool,
    /// Send all records again with this period, in seconds; 0 for never.
    pub periodic_refresh_s: u32,
}

/// What the node sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorMessage<'a> {
    /// A control message was received.
    Ack,
    /// The request runs.
    Started,
    /// The node could not do it: the request is over.
    Error,
    /// A record was put; its value as it is now.
    RecordChanged(Key, &'a [u8]),
    /// A record was removed.
    RecordDeleted(Key),
    /// Records of a refresh, compressed.
    RecordRefreshBatch(&'a [u8]),
    /// The channel was removed.
    ChannelRemoved,
    /// At least one change or deletion was lost.
    UpdateOverflow,
}

impl MirrorMessage<'_> {
    const ACK: u8 = 4;
    const STARTED: u8 = 5;
    const ERROR: u8 = 6;
    const RECORD_CHANGED: u8 = 7;
    const RECORD_DELETED: u8 = 8;
    pub(in crate::neo) const RECORD_REFRESH_BATCH: u8 = 9;
    const CHANNEL_REMOVED: u8 = 10;
    const UPDATE_OVERFLOW: u8 = 11;
}

impl<'a> Payload<'a> for MirrorMessage<'a> {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Ack => w.u8(Self::ACK),
            Self::Started => w.u8(Self::STARTED),
            Self::Error => w.u8(Self::ERROR),
            Self::RecordChanged(key, value) => {
                w.u8(Self::RECORD_CHANGED);
                w.u64(key.0);
                w.array(value);
            }
            Self::RecordDeleted(key) => {
                w.u8(Self::RECORD_DELETED);
                w.u64(key.0);
            }
            Self::RecordRefreshBatch(batch) => {
                w.u8(Self::RECORD_REFRESH_BATCH);
                w.array(batch);
            }
            Self::ChannelRemoved => w.u8(Self::CHANNEL_REMOVED),
            Self::UpdateOverflow => w.u8(Self::UPDATE_OVERFLOW),
        }
    }

    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let message = match r.u8()? {
            Self::ACK => Self::Ack,
            Self::STARTED => Self::Started,
            Self::ERROR => Self::Error,
            Self::RECORD_CHANGED => Self::RecordChanged(key(&mut r)?, array(&mut r, "value")?),
            Self::RECORD_DELETED => Self::RecordDeleted(key(&mut r)?),
            Self::RECORD_REFRESH_BATCH => Self::RecordRefreshBatch(array(&mut r, "batch")?),
            Self::CHANNEL_REMOVED => Self::ChannelRemoved,
            Self::UPDATE_OVERFLOW => Self::UpdateOverflow,
            other => {
                return Err(DecodeError::Unknown { field: "message type", value: other.into() });
            }
        };
        message_end(&r)?;
        Ok(message)
    }
}

impl<'a> Arguments<'a> for Mirror<'a> {
    const ERROR_STATUS: Option<u8> = Some(MirrorMessage::ERROR);

    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        let start_suspended = r.bool()?;
        let channel = array(r, "channel")?;
        let (initial_refresh, periodic_refresh_s) = (r.bool()?, r.u32()?);
        message_end(r)?;
        let channel = ChannelName::check(channel)?;
        Ok(Self { start_suspended, channel, initial_refresh, periodic_refresh_s })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.bool(self.start_suspended);
        w.array(self.channel.as_bytes());
        w.bool(self.initial_refresh);
        w.u32(self.periodic_refresh_s);
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::from_hex;

    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    #[test]
    fn mirror_has_the_bytes_of_the_specification() {
        check_request(
            Mirror {
                start_suspended: false,
                channel: "test",
                initial_refresh: true,
                periodic_refresh_s: 360,
            },
            "04 00  00  04 00 00 00 00 00 00 00 74 65 73 74  01  68 01 00 00",
            Trailing::Refused,
        );
        let changed = from_hex("07 adde000000000000 0300000000000000 616263");
        check_payload(&MirrorMessage::RecordChanged(Key(0xdead), b"abc"), &changed);
        let deleted = from_hex("08 adde000000000000");
        check_payload(&MirrorMessage::RecordDeleted(Key(0xdead)), &deleted);
        let batch = from_hex("09 0300000000000000 110000");
        check_payload(&MirrorMessage::RecordRefreshBatch(&[0x11, 0, 0]), &batch);
        check_payload(&MirrorMessage::Ack, &[4]);
        check_payload(&MirrorMessage::Started, &[5]);
        check_payload(&MirrorMessage::Error, &[6]);
        check_payload(&MirrorMessage::ChannelRemoved, &[10]);
        check_payload(&MirrorMessage::UpdateOverflow, &[11]);
    }
}
