//! GetResponsibleRange: which part of the hash space the node owns.
//!
//! ```text
//! client -> node   20
//! node -> client   200, u64 min, u64 max
//! ```

use dht_types::HashRange;

use super::{Answer, Args, Arguments, Command, Shape};
use crate::legacy::{CloseReason, Status};
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.2. The empty range is all ones, then 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetResponsibleRange;

impl GetResponsibleRange {
    /// Appends the answer.
    pub fn reply(w: &mut Writer<'_>, range: HashRange) {
        Status::Ok.encode(w);
        w.u64(range.min());
        w.u64(range.max());
    }
}

impl Arguments<'_> for GetResponsibleRange {
    const COMMAND: Command = Command::GetResponsibleRange;
    const SHAPE: Shape = Shape::NONE;

    fn from_args(_: Args<'_>) -> Result<Self, CloseReason> {
        Ok(Self)
    }

    fn encode_args(&self, _: &mut Writer<'_>) {}
}

impl Answer for GetResponsibleRange {
    type Answer = HashRange;

    fn decode_answer(r: &mut Reader<'_>) -> Result<HashRange, DecodeError> {
        let (min, max) = (r.u64()?, r.u64()?);
        HashRange::new(min, max).map_err(|_| DecodeError::Malformed { field: "hash range" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;

    #[test]
    fn get_responsible_range_has_the_bytes_of_the_original() {
        check_request(&Request::GetResponsibleRange(GetResponsibleRange), "14000000");
        for (range, hex) in [
            (HashRange::FULL, "c8000000 0000000000000000 ffffffffffffffff"),
            (HashRange::EMPTY, "c8000000 ffffffffffffffff 0000000000000000"),
        ] {
            let write = |w: &mut Writer<'_>| GetResponsibleRange::reply(w, range);
            check_answer::<GetResponsibleRange>(write, hex, Ok(range));
        }
    }
}
