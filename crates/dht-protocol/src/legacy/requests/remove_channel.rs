//! RemoveChannel: takes a channel away, with all its records.
//!
//! ```text
//! client -> node   22, array channel
//! node -> client   status
//! ```

use super::{Answer, Args, Arguments, Command, Shape};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.12. Answered by 200 (also if there was nothing) or 409.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoveChannel<'a> {
    /// A valid channel name.
    pub channel: &'a str,
}

impl<'a> Arguments<'a> for RemoveChannel<'a> {
    const COMMAND: Command = Command::RemoveChannel;
    const SHAPE: Shape = Shape::CHANNEL;

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
    }
}

impl Answer for RemoveChannel<'_> {
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
    fn remove_channel_has_the_bytes_of_the_original() {
        let request = Request::RemoveChannel(RemoveChannel { channel: "test_channel" });
        check_request(&request, "160000000c00000000000000746573745f6368616e6e656c");
        check_answer::<RemoveChannel<'_>>(|w| Status::Ok.encode(w), "c8000000", Ok(()));
    }
}
