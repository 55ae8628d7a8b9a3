//! GetAllKeys: every key of a channel, in compressed batches.
//!
//! ```text
//! client -> node   30, array channel
//! node -> client   200, array batch, ..., empty array
//! ```

use super::{Args, Arguments, Command, Shape};
use crate::legacy::CloseReason;
use crate::wire::Writer;

/// Source: spec `protocol-legacy` 7.14. Answered by 409, or 200 and a stream as for
/// [`super::GetAll`], but a record in a batch is only its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetAllKeys<'a> {
    /// A valid channel name.
    pub channel: &'a str,
}

impl<'a> Arguments<'a> for GetAllKeys<'a> {
    const COMMAND: Command = Command::GetAllKeys;
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
    fn get_all_keys_has_the_bytes_of_the_specification() {
        let request = Request::GetAllKeys(GetAllKeys { channel: "perf" });
        check_request(&request, "1e000000040000000000000070657266");
    }
}
