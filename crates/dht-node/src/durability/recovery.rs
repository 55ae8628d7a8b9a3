//! At start: what the log holds, and its way back into the store.
//!
//! ```text
//! find       read the checkpoint and all segments; damaged? then the node does not start
//! clear      dumps of channels that were removed are moved away
//!            (the dumps are loaded: persist/load.rs)
//! replay     what is behind each dump's position, by several threads
//! begin      the store goes on with the numbers of the life before; a checkpoint for this one
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dht_dump::{Beside, Disk, DiskError, DumpReader, LogPosition, dump_path};
use dht_log::{
    Change, Checkpoint, CheckpointError, Damage, LogPlace, Part, ReplayError, Survey, SurveyError,
    changes_dir, replay, survey,
};
use dht_storage::{Channel, Notify, PutError, Sequence, Store};
use dht_types::{ChannelName, HashRange, Key};
use rustc_hash::FxHashMap;
use twox_hash::XxHash3_64;

use super::CHANGES_LOG;
use super::config::{DurabilityConfig, Level};
use super::keeper::{Keeper, KeeperOptions};
use crate::context::Clock;
use crate::persist::{OutOfRange, Progress};

/// What the log of the node's former lives holds.
pub(crate) struct Recovery {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    boot: u64,
    checkpoint: Option<Checkpoint>,
    survey: Survey,
}

/// How to replay.
#[derive(Debug, Clone)]
pub(crate) struct ReplayOptions {
    pub(crate) hash_range: HashRange,
    /// See [`LoadOptions::foreign`](crate::persist::LoadOptions::foreign).
    pub(crate) foreign: Vec<HashRange>,
    pub(crate) out_of_range: OutOfRange,
    pub(crate) threads: usize,
    pub(crate) clock: Clock,
}

/// Why the node cannot start with this log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "{}. Writes that were acknowledged would be lost. Nothing was changed. Restore the file, \
         or start with --accept-damaged to go on without what is damaged", list(.0)
    )]
    Damaged(Vec<Damage>),
    #[error(
        "{0}. Without it, removed records could come back. Nothing was changed. Restore the file, \
         or start with --accept-damaged to go on without it"
    )]
    Checkpoint(CheckpointError),
    #[error("no memory for channel '{channel}', while the log is replayed: {source}")]
    NoRoom { channel: ChannelName, source: PutError },
    #[error("channel '{0}' cannot be created: there are too many channels")]
    TooManyChannels(ChannelName),
    #[error(
        "the log has a change of channel '{channel}' with key {key} outside the node's hash range \
         {range}, and [Options_Memory] allow_out_of_range is 'fatal' (allowed: load, fatal, ignore)"
    )]
    OutOfRange { channel: ChannelName, key: Key, range: HashRange },
}

impl From<SurveyError> for RecoveryError {
    fn from(error: SurveyError) -> Self {
        let SurveyError::Disk(error) = error;
        Self::Disk(error)
    }
}

fn list(damages: &[Damage]) -> String {
    damages.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Tells this boot of the machine from others; 0 where the system does not say.
pub(crate) fn boot_id() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or(0, |id| XxHash3_64::oneshot(id.trim().as_bytes()).max(1))
}

/// The position of a dump, as its manifest keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Of the channel.
    pub(crate) incarnation: u64,
    /// All changes up to it are in the dump.
    pub(crate) sequence: u64,
    /// That of the channel when it was dumped.
    pub(crate) level: Level,
}

impl Position {
    /// `INCARNATION SEQUENCE LEVEL`
    pub(crate) fn to_text(self) -> LogPosition {
        let Self { incarnation, sequence, level } = self;
        let text = format!("{incarnation} {sequence} {}", level.name());
        LogPosition::new(&text).expect("two numbers and a word are one short line")
    }

    /// Nothing, if a later version of this program has written it.
    pub(crate) fn parse(text: &LogPosition) -> Option<Self> {
        let mut words = text.as_str().split(' ');
        let incarnation = words.next()?.parse().ok()?;
        let sequence = words.next()?.parse().ok()?;
        let level = Level::named(words.next()?)?;
        Some(Self { incarnation, sequence, level })
    }
}

/// That of a dump. The outer nothing: there is no dump that can be opened; the inner one: it does
/// not tell, as one of another program.
pub(crate) fn position_of_dump(disk: &dyn Disk, path: &Path) -> Option<Option<Position>> {
    match DumpReader::open(disk, path).ok()?.beside() {
        Beside::Manifest(manifest) => {
            Some(manifest.log_position.as_ref().and_then(Position::parse))
        }
        _ => Some(None),
    }
}

impl Recovery {
    /// Reads the log of a data folder. Changes nothing.
    pub(crate) fn find(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        boot: u64,
        accept_damaged: bool,
    ) -> Result<Self, RecoveryError> {
        let dir = changes_dir(data_dir);
        let checkpoint = match Checkpoint::read(&*disk, &dir) {
            Ok(checkpoint) => checkpoint,
            Err(error @ CheckpointError::Damaged { .. }) if accept_damaged => {
                log::error!(target: CHANGES_LOG, "{error}. This was accepted.");
                None
            }
            Err(error) => return Err(RecoveryError::Checkpoint(error)),
        };
        let floor = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.floor);
        let mut survey = survey(&*disk, &dir, boot, floor)?;
        for channel in checkpoint.iter().flat_map(|checkpoint| &checkpoint.removed) {
            survey.removed(channel);
        }
        for tail in &survey.tails {
            let why = if tail.by_power_cut {
                "The machine has lost them, or they are damaged; level 'disk' has acknowledged \
                 nothing of them"
            } else {
                "They were being written when the node ended, and were not acknowledged"
            };
            log::warn!(
                target: CHANGES_LOG,
                "Log file '{}': the last {} bytes, from offset {} on, are not whole. {why}.",
                tail.path.display(),
                tail.bytes,
                tail.offset
            );
        }
        if !survey.damages.is_empty() && !accept_damaged {
            return Err(RecoveryError::Damaged(survey.damages));
        }
        for damage in &survey.damages {
            log::error!(
                target: CHANGES_LOG,
                "{damage}. This was accepted: {} changes behind it could be read.",
                damage.changes_behind
            );
        }
        Ok(Self { disk, data_dir: data_dir.to_owned(), boot, checkpoint, survey })
    }

    /// Whether the node was stopped in order, or never ran with a log: the dumps are everything.
    fn is_clean(&self) -> bool {
        self.checkpoint.as_ref().is_none_or(|checkpoint| checkpoint.is_clean)
    }

    fn floor(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.floor)
    }

    /// Whether the log has every change of a channel behind a position, or since the channel began.
    pub(crate) fn holds(&self, channel: &ChannelName, position: Option<&LogPosition>) -> bool {
        if self.is_clean() || !self.survey.damages.is_empty() {
            return false;
        }
        match position {
            Some(position) => Position::parse(position).is_some_and(|position| {
                position.level > Level::Memory && position.sequence >= self.floor()
            }),
            None => {
                let fate = self.survey.channels.get(channel);
                fate.is_some_and(|fate| {
                    !self.dumped().any(|known| *known == (channel.clone(), fate.incarnation))
                })
            }
        }
    }

    /// Whether a life before had this channel: it is in the log, or was dumped.
    pub(crate) fn knows(&self, channel: &ChannelName) -> bool {
        self.survey.channels.contains_key(channel) || self.dumped().any(|(name, _)| name == channel)
    }

    /// Moves the dumps of removed channels away: their removal was logged, and perhaps not
    /// completed.
    pub(crate) fn clear(&self) -> Result<(), DiskError> {
        for (name, fate) in &self.survey.channels {
            let path = dump_path(&self.data_dir, name);
            let Some(position) = position_of_dump(&*self.disk, &path) else { continue };
            let is_older = match position {
                Some(position) if position.incarnation == fate.incarnation => fate.is_removed,
                Some(position) => position.incarnation < fate.incarnation,
                // Of another program: of the channel that was there last.
                None => fate.is_removed,
            };
            if is_older {
                log::info!(
                    target: CHANGES_LOG,
                    "Channel '{name}' was removed; its dump is moved to the deleted ones"
                );
                // The removal must not be lost when the dump has gone.
                self.survey.sync(&*self.disk, &changes_dir(&self.data_dir))?;
                dht_dump::move_to_deleted(&*self.disk, &self.data_dir, name)?;
            }
        }
        Ok(())
    }

    /// Channels whose records are in a dump only, and of which none was loaded.
    pub(crate) fn missing(&self, store: &Store) -> Vec<ChannelName> {
        if self.is_clean() {
            return Vec::new();
        }
        let is_missing = |(name, incarnation): &&(ChannelName, u64)| {
            let fate = self.survey.channels.get(name);
            let was_removed =
                fate.is_some_and(|fate| fate.is_removed || fate.incarnation > *incarnation);
            store.channel(name).is_none() && !was_removed
        };
        self.dumped().filter(is_missing).map(|(name, _)| name.clone()).collect()
    }

    fn dumped(&self) -> impl Iterator<Item = &(ChannelName, u64)> {
        self.checkpoint.iter().flat_map(|checkpoint| &checkpoint.channels)
    }

    /// Puts the changes behind each dump into the store. `positions`: of the dumps that were
    /// loaded. Returns how many were of use.
    pub(crate) fn replay(
        &self,
        store: &Store,
        positions: &BTreeMap<ChannelName, Position>,
        options: &ReplayOptions,
    ) -> Result<u64, RecoveryError> {
        if self.survey.changes == 0 {
            return Ok(0);
        }
        let began = (options.clock)();
        log::info!(target: CHANGES_LOG, "Replaying the log: {} changes", self.survey.changes);
        let threads = options.threads.max(1) as u64;
        let applied = AtomicU64::new(0);
        let progress = Progress::of_changes(self.survey.changes);
        let part = |index| {
            let mut apply = Apply::new(self, store, positions, options);
            let part = Part { index, count: threads };
            let name = format!("log, part {} of {threads}", index + 1);
            let mut done_so_far = 0;
            let mut progress = progress.file(&name, self.survey.changes / threads, options.clock);
            let done = replay(&*self.disk, &self.survey, self.floor(), part, |change| {
                done_so_far += 1;
                progress.reached(done_so_far);
                apply.change(change)
            });
            applied.fetch_add(apply.applied, Relaxed);
            done
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads).map(|index| scope.spawn(move || part(index))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a panic is our own bug"))
                .collect()
        });
        for result in results {
            result.map_err(|error| match error {
                ReplayError::Disk(error) => error.into(),
                ReplayError::Refused(error) => error,
            })?;
        }
        drop(progress);
        let (applied, took) = (applied.into_inner(), (options.clock)().duration_since(began));
        log::info!(
            target: CHANGES_LOG,
            "Finished replaying the log, took {:.2}s, {applied} changes were newer than the dumps",
            took.as_secs_f64()
        );
        Ok(applied)
    }

    /// The store goes on where the former life ended. Returns the keeper of the log, if this life
    /// has one.
    pub(crate) fn begin(
        self,
        store: &Store,
        positions: &BTreeMap<ChannelName, Position>,
        config: &DurabilityConfig,
    ) -> Result<Option<Keeper>, DiskError> {
        let was_clean = self.is_clean();
        let Self { disk, data_dir, boot, checkpoint, survey } = self;
        let checkpoint = checkpoint.unwrap_or_default();
        let dumped = || positions.values();
        let last = dumped().map(|position| position.incarnation).max().unwrap_or(0);
        let last = last.max(survey.last_incarnation).max(checkpoint.last_incarnation);
        store.restore_incarnations(last, |name| {
            let logged = survey.channels.get(name).filter(|fate| !fate.is_removed);
            let logged = logged.map(|fate| fate.incarnation);
            logged.max(positions.get(name).map(|position| position.incarnation))
        });
        let last = dumped().map(|position| position.sequence).max().unwrap_or(0);
        store.cut(Sequence(last.max(survey.last_sequence).max(checkpoint.floor)));

        let dir = changes_dir(&data_dir);
        if config.greatest() == Level::Memory && survey.segments.is_empty() {
            return Ok(None);
        }
        disk.create_dir(&dir).map_err(DiskError::new("create", &dir))?;
        disk.sync_dir(&data_dir).map_err(DiskError::new("sync", &data_dir))?;
        survey.cut_tails(&*disk)?;
        if config.greatest() == Level::Disk {
            // What a process left that was killed may be in the system's memory only.
            survey.sync(&*disk, &dir)?;
        }
        // Dumps of channels that were not logged are all that there is of them; and so are all
        // dumps that were the last word of a node.
        let unlogged = positions.iter().filter(|(_, position)| position.level == Level::Memory);
        let mut channels = checkpoint.channels;
        channels.extend(unlogged.map(|(name, position)| (name.clone(), position.incarnation)));
        if was_clean {
            let all = store.channels();
            channels
                .extend(all.iter().map(|channel| (channel.name().clone(), channel.incarnation())));
        }
        channels.retain(|(name, incarnation)| {
            store.channel(name).is_some_and(|channel| channel.incarnation() == *incarnation)
        });
        channels.sort();
        channels.dedup();
        let last_incarnation = store.last_incarnation();
        // Their dumps are gone now, but not what the log has of them.
        let removed = if was_clean { Vec::new() } else { checkpoint.removed };
        let floor = checkpoint.floor;
        let checkpoint = Checkpoint { floor, last_incarnation, is_clean: false, channels, removed };
        checkpoint.write(&*disk, &dir)?;
        Ok(Some(Keeper::new(KeeperOptions {
            config: config.clone(),
            place: LogPlace::new(disk, dir, boot, survey.last_number),
            data_dir,
            segments: survey.segments,
            checkpoint,
            is_damaged: !survey.damages.is_empty(),
        })))
    }
}

/// Whether a channel that the checkpoint names was removed since. Another one may have its name by
/// now, of which everything is in the log.
/// One thread's part of replaying.
struct Apply<'a> {
    recovery: &'a Recovery,
    store: &'a Store,
    positions: &'a BTreeMap<ChannelName, Position>,
    options: &'a ReplayOptions,
    channels: FxHashMap<ChannelName, Target>,
    applied: u64,
}

/// Where the changes of a channel go.
#[derive(Clone)]
struct Target {
    channel: Arc<Channel>,
    /// Changes up to this are in the dump.
    behind: u64,
}

impl<'a> Apply<'a> {
    fn new(
        recovery: &'a Recovery,
        store: &'a Store,
        positions: &'a BTreeMap<ChannelName, Position>,
        options: &'a ReplayOptions,
    ) -> Self {
        Self { recovery, store, positions, options, channels: FxHashMap::default(), applied: 0 }
    }

    fn change(&mut self, change: &Change<'_>) -> Result<(), RecoveryError> {
        let Change { channel: name, sequence, key, value, .. } = *change;
        if self.leaves_out(name, key)? {
            return Ok(());
        }
        let Target { channel, behind } = self.target(name)?;
        if sequence <= *behind {
            return Ok(());
        }
        match value {
            Some(value) => {
                channel
                    .put(key, value, Notify::No)
                    .map_err(|source| RecoveryError::NoRoom { channel: name.clone(), source })?;
            }
            None => drop(channel.remove(key, Notify::No)),
        }
        self.applied += 1;
        Ok(())
    }

    fn target(&mut self, name: &ChannelName) -> Result<&Target, RecoveryError> {
        if !self.channels.contains_key(name) {
            let channel = self.store.channel_or_create(name);
            let channel = channel.map_err(|_| RecoveryError::TooManyChannels(name.clone()))?;
            let fate = self.recovery.survey.channels.get(name).copied().unwrap_or_default();
            let behind = match self.positions.get(name) {
                Some(known) if known.incarnation == fate.incarnation => known.sequence,
                // The dump is of a channel that the log does not know.
                Some(known) if known.incarnation > fate.incarnation => u64::MAX,
                _ => 0,
            };
            self.channels.insert(name.clone(), Target { channel, behind });
        }
        Ok(&self.channels[name])
    }

    /// Whether a key is left out, as one in a dump would be: because it is out of range.
    fn leaves_out(&self, channel: &ChannelName, key: Key) -> Result<bool, RecoveryError> {
        let is_in = |part: &HashRange| part.contains(key);
        if is_in(&self.options.hash_range) || self.options.foreign.iter().any(is_in) {
            return Ok(false);
        }
        match self.options.out_of_range {
            OutOfRange::Load => Ok(false),
            OutOfRange::Ignore => Ok(true),
            OutOfRange::Fatal => {
                let (channel, range) = (channel.clone(), self.options.hash_range);
                Err(RecoveryError::OutOfRange { channel, key, range })
            }
        }
    }
}
