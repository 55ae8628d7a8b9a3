//! GetAllFilter: every record of a channel whose value contains some bytes.
//!
//! ```text
//! client -> node   31, array channel, array filter
//! node -> client   200, array batch, ..., empty array
//! ```

use super::{Args, Arguments, Command, Shape, TailKind};
use crate::legacy::CloseReason;
use crate::wire::Writer;

/// Source: spec `protocol-legacy` 7.15. Answered as [`super::GetAll`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetAllFilter<'a> {
    /// A valid channel name.
    pub channel: &'a str,
    /// The bytes that a value must contain; an empty filter matches every record.
    pub filter: &'a [u8],
}

impl<'a> Arguments<'a> for GetAllFilter<'a> {
    const COMMAND: Command = Command::GetAllFilter;
    const SHAPE: Shape = Shape { tail: Some(TailKind::Array), ..Shape::CHANNEL };

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel, filter: args.array()? })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
        w.array(self.filter);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::check_request;
    use super::*;

    #[test]
    fn get_all_filter_has_the_bytes_of_the_specification() {
        let request = Request::GetAllFilter(GetAllFilter { channel: "perf", filter: b"0" });
        check_request(&request, "1f000000 0400000000000000 70657266 0100000000000000 30");
    }
}
