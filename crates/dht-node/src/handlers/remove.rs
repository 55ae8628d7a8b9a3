//! Remove.

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::Remove;
use dht_protocol::neo::{self, Payload, RequestId};
use dht_storage::{Change, Channel, Notify};
use dht_types::Key;
use neo::requests::RemoveReply;

use super::Outcome;
use crate::context::{ChangeError, Context, WriteError, writer};

pub(super) fn legacy(cx: &mut Context, request: &Remove<'_>, out: &mut Vec<u8>) -> Outcome {
    remove(cx, request).encode(&mut writer(out));
    Outcome::Done
}

fn remove(cx: &mut Context, request: &Remove<'_>) -> Status {
    if !cx.shared.hash_range.contains(request.key) {
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
pub(super) fn remove_record(
    cx: &mut Context,
    channel: &Channel,
    key: Key,
    notify: Notify,
) -> Result<bool, WriteError> {
    match cx.change(channel, key, notify, |old| Change::Remove(old.map(<[u8]>::len))) {
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
    let reply = if !cx.shared.hash_range.contains(request.key) {
        RemoveReply::WrongNode
    } else {
        match cx.channel_or_create(request.channel) {
            Err(_) => RemoveReply::Error,
            Ok(channel) => match remove_record(cx, &channel, request.key, Notify::IfPresent) {
                Ok(true) => RemoveReply::Removed,
                Ok(false) => RemoveReply::NoRecord,
                Err(_) => RemoveReply::Error,
            },
        }
    };
    reply.write(id, out);
}
