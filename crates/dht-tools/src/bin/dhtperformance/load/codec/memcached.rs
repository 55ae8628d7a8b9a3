//! The text protocol of memcached. Keys are 16 hex digits. There is no Exists.

use std::collections::VecDeque;

use super::{Broken, Codec, Kind, Op, Outcome, Slot, garbled, length, line, push_number};
use crate::load::Refusal;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memcached {
    /// In the order of the replies.
    waiting: VecDeque<Slot>,
}

/// What follows a value.
const END: &[u8] = b"\r\nEND\r\n";

impl Codec for Memcached {
    fn send(&mut self, slot: Slot, op: Op, value: &[u8], out: &mut Vec<u8>) {
        self.waiting.push_back(slot);
        let command: &[u8] = match op.kind {
            Kind::Exists | Kind::Get => b"get ",
            Kind::Put => b"set ",
            Kind::Remove => b"delete ",
        };
        out.extend_from_slice(command);
        out.extend_from_slice(&op.key.to_hex());
        if op.kind == Kind::Put {
            out.extend_from_slice(b" 0 0 ");
            push_number(out, value.len());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(value);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn reply(&mut self, input: &mut &[u8]) -> Result<Option<(Slot, Outcome)>, Broken> {
        let Some((first, mut taken)) = line(input)? else { return Ok(None) };
        let outcome = match first {
            b"STORED" | b"DELETED" => Outcome::Done,
            b"END" | b"NOT_FOUND" => Outcome::Missing,
            b"ERROR" => Outcome::Refused(Refusal::ServerError),
            _ if first.starts_with(b"CLIENT_ERROR") || first.starts_with(b"SERVER_ERROR") => {
                Outcome::Refused(Refusal::ServerError)
            }
            _ if first.starts_with(b"VALUE ") => {
                let len = first.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                let value_end = taken + length(len)?;
                taken = value_end + END.len();
                if input.len() < taken {
                    return Ok(None);
                }
                if &input[value_end..taken] != END {
                    return Err(garbled(&input[value_end..]));
                }
                Outcome::Done
            }
            _ => return Err(garbled(input)),
        };
        *input = &input[taken..];
        let slot = self.waiting.pop_front().ok_or(Broken::Unasked)?;
        Ok(Some((slot, outcome)))
    }

    fn forget(&mut self, _: Slot) -> bool {
        false
    }
}
