//! Get.

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::Get;
use dht_protocol::neo::{self, RequestId};
use neo::requests::GetReply;

use super::Outcome;
use crate::context::{Context, Place, writer};

pub(super) fn legacy(cx: &mut Context, request: &Get<'_>, out: &mut Vec<u8>) -> Outcome {
    // Compat: reads are not checked against the hash range, and a malformed key goes unnoticed
    // where there is no such channel.
    let Some(channel) = cx.channel(request.channel) else {
        Get::reply(&mut writer(out), &[]);
        return Outcome::Done;
    };
    let key = match request.key.parse() {
        Ok(key) => key,
        Err(reason) => return Outcome::Close(reason),
    };
    let place = cx.place(key);
    if place == Place::Gone {
        // Not "no record": the client has to ask for the nodes' ranges again.
        Status::WrongNode.encode(&mut writer(out));
        return Outcome::Done;
    }
    let found = channel.get(key, |value| {
        Get::reply(&mut writer(out), value);
        value.len()
    });
    match (found, place) {
        (Some(value_bytes), _) => cx.counters.actions.read.record(value_bytes),
        (None, Place::Leaving) => Status::WrongNode.encode(&mut writer(out)),
        (None, _) => Get::reply(&mut writer(out), &[]),
    }
    Outcome::Done
}

pub(super) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &neo::requests::Get<'_>,
    out: &mut Vec<u8>,
) {
    let place = cx.place(request.key);
    if !matches!(place, Place::Ours | Place::Leaving) {
        return GetReply::WrongNode.write(id, out);
    }
    // Compat: here a look-up makes the channel, which is then listed.
    let Ok(channel) = cx.channel_or_create(request.channel) else {
        return GetReply::Error.write(id, out);
    };
    let found = channel.get(request.key, |value| {
        GetReply::Got(value).write(id, out);
        value.len()
    });
    match (found, place) {
        (Some(value_bytes), _) => cx.counters.actions.read.record(value_bytes),
        (None, Place::Ours) => GetReply::NoRecord.write(id, out),
        (None, _) => GetReply::WrongNode.write(id, out),
    }
}
