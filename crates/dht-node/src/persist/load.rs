//! Loads every channel from its dump file, or from what is left of it. The node does not listen
//! before this is done.
//!
//! ```text
//! load_all       what lies in the folder; each channel to a thread, the large ones with helpers
//!   channel.rs     a channel: its dump, or its backup instead, and what is lost then
//!     file.rs        a file: which of its records are taken
//!       fill.rs        records into the store, several threads for a large file
//!     loss.rs        what is lost, for people
//! load_all       nothing lost that was not accepted? then damaged files are set aside
//! ```
//!
//! Nothing is changed on the disk before it is clear that the node may start.
//!
//! Source: spec `node` 12.4 for what is loaded, skipped and refused, 8.2 for the log lines.

mod channel;
mod file;
mod fill;
mod loss;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use dht_dump::{Disk, DiskError, Found, FoundKind, LogPosition, scan_dir};
use dht_storage::{PutError, Store};
use dht_types::{ChannelName, HashRange, Key};

use self::channel::ChannelLoad;
use self::loss::Loss;
use super::dumps::Dumps;
use super::progress::Progress;
use super::{CHANNELS_LOG, DUMP_LOG};
use crate::context::{Clock, UnixTime};
use crate::moves::JOURNAL_FILE;

/// A file of so many bytes is loaded with several threads.
const LARGE_BYTES: u64 = 8 << 20;
/// Threads that put the records of one large file; reading it takes another one, which is busy
/// for a fraction of the time with few of them, and hardly faster than so many.
const THREADS_PER_FILE_MAX: usize = 8;

/// What happens to a record in a dump file that is outside the node's hash range.
/// Source: spec `node` 3.3, `allow_out_of_range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfRange {
    /// It is stored all the same.
    Load,
    /// The node does not start.
    Fatal,
    /// It is left out, with a warning.
    Ignore,
}

/// How to load.
#[derive(Debug, Clone)]
pub(crate) struct LoadOptions {
    /// The node's range.
    pub(crate) hash_range: HashRange,
    /// Parts that were given away or not yet taken over. What is there of them is loaded all the
    /// same, so that it can be removed, and that is logged: left out, it would be back when the
    /// part is.
    pub(crate) foreign: Vec<HashRange>,
    /// What to do with records outside of it.
    pub(crate) out_of_range: OutOfRange,
    /// Give up on a channel of which more records than this were read, all of them out of range;
    /// 0: never.
    pub(crate) abort_after_all_out_of_range: u32,
    /// Start although a dump file is damaged: keep the file under another name and the records
    /// that could be read.
    pub(crate) accept_damaged: bool,
    /// Threads that load, at least 1.
    pub(crate) threads: usize,
    pub(crate) clock: Clock,
    pub(crate) unix_time: UnixTime,
}

/// What there is to know of channels without their dumps.
#[derive(Clone, Copy)]
pub(crate) struct LogView<'a> {
    /// Whether the log holds every change of a channel since a position, or, without one, since
    /// the channel began. Without a log it never does.
    pub(crate) holds: &'a (dyn Fn(&ChannelName, Option<&LogPosition>) -> bool + Sync),
    /// Whether the node had the channel in an earlier life, as far as the log tells: a dump
    /// without manifest is the node's own then, and there was a crash between the renames of both.
    pub(crate) knows: &'a (dyn Fn(&ChannelName) -> bool + Sync),
}

/// What a channel was loaded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its dump.
    Dump,
    /// The backup, because the dump is damaged or missing.
    Backup,
    /// The records of a damaged dump that could be read: there is no backup, and whoever started
    /// the node accepts it.
    DamagedDump,
    /// Nothing: the log has all of it.
    Nothing,
}

/// A channel that is in the store now.
#[derive(Debug)]
pub(crate) struct LoadedChannel {
    pub(crate) name: ChannelName,
    pub(crate) origin: Origin,
    /// Where the log was when the dump or backup began: what is behind it is to be replayed. None
    /// if the file does not tell, as one of another program.
    pub(crate) log_position: Option<LogPosition>,
    /// What is lost, and was accepted.
    pub(crate) loss: Option<Loss>,
}

/// Why the node cannot start with what is in its data directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The folder or a file could not be read or moved.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Records would be lost.
    #[error(
        "{}. Nothing was changed. Restore the file from another backup, or start with \
         --accept-damaged to accept this: a damaged file is then kept under another name",
        list(.0)
    )]
    WouldLose(Vec<Loss>),
    /// A record out of range, and the configuration says that this is fatal.
    #[error(
        "dump file of channel '{channel}' has key {key} outside the node's hash range {range}, and \
         [Options_Memory] allow_out_of_range is 'fatal' (allowed: load, fatal, ignore)"
    )]
    OutOfRange {
        /// The channel.
        channel: ChannelName,
        /// The key.
        key: Key,
        /// The node's range.
        range: HashRange,
    },
    /// No record of a channel was in range.
    #[error(
        "the first {records} records of channel '{channel}' are all outside the node's hash range \
         {range}: is this the data directory of another node? ([Options_Memory] \
         abort_after_all_out_of_range = 0 loads it all the same)"
    )]
    AllOutOfRange {
        /// The channel.
        channel: ChannelName,
        /// How many were read.
        records: u64,
        /// The node's range.
        range: HashRange,
    },
    /// The store is full.
    #[error("no memory for channel '{channel}': {source}")]
    NoRoom {
        /// The channel.
        channel: ChannelName,
        /// What the store says.
        source: PutError,
    },
    /// More dump files than channels that the store can hold.
    #[error("channel '{0}' cannot be created: there are too many channels")]
    TooManyChannels(ChannelName),
}

fn list(losses: &[Loss]) -> String {
    losses.iter().map(ToString::to_string).collect::<Vec<_>>().join(". ")
}

/// Loads all channels of `dir` into `store`, and tells `dumps` of the files that are good.
///
/// What a channel cannot get from its dump, it gets from its backup if the log has the rest; else
/// this is an error, unless the options accept it. All such channels are in the error.
pub(crate) fn load_all(
    disk: &dyn Disk,
    dir: &Path,
    store: &Store,
    dumps: &Dumps,
    options: &LoadOptions,
    log: LogView<'_>,
) -> Result<Vec<LoadedChannel>, LoadError> {
    let began = (options.clock)();
    log::info!(target: CHANNELS_LOG, "Scanning {} for memory files", dir.display());
    let jobs = jobs(scan_dir(disk, dir)?, dir);
    let total_bytes = jobs.iter().map(Job::bytes).sum();
    let progress = Progress::of_bytes(total_bytes);
    let load = ChannelLoad { disk, dir, store, dumps, options, progress: &progress, log };
    let ends = run_all(&jobs, options.threads, |job, threads| load.run(job, threads))?;
    drop(progress);
    let mut set_aside = Vec::new();
    let (mut loaded, mut refused) = (Vec::new(), Vec::new());
    for end in ends {
        match end {
            ChannelEnd::Loaded { channel, damaged } => {
                set_aside.extend(damaged);
                loaded.push(channel);
            }
            ChannelEnd::NotThere => {}
            ChannelEnd::Refused(loss) => refused.push(loss),
        }
    }
    if !refused.is_empty() {
        return Err(LoadError::WouldLose(refused));
    }
    // The backup is not replaced by a damaged dump when the next one is written.
    for name in set_aside {
        let aside = dht_dump::quarantine(disk, dir, &name)?;
        let name = dir.join(name);
        log::error!(
            target: DUMP_LOG,
            "The damaged file '{}' is kept as '{}'", name.display(), aside.display()
        );
    }
    let took = (options.clock)().saturating_duration_since(began).as_secs_f64();
    log::info!(
        target: CHANNELS_LOG,
        "Finished scanning {} for memory files, took {took:.2}s", dir.display()
    );
    Ok(loaded)
}

/// The files of a channel.
struct Job {
    channel: ChannelName,
    dump: Option<Found>,
    backup: Option<Found>,
}

/// What came of a channel.
enum ChannelEnd {
    /// It is in the store. The file of this name is to be set aside.
    Loaded { channel: LoadedChannel, damaged: Option<OsString> },
    /// There is no such channel, and nobody misses it.
    NotThere,
    /// Something would be lost.
    Refused(Loss),
}

impl Job {
    /// Length of the file that is loaded first.
    fn bytes(&self) -> u64 {
        self.dump.as_ref().or(self.backup.as_ref()).map_or(0, |found| found.file_bytes)
    }
}

/// The channels that there are files of; of everything else the log is told.
fn jobs(found: Vec<Found>, dir: &Path) -> Vec<Job> {
    let mut jobs: BTreeMap<ChannelName, Job> = BTreeMap::new();
    let mut job = |channel: &ChannelName, add: &dyn Fn(&mut Job)| {
        let new = || Job { channel: channel.clone(), dump: None, backup: None };
        add(jobs.entry(channel.clone()).or_insert_with(new));
    };
    for found in found {
        match &found.kind {
            FoundKind::Dump(channel) => job(channel, &|job| job.dump = Some(found.clone())),
            FoundKind::Backup(channel) => job(channel, &|job| job.backup = Some(found.clone())),
            kind => tell_of_other(kind, &found.name.to_string_lossy(), dir),
        }
    }
    jobs.into_values().collect()
}

fn tell_of_other(kind: &FoundKind, name: &str, dir: &Path) {
    let dir = dir.display();
    match kind {
        FoundKind::Dump(_) | FoundKind::Backup(_) => {}
        FoundKind::Subdirectory => log::warn!(
            target: DUMP_LOG,
            "Ignoring subdirectory '{name}' in data directory {dir}"
        ),
        FoundKind::Empty => log::warn!(
            target: DUMP_LOG,
            "File {name} in data directory {dir} is empty"
        ),
        FoundKind::Unfinished => log::warn!(
            target: DUMP_LOG,
            "{name}: Unfinished dump file found while scanning directory '{dir}', the program was \
             probably restarted uncleanly and data might be old"
        ),
        FoundKind::InvalidName(error) => log::warn!(
            target: DUMP_LOG,
            "{name}: Ignoring file while scanning directory '{dir}': {error}"
        ),
        FoundKind::NoSuffix if name == JOURNAL_FILE => {}
        FoundKind::NoSuffix => tell_of_ignored(name, dir),
    }
}

/// Compat: the line is the original's.
fn tell_of_ignored(name: &str, dir: impl std::fmt::Display) {
    log::warn!(
        target: DUMP_LOG,
        "{name}: Ignoring file while scanning directory '{dir}' (no '.tcm' suffix)"
    );
}

/// Runs `load` for each channel, with the number of threads that it may use. The large ones first,
/// each with several threads; then the small ones, one thread each.
fn run_all<E: Send>(
    jobs: &[Job],
    threads: usize,
    load: impl Fn(&Job, usize) -> Result<E, LoadError> + Sync,
) -> Result<Vec<E>, LoadError> {
    let (large, small): (Vec<&Job>, Vec<&Job>) =
        jobs.iter().partition(|job| job.bytes() >= LARGE_BYTES);
    let per_file = threads.clamp(1, THREADS_PER_FILE_MAX);
    let mut ends = run_some(&large, threads / per_file, |job| load(job, per_file))?;
    ends.extend(run_some(&small, threads, |job| load(job, 1))?);
    Ok(ends)
}

/// Runs `load` for each of these channels, so many at a time. After an error no more are begun.
fn run_some<E: Send>(
    jobs: &[&Job],
    at_a_time: usize,
    load: impl Fn(&Job) -> Result<E, LoadError> + Sync,
) -> Result<Vec<E>, LoadError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut ends = Vec::new();
        while let Some(job) = jobs.get(next.fetch_add(1, Relaxed))
            && !failed.load(Relaxed)
        {
            ends.push(load(job).inspect_err(|_| failed.store(true, Relaxed))?);
        }
        Ok(ends)
    };
    let helpers = at_a_time.min(jobs.len()).saturating_sub(1);
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
        let mut ends = work();
        for helper in helpers {
            let helped = helper.join().expect("a panic while loading is our own bug");
            ends = ends.and_then(|mut ends: Vec<E>| {
                ends.extend(helped?);
                Ok(ends)
            });
        }
        ends
    })
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
