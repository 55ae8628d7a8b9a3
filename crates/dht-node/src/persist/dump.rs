//! Writes channels into their dump files: one of them, or all at shutdown.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel as queue, sync_channel};
use std::time::Duration;

use dht_dump::{Disk, DiskError, DumpOptions, DumpWriter, FinishedDump};
use dht_storage::{Channel, Cursor, Store};
use dht_types::Key;

use super::dumps::{Dumps, RunningDump};
use super::percent::Percent;
use super::{CHANNELS_LOG, DUMP_LOG};
use crate::context::{Clock, UnixTime};
use crate::durability::{Keeper, Level, Position};

/// Records of a step at most. The store holds a lock for at most 64 of them.
const STEP_RECORDS: usize = 2048;
/// A step takes no more records once it has so many bytes. So it has one record more at most.
const STEP_BYTES: usize = 256 * 1024;
/// Steps that wait to be written, besides the one that is.
const STEPS_QUEUED: usize = 2;

/// Where dumps are written, and how.
pub(crate) struct DumpTarget {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: DumpOptions,
    pub(crate) clock: Clock,
    pub(crate) unix_time: UnixTime,
}

/// Says where the log is when a dump begins.
#[derive(Clone, Copy)]
pub(crate) struct LogCut<'a> {
    pub(crate) store: &'a Store,
    pub(crate) keeper: &'a Keeper,
}

impl LogCut<'_> {
    /// Whether every change of a channel is in the log.
    fn has(&self, channel: &Channel) -> bool {
        self.keeper.level(channel) > Level::Memory
    }

    fn position(&self, channel: &Channel) -> Position {
        Position {
            incarnation: channel.incarnation(),
            sequence: self.keeper.cut(self.store),
            level: self.keeper.level(channel),
        }
    }
}

/// What became of a dump that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in its place.
    Dumped,
    /// The channel was removed meanwhile; there is no dump of it.
    Removed,
    /// `rest` had it stopped; the dump before is in its place.
    Stopped,
}

impl DumpTarget {
    /// Dumps all channels, one after another. A channel that fails does not keep the others from
    /// being dumped. Returns how many failed.
    pub(crate) fn dump_all(&self, store: &Store, keeper: Option<&Keeper>, dumps: &Dumps) -> usize {
        let log = keeper.map(|keeper| LogCut { store, keeper });
        let began = (self.clock)();
        log::info!(target: CHANNELS_LOG, "Closing memory channels");
        let mut failed = 0;
        for channel in store.channels() {
            let dumped = self.dump(&channel, log, dumps, &mut |_| ControlFlow::Continue(()));
            if let Err(error) = dumped {
                failed += 1;
                let is_logged = log.is_some_and(|log| log.has(&channel));
                let fate = if is_logged { "in the log only" } else { "lost" };
                log::error!(
                    target: DUMP_LOG,
                    "Channel '{}' was not dumped, its records since the last dump are {fate}: \
                     {error}. The dump before, if there was one, is unchanged.",
                    channel.name()
                );
            }
        }
        let took = (self.clock)().saturating_duration_since(began).as_secs_f64();
        log::info!(target: CHANNELS_LOG, "Finished closing memory channels, took {took:.2}s");
        failed
    }

    /// Dumps a channel. `rest` is called after each step with the time that it took to read from
    /// the store; it may sleep, or have the dump stopped. An error is recorded in `dumps`, but not
    /// logged.
    pub(crate) fn dump(
        &self,
        channel: &Channel,
        log: Option<LogCut<'_>>,
        dumps: &Dumps,
        rest: &mut dyn FnMut(Duration) -> ControlFlow<()>,
    ) -> Result<Outcome, DiskError> {
        let (name, began) = (channel.name(), (self.clock)());
        log::info!(target: DUMP_LOG, "Dumping channel '{name}' to disk");
        let outcome = self.write(channel, log, dumps, rest);
        let finished = match outcome.inspect_err(|error| dumps.has_failed(channel, error))? {
            (Outcome::Dumped, Some(finished)) => finished,
            (outcome, _) => {
                log::info!(target: DUMP_LOG, "Gave the dump of channel '{name}' up: {outcome:?}");
                return Ok(outcome);
            }
        };
        let took = (self.clock)().saturating_duration_since(began);
        dumps.has_taken(channel, took);
        if finished.direct_was_refused {
            dumps.direct_io_is_refused(&self.dir);
        }
        tell(channel, &finished, took.as_secs_f64());
        Ok(Outcome::Dumped)
    }

    fn write(
        &self,
        channel: &Channel,
        log: Option<LogCut<'_>>,
        dumps: &Dumps,
        rest: &mut dyn FnMut(Duration) -> ControlFlow<()>,
    ) -> Result<(Outcome, Option<FinishedDump>), DiskError> {
        let running = dumps.begin(channel.name(), (self.clock)());
        let mut dump = DumpWriter::create(&self.disk, &self.dir, channel.name(), self.options)?;
        // Before the scan: what is changed from here on may be missing in the dump.
        let position = log.map(|log| log.position(channel));
        if let Some(position) = position {
            dump.set_log_position(position.to_text());
        }
        let (outcome, dump) = self.records(channel, dump, &running, rest)?;
        if outcome != Outcome::Dumped {
            return Ok((outcome, None));
        }
        let completed = dump.complete()?;
        running.progressed((self.clock)());
        let sequence = position.map(|position| position.sequence);
        match dumps.commit(channel, completed, (self.unix_time)(), sequence)? {
            None => Ok((Outcome::Removed, None)),
            finished => Ok((Outcome::Dumped, finished)),
        }
    }

    /// Writes all records, step by step: this thread reads them from the store while another one
    /// writes those of the step before. Gives the dump back when all that was read is in it.
    fn records(
        &self,
        channel: &Channel,
        dump: DumpWriter,
        running: &RunningDump<'_>,
        rest: &mut dyn FnMut(Duration) -> ControlFlow<()>,
    ) -> Result<(Outcome, DumpWriter), DiskError> {
        let (filled, steps) = sync_channel(STEPS_QUEUED);
        let (back, emptied) = queue();
        std::thread::scope(|scope| {
            let writer = std::thread::Builder::new().name("dump-writer".to_owned());
            let writer = writer.spawn_scoped(scope, move || write_all(dump, &steps, &back));
            let writer = writer.map_err(|source| self.no_thread(source))?;
            let outcome = self.read_all(channel, (filled, &emptied), running, rest);
            // A panic there goes on here.
            let dump = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((outcome, dump))
        })
    }

    fn no_thread(&self, source: io::Error) -> DiskError {
        DiskError { action: "start a thread to write to", path: self.dir.clone(), source }
    }

    /// Reads all records, until they are to be no more, or the writer has failed.
    fn read_all(
        &self,
        channel: &Channel,
        (filled, emptied): (SyncSender<Step>, &Receiver<Step>),
        running: &RunningDump<'_>,
        rest: &mut dyn FnMut(Duration) -> ControlFlow<()>,
    ) -> Outcome {
        let mut percent = Percent::new(channel.name(), channel.usage().records, self.clock);
        let (mut cursor, mut read) = (Some(Cursor::START), 0);
        while let Some(from) = cursor {
            let mut step = emptied.try_recv().unwrap_or_default();
            let began = (self.clock)();
            cursor = step.copy(channel, from);
            let reading = (self.clock)().saturating_duration_since(began);
            for _ in &step.heads {
                read += 1;
                percent.reached(read);
            }
            if filled.send(step).is_err() {
                break; // It says why.
            }
            running.progressed((self.clock)());
            if channel.is_removed() {
                return Outcome::Removed;
            }
            if rest(reading).is_break() {
                return Outcome::Stopped;
            }
        }
        Outcome::Dumped
    }
}

/// Writes step after step, until no more come.
fn write_all(
    mut dump: DumpWriter,
    steps: &Receiver<Step>,
    back: &Sender<Step>,
) -> Result<DumpWriter, DiskError> {
    for step in steps {
        for (key, value) in step.records() {
            dump.record(key, value)?;
        }
        // The reader may be done already.
        let _ = back.send(step);
    }
    Ok(dump)
}

fn tell(channel: &Channel, finished: &FinishedDump, took: f64) {
    let name = channel.name();
    log::info!(target: DUMP_LOG, "Finished channel dump, {} bytes written", finished.file_bytes);
    if let Some(error) = &finished.backup_error {
        log::warn!(
            target: DUMP_LOG,
            "The dump before of channel '{name}' could not be kept as backup: {error}"
        );
    }
    if let Some(error) = &finished.manifest_error {
        log::warn!(
            target: DUMP_LOG,
            "The dump of channel '{name}' is in its place, but has no manifest, so that loading \
             cannot verify it: {error}"
        );
    }
    log::trace!(target: DUMP_LOG, "Dumped channel '{name}' in {took:.2}s");
    log::info!(
        target: DUMP_LOG,
        "Finished dumping channel '{name}' to disk, took {took:.2}s, wrote {} records, {} records \
         in channel",
        finished.records,
        channel.usage().records
    );
}

/// Records on their way from the store to the disk: copied under the locks of the store, written
/// when these are free again.
#[derive(Default)]
struct Step {
    /// Key and length of each.
    heads: Vec<(Key, usize)>,
    /// Their values, one behind the other.
    values: Vec<u8>,
}

impl Step {
    /// Takes the next records; returns where to go on.
    fn copy(&mut self, channel: &Channel, from: Cursor) -> Option<Cursor> {
        self.heads.clear();
        self.values.clear();
        if self.values.capacity() > 2 * STEP_BYTES {
            self.values = Vec::new(); // One large record is no reason to keep that much.
        }
        self.values.reserve(STEP_BYTES);
        channel.scan(from, STEP_RECORDS, |key, value| {
            if self.values.len() >= STEP_BYTES {
                return ControlFlow::Break(());
            }
            self.heads.push((key, value.len()));
            self.values.extend_from_slice(value);
            ControlFlow::Continue(())
        })
    }

    fn records(&self) -> impl Iterator<Item = (Key, &[u8])> {
        let mut rest = &self.values[..];
        self.heads.iter().map(move |(key, value_bytes)| {
            let (value, others) = rest.split_at(*value_bytes);
            rest = others;
            (*key, value)
        })
    }
}
