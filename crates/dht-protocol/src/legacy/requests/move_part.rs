//! MovePart, of our own: a part of the hash range goes from one node to another, and no write or
//! read of any client notices.
//!
//! ```text
//! -> node   1001, array message        message: u8 kind, fields
//! <- node   200, array reply           reply:   u8 kind, fields
//!
//! tool -> giver    Info, Start         Start is followed by arrays with Progress, then one with
//!                                      Finished or Refused; closing the connection cancels
//! giver -> taker   Begin, Records, DropChannel, Claim, Cancel
//! ```
//!
//! A node of the original closes the connection, as it does for any code that it does not know.

use dht_types::{ChannelName, HashRange, Key};

use super::{Answer, Args, Arguments, Command, Shape, TailKind, decode_text, encode};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// The version of the messages below. A node refuses any other.
pub const MOVE_VERSION: u16 = 1;

/// Bytes of a record in a batch besides its value: key, kind, length.
pub const MOVED_RECORD_OVERHEAD_BYTES: usize = 8 + 1 + 8;

/// Longest reply, in bytes.
const REPLY_BYTES_MAX: usize = 64 * 1024;

/// Answered by a [`MoveReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovePart<'a> {
    /// A [`MoveMessage`], not looked into yet.
    pub message: &'a [u8],
}

/// Which move a message is about: random, chosen by the giver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MoveToken(pub u64);

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveMessage<'a> {
    /// What do you hold, and what could you take?
    Info {
        /// [`MOVE_VERSION`].
        version: u16,
    },
    /// Give this part of your range to that node.
    Start {
        /// [`MOVE_VERSION`].
        version: u16,
        /// The part: a lower or upper end of the range, or all of it.
        part: HashRange,
        /// The taker's IPv4 address.
        address: &'a str,
        /// The taker's legacy port.
        port: u16,
    },
    /// I shall send you this part.
    Begin {
        /// [`MOVE_VERSION`].
        version: u16,
        /// Names the move.
        token: MoveToken,
        /// The part: it must join the taker's range.
        part: HashRange,
        /// About how many records.
        records: u64,
        /// About how many bytes of values.
        value_bytes: u64,
    },
    /// Records of the part as they are now, those that are gone included.
    Records {
        /// The move.
        token: MoveToken,
        /// Their channel.
        channel: &'a str,
        /// A compressed batch; see [`next_moved`].
        batch: &'a [u8],
    },
    /// The channel was removed: what came of it is void.
    DropChannel {
        /// The move.
        token: MoveToken,
        /// The channel.
        channel: &'a str,
    },
    /// The part is yours from now on.
    Claim {
        /// The move.
        token: MoveToken,
    },
    /// If the part is not yours yet, it will not be.
    Cancel {
        /// The move.
        token: MoveToken,
        /// Its part.
        part: HashRange,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveReply {
    /// Done, and nothing to say about it.
    Done,
    /// Not done; why, for a person.
    Refused(String),
    /// The part belongs to the node that says so; its whole range.
    Claimed(HashRange),
    /// It does not, and will not.
    NotClaimed,
    /// How far a move is.
    Progress(MoveProgress),
    /// A move is complete.
    Finished(MoveProgress),
    /// The answer to Info.
    Info(MoveInfo),
}

/// How far a move is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoveProgress {
    /// Records that were sent so far, those that changed meanwhile counted again.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Records that the giver has looked at.
    pub scanned: u64,
    /// Records that the giver holds.
    pub scanned_of: u64,
    /// Microseconds for which requests for the part had to wait; known at the end.
    pub pause_micros: u64,
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoveInfo {
    /// Its [`MOVE_VERSION`].
    pub version: u16,
    /// Its range.
    pub range: HashRange,
    /// Records that it holds.
    pub records: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// Bytes that its `size_limit` leaves room for; all ones if there is no limit.
    pub room_bytes: u64,
    /// Whether it is giving or taking a part.
    pub is_busy: bool,
}

impl MovePart<'_> {
    /// Appends a whole request with [`MoveMessage::Records`]. `fill` appends the batch, which is
    /// the largest part by far and so is not copied again.
    pub fn encode_records(
        token: MoveToken,
        channel: &str,
        w: &mut Writer<'_>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        encode(&MovePart { message: &[] }, w);
        let message = w.buffer().len();
        MoveMessage::Records { token, channel, batch: &[] }.encode(w);
        let out = w.buffer();
        let batch = out.len();
        fill(out);
        for array in [message, batch] {
            let bytes = (out.len() - array) as u64;
            out[array - 8..array].copy_from_slice(&bytes.to_le_bytes());
        }
    }
}

impl<'a> Arguments<'a> for MovePart<'a> {
    const COMMAND: Command = Command::MovePart;
    const SHAPE: Shape = Shape { tail: Some(TailKind::Moving), ..Shape::NONE };

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { message: args.array()? })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.message);
    }
}

impl Answer for MovePart<'_> {
    type Answer = MoveReply;

    fn decode_answer(r: &mut Reader<'_>) -> Result<MoveReply, DecodeError> {
        MoveReply::decode_array(r)
    }
}

fn encode_range(w: &mut Writer<'_>, range: HashRange) {
    w.u64(range.min());
    w.u64(range.max());
}

fn decode_range(r: &mut Reader<'_>) -> Result<HashRange, DecodeError> {
    let (min, max) = (r.u64()?, r.u64()?);
    HashRange::new(min, max).map_err(|_| DecodeError::Malformed { field: "hash range" })
}

fn token(r: &mut Reader<'_>) -> Result<MoveToken, DecodeError> {
    r.u64().map(MoveToken)
}

fn channel<'a>(r: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let name = r.array("channel", usize::MAX)?;
    ChannelName::check(name).map_err(|_| DecodeError::Malformed { field: "channel" })
}

impl<'a> MoveMessage<'a> {
    /// Appends the message.
    pub fn encode(&self, w: &mut Writer<'_>) {
        match *self {
            Self::Info { version } => {
                w.u8(1);
                w.u16(version);
            }
            Self::Start { version, part, address, port } => {
                w.u8(2);
                w.u16(version);
                encode_range(w, part);
                w.array(address.as_bytes());
                w.u16(port);
            }
            Self::Begin { version, token, part, records, value_bytes } => {
                w.u8(3);
                w.u16(version);
                w.u64(token.0);
                encode_range(w, part);
                w.u64(records);
                w.u64(value_bytes);
            }
            Self::Records { token, channel, batch } => {
                w.u8(4);
                w.u64(token.0);
                w.array(channel.as_bytes());
                w.array(batch);
            }
            Self::DropChannel { token, channel } => {
                w.u8(5);
                w.u64(token.0);
                w.array(channel.as_bytes());
            }
            Self::Claim { token } => {
                w.u8(6);
                w.u64(token.0);
            }
            Self::Cancel { token, part } => {
                w.u8(7);
                w.u64(token.0);
                encode_range(w, part);
            }
        }
    }

    /// Reads a whole message.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(message);
        let r = &mut r;
        let decoded = match r.u8()? {
            1 => Self::Info { version: r.u16()? },
            2 => Self::Start {
                version: r.u16()?,
                part: decode_range(r)?,
                address: std::str::from_utf8(r.array("address", 255)?)
                    .map_err(|_| DecodeError::Malformed { field: "address" })?,
                port: r.u16()?,
            },
            3 => Self::Begin {
                version: r.u16()?,
                token: token(r)?,
                part: decode_range(r)?,
                records: r.u64()?,
                value_bytes: r.u64()?,
            },
            4 => Self::Records {
                token: token(r)?,
                channel: channel(r)?,
                batch: r.array("batch", usize::MAX)?,
            },
            5 => Self::DropChannel { token: token(r)?, channel: channel(r)? },
            6 => Self::Claim { token: token(r)? },
            7 => Self::Cancel { token: token(r)?, part: decode_range(r)? },
            kind => return Err(DecodeError::Unknown { field: "message", value: kind.into() }),
        };
        if r.is_empty() {
            Ok(decoded)
        } else {
            Err(DecodeError::Malformed { field: "end of message" })
        }
    }
}

impl MoveReply {
    /// Appends the reply as an array.
    pub fn encode_array(&self, w: &mut Writer<'_>) {
        let mut reply = Vec::new();
        self.encode(&mut Writer::new(&mut reply));
        w.array(&reply);
    }

    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Done => w.u8(1),
            Self::Refused(why) => {
                w.u8(2);
                w.array(why.as_bytes());
            }
            Self::Claimed(range) => {
                w.u8(3);
                encode_range(w, *range);
            }
            Self::NotClaimed => w.u8(4),
            Self::Progress(progress) => {
                w.u8(5);
                progress.encode(w);
            }
            Self::Finished(progress) => {
                w.u8(6);
                progress.encode(w);
            }
            Self::Info(info) => {
                w.u8(7);
                w.u16(info.version);
                encode_range(w, info.range);
                [info.records, info.value_bytes, info.room_bytes]
                    .into_iter()
                    .for_each(|number| w.u64(number));
                w.bool(info.is_busy);
            }
        }
    }

    /// Reads a reply that is an array. [`DecodeError::Truncated`] asks for more bytes.
    pub fn decode_array(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut ahead = *r;
        let reply = ahead.array("reply", REPLY_BYTES_MAX)?;
        let decoded = Self::decode(&mut Reader::new(reply)).map_err(|error| match error {
            // More bytes of the stream would not help.
            DecodeError::Truncated { .. } => DecodeError::Malformed { field: "reply" },
            other => other,
        })?;
        *r = ahead;
        Ok(decoded)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8()? {
            1 => Self::Done,
            2 => Self::Refused(decode_text(r, "reason")?),
            3 => Self::Claimed(decode_range(r)?),
            4 => Self::NotClaimed,
            5 => Self::Progress(MoveProgress::decode(r)?),
            6 => Self::Finished(MoveProgress::decode(r)?),
            7 => Self::Info(MoveInfo {
                version: r.u16()?,
                range: decode_range(r)?,
                records: r.u64()?,
                value_bytes: r.u64()?,
                room_bytes: r.u64()?,
                is_busy: r.bool()?,
            }),
            kind => return Err(DecodeError::Unknown { field: "reply", value: kind.into() }),
        })
    }
}

impl MoveProgress {
    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        let Self { records, value_bytes, scanned, scanned_of, pause_micros } = *self;
        [records, value_bytes, scanned, scanned_of, pause_micros]
            .into_iter()
            .for_each(|number| w.u64(number));
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            records: r.u64()?,
            value_bytes: r.u64()?,
            scanned: r.u64()?,
            scanned_of: r.u64()?,
            pause_micros: r.u64()?,
        })
    }
}

/// A record of a batch that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved<'a> {
    /// Its key.
    pub key: Key,
    /// Its value; `None` if it is gone.
    pub value: Option<&'a [u8]>,
}

/// Appends a record to a batch that is not compressed yet.
///
/// ```text
/// u64 key | 0                          it is gone
/// u64 key | 1 | u64 length | value     it is there
/// ```
pub fn encode_moved(w: &mut Writer<'_>, record: Moved<'_>) {
    let mut head = [0; MOVED_RECORD_OVERHEAD_BYTES];
    head[..8].copy_from_slice(&record.key.0.to_le_bytes());
    let Some(value) = record.value else { return w.bytes(&head[..9]) };
    head[8] = 1;
    head[9..].copy_from_slice(&(value.len() as u64).to_le_bytes());
    w.bytes(&head);
    w.bytes(value);
}

/// The next record of a decompressed batch; `None` at its end.
pub fn next_moved<'a>(r: &mut Reader<'a>) -> Option<Result<Moved<'a>, DecodeError>> {
    if r.is_empty() {
        return None;
    }
    let mut record = || {
        let key = Key(r.u64()?);
        let value = match r.u8()? {
            0 => None,
            1 => Some(r.array("value", usize::MAX)?),
            kind => return Err(DecodeError::Unknown { field: "record", value: kind.into() }),
        };
        Ok(Moved { key, value })
    };
    Some(record())
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;
    use crate::legacy::Status;

    fn part() -> HashRange {
        HashRange::new(1, 2).expect("valid")
    }

    #[test]
    fn move_part_has_the_bytes_of_the_documentation() {
        check_request(
            &Request::MovePart(MovePart { message: &[1, 1, 0] }),
            "e9030000 0300000000000000 01 0100",
        );
        check_answer::<MovePart<'_>>(
            |w| {
                Status::Ok.encode(w);
                MoveReply::Claimed(part()).encode_array(w);
            },
            "c8000000 1100000000000000 03 0100000000000000 0200000000000000",
            Ok(MoveReply::Claimed(part())),
        );
    }

    #[test]
    fn records_are_the_same_in_one_go() {
        let (token, batch) = (MoveToken(7), b"a batch");
        let (mut message, mut in_two, mut in_one) = (Vec::new(), Vec::new(), b"before".to_vec());
        MoveMessage::Records { token, channel: "ch", batch }.encode(&mut Writer::new(&mut message));
        encode(&MovePart { message: &message }, &mut Writer::new(&mut in_two));
        let fill = |out: &mut Vec<u8>| out.extend_from_slice(batch);
        MovePart::encode_records(token, "ch", &mut Writer::new(&mut in_one), fill);
        assert_eq!(in_one, [&b"before"[..], &in_two].concat());
    }

    #[test]
    fn messages_read_back_and_no_prefix_is_one() {
        let token = MoveToken(7);
        for message in [
            MoveMessage::Info { version: 1 },
            MoveMessage::Start { version: 1, part: part(), address: "127.0.0.1", port: 9 },
            MoveMessage::Begin { version: 1, token, part: part(), records: 3, value_bytes: 4 },
            MoveMessage::Records { token, channel: "ch", batch: b"xyz" },
            MoveMessage::DropChannel { token, channel: "ch" },
            MoveMessage::Claim { token },
            MoveMessage::Cancel { token, part: part() },
        ] {
            let mut bytes = Vec::new();
            message.encode(&mut Writer::new(&mut bytes));
            assert_eq!(MoveMessage::decode(&bytes), Ok(message));
            for len in 0..bytes.len() {
                assert!(MoveMessage::decode(&bytes[..len]).is_err(), "{message:?}: {len}");
            }
            bytes.push(0);
            assert!(MoveMessage::decode(&bytes).is_err(), "{message:?}");
        }
    }

    #[test]
    fn replies_read_back() {
        let progress =
            MoveProgress { records: 1, value_bytes: 2, scanned: 3, scanned_of: 4, pause_micros: 5 };
        let info = MoveInfo {
            version: 1,
            range: part(),
            records: 2,
            value_bytes: 3,
            room_bytes: 4,
            is_busy: true,
        };
        for reply in [
            MoveReply::Done,
            MoveReply::Refused("no".to_owned()),
            MoveReply::NotClaimed,
            MoveReply::Progress(progress),
            MoveReply::Finished(progress),
            MoveReply::Info(info),
        ] {
            let mut bytes = Vec::new();
            reply.encode_array(&mut Writer::new(&mut bytes));
            assert_eq!(MoveReply::decode_array(&mut Reader::new(&bytes)), Ok(reply));
        }
    }

    #[test]
    fn moved_records_read_back() {
        let records = [
            Moved { key: Key(1), value: Some(b"abc") },
            Moved { key: Key(2), value: None },
            Moved { key: Key(3), value: Some(b"") },
        ];
        let mut bytes = Vec::new();
        records.iter().for_each(|record| encode_moved(&mut Writer::new(&mut bytes), *record));
        let mut r = Reader::new(&bytes);
        let found: Vec<_> = std::iter::from_fn(|| next_moved(&mut r)).map(Result::unwrap).collect();
        assert_eq!(found, records);
        let cut = next_moved(&mut Reader::new(&bytes[..10]));
        assert!(cut.expect("there is something").is_err());
    }
}
