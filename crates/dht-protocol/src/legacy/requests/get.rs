//! Get: a record's value.
//!
//! ```text
//! client -> node   7, array channel, key
//! node -> client   200, array value; a missing record is an empty array
//! ```

use super::{Answer, Args, Arguments, Command, KeyField, Shape};
use crate::legacy::{ARRAY_BYTES_MAX, CloseReason, Status};
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.8. Answered by 409, or 200 and the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key; a malformed one goes unnoticed where there is no such channel.
    pub key: KeyField,
}

impl Get<'_> {
    /// Appends the answer: the value, or an empty array if there is no record.
    pub fn reply(w: &mut Writer<'_>, value: &[u8]) {
        Status::Ok.encode(w);
        w.array(value);
    }
}

impl<'a> Arguments<'a> for Get<'a> {
    const COMMAND: Command = Command::Get;
    const SHAPE: Shape = Shape::KEY;

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel, key: args.key })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
        self.key.encode(w);
    }
}

impl Answer for Get<'_> {
    /// The value; empty if there is no record.
    type Answer = Vec<u8>;

    fn decode_answer(r: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
        r.array("value", ARRAY_BYTES_MAX).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use dht_types::Key;

    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;

    #[test]
    fn get_has_the_bytes_of_the_original() {
        check_request(
            &Request::Get(Get { channel: "test_channel", key: Key(12).into() }),
            "070000000c00000000000000746573745f6368616e6e656c
             100000000000000030303030303030303030303030303063",
        );
        let found = "c8000000 0300000000000000 616263";
        check_answer::<Get<'_>>(|w| Get::reply(w, b"abc"), found, Ok(b"abc".to_vec()));
        let missing = "c8000000 0000000000000000";
        check_answer::<Get<'_>>(|w| Get::reply(w, b""), missing, Ok(Vec::new()));
        let refused = Err(Status::BadChannelName);
        check_answer::<Get<'_>>(|w| Status::BadChannelName.encode(w), "99010000", refused);
    }
}
