//! Remove.

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::Remove;
use dht_protocol::neo::{self, Payload, RequestId};
use dht_storage::{Change, Channel, Notify};
use dht_types::Key;
use neo::requests::RemoveReply;

use super::Outcome;
use crate::context::{Context, Place, writer};

pub(super) fn legacy(cx: &mut Context, request: &Remove<'_>, out: &mut Vec<u8>) -> Outcome {
    remove(cx, request).encode(&mut writer(out));
    Outcome::Done
}

fn remove(cx: &mut Context, request: &Remove<'_>) -> Status {
    if !cx.owns(request.key) {
        return Status::WrongNode;
    }
    // Compat: who mirrors the channel hears of a removal even if there was no such record.
    if let Some(channel) = cx.channel(request.channel) {
        remove_record(cx, &channel, request.key, Notify::Always);
    }
    Status::Ok
}

/// Removes and counts a record; `false` if there was none.
pub(crate) fn remove_record(cx: &Context, channel: &Channel, key: Key, notify: Notify) -> bool {
    let receiving = cx.view.receiving.as_ref().filter(|receiving| receiving.contains(key));
    let removed = channel.update(key, notify, |old| {
        // What another node still has of it must not bring it back.
        if let Some(receiving) = receiving {
            receiving.removed(channel.name(), key);
        }
        Change::Remove(old.map(<[u8]>::len))
    });
    // An error says that the channel itself was removed a moment ago.
    let Ok(Some(value_bytes)) = removed else { return false };
    cx.counters.actions.deleted.record(value_bytes);
    true
}

pub(super) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &neo::requests::Remove<'_>,
    out: &mut Vec<u8>,
) {
    let place = cx.place(request.key);
    let reply = if !matches!(place, Place::Ours | Place::Leaving) {
        RemoveReply::WrongNode
    } else {
        match cx.channel_or_create(request.channel) {
            Err(_) => RemoveReply::Error,
            Ok(channel) if remove_record(cx, &channel, request.key, Notify::IfPresent) => {
                RemoveReply::Removed
            }
            // It may be on its way: the client asks the taker next, which then forgets it.
            Ok(_) => RemoveReply::NoRecord,
        }
    };
    reply.write(id, out);
}
