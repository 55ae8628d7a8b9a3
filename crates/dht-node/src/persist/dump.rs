//! Writes every channel into its dump file, at shutdown.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use dht_dump::{Disk, DiskError, DumpOptions, DumpWriter, FinishedDump};
use dht_storage::{Channel, Cursor, Store};

use super::percent::Percent;
use super::{CHANNELS_LOG, DUMP_LOG};
use crate::context::Clock;

/// Records that are copied out of the store under one lock at most.
const SCAN_RECORDS_PER_STEP: usize = 1024;

/// Dumps all channels, one after another. A channel that fails does not keep the others from being
/// dumped. Returns how many failed.
pub(crate) fn dump_all(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    store: &Store,
    options: DumpOptions,
    clock: Clock,
) -> usize {
    let began = clock();
    log::info!(target: CHANNELS_LOG, "Closing memory channels");
    let mut failed = 0;
    for channel in store.channels() {
        if let Err(error) = dump(disk, dir, &channel, options, clock) {
            failed += 1;
            log::error!(
                target: DUMP_LOG,
                "Channel '{}' was not dumped, its records since the last dump are lost: {error}. \
                 The dump before, if there was one, is unchanged.",
                channel.name()
            );
        }
    }
    let took = clock().saturating_duration_since(began).as_secs_f64();
    log::info!(target: CHANNELS_LOG, "Finished closing memory channels, took {took:.2}s");
    failed
}

fn dump(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    channel: &Channel,
    options: DumpOptions,
    clock: Clock,
) -> Result<(), DiskError> {
    let (name, began) = (channel.name(), clock());
    log::info!(target: DUMP_LOG, "Dumping channel '{name}' to disk");
    let finished = write(disk, dir, channel, options, clock)?;
    log::info!(target: DUMP_LOG, "Finished channel dump, {} bytes written", finished.file_bytes);
    if let Some(error) = finished.backup_error {
        log::warn!(
            target: DUMP_LOG,
            "The dump before of channel '{name}' could not be kept as backup: {error}"
        );
    }
    let took = clock().saturating_duration_since(began).as_secs_f64();
    log::trace!(target: DUMP_LOG, "Dumped channel '{name}' in {took:.2}s");
    log::info!(
        target: DUMP_LOG,
        "Finished dumping channel '{name}' to disk, took {took:.2}s, wrote {} records, {} records \
         in channel",
        finished.records,
        channel.usage().records
    );
    Ok(())
}

fn write(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    channel: &Channel,
    options: DumpOptions,
    clock: Clock,
) -> Result<FinishedDump, DiskError> {
    let mut dump = DumpWriter::create(disk, dir, channel.name(), options)?;
    let mut percent = Percent::new(channel.name(), channel.usage().records, clock);
    let mut cursor = Some(Cursor::START);
    while let Some(from) = cursor {
        let mut written = Ok(());
        cursor = channel.scan(from, SCAN_RECORDS_PER_STEP, |key, value| {
            percent.reached(dump.totals().records);
            written = dump.record(key, value);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written?;
    }
    dump.finish()
}
