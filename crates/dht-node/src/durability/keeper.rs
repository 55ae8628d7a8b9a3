//! What all workers' logs have in common: which segments there are, up to where the dumps have
//! everything, and what is wrong.
//!
//! ```text
//! position   of a dump: a number that the store gave before the scan; all changes up to it are in
//! floor      the least position of all channels' dumps before the last: changes up to it are of no
//!            use, not even if a dump turns out to be damaged and its backup is loaded instead
//! mark       of the begin of a round of dumps: changes of channels that were made since have
//!            greater numbers, so they need no dump for the floor to rise that far
//! ```
//!
//! A segment goes when all its changes are below the floor, and the checkpoint has said so first:
//! otherwise a crash could leave an old change of a removed channel, and not its removal.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dht_dump::{Disk, DiskError, dump_path};
use dht_log::{Checkpoint, LogPlace, RemovedChannel, SegmentInfo, remove_segment};
use dht_storage::{Channel, Sequence, Store};
use dht_types::ChannelName;

use super::CHANGES_LOG;
use super::config::{DurabilityConfig, Level};
use super::recovery::position_of_dump;
use crate::persist::Positions;

/// How many marks are kept: a channel has two dumps when two rounds have begun and ended after it
/// was made, and rounds may overtake the end of one by a retry.
const MARKS_MAX: usize = 4;

/// What a keeper begins with.
pub(crate) struct KeeperOptions {
    pub(crate) config: DurabilityConfig,
    pub(crate) place: LogPlace,
    /// Where the dumps are.
    pub(crate) data_dir: PathBuf,
    /// Segments that earlier lives of the node have left.
    pub(crate) segments: Vec<SegmentInfo>,
    pub(crate) checkpoint: Checkpoint,
    /// A part of the log is damaged, which was accepted.
    pub(crate) is_damaged: bool,
}

/// See the module. Shared by the workers and the thread that dumps.
pub(crate) struct Keeper {
    config: DurabilityConfig,
    place: Arc<LogPlace>,
    data_dir: PathBuf,
    /// Segments that get no more entries.
    closed: Mutex<Vec<SegmentInfo>>,
    checkpoint: Mutex<Checkpoint>,
    /// The last few, the oldest first.
    marks: Mutex<VecDeque<Mark>>,
    /// Bytes written so far, and those that were there at the start.
    written_bytes: AtomicU64,
    /// What they were when the last round of dumps began.
    round_bytes: AtomicU64,
    /// A sync has failed, and not everything was dumped since.
    is_disk_lost: AtomicBool,
    /// Dumps with this position have what the failed sync may have lost.
    lost_at: AtomicU64,
    /// The log has a part that may not be read again: it is to go with the next dumps.
    is_damaged: AtomicBool,
    /// What keeps workers from writing, by worker.
    troubles: Mutex<BTreeMap<usize, String>>,
    /// Channels whose removal was not completed, by name: incarnation, and a number above those of
    /// their changes. At most one for a channel, and hardly ever any.
    half_removed: Mutex<BTreeMap<ChannelName, (u64, u64)>>,
    wants_round: AtomicBool,
    /// Bytes of segments that were removed.
    removed_bytes: AtomicU64,
    /// The greatest number of a change that was written.
    last_sequence: AtomicU64,
    /// That of the checkpoint, for who must not wait until one is written.
    floor: AtomicU64,
}

/// How it stands with the log of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogReport {
    /// Bytes of all segments.
    pub(crate) bytes: u64,
    /// Segments that get no more entries, and are there still.
    pub(crate) closed_segments: usize,
    /// Bytes written so far, and those that were there at the start.
    pub(crate) written_bytes: u64,
    /// Bytes written since a round of dumps began.
    pub(crate) since_round_bytes: u64,
    /// The greatest number of a change that was written; 0 before the first.
    pub(crate) last_sequence: u64,
    /// Up to this number all changes are in the dumps, and in their backups.
    pub(crate) floor: u64,
    /// Nothing is accepted at level `disk`.
    pub(crate) is_disk_lost: bool,
}

/// Channels with greater incarnations have changes with greater numbers only.
struct Mark {
    incarnation: u64,
    sequence: u64,
}

impl Keeper {
    pub(crate) fn new(options: KeeperOptions) -> Self {
        let KeeperOptions { config, place, data_dir, segments, checkpoint, is_damaged } = options;
        let floor = checkpoint.floor;
        let bytes: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
        let removed = checkpoint.removed.iter().cloned();
        let half_removed = removed
            .map(|RemovedChannel { name, incarnation, sequence }| (name, (incarnation, sequence)))
            .collect();
        Self {
            config,
            place: Arc::new(place),
            data_dir,
            closed: Mutex::new(segments),
            checkpoint: Mutex::new(checkpoint),
            marks: Mutex::default(),
            written_bytes: AtomicU64::new(bytes),
            round_bytes: AtomicU64::new(0),
            is_disk_lost: AtomicBool::new(false),
            lost_at: AtomicU64::new(0),
            is_damaged: AtomicBool::new(is_damaged),
            troubles: Mutex::new(BTreeMap::new()),
            half_removed: Mutex::new(half_removed),
            wants_round: AtomicBool::new(is_damaged),
            removed_bytes: AtomicU64::new(0),
            last_sequence: AtomicU64::new(0),
            floor: AtomicU64::new(floor),
        }
    }

    pub(crate) const fn config(&self) -> &DurabilityConfig {
        &self.config
    }

    pub(crate) const fn place(&self) -> &Arc<LogPlace> {
        &self.place
    }

    /// That of a channel.
    pub(crate) fn level(&self, channel: &Channel) -> Level {
        self.config.of(channel.name())
    }

    /// A worker has written so many bytes, the last of them about the change of this number.
    pub(super) fn has_written(&self, bytes: u64, sequence: Sequence) {
        self.written_bytes.fetch_add(bytes, Relaxed);
        self.last_sequence.fetch_max(sequence.0, Relaxed);
    }

    fn since_round_bytes(&self) -> u64 {
        self.written_bytes.load(Relaxed).saturating_sub(self.round_bytes.load(Relaxed))
    }

    /// How it stands with the log; waits for no disk.
    pub(crate) fn report(&self) -> LogReport {
        let written_bytes = self.written_bytes.load(Relaxed);
        LogReport {
            bytes: written_bytes.saturating_sub(self.removed_bytes.load(Relaxed)),
            closed_segments: lock(&self.closed).len(),
            written_bytes,
            since_round_bytes: self.since_round_bytes(),
            last_sequence: self.last_sequence.load(Relaxed),
            floor: self.floor.load(Relaxed),
            is_disk_lost: self.is_disk_lost(),
        }
    }

    /// A segment gets no more entries.
    pub(super) fn is_closed(&self, segment: SegmentInfo) {
        lock(&self.closed).push(segment);
    }

    /// A worker cannot write, or can again. Whether it could not before.
    pub(super) fn has_trouble(&self, worker: usize, error: Option<String>) -> bool {
        let mut troubles = lock(&self.troubles);
        let before = match error {
            Some(error) => troubles.insert(worker, error),
            None => troubles.remove(&worker),
        };
        before.is_some()
    }

    /// A channel was removed, but not surely from the log and the disk: until
    /// [`Keeper::is_removed`]. Its dump must not outlast the log's part of it: it would come back
    /// with values that were replaced long ago.
    pub(super) fn is_half_removed(&self, channel: &Channel, sequence: u64) {
        let removed = (channel.incarnation(), sequence);
        lock(&self.half_removed).insert(channel.name().clone(), removed);
    }

    /// The log has its removal, and its dump is away.
    pub(super) fn is_removed(&self, name: &ChannelName) {
        lock(&self.half_removed).remove(name);
    }

    /// A sync has failed: changes up to this number may be lost if the power fails.
    pub(super) fn disk_is_lost(&self, sequence: u64) {
        self.lost_at.fetch_max(sequence, Relaxed);
        self.is_disk_lost.store(true, Relaxed);
        // What the sync may have lost must not be needed by any start.
        self.is_damaged.store(true, Relaxed);
        self.wants_round.store(true, Relaxed);
    }

    /// Whether nothing can be promised at level `disk`.
    #[inline]
    pub(super) fn is_disk_lost(&self) -> bool {
        self.is_disk_lost.load(Relaxed)
    }

    /// What is wrong, in one line for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        let troubles = lock(&self.troubles);
        if let Some((worker, error)) = troubles.iter().next() {
            return Some(format!("the log of worker {worker} cannot be written: {error}"));
        }
        self.is_disk_lost().then(|| {
            "a sync of the log has failed; level disk is refused until all is dumped".to_owned()
        })
    }

    /// A round of dumps should begin at once.
    pub(crate) fn request_round(&self) {
        self.wants_round.store(true, Relaxed);
    }

    /// Whether a round of dumps should begin at once. It counts as begun then.
    pub(crate) fn take_round(&self, store: &Store) -> bool {
        let enough = self.config.dump_after_bytes.max(store.usage().value_bytes);
        let wanted = self.wants_round.swap(false, Relaxed);
        wanted || self.since_round_bytes() > enough
    }

    /// A round of dumps begins.
    pub(crate) fn round_begins(&self, store: &Store) {
        self.round_bytes.store(self.written_bytes.load(Relaxed), Relaxed);
        // In this order: what is made in between is older than the mark.
        let sequence = store.cut(Sequence(0)).0;
        let mark = Mark { incarnation: store.last_incarnation(), sequence };
        let mut marks = lock(&self.marks);
        if marks.len() == MARKS_MAX {
            marks.pop_front();
        }
        marks.push_back(mark);
    }

    /// All changes of a channel have greater numbers than this.
    fn birth(&self, channel: &Channel) -> u64 {
        let marks = lock(&self.marks);
        let mark = marks.iter().rev().find(|mark| mark.incarnation < channel.incarnation());
        mark.map_or(0, |mark| mark.sequence)
    }

    /// The position of a dump whose scan begins afterwards.
    pub(crate) fn cut(&self, store: &Store) -> u64 {
        store.cut(Sequence(self.lost_at.load(Relaxed))).0
    }

    /// Dumps were made: raises the floor, and removes what it makes useless.
    pub(crate) fn dumped(&self, store: &Store, positions: impl Fn(&Channel) -> Positions) {
        // First: one that is removed now, and made anew, must be known to be another one; and what
        // is changed in a channel that is made from here on has a greater number than this.
        let last_incarnation = store.last_incarnation();
        let without_channels = self.cut(store);
        let channels = store.channels();
        let known: Vec<_> = channels.iter().map(|channel| positions(channel)).collect();
        let logged = || {
            let with_positions = channels.iter().zip(&known);
            with_positions.filter(|(channel, _)| self.level(channel) > Level::Memory)
        };
        let least = |position: fn(&Positions) -> Option<u64>| {
            let of = |(channel, known): (&Arc<Channel>, _)| {
                position(known).unwrap_or_else(|| self.birth(channel))
            };
            logged().map(of).min()
        };
        let latest = least(|known| known.latest).unwrap_or(without_channels);
        if self.is_disk_lost() && latest >= self.lost_at.load(Relaxed) {
            self.is_disk_lost.store(false, Relaxed);
            log::info!(
                target: CHANGES_LOG,
                "Every channel was dumped after the failed sync; level 'disk' is accepted again"
            );
        }
        let is_damaged = self.is_damaged.load(Relaxed);
        let before = least(|known| known.before).unwrap_or(latest);
        let floor = if is_damaged { latest } else { before };
        let mut checkpoint = lock(&self.checkpoint);
        if floor <= checkpoint.floor {
            return;
        }
        let dumped = channels.iter().zip(&known).filter(|(_, known)| known.latest.is_some());
        let next = Checkpoint {
            floor,
            last_incarnation,
            is_clean: false,
            channels: dumped
                .map(|(channel, _)| (channel.name().clone(), channel.incarnation()))
                .collect(),
            removed: self.removed(),
        };
        if let Err(error) = self.replace(&mut checkpoint, next) {
            self.tell(&error);
            return;
        }
        self.is_damaged.store(false, Relaxed);
        self.complete_removals(floor);
    }

    fn removed(&self) -> Vec<RemovedChannel> {
        let removed = |(name, (incarnation, sequence)): (&ChannelName, &(u64, u64))| {
            let (name, incarnation, sequence) = (name.clone(), *incarnation, *sequence);
            RemovedChannel { name, incarnation, sequence }
        };
        lock(&self.half_removed).iter().map(removed).collect()
    }

    /// Moves dumps away of channels that the checkpoint calls removed. They are forgotten when the
    /// log has nothing of them, either.
    fn complete_removals(&self, floor: u64) {
        let disk = &**self.place.disk();
        lock(&self.half_removed).retain(|name, (incarnation, sequence)| {
            let is_gone = move_removed(disk, &self.data_dir, name, *incarnation);
            if let Err(error) = &is_gone {
                self.tell(error);
            }
            is_gone.is_err() || *sequence > floor
        });
    }

    /// The node has stopped in order, and every channel was dumped after the last change: the dumps
    /// are everything.
    pub(crate) fn finish(&self, store: &Store) {
        // The removal of a channel has a number above those of the store.
        let last = lock(&self.closed).iter().map(|segment| segment.last_sequence).max();
        let last = last.unwrap_or(0).max(lock(&self.checkpoint).floor);
        let next = Checkpoint {
            floor: store.cut(Sequence(last)).0,
            last_incarnation: store.last_incarnation(),
            is_clean: true,
            channels: Vec::new(),
            removed: self.removed(),
        };
        match self.replace(&mut lock(&self.checkpoint), next) {
            Ok(()) => self.complete_removals(u64::MAX),
            Err(error) => self.tell(&error),
        }
    }

    /// Writes a checkpoint, and removes the segments below its floor.
    fn replace(&self, checkpoint: &mut Checkpoint, next: Checkpoint) -> Result<(), DiskError> {
        let disk = &**self.place.disk();
        next.write(disk, self.place.dir())?;
        let floor = next.floor;
        *checkpoint = next;
        self.floor.store(floor, Relaxed);
        let mut closed = lock(&self.closed);
        let useless: Vec<_> =
            closed.extract_if(.., |segment| segment.last_sequence <= floor).collect();
        drop(closed);
        for segment in useless {
            remove_segment(disk, &segment.path)?;
            self.removed_bytes.fetch_add(segment.file_bytes, Relaxed);
        }
        Ok(())
    }

    fn tell(&self, error: &DiskError) {
        log::error!(
            target: CHANGES_LOG,
            "The log cannot be shortened: {error}. Nothing is lost, but it grows in {} until it \
             can be.",
            self.place.dir().display()
        );
    }
}

/// Moves a dump away, if it is that of a channel with this incarnation, or an older one. That of a
/// channel with this name that was made since stays.
fn move_removed(
    disk: &dyn Disk,
    data_dir: &Path,
    name: &ChannelName,
    incarnation: u64,
) -> Result<(), DiskError> {
    match position_of_dump(disk, &dump_path(data_dir, name)) {
        None => Ok(()),
        Some(Some(position)) if position.incarnation > incarnation => Ok(()),
        Some(_) => dht_dump::move_to_deleted(disk, data_dir, name),
    }
}

/// What is behind these locks is right after each statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
