//! Get.

use arrayvec::ArrayVec;
use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::Get;
use dht_protocol::neo::{self, RequestId, Supported};
use dht_types::Key;
use neo::requests::GetReply;

use super::Outcome;
use crate::context::{Context, Place, writer};
use crate::session::{BATCH_REQUESTS, OUTPUT_BYTES_HIGH};

/// Gets of one channel that came together, by neo.
pub(crate) struct NeoGets<'a> {
    pub(crate) channel: &'a str,
    pub(crate) ids: ArrayVec<RequestId, BATCH_REQUESTS>,
    /// As many.
    pub(crate) keys: ArrayVec<Key, BATCH_REQUESTS>,
}

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

/// Executes Gets of keys that are settled, in order until the output is full; returns how many.
pub(crate) fn neo_many(cx: &mut Context, gets: &NeoGets<'_>, out: &mut Vec<u8>) -> usize {
    let Ok(channel) = cx.channel_or_create(gets.channel) else {
        for &id in &gets.ids {
            Supported::Yes.write(id, out);
            GetReply::Error.write(id, out);
        }
        return gets.ids.len();
    };
    let (mut done, mut found, mut value_bytes) = (0, 0, 0);
    channel.get_many(&gets.keys, |at, value| {
        // The answers may be large: the others wait in the input until these are sent.
        if out.len() >= OUTPUT_BYTES_HIGH {
            return;
        }
        done = at + 1;
        Supported::Yes.write(gets.ids[at], out);
        let Some(value) = value else {
            return GetReply::NoRecord.write(gets.ids[at], out);
        };
        GetReply::Got(value).write(gets.ids[at], out);
        found += 1;
        value_bytes += value.len() as u64;
    });
    cx.counters.actions.read.add(found, value_bytes);
    done
}
