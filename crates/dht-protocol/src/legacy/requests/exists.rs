//! Exists: whether there is a record.
//!
//! ```text
//! client -> node   11, array channel, key
//! node -> client   200, bool
//! ```

use super::{Answer, Args, Arguments, Command, KeyField, Shape};
use crate::legacy::{CloseReason, Status};
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.7. Answered by 409, or 200 and a bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exists<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key; a malformed one goes unnoticed where there is no such channel.
    pub key: KeyField,
}

impl Exists<'_> {
    /// Appends the answer.
    pub fn reply(w: &mut Writer<'_>, exists: bool) {
        Status::Ok.encode(w);
        w.bool(exists);
    }
}

impl<'a> Arguments<'a> for Exists<'a> {
    const COMMAND: Command = Command::Exists;
    const SHAPE: Shape = Shape::KEY;

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel, key: args.key })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
        self.key.encode(w);
    }
}

impl Answer for Exists<'_> {
    type Answer = bool;

    fn decode_answer(r: &mut Reader<'_>) -> Result<bool, DecodeError> {
        r.bool()
    }
}

#[cfg(test)]
mod tests {
    use dht_types::Key;

    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;

    #[test]
    fn exists_has_the_bytes_of_the_original() {
        check_request(
            &Request::Exists(Exists { channel: "perf", key: Key(0).into() }),
            "0b000000040000000000000070657266
             100000000000000030303030303030303030303030303030",
        );
        check_answer::<Exists<'_>>(|w| Exists::reply(w, true), "c8000000 01", Ok(true));
        check_answer::<Exists<'_>>(|w| Exists::reply(w, false), "c8000000 00", Ok(false));
    }
}
