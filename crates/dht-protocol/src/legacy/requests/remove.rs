//! Remove: takes a record away.
//!
//! ```text
//! client -> node   12, array channel, key
//! node -> client   status
//! ```

use dht_types::Key;

use super::{Answer, Args, Arguments, Command, KeyField, Shape};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.11. Answered by 200 (also if there was nothing), 404 or 409.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remove<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The record's key.
    pub key: Key,
}

impl<'a> Arguments<'a> for Remove<'a> {
    const COMMAND: Command = Command::Remove;
    const SHAPE: Shape = Shape::KEY;

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel, key: args.key.parse()? })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
        KeyField::Key(self.key).encode(w);
    }
}

impl Answer for Remove<'_> {
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
    fn remove_has_the_bytes_of_the_original() {
        check_request(
            &Request::Remove(Remove { channel: "test_channel", key: Key(0xdead) }),
            "0c0000000c00000000000000746573745f6368616e6e656c
             100000000000000030303030303030303030303064656164",
        );
        check_answer::<Remove<'_>>(|w| Status::Ok.encode(w), "c8000000", Ok(()));
        let refused = Err(Status::WrongNode);
        check_answer::<Remove<'_>>(|w| Status::WrongNode.encode(w), "94010000", refused);
    }
}
