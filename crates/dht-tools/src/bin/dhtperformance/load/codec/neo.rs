//! The neo protocol: many requests at a time, replies in any order.
//!
//! ```text
//! request id := count of requests so far << 13 | slot
//! ```
//!
//! So an id is never used twice, as the protocol wants it, and finds its slot without a table.

use std::sync::Arc;

use dht_client::ClientCredentials;
use dht_protocol::{
    neo::{
        ClientHandshake, Payload, REQUESTS_ACTIVE_MAX, Request, RequestId, Supported,
        frame::{self, FrameKind, REPLY_BODY_BYTES_MAX},
        requests::{
            Exists, ExistsReply, Get, GetStatus, GotValue, Put, PutReply, Remove, RemoveReply,
        },
    },
    wire::{DecodeError, Reader},
};
use dht_types::ChannelName;

use super::{Broken, Codec, Kind, Op, Outcome, Slot};
use crate::load::Refusal;

/// What a node carries on one connection.
pub(super) const PIPELINE_MAX: usize = REQUESTS_ACTIVE_MAX;

const SLOT_BITS: u32 = 13;
const _: () = assert!(PIPELINE_MAX <= 1 << SLOT_BITS);

/// See the module.
#[derive(Debug)]
pub(super) struct Neo {
    channel: ChannelName,
    credentials: Arc<ClientCredentials>,
    greeting: Option<ClientHandshake>,
    /// Requests sent so far.
    sent: u64,
    slots: Box<[Waiting]>,
}

/// What a slot's request waits for.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// 0: for nothing.
    id: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Supported(Kind),
    Status(Kind),
    Value,
}

impl Neo {
    pub(super) fn new(
        channel: ChannelName,
        credentials: Arc<ClientCredentials>,
        pipeline: usize,
    ) -> Self {
        let free = Waiting { id: 0, stage: Stage::Value };
        let slots = vec![free; pipeline].into_boxed_slice();
        Self { channel, credentials, greeting: None, sent: 0, slots }
    }

    /// The slot that waits for a message with this id.
    fn slot(&mut self, id: u64) -> Option<(Slot, &mut Waiting)> {
        let slot = id & ((1 << SLOT_BITS) - 1);
        let waiting = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        let slot = Slot::try_from(slot).ok()?;
        (waiting.id == id && id != 0).then_some((slot, waiting))
    }
}

impl Codec for Neo {
    fn greet(&mut self, input: &mut &[u8], unix_s: u64, out: &mut Vec<u8>) -> Result<bool, Broken> {
        let greeting = self.greeting.get_or_insert_with(|| ClientHandshake::new(out));
        let (name, key) = (self.credentials.name(), self.credentials.key());
        Ok(greeting.receive(input, unix_s, name, key, out)?)
    }

    fn send(&mut self, slot: Slot, op: Op, value: &[u8], out: &mut Vec<u8>) {
        self.sent += 1;
        let id = self.sent << SLOT_BITS | u64::from(slot);
        self.slots[slot as usize] = Waiting { id, stage: Stage::Supported(op.kind) };
        let (channel, key) = (self.channel.as_str(), op.key);
        let request: Request<'_> = match op.kind {
            Kind::Exists => Exists { channel, key }.into(),
            Kind::Get => Get { channel, key }.into(),
            Kind::Put => Put { channel, key, value }.into(),
            Kind::Remove => Remove { channel, key }.into(),
        };
        let id = RequestId::new(id).expect("counted from 1");
        frame::write_message(out, id, |w| request.encode(w));
    }

    fn reply(&mut self, input: &mut &[u8]) -> Result<Option<(Slot, Outcome)>, Broken> {
        while let Some(frame) = frame::next_frame_within(input, REPLY_BODY_BYTES_MAX)? {
            if frame.kind == FrameKind::Authentication {
                return Err(Broken::Unasked);
            }
            let mut r = Reader::new(frame.body);
            let id = r.u64()?;
            // Replies to forgotten requests find nobody.
            let Some((slot, waiting)) = self.slot(id) else { continue };
            if let Some(outcome) = advance(&mut waiting.stage, r.rest())? {
                waiting.id = 0;
                return Ok(Some((slot, outcome)));
            }
        }
        Ok(None)
    }

    fn forget(&mut self, slot: Slot) -> bool {
        self.slots[slot as usize].id = 0;
        true
    }
}

/// One message of a request; an outcome is the last.
fn advance(stage: &mut Stage, payload: &[u8]) -> Result<Option<Outcome>, DecodeError> {
    use Outcome::{Done, Missing};
    const WRONG_NODE: Outcome = Outcome::Refused(Refusal::WrongNode);
    const ERROR: Outcome = Outcome::Refused(Refusal::NodeError);
    Ok(Some(match *stage {
        Stage::Supported(kind) => {
            if Supported::from_code(Reader::new(payload).u8()?) == Supported::Yes {
                *stage = Stage::Status(kind);
                return Ok(None);
            }
            Outcome::Refused(Refusal::Unsupported)
        }
        Stage::Value => {
            GotValue::decode(payload)?;
            Done
        }
        Stage::Status(Kind::Get) => match GetStatus::decode(payload)? {
            GetStatus::Got => {
                *stage = Stage::Value;
                return Ok(None);
            }
            GetStatus::NoRecord => Missing,
            GetStatus::WrongNode => WRONG_NODE,
            GetStatus::Error => ERROR,
        },
        Stage::Status(Kind::Put) => match PutReply::decode(payload)? {
            PutReply::Put => Done,
            PutReply::WrongNode => WRONG_NODE,
            PutReply::Error => ERROR,
        },
        Stage::Status(Kind::Exists) => match ExistsReply::decode(payload)? {
            ExistsReply::RecordExists => Done,
            ExistsReply::NoRecord => Missing,
            ExistsReply::WrongNode => WRONG_NODE,
            ExistsReply::Error => ERROR,
        },
        Stage::Status(Kind::Remove) => match RemoveReply::decode(payload)? {
            RemoveReply::Removed => Done,
            RemoveReply::NoRecord => Missing,
            RemoveReply::WrongNode => WRONG_NODE,
            RemoveReply::Error => ERROR,
        },
    }))
}
