//! GetChannels: the names of all channels.
//!
//! ```text
//! client -> node   17
//! node -> client   200, array name for each, empty array
//! ```

use super::{Answer, Args, Arguments, Command, Shape, decode_text};
use crate::legacy::{CloseReason, Status};
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.4. Empty channels are listed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetChannels;

impl GetChannels {
    /// Appends the answer.
    pub fn reply<'n>(w: &mut Writer<'_>, names: impl Iterator<Item = &'n str>) {
        Status::Ok.encode(w);
        for name in names {
            w.array(name.as_bytes());
        }
        w.array(&[]);
    }
}

impl Arguments<'_> for GetChannels {
    const COMMAND: Command = Command::GetChannels;
    const SHAPE: Shape = Shape::NONE;

    fn from_args(_: Args<'_>) -> Result<Self, CloseReason> {
        Ok(Self)
    }

    fn encode_args(&self, _: &mut Writer<'_>) {}
}

/// Most channels that a client reads from one node.
const CHANNELS_MAX: usize = 1 << 20;

impl Answer for GetChannels {
    type Answer = Vec<String>;

    fn decode_answer(r: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
        let mut names = Vec::new();
        while names.len() < CHANNELS_MAX {
            match decode_text(r, "channel")? {
                name if name.is_empty() => return Ok(names),
                name => names.push(name),
            }
        }
        Err(DecodeError::Malformed { field: "list of channels" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;

    #[test]
    fn get_channels_has_the_bytes_of_the_original() {
        check_request(&Request::GetChannels(GetChannels), "11000000");
        check_answer::<GetChannels>(
            |w| GetChannels::reply(w, ["perf", "test"].into_iter()),
            "c8000000 0400000000000000 70657266 0400000000000000 74657374 0000000000000000",
            Ok(vec!["perf".to_owned(), "test".to_owned()]),
        );
        let none = "c8000000 0000000000000000";
        check_answer::<GetChannels>(|w| GetChannels::reply(w, [].into_iter()), none, Ok(vec![]));
    }
}
