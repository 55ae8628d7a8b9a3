//! Exists.

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::Exists;
use dht_protocol::neo::{self, Payload, RequestId};
use neo::requests::ExistsReply;

use super::Outcome;
use crate::context::{Context, Place, writer};

pub(super) fn legacy(cx: &mut Context, request: &Exists<'_>, out: &mut Vec<u8>) -> Outcome {
    // Compat: as in Get, neither range nor key are looked at where there is no such channel.
    let exists = match cx.channel(request.channel) {
        None => false,
        Some(channel) => match request.key.parse() {
            Ok(key) => {
                let place = cx.place(key);
                let exists = place != Place::Gone && channel.contains(key);
                if !exists && matches!(place, Place::Gone | Place::Leaving) {
                    // Not "no record": the client has to ask for the nodes' ranges again.
                    Status::WrongNode.encode(&mut writer(out));
                    return Outcome::Done;
                }
                exists
            }
            Err(reason) => return Outcome::Close(reason),
        },
    };
    Exists::reply(&mut writer(out), exists);
    Outcome::Done
}

pub(super) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &neo::requests::Exists<'_>,
    out: &mut Vec<u8>,
) {
    let place = cx.place(request.key);
    let reply = if !matches!(place, Place::Ours | Place::Leaving) {
        ExistsReply::WrongNode
    } else {
        // Compat: here a look-up makes the channel, which is then listed.
        match cx.channel_or_create(request.channel) {
            Err(_) => ExistsReply::Error,
            Ok(channel) if channel.contains(request.key) => ExistsReply::RecordExists,
            Ok(_) if place == Place::Leaving => ExistsReply::WrongNode,
            Ok(_) => ExistsReply::NoRecord,
        }
    };
    reply.write(id, out);
}
