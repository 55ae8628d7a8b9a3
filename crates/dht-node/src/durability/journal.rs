//! A worker's side of the log.
//!
//! ```text
//! change of a record -> record()   an entry in the frame of this turn
//! end of the turn    -> write()    one write of the frame; only then the turn's answers go out
//!                                  level `disk`: they wait until the syncer has done its work
//! ```
//!
//! When the log cannot be written, as on a full disk, nobody is told that a write was done:
//! connections that wrote in that turn are closed, further writes are refused, and what was changed
//! waits in the frame until the disk takes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dht_dump::DiskError;
use dht_log::LogWriter;
use dht_storage::{Channel, Sequence};
use dht_types::{ChannelName, Key};
use rustc_hash::FxHashMap;

use super::CHANGES_LOG;
use super::config::Level;
use super::keeper::Keeper;
use super::syncer::{Syncer, SyncerOptions};
use crate::context::Clock;

/// A frame is written before the end of the turn when it has so many bytes: they are still in a
/// near cache then. So it has one entry more at most; or, when it cannot be written, those of the
/// records that were put together.
const FRAME_BYTES_MAX: usize = 256 * 1024;
/// How often a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// So many channels are remembered with their levels; then all are looked up anew.
const LEVELS_MAX: usize = 4096;

/// What a journal works with.
pub(crate) struct JournalOptions {
    pub(crate) keeper: Arc<Keeper>,
    /// Which worker's.
    pub(crate) worker: usize,
    /// Wakes the worker; see [`SyncerOptions::wake`].
    pub(crate) wake: Box<dyn Fn() + Send>,
}

/// See the module.
pub(crate) struct Journal {
    keeper: Arc<Keeper>,
    worker: usize,
    writer: LogWriter,
    /// The worker's clock; see [`Sequence`].
    sequence: Sequence,
    /// By incarnation.
    levels: FxHashMap<u64, Level>,
    last_level: (u64, Level),
    /// None if no channel has level `disk`.
    syncer: Option<Syncer>,
    synced: (u64, u64),
    /// That of the last write that somebody waits for.
    ticket: u64,
    /// The greatest level that was written at since [`Journal::take_mark`].
    mark: Level,
    /// The greatest in the pending frame.
    pending: Level,
    /// The last write has failed.
    is_failing: bool,
    /// When it is tried again, once somebody was told.
    retry_at: Option<Instant>,
    /// The segment must get nothing more.
    is_spoilt: bool,
}

/// The log does not take the change, so it must not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotLogged;

/// What becomes of the answers to the writes of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They may go out; those at level `disk` when [`Journal::durable`] reaches the ticket.
    Written,
    /// They must never go out.
    Lost,
}

impl Journal {
    /// For one worker.
    pub(crate) fn new(options: JournalOptions) -> std::io::Result<Self> {
        let JournalOptions { keeper, worker, wake } = options;
        let syncs = keeper.config().greatest() == Level::Disk;
        let (disk, dir) = (Arc::clone(keeper.place().disk()), keeper.place().dir().to_owned());
        let syncer = syncs.then(|| Syncer::spawn(SyncerOptions { disk, dir, worker, wake }));
        let number = u32::try_from(worker).expect("there are at most 512 workers");
        let writer =
            LogWriter::new(Arc::clone(keeper.place()), number, keeper.config().segment_bytes);
        Ok(Self {
            keeper,
            worker,
            writer,
            sequence: Sequence::default(),
            levels: FxHashMap::default(),
            last_level: (0, Level::Memory),
            syncer: syncer.transpose()?,
            synced: (0, 0),
            ticket: 0,
            mark: Level::Memory,
            pending: Level::Memory,
            is_failing: false,
            retry_at: None,
            is_spoilt: false,
        })
    }

    /// Whether a change of this channel may be made now.
    #[inline]
    pub(crate) fn admits(&mut self, channel: &Channel) -> Result<(), NotLogged> {
        if !self.is_failing && !self.keeper.is_disk_lost() {
            return Ok(());
        }
        let refuses = match self.level(channel) {
            Level::Memory => false,
            Level::Os => self.is_failing,
            Level::Disk => true,
        };
        if refuses { Err(NotLogged) } else { Ok(()) }
    }

    /// The worker's clock, for the store.
    #[inline]
    pub(crate) const fn sequence(&mut self) -> &mut Sequence {
        &mut self.sequence
    }

    /// A record was changed as the last thing: it has this value now, or is gone.
    #[inline]
    pub(crate) fn record(&mut self, channel: &Channel, key: Key, value: Option<&[u8]>) {
        self.record_numbered(channel, key, value, self.sequence);
    }

    /// The same for one of several changes: they come in the order of their numbers, and before any
    /// later one.
    #[inline]
    pub(crate) fn record_numbered(
        &mut self,
        channel: &Channel,
        key: Key,
        value: Option<&[u8]>,
        number: Sequence,
    ) {
        let level = self.level(channel);
        if level == Level::Memory {
            return;
        }
        self.note(level);
        let (id, sequence) = ((channel.incarnation(), channel.name()), number.0);
        match value {
            Some(value) => self.writer.put(id, sequence, key, value),
            None => self.writer.remove(id, sequence, key),
        }
        if self.writer.pending_bytes() >= FRAME_BYTES_MAX && !self.is_failing {
            // The end of the turn tries once more, and tells.
            self.is_failing = self.write_frame().is_err();
        }
    }

    /// A channel was removed, and all changes of it have numbers up to `last`. Returns when that
    /// is as sure as its level says; at level `memory` as sure as at `os`, because the checkpoint
    /// may say that its dump must be there. Without a channel: there was none of that name, but a
    /// removal of one may wait to be logged.
    pub(crate) fn remove_channel(
        &mut self,
        channel: Option<&Channel>,
        last: Sequence,
        clock: Clock,
    ) -> Result<(), NotLogged> {
        let Some(channel) = channel else {
            return if self.keeper.trouble().is_none() { Ok(()) } else { Err(NotLogged) };
        };
        let level = self.level(channel);
        self.sequence = Sequence(self.sequence.max(last).0 + 1);
        self.note(level.max(Level::Os));
        self.writer.remove_channel((channel.incarnation(), channel.name()), self.sequence.0);
        self.keeper.is_half_removed(channel, self.sequence.0);
        let is_written = self.write(clock) == Fate::Written;
        if is_written && (level < Level::Disk || self.wait()) { Ok(()) } else { Err(NotLogged) }
    }

    /// The channel that was removed last has no dump any more, either.
    pub(crate) fn is_removed(&self, name: &ChannelName) {
        self.keeper.is_removed(name);
    }

    fn note(&mut self, level: Level) {
        self.mark = self.mark.max(level);
        self.pending = self.pending.max(level);
    }

    #[inline]
    fn level(&mut self, channel: &Channel) -> Level {
        let incarnation = channel.incarnation();
        if self.last_level.0 != incarnation {
            if self.levels.len() >= LEVELS_MAX {
                self.levels.clear();
            }
            let config = self.keeper.config();
            let level =
                *self.levels.entry(incarnation).or_insert_with(|| config.of(channel.name()));
            self.last_level = (incarnation, level);
        }
        self.last_level.1
    }

    /// The greatest level that was written at since the last call.
    #[inline]
    pub(crate) const fn take_mark(&mut self) -> Level {
        std::mem::replace(&mut self.mark, Level::Memory)
    }

    /// That of the last write at level `disk`.
    pub(crate) const fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Waits until all that was written at level `disk` is on the disk; `false` if it cannot be.
    pub(crate) fn wait(&self) -> bool {
        self.syncer.as_ref().is_none_or(|syncer| syncer.wait(self.ticket))
    }

    /// The end of a turn, or a retry: writes what is pending.
    #[inline]
    pub(crate) fn write(&mut self, clock: Clock) -> Fate {
        if self.writer.pending_bytes() == 0 { Fate::Written } else { self.write_pending(clock) }
    }

    fn write_pending(&mut self, clock: Clock) -> Fate {
        if self.retry_at.is_some_and(|at| clock() < at) {
            return Fate::Lost;
        }
        if let Err(error) = self.write_frame() {
            self.is_failing = true;
            self.retry_at = Some(clock() + RETRY);
            if !self.keeper.has_trouble(self.worker, Some(error.to_string())) {
                log::error!(
                    target: CHANGES_LOG,
                    "The log of worker {} cannot be written: {error}. Writes are refused until it \
                     can be; reads go on. It is tried again every {} s: make room on the disk.",
                    self.worker,
                    RETRY.as_secs()
                );
            }
            return Fate::Lost;
        }
        self.retry_at = None;
        if std::mem::take(&mut self.is_failing) && self.keeper.has_trouble(self.worker, None) {
            log::info!(
                target: CHANGES_LOG,
                "The log of worker {} can be written again; writes are accepted", self.worker
            );
        }
        Fate::Written
    }

    fn write_frame(&mut self) -> Result<(), DiskError> {
        let Some(written) = self.writer.write(self.synced)? else { return Ok(()) };
        let waits = std::mem::replace(&mut self.pending, Level::Memory) == Level::Disk;
        self.ticket += u64::from(waits);
        self.keeper.has_written(written.bytes, self.sequence);
        if let Some(syncer) = &self.syncer {
            syncer.written(&written, waits.then_some(self.ticket));
        }
        if let Some(segment) = written.closed {
            self.keeper.is_closed(segment);
        }
        if self.is_spoilt {
            self.abandon();
        }
        Ok(())
    }

    /// Ends the segment that could not be synced; nothing is pending.
    fn abandon(&mut self) {
        if let Some(segment) = self.writer.abandon() {
            self.keeper.is_closed(segment);
        }
        self.is_spoilt = false;
    }

    /// When to call [`Journal::write`] at the latest.
    pub(crate) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The syncer has done something: up to which ticket everything is on the disk, or `None` if
    /// a sync has failed and all who wait must be sent away.
    pub(crate) fn durable(&mut self) -> Option<u64> {
        let done = self.syncer.as_ref()?.take();
        self.synced = done.synced;
        let Some(error) = done.error else { return Some(done.durable) };
        log::error!(
            target: CHANGES_LOG,
            "The log of worker {} could not be synced: {error}. What was written since the last \
             sync may be lost if the power fails. Nothing is acknowledged at level 'disk' until \
             every channel is dumped, which begins now; reads go on. Check the disk.",
            self.worker
        );
        self.keeper.disk_is_lost(self.sequence.0);
        // Never again to that file.
        self.is_spoilt = true;
        if self.writer.pending_bytes() == 0 {
            self.abandon();
        }
        None
    }

    /// What failed is tried again with the next write, whatever the time.
    pub(crate) const fn retry_now(&mut self) {
        self.retry_at = None;
    }

    /// The worker ends: writes what is left, and ends its segment.
    pub(crate) fn close(&mut self, clock: Clock) {
        self.retry_now();
        if self.write(clock) == Fate::Written
            && let Some(segment) = self.writer.close()
        {
            self.keeper.is_closed(segment);
        }
    }
}
