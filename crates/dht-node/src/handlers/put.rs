//! Put.

use arrayvec::ArrayVec;
use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::{Put, Value};
use dht_protocol::neo::{self, Payload, RequestId, Supported};
use dht_storage::Notify;
use dht_types::Key;
use neo::requests::PutReply;

use super::Outcome;
use crate::context::{Context, WriteError, writer};
use crate::session::{BATCH_REQUESTS, OUTPUT_BYTES_HIGH};

/// Bytes of the answer to a Put, by neo, whatever it is.
const ANSWER_BYTES: usize = 38;

/// Puts of one channel that came together, by neo.
pub(crate) struct NeoPuts<'a> {
    pub(crate) channel: &'a str,
    pub(crate) ids: ArrayVec<RequestId, BATCH_REQUESTS>,
    /// As many.
    pub(crate) records: ArrayVec<(Key, &'a [u8]), BATCH_REQUESTS>,
}

pub(super) fn legacy(cx: &mut Context, request: &Put<'_>, out: &mut Vec<u8>) -> Outcome {
    put(cx, request).encode(&mut writer(out));
    Outcome::Done
}

/// The checks in the order of the specification (`protocol-legacy` 7.9).
fn put(cx: &mut Context, request: &Put<'_>) -> Status {
    if !cx.owns(request.key) {
        return Status::WrongNode;
    }
    let value = match request.value {
        Value::TooLong(_) => return Status::ValueTooBig,
        Value::Bytes([]) => return Status::EmptyValue,
        Value::Bytes(value) => value,
    };
    if cx.exceeds_limit(value.len() as u64) {
        return Status::OutOfMemory;
    }
    match cx.put(request.channel, request.key, value, Notify::Always) {
        Ok(()) => Status::Ok,
        Err(WriteError::NoChannel | WriteError::NotLogged) => Status::Error,
        Err(WriteError::NoRoom) => Status::OutOfMemory,
    }
}

pub(super) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &neo::requests::Put<'_>,
    out: &mut Vec<u8>,
) {
    let reply = if !cx.owns(request.key) {
        PutReply::WrongNode
    } else if cx.exceeds_limit(request.value.len() as u64) {
        // The original looks at its limit in the legacy protocol only.
        PutReply::Error
    } else {
        match cx.put(request.channel, request.key, request.value, Notify::Always) {
            Ok(()) => PutReply::Put,
            Err(_) => PutReply::Error,
        }
    };
    reply.write(id, out);
}

/// Executes Puts of keys that are settled, in order until the output is full; returns how many.
pub(crate) fn neo_many(cx: &mut Context, puts: &NeoPuts<'_>, out: &mut Vec<u8>) -> usize {
    let NeoPuts { channel, ids, records } = puts;
    let room = OUTPUT_BYTES_HIGH.saturating_sub(out.len()).div_ceil(ANSWER_BYTES);
    let (ids, records) = (&ids[..room.min(ids.len())], &records[..room.min(ids.len())]);
    let mut done = 0;
    while done < ids.len() {
        let stored = cx.put_together(channel, &records[done..]);
        for &id in &ids[done..][..stored] {
            Supported::Yes.write(id, out);
            PutReply::Put.write(id, out);
        }
        done += stored;
        if let (Some(&id), Some(&(key, value))) = (ids.get(done), records.get(done)) {
            Supported::Yes.write(id, out);
            neo(cx, id, &neo::requests::Put { channel, key, value }, out);
            done += 1;
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_one_length() {
        let id = RequestId::new(u64::MAX).expect("not zero");
        for reply in [PutReply::Put, PutReply::WrongNode, PutReply::Error] {
            let mut out = Vec::new();
            Supported::Yes.write(id, &mut out);
            reply.write(id, &mut out);
            assert_eq!(out.len(), ANSWER_BYTES);
        }
    }
}
