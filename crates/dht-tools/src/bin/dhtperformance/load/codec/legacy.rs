//! The legacy protocol: one request at a time.

use dht_protocol::{
    legacy::{
        ARRAY_BYTES_MAX, Status, encode,
        requests::{Exists, Get, Put, Remove, Value},
    },
    wire::{DecodeError, Reader, Writer},
};
use dht_types::ChannelName;

use super::{Broken, Codec, Kind, Op, Outcome, Slot};
use crate::load::Refusal;

/// See the module.
#[derive(Debug)]
pub(super) struct Legacy {
    channel: ChannelName,
    waiting: Option<(Slot, Kind)>,
}

impl Legacy {
    pub(super) const fn new(channel: ChannelName) -> Self {
        Self { channel, waiting: None }
    }
}

impl Codec for Legacy {
    fn send(&mut self, slot: Slot, op: Op, value: &[u8], out: &mut Vec<u8>) {
        debug_assert!(self.waiting.is_none(), "one request at a time");
        self.waiting = Some((slot, op.kind));
        let (channel, key, w) = (self.channel.as_str(), op.key, &mut Writer::new(out));
        match op.kind {
            Kind::Exists => encode(&Exists { channel, key: key.into() }, w),
            Kind::Get => encode(&Get { channel, key: key.into() }, w),
            Kind::Put => encode(&Put { channel, key, value: Value::Bytes(value) }, w),
            Kind::Remove => encode(&Remove { channel, key }, w),
        }
    }

    fn reply(&mut self, input: &mut &[u8]) -> Result<Option<(Slot, Outcome)>, Broken> {
        if input.is_empty() {
            return Ok(None);
        }
        let (slot, kind) = self.waiting.ok_or(Broken::Unasked)?;
        let mut r = Reader::new(input);
        match outcome(kind, &mut r) {
            Ok(outcome) => {
                *input = r.rest();
                self.waiting = None;
                Ok(Some((slot, outcome)))
            }
            Err(DecodeError::Truncated { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn forget(&mut self, _: Slot) -> bool {
        false
    }
}

fn outcome(kind: Kind, r: &mut Reader<'_>) -> Result<Outcome, DecodeError> {
    let status = Status::decode(r)?;
    if status != Status::Ok {
        return Ok(Outcome::Refused(Refusal::Legacy(status)));
    }
    let found = match kind {
        Kind::Exists => r.bool()?,
        Kind::Get => !r.array("value", ARRAY_BYTES_MAX)?.is_empty(),
        Kind::Put | Kind::Remove => true,
    };
    Ok(if found { Outcome::Done } else { Outcome::Missing })
}
