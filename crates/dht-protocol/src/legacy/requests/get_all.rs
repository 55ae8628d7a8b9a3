//! GetAll: every record of a channel, in compressed batches.
//!
//! ```text
//! client -> node   29, array channel
//! node -> client   200, array batch, ..., empty array
//! ```
//!
//! The last batch is sent even if it holds no record. See [`crate::legacy::batch`].

use super::{Args, Arguments, Command, Shape};
use crate::legacy::CloseReason;
use crate::wire::Writer;

/// Source: spec `protocol-legacy` 7.13. Answered by 409, or 200 and a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetAll<'a> {
    /// A valid channel name.
    pub channel: &'a str,
}

impl<'a> Arguments<'a> for GetAll<'a> {
    const COMMAND: Command = Command::GetAll;
    const SHAPE: Shape = Shape::CHANNEL;

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::check_request;
    use super::*;

    #[test]
    fn get_all_has_the_bytes_of_the_original() {
        let request = Request::GetAll(GetAll { channel: "perf" });
        check_request(&request, "1d000000040000000000000070657266");
    }
}
