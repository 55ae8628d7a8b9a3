//! Get.

use dht_protocol::legacy::requests::Get;

use super::Outcome;
use crate::context::{Context, writer};

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
    let found = channel.get(key, |value| {
        Get::reply(&mut writer(out), value);
        value.len()
    });
    match found {
        Some(value_bytes) => cx.counters.actions.read.record(value_bytes),
        None => Get::reply(&mut writer(out), &[]),
    }
    Outcome::Done
}
