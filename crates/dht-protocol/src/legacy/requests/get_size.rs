//! GetSize: how much a node holds in all channels together.
//!
//! ```text
//! client -> node   19
//! node -> client   200, array address, u16 port, u64 records, u64 bytes
//! ```

use super::{Answer, Args, Arguments, Command, NodeSize, Shape};
use crate::legacy::CloseReason;
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.5. The answer is written by [`NodeSize::reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetSize;

impl Arguments<'_> for GetSize {
    const COMMAND: Command = Command::GetSize;
    const SHAPE: Shape = Shape::NONE;

    fn from_args(_: Args<'_>) -> Result<Self, CloseReason> {
        Ok(Self)
    }

    fn encode_args(&self, _: &mut Writer<'_>) {}
}

impl Answer for GetSize {
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
    fn get_size_has_the_bytes_of_the_specification() {
        check_request(&Request::GetSize(GetSize), "13000000");
        check_answer::<GetSize>(
            |w| NodeSize::reply(w, "0.0.0.0", 1, 0, 0),
            "c8000000 0700000000000000 302e302e302e30 0100 0000000000000000 0000000000000000",
            Ok(NodeSize { address: "0.0.0.0".to_owned(), port: 1, records: 0, bytes: 0 }),
        );
    }
}
