//! PutBatch: stores many records of a channel, told to nobody who listens.
//!
//! ```text
//! client -> node   34, array channel, array batch
//! node -> client   status
//! ```
//!
//! See [`crate::legacy::batch`] for what a batch is.

use super::{Answer, Args, Arguments, Command, Shape, TailKind};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.10. Answered by one status: 200, 404, 407, 408, 409, 500.
/// Records before the one that was refused stay stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutBatch<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The batch, not looked into yet.
    pub batch: &'a [u8],
}

impl<'a> Arguments<'a> for PutBatch<'a> {
    const COMMAND: Command = Command::PutBatch;
    const SHAPE: Shape = Shape { tail: Some(TailKind::Array), ..Shape::CHANNEL };

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel, batch: args.array()? })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
        w.array(self.batch);
    }
}

impl Answer for PutBatch<'_> {
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
    fn put_batch_has_the_bytes_of_the_specification() {
        let batch = &[0, 0, 0, 0, 0, 0, 0, 0, 0x11, 0, 0];
        check_request(
            &Request::PutBatch(PutBatch { channel: "ch", batch }),
            "22000000 0200000000000000 6368 0b00000000000000 0000000000000000 110000",
        );
    }
}
