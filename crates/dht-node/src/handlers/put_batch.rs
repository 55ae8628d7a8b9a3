//! PutBatch, and Forward, which replaces nothing.

use dht_protocol::legacy::batch::{self as batches, BatchError};
use dht_protocol::legacy::requests::{Forward, PutBatch};
use dht_protocol::legacy::{CloseReason, Status};
use dht_protocol::wire::Reader;
use dht_storage::Notify;
use dht_types::Key;

use super::Outcome;
use crate::context::{Context, WriteError, writer};

/// Who sends a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any client, or a node of the original that redistributes.
    PutBatch,
    /// A node of ours that redistributes.
    Forward,
}

pub(super) fn legacy(cx: &mut Context, request: &PutBatch<'_>, out: &mut Vec<u8>) -> Outcome {
    handle(cx, Kind::PutBatch, request.channel, request.batch, out)
}

pub(super) fn forward(cx: &mut Context, request: &Forward<'_>, out: &mut Vec<u8>) -> Outcome {
    handle(cx, Kind::Forward, request.channel, request.batch, out)
}

fn handle(cx: &mut Context, kind: Kind, channel: &str, batch: &[u8], out: &mut Vec<u8>) -> Outcome {
    // Compat: the channel is made before the batch is looked at, so that a bad one leaves it.
    if cx.channel_or_create(channel).is_err() {
        Status::Error.encode(&mut writer(out));
        return Outcome::Done;
    }
    let mut records = std::mem::take(&mut cx.codec.records);
    let stored = batches::decompress(batch, &mut records)
        .map_err(CloseReason::MalformedBatch)
        .and_then(|()| store(cx, kind, channel, &records));
    cx.codec.records = records;
    cx.codec.trim();
    match stored {
        Ok(status) => {
            status.encode(&mut writer(out));
            Outcome::Done
        }
        Err(reason) => Outcome::Close(reason),
    }
}

/// Stores record after record up to the first that is refused. The order of the checks is that of
/// the specification (`protocol-legacy` 7.10).
fn store(
    cx: &mut Context,
    kind: Kind,
    channel: &str,
    records: &[u8],
) -> Result<Status, CloseReason> {
    let mut r = Reader::new(records);
    while let Some(record) = batches::next_record(&mut r) {
        let (key, value) =
            record.map_err(|error: BatchError| CloseReason::MalformedBatch(error))?;
        if value.is_empty() && kind == Kind::PutBatch {
            return Ok(Status::EmptyValue);
        }
        let key = key.parse()?;
        if !cx.owns(key) {
            return Ok(Status::WrongNode);
        }
        if cx.exceeds_limit(value.len() as u64) {
            log::warn!(
                target: "dhtnode.request.PutBatchRequest",
                "Batch rejected: size limit exceeded"
            );
            return Ok(Status::OutOfMemory);
        }
        let limit = cx.shared.moves.batch_limit_bytes();
        if limit.is_some_and(|limit| cx.shared.bytes() + value.len() as u64 > limit) {
            log::warn!(
                target: "dhtnode.request.PutBatchRequest",
                "Batch rejected: uneven redistribution"
            );
            return Ok(Status::OutOfMemory);
        }
        let is_forwarded = kind == Kind::Forward || is_received(cx, key);
        let stored = if is_forwarded {
            cx.put_forwarded(channel, key, value)
        } else {
            // Compat: those who listen are not told.
            cx.put(channel, key, value, Notify::No)
        };
        match stored {
            Ok(()) => {}
            Err(WriteError::NoChannel | WriteError::NotLogged) => return Ok(Status::Error),
            Err(WriteError::NoRoom) => return Ok(Status::OutOfMemory),
        }
    }
    Ok(Status::Ok)
}

/// Whether a record of this key may be what a giver had: such a one replaces nothing.
fn is_received(cx: &Context, key: Key) -> bool {
    let receiving = cx.view.receiving.as_ref().filter(|receiving| receiving.contains(key));
    receiving.is_some_and(|receiving| receiving.touch((cx.clock)()))
}
