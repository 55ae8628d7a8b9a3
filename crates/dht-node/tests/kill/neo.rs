//! Writes over the neo protocol: each has an id, and many are under way at a time.
//!
//! ```text
//! request -> "supported" -> status                    Put, Remove, RemoveChannel
//! request -> "supported" -> RecordValue -> decision -> status         Update
//! ```

use std::collections::HashMap;

use dht_testkit::Rng;
use dht_testkit::neo::{self, REMOVE_RECORD, SUPPORTED};

use crate::oracle::Oracle;
use crate::records::{ABSENT, CHANNELS, Place};
use crate::writer::{Counts, Kind, Op, choose_size};

/// Statuses. Source: spec `protocol-neo` 10, 11.
const PUT: &[u8] = &[1];
const NO_RECORD: &[u8] = &[1];
const REMOVED: &[u8] = &[2];
const CHANNEL_REMOVED: &[u8] = &[1];
/// An array follows.
const RECORD_VALUE: u8 = 5;
const UPDATED: &[u8] = &[6];

/// Bytes of a message before its payload: header and id.
const HEAD_BYTES: usize = 10 + 8;

/// See the module.
#[derive(Default)]
pub(crate) struct Neo {
    under_way: HashMap<u64, UnderWay>,
    last_id: u64,
}

struct UnderWay {
    op: Op,
    is_supported: bool,
}

impl Neo {
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    pub(crate) fn forget_under_way(&mut self) {
        self.under_way.clear();
    }

    /// Appends its request to `out`.
    pub(crate) fn start(&mut self, op: Op, oracle: &Oracle, out: &mut Vec<u8>) {
        let name = |place: &Place| CHANNELS[place.channel].name;
        let request = match (op.kind, &op.changes[..]) {
            (Kind::RemoveChannel { channel, .. }, _) => neo::remove_channel(CHANNELS[channel].name),
            (Kind::Put, [(place, version)]) => {
                neo::put(name(place), oracle.key(*place), &oracle.value(*place, *version))
            }
            (Kind::Remove { .. }, [(place, _)]) => neo::remove(name(place), oracle.key(*place)),
            (Kind::Update(place), []) => neo::update_get(name(&place), oracle.key(place)),
            (kind, changes) => unreachable!("{kind:?} of {} records", changes.len()),
        };
        self.last_id += 1;
        out.extend(neo::message(self.last_id, &request));
        self.under_way.insert(self.last_id, UnderWay { op, is_supported: false });
    }

    /// Takes whole messages from the front of `input`; appends decisions of Updates to `out`.
    pub(crate) fn answers(
        &mut self,
        input: &mut &[u8],
        oracle: &mut Oracle,
        counts: &mut Counts,
        rng: &mut Rng,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        while let Some((head, rest)) = input.split_first_chunk::<HEAD_BYTES>() {
            let number =
                |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
            let (body_bytes, id) = (number(1), number(10));
            let payload_bytes = usize::try_from(body_bytes).expect("fits memory") - 8;
            let Some((payload, rest)) = rest.split_at_checked(payload_bytes) else { break };
            *input = rest;
            self.answer(id, payload, oracle, counts, rng, out)?;
        }
        Ok(())
    }

    fn answer(
        &mut self,
        id: u64,
        payload: &[u8],
        oracle: &mut Oracle,
        counts: &mut Counts,
        rng: &mut Rng,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let under_way = self.under_way.get_mut(&id).ok_or("an answer to nothing")?;
        let kind = under_way.op.kind;
        if !under_way.is_supported && payload == [SUPPORTED] {
            under_way.is_supported = true;
            return Ok(());
        }
        let is_done = match kind {
            Kind::Put => payload == PUT,
            Kind::Remove { is_there } => payload == if is_there { REMOVED } else { NO_RECORD },
            Kind::RemoveChannel { .. } => payload == CHANNEL_REMOVED,
            Kind::Update(place) if under_way.op.changes.is_empty() => {
                let [RECORD_VALUE, array @ ..] = payload else {
                    return Err(format!("{kind:?} was answered by {:02x?}", head(payload)));
                };
                let version = oracle.settled(place).expect("nothing else is under way");
                let old = oracle.value(place, version);
                if array != neo::array(&old) {
                    return Err(format!("{kind:?} has read another value than was written"));
                }
                let decision = decide(&mut under_way.op, place, &old, oracle, rng);
                out.extend(neo::message(id, &decision));
                return Ok(());
            }
            Kind::Update(_) => payload == UPDATED,
            Kind::Batch => false,
        };
        if !under_way.is_supported || !is_done {
            return Err(format!("{kind:?} was answered by {:02x?}", head(payload)));
        }
        let under_way = self.under_way.remove(&id).expect("it was just found");
        under_way.op.settle(oracle, counts);
        Ok(())
    }
}

/// What to make of a record that was read: mostly another one.
fn decide(op: &mut Op, place: Place, old: &[u8], oracle: &mut Oracle, rng: &mut Rng) -> Vec<u8> {
    let (version, decision) = if rng.one_in(6) {
        (ABSENT, REMOVE_RECORD.to_vec())
    } else {
        let version = oracle.next_version(choose_size(rng, true));
        (version, neo::update_record(old, &oracle.value(place, version)))
    };
    oracle.begin(place, version);
    op.changes.push((place, version));
    decision
}

/// As much of a payload as a message shows.
fn head(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(16)]
}
