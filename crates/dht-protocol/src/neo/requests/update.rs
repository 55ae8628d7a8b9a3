//! Update: reads a record and writes it back, unless somebody else changed it meanwhile.
//!
//! ```text
//! client -> node   0a 00, 01, array channel, key                       GetRecord; rest ignored
//! node -> client   fd, then 05, array value     RecordValue: the request waits
//!                  or 07 NoRecord, 09 WrongNode, 0a Error: it is over
//! client -> node   02, u64 hash of the value read, array value         UpdateRecord; strict
//!                  03 RemoveRecord, 04 LeaveRecord
//! node -> client   06 Ok, 08 UpdateConflict, 0a Error: it is over
//! ```
//!
//! If the record has to move to a newer node, that one is told in a first message:
//! `0a 00, 02, array channel, key, u64 hash, array value` (strict).

use dht_types::{ChannelName, Key};

use super::{
    Arguments, ArgumentsError, DecodeError, Payload, Reader, Writer, array, channel_and_key,
    encode_channel_and_key, message_end,
};

/// Source: spec `protocol-neo` 11. Answered by one [`UpdateReply`], or by two with an
/// [`UpdateMessage`] in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key.
    pub key: Key,
    /// What is to be done.
    pub action: UpdateAction<'a>,
}

/// How an Update starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateAction<'a> {
    /// Send the record, then wait.
    GetRecord,
    /// Write at once.
    UpdateRecord(NewValue<'a>),
    /// A type that means nothing. WrongNode if the key is outside the range; else the connection
    /// is closed.
    Unknown(u8),
}

/// A value, and what must be there now if anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewValue<'a> {
    /// [`fnv1a64`] of the value that was read.
    pub original_hash: u64,
    /// The new value. It may be empty: original clients send that for "leave it as it is".
    pub value: &'a [u8],
}

/// What the client sends to a node that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMessage<'a> {
    /// Write it, if it is still as it was.
    UpdateRecord(NewValue<'a>),
    /// Remove it: a newer node has it now.
    RemoveRecord,
    /// Leave it as it is.
    LeaveRecord,
}

/// What the node sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateReply<'a> {
    /// The record, in answer to [`UpdateAction::GetRecord`]; the node waits for an
    /// [`UpdateMessage`]. Every other reply ends the request.
    RecordValue(&'a [u8]),
    /// Done.
    Ok,
    /// There is no such record.
    NoRecord,
    /// Somebody else has changed it.
    UpdateConflict,
    /// The key is outside the node's hash range.
    WrongNode,
    /// The node could not do it.
    Error,
}

const GET_RECORD: u8 = 1;
const UPDATE_RECORD: u8 = 2;
const REMOVE_RECORD: u8 = 3;
const LEAVE_RECORD: u8 = 4;
const RECORD_VALUE: u8 = 5;
const OK: u8 = 6;
const NO_RECORD: u8 = 7;
const UPDATE_CONFLICT: u8 = 8;
const WRONG_NODE: u8 = 9;
const ERROR: u8 = 10;

/// FNV-1a with 64 bits: how an Update recognises a value. Source: spec `protocol-neo` 11.2.
#[must_use]
pub fn fnv1a64(value: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    value.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

impl<'a> NewValue<'a> {
    /// Strict.
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let new = Self { original_hash: r.u64()?, value: array(r, "value")? };
        message_end(r)?;
        Ok(new)
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.u64(self.original_hash);
        w.array(self.value);
    }
}

impl<'a> Arguments<'a> for Update<'a> {
    const ERROR_STATUS: Option<u8> = Some(ERROR);

    fn decode(r: &mut Reader<'a>) -> Result<Self, ArgumentsError> {
        let kind = r.u8()?;
        let (channel, key) = channel_and_key(r)?;
        let action = match kind {
            GET_RECORD => UpdateAction::GetRecord,
            UPDATE_RECORD => UpdateAction::UpdateRecord(NewValue::decode(r)?),
            other => UpdateAction::Unknown(other),
        };
        Ok(Self { channel: ChannelName::check(channel)?, key, action })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.u8(match self.action {
            UpdateAction::GetRecord => GET_RECORD,
            UpdateAction::UpdateRecord(_) => UPDATE_RECORD,
            UpdateAction::Unknown(kind) => kind,
        });
        encode_channel_and_key(w, self.channel, self.key);
        if let UpdateAction::UpdateRecord(new) = &self.action {
            new.encode(w);
        }
    }
}

impl<'a> Payload<'a> for UpdateMessage<'a> {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::UpdateRecord(new) => {
                w.u8(UPDATE_RECORD);
                new.encode(w);
            }
            Self::RemoveRecord => w.u8(REMOVE_RECORD),
            Self::LeaveRecord => w.u8(LEAVE_RECORD),
        }
    }

    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        match r.u8()? {
            UPDATE_RECORD => NewValue::decode(&mut r).map(Self::UpdateRecord),
            REMOVE_RECORD => Ok(Self::RemoveRecord),
            LEAVE_RECORD => Ok(Self::LeaveRecord),
            other => Err(DecodeError::Unknown { field: "message type", value: other.into() }),
        }
    }
}

impl<'a> Payload<'a> for UpdateReply<'a> {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::RecordValue(value) => {
                w.u8(RECORD_VALUE);
                w.array(value);
            }
            Self::Ok => w.u8(OK),
            Self::NoRecord => w.u8(NO_RECORD),
            Self::UpdateConflict => w.u8(UPDATE_CONFLICT),
            Self::WrongNode => w.u8(WRONG_NODE),
            Self::Error => w.u8(ERROR),
        }
    }

    fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(payload);
        let reply = match r.u8()? {
            RECORD_VALUE => Self::RecordValue(array(&mut r, "value")?),
            OK => Self::Ok,
            NO_RECORD => Self::NoRecord,
            UPDATE_CONFLICT => Self::UpdateConflict,
            WRONG_NODE => Self::WrongNode,
            ERROR => Self::Error,
            other => {
                return Err(DecodeError::Unknown { field: "message type", value: other.into() });
            }
        };
        message_end(&r)?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::from_hex;

    use super::super::tests::{Trailing, check_payload, check_request};
    use super::*;

    #[test]
    fn hashes_are_those_of_the_specification() {
        for (value, hash, hex) in [
            (&b""[..], 0xcbf2_9ce4_8422_2325, "25 23 22 84 e4 9c f2 cb"),
            (b"abc", 0xe71f_a219_0541_574b, "4b 57 41 05 19 a2 1f e7"),
            (b"hello", 0xa430_d846_80aa_bd0b, "0b bd aa 80 46 d8 30 a4"),
        ] {
            assert_eq!(fnv1a64(value), hash);
            assert_eq!(fnv1a64(value).to_le_bytes(), from_hex(hex)[..]);
        }
    }

    #[test]
    fn update_has_the_bytes_of_the_specification() {
        let (channel, key) = ("test", Key(0xdead));
        check_request(
            Update { channel, key, action: UpdateAction::GetRecord },
            "0a 00 01  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00",
            Trailing::Ignored,
        );
        let new = NewValue { original_hash: fnv1a64(b"abc"), value: b"abcd" };
        check_request(
            Update { channel, key, action: UpdateAction::UpdateRecord(new) },
            "0a 00 02  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00
             4b 57 41 05 19 a2 1f e7  04 00 00 00 00 00 00 00 61 62 63 64",
            Trailing::Refused,
        );
        check_request(
            Update { channel, key, action: UpdateAction::Unknown(9) },
            "0a 00 09  04 00 00 00 00 00 00 00 74 65 73 74  ad de 00 00 00 00 00 00",
            Trailing::Ignored,
        );
        let message = from_hex("02  4b 57 41 05 19 a2 1f e7  04 00 00 00 00 00 00 00 61 62 63 64");
        check_payload(&UpdateMessage::UpdateRecord(new), &message);
        check_payload(&UpdateMessage::RemoveRecord, &[3]);
        check_payload(&UpdateMessage::LeaveRecord, &[4]);
    }

    #[test]
    fn replies_have_the_codes_of_the_specification() {
        let value = from_hex("05  03 00 00 00 00 00 00 00 61 62 63");
        check_payload(&UpdateReply::RecordValue(b"abc"), &value);
        check_payload(&UpdateReply::Ok, &[6]);
        check_payload(&UpdateReply::NoRecord, &[7]);
        check_payload(&UpdateReply::UpdateConflict, &[8]);
        check_payload(&UpdateReply::WrongNode, &[9]);
        check_payload(&UpdateReply::Error, &[10]);
    }

    #[test]
    fn a_second_half_with_trailing_bytes_or_of_an_unknown_type_is_refused() {
        let long = from_hex("02 0000000000000000 0000000000000000 00");
        let error = DecodeError::Malformed { field: "end of message" };
        assert_eq!(UpdateMessage::decode(&long), Err(error));
        for kind in (0..=255).filter(|kind| !(2..=4).contains(kind)) {
            let error = DecodeError::Unknown { field: "message type", value: kind.into() };
            assert_eq!(UpdateMessage::decode(&[kind]), Err(error));
        }
        assert_eq!(UpdateMessage::decode(&[3, 0]), Ok(UpdateMessage::RemoveRecord));
    }
}
