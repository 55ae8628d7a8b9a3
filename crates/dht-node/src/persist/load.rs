//! Loads every dump file of the data directory. The node does not listen before this is done.
//!
//! Source: spec `node` 12.4 for what is loaded, skipped and refused, 8.2 for the log lines.

use std::path::Path;

use dht_daemon::fatal;
use dht_dump::{
    Beside, Disk, DiskError, DumpReader, Entry, Found, FoundKind, TcmError, dump_path, scan_dir,
};
use dht_storage::{Notify, PutError, Store};
use dht_types::{ChannelName, HashRange, Key};

use super::dumps::{Dumps, GoodDump};
use super::percent::Percent;
use super::{CHANNELS_LOG, DUMP_LOG};
use crate::context::Clock;
use crate::moves::JOURNAL_FILE;

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
    /// Parts that were given away or not yet taken over: what a dump has of them is not ours.
    pub(crate) foreign: Vec<HashRange>,
    /// What to do with records outside of it.
    pub(crate) out_of_range: OutOfRange,
    /// Give up on a channel of which more records than this were read, all of them out of range;
    /// 0: never.
    pub(crate) abort_after_all_out_of_range: u32,
    /// Start although a dump file is damaged: keep the file under another name and the records
    /// that could be read.
    pub(crate) accept_damaged: bool,
    pub(crate) clock: Clock,
}

/// Why the node cannot start with what is in its data directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The folder or a file could not be read or moved.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A dump file is cut short or unreadable.
    #[error(
        "dump file '{file}' is damaged: {source}. Nothing was changed. Restore the file from \
         '{file}.backup' if there is one, or from another backup, or start with \
         --accept-damaged to keep it under another name and go on with the records that \
         can be read"
    )]
    Damaged {
        /// The file's path.
        file: String,
        /// What is wrong, and at which offset.
        source: TcmError,
    },
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

/// Loads all dump files of `dir` into `store`, and tells `dumps` of those that are good.
pub(crate) fn load_all(
    disk: &dyn Disk,
    dir: &Path,
    store: &Store,
    dumps: &Dumps,
    options: &LoadOptions,
) -> Result<(), LoadError> {
    let began = (options.clock)();
    log::info!(target: CHANNELS_LOG, "Scanning {} for memory files", dir.display());
    for found in scan_dir(disk, dir)? {
        let name = found.name.to_string_lossy();
        match &found.kind {
            FoundKind::Dump(channel) => {
                Load::new(store, channel, options).run(disk, dir, &found, dumps)?;
            }
            FoundKind::Subdirectory => log::warn!(
                target: DUMP_LOG,
                "Ignoring subdirectory '{name}' in data directory {}", dir.display()
            ),
            FoundKind::Empty => log::warn!(
                target: DUMP_LOG,
                "File {name} in data directory {} is empty", dir.display()
            ),
            FoundKind::Unfinished => log::warn!(
                target: DUMP_LOG,
                "{name}: Unfinished dump file found while scanning directory '{}', the program was \
                 probably restarted uncleanly and data might be old",
                dir.display()
            ),
            FoundKind::InvalidName(error) => log::warn!(
                target: DUMP_LOG,
                "{name}: Ignoring file while scanning directory '{}': {error}", dir.display()
            ),
            FoundKind::NoSuffix if name == JOURNAL_FILE => {}
            FoundKind::Backup(_) | FoundKind::NoSuffix => log::warn!(
                target: DUMP_LOG,
                "{name}: Ignoring file while scanning directory '{}' (no '.tcm' suffix)",
                dir.display()
            ),
        }
    }
    let took = (options.clock)().saturating_duration_since(began).as_secs_f64();
    log::info!(
        target: CHANNELS_LOG,
        "Finished scanning {} for memory files, took {took:.2}s", dir.display()
    );
    Ok(())
}

/// The loading of one channel.
struct Load<'a> {
    store: &'a Store,
    channel: &'a ChannelName,
    options: &'a LoadOptions,
    /// Records read, of whatever kind.
    read: u64,
    out_of_range: u64,
    bad_keys: u64,
    empty: u64,
    /// The dump was written by a node of ours: its manifest belongs to it.
    is_ours: bool,
}

impl<'a> Load<'a> {
    const fn new(store: &'a Store, channel: &'a ChannelName, options: &'a LoadOptions) -> Self {
        Self {
            store,
            channel,
            options,
            read: 0,
            out_of_range: 0,
            bad_keys: 0,
            empty: 0,
            is_ours: false,
        }
    }

    fn run(
        mut self,
        disk: &dyn Disk,
        dir: &Path,
        found: &Found,
        dumps: &Dumps,
    ) -> Result<(), LoadError> {
        let (name, clock) = (self.channel, self.options.clock);
        let began = clock();
        log::info!(target: DUMP_LOG, "Loading channel '{name}' from disk");
        let path = dump_path(dir, name);
        let bytes_read = match self.records(disk, &path, found.file_bytes) {
            Ok((bytes_read, unix_time)) => {
                let (records, file_bytes) = (self.read, found.file_bytes);
                dumps.is_good(name, GoodDump { unix_time, records, file_bytes });
                bytes_read
            }
            Err(Stop::Refused(error)) => return Err(error),
            Err(Stop::Damaged(TcmError::Unsupported { version })) => {
                log::warn!(
                    target: DUMP_LOG,
                    "{}: Dump file with unsupported version ({version}) found while scanning \
                     directory '{}'. Ignoring file.",
                    found.name.to_string_lossy(),
                    dir.display()
                );
                return Ok(());
            }
            Err(Stop::Damaged(source)) if self.options.accept_damaged => {
                let aside = dht_dump::quarantine(disk, dir, &found.name)?;
                log::error!(
                    target: DUMP_LOG,
                    "Dump file '{}' is damaged: {source}. It is kept as '{}'; channel '{name}' \
                     starts with {}.",
                    path.display(),
                    aside.display(),
                    match source {
                        TcmError::Checksum { .. } => "all of its records, some of them wrong",
                        _ => "the records before the damage",
                    }
                );
                found.file_bytes
            }
            Err(Stop::Damaged(source)) => {
                return Err(LoadError::Damaged { file: path.display().to_string(), source });
            }
        };
        self.summary();
        let took = clock().saturating_duration_since(began).as_secs_f64();
        log::trace!(target: DUMP_LOG, "Loaded channel '{name}' in {took:.2}s");
        let records = self.store.channel(name).map_or(0, |channel| channel.usage().records);
        log::info!(
            target: DUMP_LOG,
            "Finished loading channel '{name}' from disk, took {took:.2}s, read {bytes_read} bytes \
             (file size including padding is {} bytes), {records} records in channel",
            found.file_bytes
        );
        Ok(())
    }

    /// Reads the file to its end. Returns how many of its bytes were of use, and when it was
    /// written, in seconds since 1970.
    fn records(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        file_bytes: u64,
    ) -> Result<(u64, u64), Stop> {
        let mut reader = DumpReader::open(disk, path).map_err(Stop::Damaged)?;
        self.tell_of_manifest(reader.beside());
        self.is_ours = matches!(reader.beside(), Beside::Manifest(_));
        let channel = self.store.channel_or_create(self.channel);
        let channel =
            channel.map_err(|_| Stop::Refused(LoadError::TooManyChannels(self.channel.clone())))?;
        let mut percent = Percent::new(self.channel, file_bytes, self.options.clock);
        loop {
            percent.reached(reader.offset());
            let (key, value) = match reader.next().map_err(Stop::Damaged)? {
                None => break,
                Some(Entry::Record { key, value }) => (key, value),
                Some(Entry::BadKey { bytes, .. }) => {
                    self.bad_key(bytes);
                    continue;
                }
            };
            if self.accept(key, value).map_err(Stop::Refused)? {
                channel.put(key, value, Notify::No).map_err(|source| {
                    Stop::Refused(LoadError::NoRoom { channel: self.channel.clone(), source })
                })?;
            }
        }
        let (offset, modified_ns) = (reader.offset(), reader.identity().modified_ns);
        reader.verify().map_err(Stop::Damaged)?;
        Ok((offset, u64::try_from(modified_ns / 1_000_000_000).unwrap_or(0)))
    }

    fn tell_of_manifest(&self, beside: &Beside) {
        let why = match beside {
            Beside::Manifest(_) | Beside::Nothing => return,
            Beside::OfAnotherFile => "it speaks of another file".to_owned(),
            Beside::Unusable(error) => error.to_string(),
        };
        log::warn!(
            target: DUMP_LOG,
            "The manifest beside the dump of channel '{}' is of no use: {why}. The dump is loaded \
             without it, as one of another program is.",
            self.channel
        );
    }

    fn bad_key(&mut self, bytes: &[u8]) {
        self.read += 1;
        self.bad_keys += 1;
        log::error!(
            target: DUMP_LOG,
            "Encountered invalid non-hexadecimal key in channel '{}': {} -- ignored",
            self.channel,
            bytes.escape_ascii()
        );
    }

    /// Whether a record is to be stored.
    fn accept(&mut self, key: Key, value: &[u8]) -> Result<bool, LoadError> {
        self.read += 1;
        // Compat: the original discards empty records. Those in a dump of ours were put by neo, and
        // acknowledged.
        if value.is_empty() && !self.is_ours {
            self.empty += 1;
            log::warn!(
                target: DUMP_LOG,
                "Encountered empty record in channel '{}': {key} -- discarded", self.channel
            );
            return Ok(false);
        }
        if self.options.hash_range.contains(key) {
            return Ok(true);
        }
        if self.options.foreign.iter().any(|part| part.contains(key)) {
            return Ok(false);
        }
        self.out_of_range += 1;
        let load = self.out_of_range(key)?;
        let limit = u64::from(self.options.abort_after_all_out_of_range);
        if limit > 0 && self.out_of_range > limit && self.out_of_range == self.read {
            fatal!(target: DUMP_LOG, "All records appear to be out-of-range. Aborting.");
            return Err(LoadError::AllOutOfRange {
                channel: self.channel.clone(),
                records: self.read,
                range: self.options.hash_range,
            });
        }
        Ok(load)
    }

    fn out_of_range(&self, key: Key) -> Result<bool, LoadError> {
        let channel = self.channel;
        match self.options.out_of_range {
            OutOfRange::Load => {
                log::trace!(
                    target: DUMP_LOG,
                    "Encountered out-of-range key in channel '{channel}': {key} -- loaded"
                );
                Ok(true)
            }
            OutOfRange::Ignore => {
                log::warn!(
                    target: DUMP_LOG,
                    "Encountered out-of-range key in channel '{channel}': {key} -- ignored"
                );
                Ok(false)
            }
            OutOfRange::Fatal => {
                fatal!(
                    target: DUMP_LOG,
                    "Encountered out-of-range key in channel '{channel}': {key} -- rejected"
                );
                let (channel, range) = (channel.clone(), self.options.hash_range);
                Err(LoadError::OutOfRange { channel, key, range })
            }
        }
    }

    fn summary(&self) {
        for (count, kind) in [
            (self.out_of_range, "out-of-range keys"),
            (self.bad_keys, "invalid keys"),
            (self.empty, "empty values"),
        ] {
            if count > 0 {
                log::warn!(
                    target: DUMP_LOG,
                    "Found {count} {kind} ({}%) in channel '{}'",
                    count * 100 / self.read.max(1),
                    self.channel
                );
            }
        }
    }
}

/// Why reading a file ended early.
enum Stop {
    /// The file cannot be read further.
    Damaged(TcmError),
    /// The file is sound, but the node must not start with it.
    Refused(LoadError),
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
