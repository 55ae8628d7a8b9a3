//! Put: stores a record, replacing the one that is there.
//!
//! ```text
//! client -> node   1, array channel, key, array value
//! node -> client   status
//! ```

use dht_types::Key;

use super::{Answer, Args, Arguments, Command, KeyField, Shape, TailKind, Value};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.9. Answered by one status: 200, 404, 407, 408, 409, 410, 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key.
    pub key: Key,
    /// The record's value.
    pub value: Value<'a>,
}

impl<'a> Arguments<'a> for Put<'a> {
    const COMMAND: Command = Command::Put;
    const SHAPE: Shape = Shape { tail: Some(TailKind::Value), ..Shape::KEY };

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel, key: args.key.parse()?, value: args.tail })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
        KeyField::Key(self.key).encode(w);
        match self.value {
            Value::Bytes(bytes) => w.array(bytes),
            // A client always has the bytes; without them there is nothing to send.
            Value::TooLong(_) => w.array(&[]),
        }
    }
}

impl Answer for Put<'_> {
    type Answer = ();

    fn decode_answer(_: &mut Reader<'_>) -> Result<(), DecodeError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;
    use crate::legacy::Status;

    #[test]
    fn put_has_the_bytes_of_the_specification() {
        let (key, value) = (Key(0xdead), Value::Bytes(b"abc"));
        check_request(
            &Request::Put(Put { channel: "test", key, value }),
            "01 00 00 00  04 00 00 00 00 00 00 00  74 65 73 74
             10 00 00 00 00 00 00 00  30 30 30 30 30 30 30 30 30 30 30 30 64 65 61 64
             03 00 00 00 00 00 00 00  61 62 63",
        );
        check_answer::<Put<'_>>(|w| Status::Ok.encode(w), "c8 00 00 00", Ok(()));
        let refused = Err(Status::ValueTooBig);
        check_answer::<Put<'_>>(|w| Status::ValueTooBig.encode(w), "9a 01 00 00", refused);
    }
}
