//! GetAll: every record of a channel, in compressed batches.
//!
//! ```text
//! client -> node   05 00, bool start suspended, array channel, bool continuing,
//!                  u64 continue from, bool keys only, array filter     strict
//! node -> client   fd, then 05 Started, or 06 Error: it is over
//!                  07, array batch     as many as it takes; see `neo::batch`
//!                  08                  finished; the client answers with an Ack
//!                  04                  Ack of a control message; see `neo::suspendable`
//! ```

use dht_types::{ChannelName, Key};

use super::{
    Arguments, ArgumentsError, DecodeError, Payload, Reader, Writer, array, key, message_end,
};

/// Source: spec `protocol-neo` 14.1, 14.4. Answered by [`GetAllMessage`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetAll<'a> {
    /// Start as if a Suspend had been received right after Started, without its Ack.
    pub start_suspended: bool,
    /// A valid channel name.
    pub channel: &'a str,
    /// Go on behind this key, the last one received over an earlier connection.
    pub continue_from: Option<Key>,
    /// Send keys without values.
    pub keys_only: bool,
    /// Only records whose value contains these bytes; all of them if empty.
    pub filter: &'a [u8],
}

/// What the node sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetAllMessage<'a> {
    /// A control message was received.
    Ack,
    /// The request runs.
    Started,
    /// The node could not do it: the request is over.
    Error,
    /// Records, or keys alone, compressed.
    RecordBatch(&'a [u8]),
    /// That was all.
    Finished,
}

impl GetAllMessage<'_> {
    const ACK: u8 = 4;
    const STARTED: u8 = 5;
    const ERROR: u8 = 6;
    pub(in crate::neo) const RECORD_BATCH: u8 = 7;
    const FINISHED: u8 = 8;
}

impl<'a> Payload<'a> for GetAllMessage<'a> {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Ack => w.u8(Self::ACK),
            Self::Started => w.u8(Self::STARTED),
            Self::Error => w.u8(Self::ERROR),
            Self::RecordBatch(batch) => {
                w.u8(Self::RECORD_BATCH);
                w.array(batch);
            }
            Self::Finished => w.u8(Self::FINISHED),
        }
    }

    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let message = match r.u8()? {
            Self::ACK => Self::Ack,
            Self::STARTED => Self::Started,
            Self::ERROR => Self::Error,
            Self::RECORD_BATCH => Self::RecordBatch(array(&mut r, "batch")?),
            Self::FINISHED => Self::Finished,
            other => {
                return Err(DecodeError::Unknown { field: "message type", value: other.into() });
            }
        };
        message_end(&r)?;
        Ok(message)
    }
}

impl<'a> Arguments<'a> for GetAll<'a> {
    const ERROR_STATUS: Option<u8> = Some(GetAllMessage::ERROR);

    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        let start_suspended = r.bool()?;
        let channel = array(r, "channel")?;
        let (continuing, from) = (r.bool()?, key(r)?);
        let keys_only = r.bool()?;
        let filter = array(r, "filter")?;
        message_end(r)?;
        let continue_from = continuing.then_some(from);
        let channel = ChannelName::check(channel)?;
        Ok(Self { start_suspended, channel, continue_from, keys_only, filter })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.bool(self.start_suspended);
        w.array(self.channel.as_bytes());
        w.bool(self.continue_from.is_some());
        w.u64(self.continue_from.map_or(0, |key| key.0));
        w.bool(self.keys_only);
        w.array(self.filter);
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::from_hex;

    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    const PLAIN: GetAll<'_> = GetAll {
        start_suspended: false,
        channel: "test",
        continue_from: None,
        keys_only: false,
        filter: b"",
    };

    #[test]
    fn get_all_has_the_bytes_of_the_specification() {
        check_request(
            PLAIN,
            "05 00  00  04 00 00 00 00 00 00 00 74 65 73 74  00  00 00 00 00 00 00 00 00
             00  00 00 00 00 00 00 00 00",
            Trailing::Refused,
        );
        let continue_from = Some(Key(0xdead));
        check_request(
            GetAll { start_suspended: true, continue_from, keys_only: true, filter: b"0", ..PLAIN },
            "05 00  01  04 00 00 00 00 00 00 00 74 65 73 74  01  ad de 00 00 00 00 00 00
             01  01 00 00 00 00 00 00 00  30",
            Trailing::Refused,
        );
        let batch = from_hex("07  03 00 00 00 00 00 00 00  11 00 00");
        check_payload(&GetAllMessage::RecordBatch(&[0x11, 0, 0]), &batch);
        check_payload(&GetAllMessage::Ack, &[4]);
        check_payload(&GetAllMessage::Started, &[5]);
        check_payload(&GetAllMessage::Error, &[6]);
        check_payload(&GetAllMessage::Finished, &[8]);
    }

    #[test]
    fn any_byte_but_zero_is_true_and_the_key_counts_only_when_continuing() {
        let bytes =
            from_hex("80 0400000000000000 74657374 00 adde000000000000 02 0000000000000000");
        let expected = GetAll { start_suspended: true, keys_only: true, ..PLAIN };
        assert_eq!(GetAll::decode(&mut Reader::new(&bytes)), Ok(expected));
    }
}
