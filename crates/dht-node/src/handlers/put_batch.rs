//! PutBatch.

use dht_protocol::legacy::batch::{self, BatchError};
use dht_protocol::legacy::requests::PutBatch;
use dht_protocol::legacy::{CloseReason, Status};
use dht_protocol::wire::Reader;
use dht_storage::Notify;

use super::Outcome;
use crate::context::{Context, WriteError, writer};

pub(super) fn legacy(cx: &mut Context, request: &PutBatch<'_>, out: &mut Vec<u8>) -> Outcome {
    // Compat: the channel is made before the batch is looked at, so that a bad one leaves it.
    if cx.channel_or_create(request.channel).is_err() {
        Status::Error.encode(&mut writer(out));
        return Outcome::Done;
    }
    let mut records = std::mem::take(&mut cx.codec.records);
    let stored = batch::decompress(request.batch, &mut records)
        .map_err(CloseReason::MalformedBatch)
        .and_then(|()| store(cx, request.channel, &records));
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
fn store(cx: &mut Context, channel: &str, records: &[u8]) -> Result<Status, CloseReason> {
    let mut r = Reader::new(records);
    while let Some(record) = batch::next_record(&mut r) {
        let (key, value) =
            record.map_err(|error: BatchError| CloseReason::MalformedBatch(error))?;
        if value.is_empty() {
            return Ok(Status::EmptyValue);
        }
        let key = key.parse()?;
        if !cx.shared.hash_range.contains(key) {
            return Ok(Status::WrongNode);
        }
        if cx.exceeds_limit(value.len()) {
            log::warn!(
                target: "dhtnode.request.PutBatchRequest",
                "Batch rejected: size limit exceeded"
            );
            return Ok(Status::OutOfMemory);
        }
        // Compat: those who listen are not told.
        match cx.put(channel, key, value, Notify::No) {
            Ok(()) => {}
            Err(WriteError::NoChannel | WriteError::NotLogged) => return Ok(Status::Error),
            Err(WriteError::NoRoom) => return Ok(Status::OutOfMemory),
        }
    }
    Ok(Status::Ok)
}
