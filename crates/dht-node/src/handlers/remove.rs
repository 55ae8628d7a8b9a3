//! Remove.

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::Remove;
use dht_storage::{Change, Notify};

use super::Outcome;
use crate::context::{Context, writer};

pub(super) fn legacy(cx: &mut Context, request: &Remove<'_>, out: &mut Vec<u8>) -> Outcome {
    remove(cx, request).encode(&mut writer(out));
    Outcome::Done
}

fn remove(cx: &mut Context, request: &Remove<'_>) -> Status {
    if !cx.shared.hash_range.contains(request.key) {
        return Status::WrongNode;
    }
    // Compat: who mirrors the channel hears of a removal even if there was no such record.
    if let Some(channel) = cx.channel(request.channel) {
        let removed =
            channel.update(request.key, Notify::Always, |old| Change::Remove(old.map(<[u8]>::len)));
        // An error says that the channel itself was removed a moment ago.
        if let Ok(Some(value_bytes)) = removed {
            cx.counters.actions.deleted.record(value_bytes);
        }
    }
    Status::Ok
}
