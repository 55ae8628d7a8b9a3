//! What is known of the dumps of a node, and the lock that keeps a removed channel removed.
//!
//! ```text
//! dump:    scan, write, sync  |gate: was the channel removed? if not: rename, sync the folder|
//! remove:                     |gate: remove the records, move the dump away, sync the folders|
//! ```
//!
//! Whichever takes the gate first: after a removal was answered there is no dump of the channel in
//! the data folder, and none can come, not even after a crash; and a channel that is made anew
//! under the same name keeps its own dump. The gate is held for a few changes of names and a sync
//! of the folder, whatever the size of the dump: milliseconds on a disk that works. A worker waits
//! for it at most that long, and only in a RemoveChannel, which syncs folders anyway.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dht_dump::{CompletedDump, Disk, DiskError, FinishedDump};
use dht_storage::{Channel, Store};
use dht_types::ChannelName;

use super::DUMP_LOG;
use crate::durability::NotLogged;

/// Shared by the threads that dump, those that remove channels, and the one that tells of it.
#[derive(Debug)]
pub(crate) struct Dumps {
    gate: Mutex<()>,
    channels: Mutex<BTreeMap<ChannelName, Standing>>,
    running: Mutex<Option<Running>>,
    /// How long a dump may go without progress before it is called stalled.
    deadline: Duration,
    /// The thread that dumps periodically has failed.
    dumper_failed: AtomicBool,
    /// The log was told that the file system refuses direct I/O.
    told_of_direct_io: AtomicBool,
    /// Dumps put in their places, and tries that failed.
    done: AtomicU64,
    failures: AtomicU64,
}

/// How it stands with the dumps of a channel.
#[derive(Debug, Default)]
struct Standing {
    last_good: Option<GoodDump>,
    /// Why the last try failed; none if it went well.
    last_error: Option<String>,
    /// How long the last good one took, if it was made since the start.
    took: Option<Duration>,
    positions: Positions,
}

/// Where the log was when dumps of a channel began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    /// The last good dump.
    pub(crate) latest: Option<u64>,
    /// The one before, which is the backup.
    pub(crate) before: Option<u64>,
}

/// Why a channel was not removed with all that belongs to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    /// The log was not told: it may bring the channel back.
    #[error("the log cannot be written")]
    NotLogged,
    /// Its dump could not be moved away.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl From<NotLogged> for RemoveError {
    fn from(_: NotLogged) -> Self {
        Self::NotLogged
    }
}

/// A dump that is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoodDump {
    /// When it was written: seconds since 1970.
    pub(crate) unix_time: u64,
    /// Records in it.
    pub(crate) records: u64,
    /// Length of the file.
    pub(crate) file_bytes: u64,
}

/// A dump that is being written. There is one at a time.
#[derive(Debug)]
struct Running {
    channel: ChannelName,
    progress_at: Instant,
    /// Whether the log has been told that it is stalled.
    told: bool,
}

/// Held while a dump is being written.
pub(crate) struct RunningDump<'a>(&'a Dumps);

impl Dumps {
    /// Nothing is known yet.
    pub(crate) const fn new(deadline: Duration) -> Self {
        Self {
            gate: Mutex::new(()),
            channels: Mutex::new(BTreeMap::new()),
            running: Mutex::new(None),
            deadline,
            dumper_failed: AtomicBool::new(false),
            told_of_direct_io: AtomicBool::new(false),
            done: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// Tells of a dump that is there.
    pub(crate) fn is_good(&self, name: &ChannelName, dump: GoodDump) {
        let mut channels = lock(&self.channels);
        let standing = channels.entry(name.clone()).or_default();
        (standing.last_good, standing.last_error) = (Some(dump), None);
    }

    /// Tells where the log was when the dumps that are there began.
    pub(crate) fn has_positions(&self, name: &ChannelName, positions: Positions) {
        lock(&self.channels).entry(name.clone()).or_default().positions = positions;
    }

    /// Where the log was when dumps of a channel began.
    pub(crate) fn positions(&self, name: &ChannelName) -> Positions {
        lock(&self.channels).get(name).map(|standing| standing.positions).unwrap_or_default()
    }

    /// Tells that a channel could not be dumped.
    pub(super) fn has_failed(&self, channel: &Channel, error: &DiskError) {
        self.failures.fetch_add(1, Relaxed);
        let error = error.to_string().replace(['\n', '\r'], " ");
        let mut channels = lock(&self.channels);
        // A removal forgets what was known; after it, nothing is added.
        if !channel.is_removed() {
            channels.entry(channel.name().clone()).or_default().last_error = Some(error);
        }
    }

    /// Tells how long the last good dump took.
    pub(super) fn has_taken(&self, channel: &Channel, took: Duration) {
        if let Some(standing) = lock(&self.channels).get_mut(channel.name()) {
            standing.took = Some(took);
        }
    }

    /// Tells that no channel will be dumped any more before the shutdown.
    pub(super) fn dumper_has_failed(&self) {
        self.dumper_failed.store(true, Relaxed);
    }

    /// Tells the log, once, that the file system refuses direct I/O.
    pub(super) fn direct_io_is_refused(&self, dir: &Path) {
        if !self.told_of_direct_io.swap(true, Relaxed) {
            log::info!(
                target: DUMP_LOG,
                "The file system of '{}' refuses direct I/O: dumps go through the page cache \
                 ([Options_Memory] disable_direct_io = true asks for that)",
                dir.display()
            );
        }
    }

    /// Puts a dump in its place, unless its channel was removed: then it is dropped.
    pub(super) fn commit(
        &self,
        channel: &Channel,
        dump: CompletedDump,
        unix_time: u64,
        position: Option<u64>,
    ) -> Result<Option<FinishedDump>, DiskError> {
        let _gate = lock(&self.gate);
        if channel.is_removed() {
            return Ok(None);
        }
        let finished = dump.commit()?;
        let FinishedDump { records, file_bytes, .. } = finished;
        let name = channel.name();
        self.done.fetch_add(1, Relaxed);
        self.is_good(name, GoodDump { unix_time, records, file_bytes });
        let Positions { latest, before } = self.positions(name);
        // Without a new backup, the old one is what there is to fall back to.
        let before = if finished.backup_error.is_none() { latest } else { before };
        self.has_positions(name, Positions { latest: position, before });
        Ok(Some(finished))
    }

    /// Removes a channel with its records and its dump, so that a restart does not bring it back.
    /// `log` is told once its records are gone. On an error they are, but the dump is where it was.
    pub(crate) fn remove_channel(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        store: &Store,
        name: &ChannelName,
        log: impl FnOnce(Option<&Channel>) -> Result<(), NotLogged>,
    ) -> Result<(), RemoveError> {
        let _gate = lock(&self.gate);
        let channel = store.channel(name);
        store.remove_channel(name);
        lock(&self.channels).remove(name);
        // Before the dump goes: a crash in between must not leave the log's part of it alone.
        log(channel.as_deref())?;
        Ok(dht_dump::move_to_deleted(disk, dir, name)?)
    }

    /// Does something while no channel is half removed. The log of a channel must not go while its
    /// dump is still there, which would come back without the log's part of it.
    pub(super) fn without_removals(&self, work: impl FnOnce()) {
        let _gate = lock(&self.gate);
        work();
    }

    /// A dump begins.
    pub(super) fn begin(&self, name: &ChannelName, now: Instant) -> RunningDump<'_> {
        let running = Running { channel: name.clone(), progress_at: now, told: false };
        *lock(&self.running) = Some(running);
        RunningDump(self)
    }

    /// Tells the log, once, of a dump that is stalled. Call it every [`Dumps::look_period`].
    pub(crate) fn look(&self, now: Instant) {
        let mut running = lock(&self.running);
        let Some(running) = running.as_mut() else { return };
        if let Some(stalled) = self.stalled_for(running, now)
            && !running.told
        {
            running.told = true;
            log::error!(
                target: DUMP_LOG,
                "The dump of channel '{}' is stalled: no progress for {} s. The dump before is \
                 unchanged. No channel is dumped before this one goes on or fails; check the disk \
                 of the data directory.",
                running.channel,
                stalled.as_secs()
            );
        }
    }

    /// How often to look for a stalled dump.
    pub(crate) fn look_period(&self) -> Duration {
        (self.deadline / 4).max(Duration::from_secs(1))
    }

    fn stalled_for(&self, running: &Running, now: Instant) -> Option<Duration> {
        let idle = now.saturating_duration_since(running.progress_at);
        (idle > self.deadline).then_some(idle)
    }

    /// How it stands with the dumps of these channels. `trouble`: what is wrong with the log.
    pub(crate) fn report(
        &self,
        channels: &[Arc<Channel>],
        trouble: Option<String>,
        now: Instant,
    ) -> DumpReport {
        // Locks are given back before the next is taken: the thread that dumps waits for them.
        let running = lock(&self.running).as_ref().map(|running| RunningReport {
            channel: running.channel.clone(),
            stalled_for: self.stalled_for(running, now),
        });
        let (standings, unknown) = (lock(&self.channels), Standing::default());
        let of = |channel: &Arc<Channel>| {
            let name = channel.name();
            let standing = standings.get(name).unwrap_or(&unknown);
            let running = running.as_ref().filter(|running| running.channel == *name);
            let stalled = running.and_then(|running| running.stalled_for);
            let stalled = stalled.map(|s| format!("stalled: no progress for {} s", s.as_secs()));
            ChannelDump {
                name: name.clone(),
                last_good: standing.last_good,
                took: standing.took,
                has_failed: standing.last_error.is_some(),
                error: stalled.or_else(|| standing.last_error.clone()),
            }
        };
        let channels: Vec<_> = channels.iter().map(of).collect();
        let failed = channels.iter().filter(|channel| channel.has_failed).count();
        let is_stalled = running.as_ref().is_some_and(|running| {
            // Of a channel that is gone nobody asks for a dump.
            let is_there = channels.iter().any(|channel| channel.name == running.channel);
            running.stalled_for.is_some() && is_there
        });
        let trouble = if let Some(trouble) = trouble {
            Some(trouble.replace(['\n', '\r'], " "))
        } else if self.dumper_failed.load(Relaxed) {
            Some("the thread that dumps has failed, see the log".to_owned())
        } else if failed > 0 || is_stalled {
            Some(format!("{failed} failed, {} stalled", u8::from(is_stalled)))
        } else {
            None
        };
        let [done, failures] = [&self.done, &self.failures].map(|count| count.load(Relaxed));
        DumpReport { trouble, channels, running, failed, is_stalled, done, failures }
    }
}

/// How it stands with the dumps, as of some moment.
#[derive(Debug)]
pub(crate) struct DumpReport {
    /// What is wrong with anything that keeps records safe, in one line; none if all is well.
    pub(crate) trouble: Option<String>,
    pub(crate) channels: Vec<ChannelDump>,
    pub(crate) running: Option<RunningReport>,
    /// Channels whose last dump failed.
    pub(crate) failed: usize,
    /// The one that is running is stalled.
    pub(crate) is_stalled: bool,
    /// Dumps that were put in their places since the start.
    pub(crate) done: u64,
    /// Tries that failed since the start.
    pub(crate) failures: u64,
}

/// How it stands with one channel's.
#[derive(Debug)]
pub(crate) struct ChannelDump {
    pub(crate) name: ChannelName,
    pub(crate) last_good: Option<GoodDump>,
    /// How long the last good one took; none if it was there at the start.
    pub(crate) took: Option<Duration>,
    has_failed: bool,
    /// Why there is none that is newer.
    pub(crate) error: Option<String>,
}

/// A dump that is being written.
#[derive(Debug)]
pub(crate) struct RunningReport {
    pub(crate) channel: ChannelName,
    /// For how long there was no progress, if that is too long.
    pub(crate) stalled_for: Option<Duration>,
}

impl DumpReport {
    /// The answer to the command `health`: a line on the whole, then one for each channel.
    ///
    /// ```text
    /// degraded 1 failed, 0 stalled
    /// NAME SECONDS-SINCE-THE-LAST-GOOD-DUMP RECORDS BYTES none
    /// NAME never 0 0 REASON ...
    /// ```
    pub(crate) fn to_text(&self, unix_time: u64) -> String {
        let mut text = match &self.trouble {
            Some(trouble) => format!("degraded {trouble}\n"),
            None => "ok\n".to_owned(),
        };
        for ChannelDump { name, last_good, error, .. } in &self.channels {
            let error = error.as_deref().unwrap_or("none");
            let write = match last_good {
                None => writeln!(text, "{name} never 0 0 {error}"),
                Some(good) => {
                    let age = unix_time.saturating_sub(good.unix_time);
                    writeln!(text, "{name} {age} {} {} {error}", good.records, good.file_bytes)
                }
            };
            write.expect("a string takes everything");
        }
        text
    }
}

impl RunningDump<'_> {
    /// It has written something, or the disk has confirmed something.
    pub(super) fn progressed(&self, now: Instant) {
        let mut running = lock(&self.0.running);
        let Some(running) = running.as_mut() else { return };
        running.progress_at = now;
        if std::mem::take(&mut running.told) {
            log::warn!(target: DUMP_LOG, "The dump of channel '{}' goes on", running.channel);
        }
    }
}

impl Drop for RunningDump<'_> {
    fn drop(&mut self) {
        *lock(&self.0.running) = None;
    }
}

/// What is behind these locks is right after each statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
