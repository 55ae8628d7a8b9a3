//! Put.

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::{Put, Value};
use dht_protocol::neo::{self, Payload, RequestId};
use dht_storage::Notify;
use neo::requests::PutReply;

use super::Outcome;
use crate::context::{Context, WriteError, writer};

pub(super) fn legacy(cx: &mut Context, request: &Put<'_>, out: &mut Vec<u8>) -> Outcome {
    put(cx, request).encode(&mut writer(out));
    Outcome::Done
}

/// The checks in the order of the specification (`protocol-legacy` 7.9).
fn put(cx: &mut Context, request: &Put<'_>) -> Status {
    if !cx.shared.hash_range.contains(request.key) {
        return Status::WrongNode;
    }
    let value = match request.value {
        Value::TooLong(_) => return Status::ValueTooBig,
        Value::Bytes([]) => return Status::EmptyValue,
        Value::Bytes(value) => value,
    };
    if cx.exceeds_limit(value.len()) {
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
    let reply = if !cx.shared.hash_range.contains(request.key) {
        PutReply::WrongNode
    } else if cx.exceeds_limit(request.value.len()) {
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
