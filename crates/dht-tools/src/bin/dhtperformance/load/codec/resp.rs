//! RESP 2, the protocol of redis and valkey. Keys are 16 hex digits.

use std::collections::VecDeque;

use super::{Broken, Codec, Kind, Op, Outcome, Slot, garbled, length, line, push_number};
use crate::load::Refusal;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Resp {
    /// In the order of the replies.
    waiting: VecDeque<Slot>,
}

impl Codec for Resp {
    fn send(&mut self, slot: Slot, op: Op, value: &[u8], out: &mut Vec<u8>) {
        self.waiting.push_back(slot);
        let command: &[u8] = match op.kind {
            Kind::Exists => b"*2\r\n$6\r\nEXISTS\r\n$16\r\n",
            Kind::Get => b"*2\r\n$3\r\nGET\r\n$16\r\n",
            Kind::Put => b"*3\r\n$3\r\nSET\r\n$16\r\n",
            Kind::Remove => b"*2\r\n$3\r\nDEL\r\n$16\r\n",
        };
        out.extend_from_slice(command);
        out.extend_from_slice(&op.key.to_hex());
        if op.kind == Kind::Put {
            out.extend_from_slice(b"\r\n$");
            push_number(out, value.len());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(value);
        }
        out.extend_from_slice(b"\r\n");
    }

    fn reply(&mut self, input: &mut &[u8]) -> Result<Option<(Slot, Outcome)>, Broken> {
        let Some((first, mut taken)) = line(input)? else { return Ok(None) };
        let outcome = match first {
            b"$-1" | b":0" => Outcome::Missing,
            [b'+' | b':', ..] => Outcome::Done,
            [b'-', ..] => Outcome::Refused(Refusal::ServerError),
            [b'$', len @ ..] => {
                taken += length(len)? + 2;
                if input.len() < taken {
                    return Ok(None);
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
