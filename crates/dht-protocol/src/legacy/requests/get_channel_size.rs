//! GetChannelSize: how much a node holds in one channel.
//!
//! ```text
//! client -> node   18, array channel
//! node -> client   200, array address, u16 port, u64 records, u64 bytes
//! ```

use super::{Answer, Args, Arguments, Command, NodeSize, Shape};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.6. An unknown channel has 0 records and 0 bytes.
/// The answer is written by [`NodeSize::reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetChannelSize<'a> {
    /// A valid channel name.
    pub channel: &'a str,
}

impl<'a> Arguments<'a> for GetChannelSize<'a> {
    const COMMAND: Command = Command::GetChannelSize;
    const SHAPE: Shape = Shape::CHANNEL;

    fn from_args(args: Args<'a>) -> Result<Self, CloseReason> {
        Ok(Self { channel: args.channel })
    }

    fn encode_args(&self, w: &mut Writer<'_>) {
        w.array(self.channel.as_bytes());
    }
}

impl Answer for GetChannelSize<'_> {
    type Answer = NodeSize;

    fn decode_answer(r: &mut Reader<'_>) -> Result<NodeSize, DecodeError> {
        NodeSize::decode(r)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;

    #[test]
    fn get_channel_size_has_the_bytes_of_the_specification() {
        let request = Request::GetChannelSize(GetChannelSize { channel: "ch" });
        check_request(&request, "12000000 0200000000000000 6368");
        check_answer::<GetChannelSize<'_>>(
            |w| NodeSize::reply(w, "127.0.0.1", 10_000, 3, 525_556),
            "c8000000 0900000000000000 3132372e302e302e31 1027
             0300000000000000 f404080000000000",
            Ok(NodeSize {
                address: "127.0.0.1".to_owned(),
                port: 10_000,
                records: 3,
                bytes: 525_556,
            }),
        );
    }
}
