//! RemoveChannel.

use dht_dump::OsDisk;
use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::RemoveChannel;
use dht_protocol::neo::{self, Payload, RequestId};
use dht_storage::{Channel, Sequence};
use dht_types::ChannelName;
use neo::requests::RemoveChannelReply;

use super::Outcome;
use crate::context::{Context, writer};
use crate::persist::RemoveError;
use crate::shared::{Settings, Shared};

pub(super) fn legacy(cx: &mut Context, request: &RemoveChannel<'_>, out: &mut Vec<u8>) -> Outcome {
    let name = ChannelName::new(request.channel.as_bytes());
    let removed = name.is_ok_and(|name| remove(cx, &name));
    let status = if removed { Status::Ok } else { Status::Error };
    status.encode(&mut writer(out));
    Outcome::Done
}

/// Removes the records, and the dump file, so that a restart does not bring them back. `false`: the
/// records are gone, but the log could not be told, or the file could not be moved.
fn remove(cx: &mut Context, name: &ChannelName) -> bool {
    if let Some(receiving) = &cx.view.receiving {
        receiving.removed_channel(name);
    }
    let Shared { store, dumps, settings: Settings { data_dir, .. }, .. } = &*cx.shared;
    let (clock, journal) = (cx.clock, &mut cx.journal);
    if let (Some(journal), Some(channel)) = (journal.as_mut(), store.channel(name))
        && journal.admits(&channel).is_err()
    {
        log::error!("Channel '{name}' is not removed: the log cannot be written");
        return false;
    }
    let log = |channel: Option<&Channel>| match journal {
        Some(journal) => journal.remove_channel(channel, store.cut(Sequence(0)), clock),
        None => Ok(()),
    };
    match dumps.remove_channel(&OsDisk, data_dir, store, name, log) {
        Ok(()) => {
            if let Some(journal) = &cx.journal {
                journal.is_removed(name);
            }
            true
        }
        Err(RemoveError::NotLogged) => {
            log::error!(
                "Channel '{name}' is removed from memory, but the log cannot be written: it may \
                 come back if the node ends unexpectedly. Remove it again when there is room on the disk."
            );
            false
        }
        Err(RemoveError::Disk(error)) => {
            log::error!(
                "Channel '{name}' is removed from memory, but its dump file stays and may bring \
                 it back at the next start: {error}. Move it out of {} by hand.",
                data_dir.display()
            );
            false
        }
    }
}

pub(super) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &neo::requests::RemoveChannel<'_>,
    out: &mut Vec<u8>,
) {
    let name = ChannelName::new(request.channel.as_bytes());
    let reply = if !cx.client_is_admin {
        // The original prepares this answer and never sends it.
        RemoveChannelReply::NotPermitted
    } else if name.is_ok_and(|name| remove(cx, &name)) {
        RemoveChannelReply::ChannelRemoved
    } else {
        RemoveChannelReply::Error
    };
    reply.write(id, out);
}
