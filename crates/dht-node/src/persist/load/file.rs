//! Reads one file into one channel: which of its records are taken.
//!
//! Source: spec `node` 12.4.

use std::path::Path;

use dht_daemon::fatal;
use dht_dump::{Beside, Disk, DumpReader, Entry, LogPosition, Manifest, TcmError};
use dht_storage::{PutError, Store};
use dht_types::{ChannelName, HashRange, Key};

use super::fill::fill;
use super::{LoadError, LoadOptions, OutOfRange};
use crate::persist::DUMP_LOG;
use crate::persist::progress::Progress;

/// The loading of one file.
pub(super) struct FileLoad<'a> {
    store: &'a Store,
    channel: &'a ChannelName,
    options: &'a LoadOptions,
    progress: &'a Progress,
    /// Threads that put the records.
    threads: usize,
    /// Records read, of whatever kind.
    read: u64,
    /// Bytes of the file that were of use.
    offset: u64,
    out_of_range: u64,
    bad_keys: u64,
    empty: u64,
    /// What is known of the file, when it is open.
    known: Known,
    /// The node wrote it itself, whether or not it has a manifest.
    is_ours: bool,
}

/// What is known of a file, be it damaged.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// When its content was changed last: seconds since 1970.
    pub(super) unix_time: u64,
    /// The manifest that belongs to it: it was written by a program of ours.
    pub(super) manifest: Option<Manifest>,
}

impl Known {
    /// Whatever was read of it is as it was written.
    pub(super) fn is_checked(&self) -> bool {
        self.manifest.as_ref().is_some_and(Manifest::is_checked_before_use)
    }

    /// Where the log was when the dump began.
    pub(super) fn log_position(&self) -> Option<LogPosition> {
        self.manifest.as_ref()?.log_position.clone()
    }
}

/// What came of a file.
pub(super) struct Loaded {
    /// Records read, of whatever kind.
    pub(super) records: u64,
    /// Bytes of the file that were of use.
    pub(super) bytes: u64,
    pub(super) known: Known,
    /// Why it was not read to its end.
    pub(super) damage: Option<TcmError>,
}

impl<'a> FileLoad<'a> {
    pub(super) fn new(
        store: &'a Store,
        channel: &'a ChannelName,
        options: &'a LoadOptions,
        progress: &'a Progress,
        threads: usize,
    ) -> Self {
        Self {
            store,
            channel,
            options,
            progress,
            threads,
            read: 0,
            offset: 0,
            out_of_range: 0,
            bad_keys: 0,
            empty: 0,
            known: Known::default(),
            is_ours: false,
        }
    }

    /// Whether it is the node's own, even if it has no manifest.
    pub(super) const fn of_ours(mut self, is_ours: bool) -> Self {
        self.is_ours = is_ours;
        self
    }

    /// Reads the file to its end, or to where it is damaged. The records before that are in the
    /// channel then.
    pub(super) fn run(
        mut self,
        disk: &dyn Disk,
        path: &Path,
        file_bytes: u64,
    ) -> Result<Loaded, LoadError> {
        let damage = match self.records(disk, path, file_bytes) {
            Ok(()) => None,
            Err(Stop::Damaged(source)) => Some(source),
            Err(Stop::Refused(error)) => return Err(error),
            Err(Stop::NotPut(source)) => {
                return Err(LoadError::NoRoom { channel: self.channel.clone(), source });
            }
        };
        self.summary();
        let Self { read: records, offset: bytes, known, .. } = self;
        Ok(Loaded { records, bytes, known, damage })
    }

    fn records(&mut self, disk: &dyn Disk, path: &Path, file_bytes: u64) -> Result<(), Stop> {
        let (identity, beside) = DumpReader::examine(disk, path).map_err(Stop::Damaged)?;
        self.tell_of_manifest(&beside);
        let unix_time = u64::try_from(identity.modified_ns / 1_000_000_000).unwrap_or(0);
        self.known = Known { unix_time, manifest: beside.manifest().cloned() };
        let mut reader = DumpReader::open(disk, path).map_err(Stop::Damaged)?;
        let channel = self.store.channel_or_create(self.channel);
        let channel =
            channel.map_err(|_| Stop::Refused(LoadError::TooManyChannels(self.channel.clone())))?;
        let mut progress = self.progress.file(self.channel, file_bytes, self.options.clock);
        let (threads, shards) = (self.threads, self.store.shard_count());
        let filled = fill(&channel, shards, threads, |sink| -> Result<(), Stop> {
            loop {
                progress.reached(reader.offset());
                let (key, value) = match reader.next().map_err(Stop::Damaged)? {
                    None => return Ok(()),
                    Some(Entry::Record { key, value }) => (key, value),
                    Some(Entry::BadKey { bytes, .. }) => {
                        self.bad_key(bytes);
                        continue;
                    }
                };
                if self.accept(key, value).map_err(Stop::Refused)? {
                    sink.put(key, value)?;
                }
                self.offset = reader.offset();
            }
        });
        filled?;
        self.offset = reader.offset();
        reader.verify().map_err(Stop::Damaged)
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
        if value.is_empty() && self.known.manifest.is_none() && !self.is_ours {
            self.empty += 1;
            log::warn!(
                target: DUMP_LOG,
                "Encountered empty record in channel '{}': {key} -- discarded", self.channel
            );
            return Ok(false);
        }
        let is_in = |part: &HashRange| part.contains(key);
        if is_in(&self.options.hash_range) || self.options.foreign.iter().any(is_in) {
            return Ok(true);
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
pub(super) enum Stop {
    /// The file cannot be read further.
    Damaged(TcmError),
    /// The file is sound, but the node must not start with it.
    Refused(LoadError),
    /// The store does not take a record.
    NotPut(PutError),
}

impl From<PutError> for Stop {
    fn from(source: PutError) -> Self {
        Self::NotPut(source)
    }
}
