//! Forward, of our own: records of a range that has changed hands, from the node that had it.
//!
//! ```text
//! node -> node   1000, array channel, array batch        a batch as in PutBatch
//! node -> node   status
//! ```
//!
//! Unlike PutBatch it never replaces a record, never brings one back that was removed since the
//! taker has the range, and takes empty values. A node of the original closes the connection, as it
//! does for any code that it does not know: the giver then uses PutBatch and Put.

use super::{Answer, Args, Arguments, Command, Shape, TailKind};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// Answered by one status: 200, 404, 407, 409, 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The batch, not looked into yet.
    pub batch: &'a [u8],
}

impl<'a> Arguments<'a> for Forward<'a> {
    const COMMAND: Command = Command::Forward;
    const SHAPE: Shape = Shape { tail: Some(TailKind::Moving), ..Shape::CHANNEL };

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel, batch: args.array()? })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
        w.array(self.batch);
    }
}

impl Answer for Forward<'_> {
    type Answer = ();

    fn decode_answer(_: &mut Reader<'_>) -> Result<(), DecodeError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::check_request;
    use super::*;

    #[test]
    fn forward_has_the_bytes_of_the_documentation() {
        let batch = &[0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0];
        check_request(
            &Request::Forward(Forward { channel: "ch", batch }),
            "e8030000 0200000000000000 6368 0b00000000000000 0000000000000000 110000",
        );
    }
}
