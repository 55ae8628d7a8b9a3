//! Exists.

use dht_protocol::legacy::requests::Exists;

use super::Outcome;
use crate::context::{Context, writer};

pub(super) fn legacy(cx: &mut Context, request: &Exists<'_>, out: &mut Vec<u8>) -> Outcome {
    // Compat: as in Get, neither range nor key are looked at where there is no such channel.
    let exists = match cx.channel(request.channel) {
        None => false,
        Some(channel) => match request.key.parse() {
            Ok(key) => channel.contains(key),
            Err(reason) => return Outcome::Close(reason),
        },
    };
    Exists::reply(&mut writer(out), exists);
    Outcome::Done
}
