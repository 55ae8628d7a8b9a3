//! Remove.

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::Remove;
use dht_protocol::neo::{self, Payload, RequestId};
use dht_storage::{Change, Channel, Notify};
use dht_types::Key;
use neo::requests::RemoveReply;

use super::Outcome;
use crate::context::{ChangeError, Context, Place, WriteError, writer};

pub(super) fn legacy(cx: &mut Context, request: &Remove<'_>, out: &mut Vec<u8>) -> Outcome {
    remove(cx, request).encode(&mut writer(out));
    Outcome::Done
}

fn remove(cx: &mut Context, request: &Remove<'_>) -> Status {
    if !cx.owns(request.key) {
        return Status::WrongNode;
    }
    // Compat: who mirrors the channel hears of a removal even if there was no such record.
    let Some(channel) = cx.channel(request.channel) else { return Status::Ok };
    match remove_record(cx, &channel, request.key, Notify::Always) {
        Ok(_) => Status::Ok,
        Err(_) => Status::Error,
    }
}

/// Removes and counts a record; `false` if there was none.
pub(crate) fn remove_record(
    cx: &mut Context,
    channel: &Channel,
    key: Key,
    notify: Notify,
) -> Result<bool, WriteError> {
    let receiving = cx.view.receiving.clone().filter(|receiving| receiving.contains(key));
    let removed = cx.change(channel, key, notify, |old| {
        // What another node still has of it must not bring it back.
        if let Some(receiving) = &receiving {
            receiving.removed(channel.name(), key);
        }
        Change::Remove(old.map(<[u8]>::len))
    });
    match removed {
        Ok(Some(value_bytes)) => {
            cx.counters.actions.deleted.record(value_bytes);
            Ok(true)
        }
        // The channel itself was removed a moment ago.
        Ok(None) | Err(ChangeError::Closed) => Ok(false),
        Err(ChangeError::Failed(error)) => Err(error),
    }
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
            Ok(channel) => match remove_record(cx, &channel, request.key, Notify::IfPresent) {
                Ok(true) => RemoveReply::Removed,
                // It may be on its way: the client asks the taker next, which then forgets it.
                Ok(false) => RemoveReply::NoRecord,
                Err(_) => RemoveReply::Error,
            },
        }
    };
    reply.write(id, out);
}
