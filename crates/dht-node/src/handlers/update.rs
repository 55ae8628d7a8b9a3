//! Update, of the neo protocol: read a record, let the client change it, write it back unless
//! somebody else was faster.

use dht_protocol::neo::requests::{
    NewValue, Update, UpdateAction, UpdateMessage, UpdateReply, fnv1a64,
};
use dht_protocol::neo::{CloseReason, Payload, RequestId};
use dht_storage::{Change, Channel, Notify};
use dht_types::{ChannelName, Key};

use super::NeoStream;
use super::remove::remove_record;
use crate::context::{ChangeError, Context, PUT_TRIES_MAX, Place};

/// A record was sent; the client says what becomes of it.
pub(crate) struct UpdateWait {
    channel: ChannelName,
    key: Key,
}

pub(super) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &Update<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<NeoStream>, CloseReason> {
    let place = cx.place(request.key);
    let is_read_here = place == Place::Leaving && request.action == UpdateAction::GetRecord;
    if place != Place::Ours && !is_read_here {
        UpdateReply::WrongNode.write(id, out);
        return Ok(None);
    }
    match request.action {
        UpdateAction::GetRecord => Ok(get_record(cx, id, request, place, out)),
        UpdateAction::UpdateRecord(new) => {
            write(cx, request.channel, request.key, &new).write(id, out);
            Ok(None)
        }
        UpdateAction::Unknown(kind) => Err(CloseReason::UnknownMessage { id, kind: kind.into() }),
    }
}

fn get_record(
    cx: &mut Context,
    id: RequestId,
    request: &Update<'_>,
    place: Place,
    out: &mut Vec<u8>,
) -> Option<NeoStream> {
    let Ok(channel) = cx.channel_or_create(request.channel) else {
        UpdateReply::Error.write(id, out);
        return None;
    };
    let found = channel.get(request.key, |value| {
        UpdateReply::RecordValue(value).write(id, out);
        value.len()
    });
    let Some(value_bytes) = found else {
        let is_ours = place == Place::Ours;
        let reply = if is_ours { UpdateReply::NoRecord } else { UpdateReply::WrongNode };
        reply.write(id, out);
        return None;
    };
    cx.counters.actions.read.record(value_bytes);
    Some(NeoStream::Update(UpdateWait { channel: channel.name().clone(), key: request.key }))
}

impl UpdateWait {
    /// The record that it is about.
    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    /// The client's decision: the end of the request.
    pub(crate) fn message(
        &self,
        cx: &mut Context,
        id: RequestId,
        message: &UpdateMessage<'_>,
        out: &mut Vec<u8>,
    ) {
        let reply = match message {
            UpdateMessage::UpdateRecord(new) => write(cx, &self.channel, self.key, new),
            UpdateMessage::LeaveRecord => UpdateReply::Ok,
            UpdateMessage::RemoveRecord
                if !matches!(cx.place(self.key), Place::Ours | Place::Leaving) =>
            {
                UpdateReply::WrongNode
            }
            UpdateMessage::RemoveRecord => {
                let channel = cx.channel(&self.channel);
                let removed =
                    channel.map(|channel| remove_record(cx, &channel, self.key, Notify::IfPresent));
                if let Some(Err(_)) = removed { UpdateReply::Error } else { UpdateReply::Ok }
            }
        };
        reply.write(id, out);
    }
}

/// Stores the new value if the record is the one that the client has seen, or gone.
fn write(cx: &mut Context, channel: &str, key: Key, new: &NewValue<'_>) -> UpdateReply<'static> {
    // The key may have changed hands since the record was read.
    if !cx.owns(key) {
        return UpdateReply::WrongNode;
    }
    if cx.exceeds_limit(new.value.len() as u64) {
        return UpdateReply::Error;
    }
    for _ in 0..PUT_TRIES_MAX {
        let Ok(channel) = cx.channel_or_create(channel) else { return UpdateReply::Error };
        match compare_and_put(cx, &channel, key, new) {
            Ok(true) => {
                cx.counters.actions.written.record(new.value.len());
                return UpdateReply::Ok;
            }
            Ok(false) => return UpdateReply::UpdateConflict,
            Err(ChangeError::Closed) => {} // Removed a moment ago: the record is gone.
            Err(ChangeError::Failed(_)) => return UpdateReply::Error,
        }
    }
    UpdateReply::Error
}

/// `false`: the record is another one by now.
fn compare_and_put(
    cx: &mut Context,
    channel: &Channel,
    key: Key,
    new: &NewValue<'_>,
) -> Result<bool, ChangeError> {
    cx.change(channel, key, Notify::Always, |old| match old {
        Some(value) if fnv1a64(value) != new.original_hash => Change::Keep(false),
        _ => Change::Put(new.value, true),
    })
}
