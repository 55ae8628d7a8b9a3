//! GetVersion: which protocol the node speaks; clients ask before anything else.
//!
//! ```text
//! client -> node   24
//! node -> client   200, array "20110401"
//! ```

use super::{Answer, Args, Arguments, Command, Shape, decode_text};
use crate::legacy::{API_VERSION, CloseReason, Status};
use crate::wire::{DecodeError, Reader, Writer};

/// Source: spec `protocol-legacy` 7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetVersion;

impl GetVersion {
    /// Appends the answer.
    pub fn reply(w: &mut Writer<'_>) {
        Status::Ok.encode(w);
        w.array(API_VERSION.as_bytes());
    }
}

impl Arguments<'_> for GetVersion {
    const COMMAND: Command = Command::GetVersion;
    const SHAPE: Shape = Shape::NONE;

    fn from_args(_: Args<'_>) -> Result<Self, CloseReason> {
        Ok(Self)
    }

    fn encode_args(&self, _: &mut Writer<'_>) {}
}

impl Answer for GetVersion {
    type Answer = String;

    fn decode_answer(r: &mut Reader<'_>) -> Result<String, DecodeError> {
        decode_text(r, "version")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::super::tests::{check_answer, check_request};
    use super::*;

    #[test]
    fn get_version_has_the_bytes_of_the_original() {
        check_request(&Request::GetVersion(GetVersion), "18000000");
        let answer = "c8000000 0800000000000000 3230313130343031";
        check_answer::<GetVersion>(GetVersion::reply, answer, Ok(API_VERSION.to_owned()));
    }
}
