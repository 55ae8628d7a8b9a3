//! One cycle: the list of channels, then one dump after another.
//!
//! ```text
//! GetChannels ----> gone since the last cycle: the dump goes to deleted/
//!   for each channel
//!     GetAll  ----> <channel>.tcm.XXXXXX.dumping
//!     still there?  synced, renamed to <channel>.tcm; the one before is <channel>.tcm.backup
//!     else          removed, as if it had been gone from the start
//! ```
//!
//! A channel that fails keeps its former dump, and does not keep the others from being dumped.
//! Nothing counts as removed unless the node has given a whole list without it.
//!
//! Source: spec `tools` 1.4, 1.5.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Instant};

use dht_dump::{
    Disk, DiskError, DumpOptions, DumpWriter, FinishedDump, RECORD_OVERHEAD_BYTES, TcmTotals,
    dump_path, move_to_deleted,
};
use dht_types::ChannelName;

use crate::{
    clock::Clock,
    source::{NodeError, RecordsError, Source},
    stats::{Stats, Written},
};

/// The log name of what happens in a cycle: that of the original's module.
pub(crate) const CYCLE_LOG: &str = "dhtnode.dhtdump.DumpCycle";

/// See the module.
pub(crate) struct Cycle {
    source: Box<dyn Source>,
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    options: DumpOptions,
    stats: Arc<Stats>,
    /// The log was told that the file system refuses direct I/O.
    told_of_direct_io: bool,
    /// Channels that there were when the node was last asked.
    known: BTreeSet<ChannelName>,
}

/// How the dump of one channel ended, if no file was to blame.
enum ChannelEnd {
    /// It is in its place.
    Dumped(FinishedDump),
    /// The channel was removed meanwhile.
    Removed,
    /// The node did not give all of it.
    Failed { error: NodeError, partial: PathBuf, totals: TcmTotals },
}

impl Cycle {
    /// Nothing is asked, opened or created yet.
    pub(crate) fn new(
        source: Box<dyn Source>,
        disk: Arc<dyn Disk>,
        data_dir: PathBuf,
        options: DumpOptions,
        stats: Arc<Stats>,
    ) -> Self {
        let (told_of_direct_io, known) = (false, BTreeSet::new());
        Self { source, disk, data_dir, options, stats, told_of_direct_io, known }
    }

    /// The node.
    pub(crate) fn source(&mut self) -> &mut dyn Source {
        &mut *self.source
    }

    /// The figures that it feeds.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Runs one cycle. Returns how many bytes were dumped; `None` if anything failed, which the log
    /// tells.
    pub(crate) fn run(&mut self, clock: &dyn Clock) -> Option<u64> {
        let channels = self.list_channels()?;
        let mut complete = true;
        for gone in self.known.difference(&channels).cloned().collect::<Vec<_>>() {
            complete &= self.channel_removed(&gone);
        }
        self.known.extend(channels.iter().cloned());
        log::info!(target: CYCLE_LOG, "Dumping {} channels", channels.len());
        let mut bytes = 0;
        for channel in &channels {
            match self.dump_channel(channel, clock) {
                Some(dumped) => bytes += dumped,
                None => complete = false,
            }
        }
        complete.then_some(bytes)
    }

    /// The node's channels; `None` if it did not tell.
    fn list_channels(&mut self) -> Option<BTreeSet<ChannelName>> {
        log::info!(target: CYCLE_LOG, "Getting list of channels");
        let names = self.source.channels();
        let names = names.map_err(|error| {
            log::error!(target: CYCLE_LOG, "DhtClient error during GetChannels: {error}");
        });
        let names = names.ok()?;
        for name in &names {
            let node = self.source.address();
            log::trace!(target: CYCLE_LOG, "GetChannels: {node}, '{}'", name.escape_debug());
        }
        let channels: BTreeSet<_> = names.iter().filter_map(|name| valid_name(name)).collect();
        let list: Vec<&str> = channels.iter().map(ChannelName::as_str).collect();
        log::info!(target: CYCLE_LOG, "Got list of channels: [{}]", list.join(", "));
        Some(channels)
    }

    /// Takes the dump of a channel that is gone out of the way, so that the next start of the node
    /// does not bring the channel back. `false` if that failed: it is tried again.
    fn channel_removed(&mut self, channel: &ChannelName) -> bool {
        log::info!(target: CYCLE_LOG, "Detected removed channel '{channel}'");
        self.stats.channel_removed(channel);
        match move_to_deleted(&*self.disk, &self.data_dir, channel) {
            Ok(()) => {
                self.known.remove(channel);
                true
            }
            Err(error) => {
                log::error!(
                    target: CYCLE_LOG,
                    "The dump of the removed channel '{channel}' is still there: {error}"
                );
                false
            }
        }
    }

    /// Dumps one channel. Returns how many bytes; `None` if it failed.
    fn dump_channel(&mut self, channel: &ChannelName, clock: &dyn Clock) -> Option<u64> {
        log::info!(target: CYCLE_LOG, "Dumping '{channel}'");
        let began = clock.now();
        match self.write_dump(channel) {
            Ok(ChannelEnd::Dumped(finished)) => {
                let dumped = Written { records: finished.records, bytes: finished.record_bytes };
                tell_finished(channel, dumped, clock, began, "");
                if let Some(error) = finished.backup_error {
                    log::warn!(target: CYCLE_LOG, "No backup of channel '{channel}': {error}");
                }
                if let Some(error) = finished.manifest_error {
                    log::warn!(target: CYCLE_LOG, "No manifest of channel '{channel}': {error}");
                }
                if finished.direct_was_refused
                    && !std::mem::replace(&mut self.told_of_direct_io, true)
                {
                    log::info!(
                        target: CYCLE_LOG,
                        "The file system of '{}' refuses direct I/O: dumps go through the page \
                         cache ([Dump] disable_direct_io = true asks for that)",
                        self.data_dir.display()
                    );
                }
                self.stats.channel_dumped(channel, dumped);
                Some(dumped.bytes)
            }
            Ok(ChannelEnd::Removed) => self.channel_removed(channel).then_some(0),
            Ok(ChannelEnd::Failed { error, partial, totals }) => {
                log::error!(target: CYCLE_LOG, "DhtClient error during GetAll: {error}");
                let partial = partial.display();
                log::warn!(target: CYCLE_LOG, "Removing partial dump file '{partial}'");
                let dumped = Written { records: totals.records, bytes: totals.record_bytes };
                tell_finished(channel, dumped, clock, began, " [error]");
                None
            }
            Err(error) => {
                let path = dump_path(&self.data_dir, channel);
                let (path, file, line) = (path.display(), file!(), line!());
                log::error!(
                    target: CYCLE_LOG,
                    "Failed to dump channel to file '{path}': {error} @ {file} : {line}"
                );
                None
            }
        }
    }

    /// Writes the dump of one channel and puts it in its place; whatever happens, no temporary
    /// file remains.
    fn write_dump(&mut self, channel: &ChannelName) -> Result<ChannelEnd, DiskError> {
        let mut writer = DumpWriter::create(&self.disk, &self.data_dir, channel, self.options)?;
        let stats = &self.stats;
        let leaves_empty_out = self.source.sends_values_of_removed_records();
        let copied = self.source.records(channel, &mut |key, value| {
            if value.is_empty() && leaves_empty_out {
                return Ok(());
            }
            stats.record((RECORD_OVERHEAD_BYTES + value.len()) as u64);
            writer.record(key, value)
        });
        match copied {
            Ok(()) if self.is_gone(channel) => Ok(ChannelEnd::Removed),
            Ok(()) => Ok(ChannelEnd::Dumped(writer.finish()?)),
            Err(RecordsError::Disk(error)) => Err(error),
            Err(RecordsError::Node(error)) => {
                let (partial, totals) = (writer.temporary_path().to_owned(), writer.totals());
                Ok(ChannelEnd::Failed { error, partial, totals })
            }
        }
    }

    /// Whether a channel was removed while it was read. The stream of its records ends as if
    /// nothing had happened, and a dump put in its place now would bring the channel back. If the
    /// node does not answer, the dump is kept: the next cycle will know.
    fn is_gone(&mut self, channel: &ChannelName) -> bool {
        let names = self.source.channels();
        names.is_ok_and(|names| names.iter().all(|name| *name != **channel))
    }
}

/// The name, if it is one that can be asked for and be part of a file name. A name that is not will
/// be none the next time, so that it is no reason to repeat the cycle.
fn valid_name(name: &str) -> Option<ChannelName> {
    let channel = name.parse::<ChannelName>().map_err(|error| {
        log::error!(
            target: CYCLE_LOG,
            "Channel '{}' cannot be dumped: {error}", name.escape_debug()
        );
    });
    channel.ok()
}

fn tell_finished(
    channel: &ChannelName,
    dumped: Written,
    clock: &dyn Clock,
    began: Instant,
    suffix: &str,
) {
    let Written { records, bytes } = dumped;
    let took = clock.now().saturating_duration_since(began).as_secs_f64();
    log::info!(
        target: CYCLE_LOG,
        "Finished dumping '{channel}', {records} records, {bytes} bytes, {took:.2}s{suffix}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::{Answer, World};

    /// Runs one cycle for each expected result.
    fn run(world: &World, script: &[Answer], expected: &[Option<u64>]) -> Cycle {
        world.script(script);
        let (mut cycle, clock) = (world.cycle(), world.clock());
        for expected in expected {
            assert_eq!(cycle.run(&clock), *expected);
        }
        world.assert_all_asked();
        cycle
    }

    const AB: Answer = Answer::Channels(&["a", "b"]);
    const ONE: Answer = Answer::Records(&[(1, "one")]);
    const TWO: Answer = Answer::Records(&[(2, "two"), (3, "three")]);

    #[test]
    fn every_channel_becomes_a_file_of_its_own() {
        let world = World::new();
        let cycle = run(&world, &[AB, ONE, AB, TWO, AB], &[Some(35 + 35 + 37)]);
        assert_eq!(world.files(), ["a.tcm", "b.tcm"]);
        assert_eq!(world.dump("a"), [(1, b"one".to_vec())]);
        assert_eq!(world.dump("b"), [(2, b"two".to_vec()), (3, b"three".to_vec())]);
        assert_eq!(
            cycle.stats().take_line().as_str(),
            "records_written:3 bytes_written:107 last_time_ms:0 \
             channel/a/records_written:1 channel/a/bytes_written:35 \
             channel/b/records_written:2 channel/b/bytes_written:72"
        );
    }

    #[test]
    fn the_dump_before_is_kept() {
        let world = World::new();
        let list = Answer::Channels(&["a"]);
        run(&world, &[list, ONE, list, list, TWO, list], &[Some(35), Some(72)]);
        assert_eq!(world.files(), ["a.tcm", "a.tcm.backup"]);
        assert_eq!(world.dump("a").len(), 2);
    }

    #[test]
    fn a_channel_that_fails_keeps_its_dump_and_the_others_are_dumped() {
        let world = World::new();
        let broken = Answer::BrokenRecords(&[(7, "new")]);
        run(&world, &[AB, ONE, AB, ONE, AB, AB, broken, TWO, AB], &[Some(70), None]);
        assert_eq!(world.files(), ["a.tcm", "b.tcm", "b.tcm.backup"]);
        assert_eq!(world.dump("a"), [(1, b"one".to_vec())], "the former one");
        assert_eq!(world.dump("b").len(), 2, "the new one");
    }

    #[test]
    fn a_file_that_cannot_be_written_does_not_stop_the_others() {
        let world = World::new();
        // A folder in the place of the dump.
        std::fs::create_dir_all(world.dir.path().join("a.tcm/x")).unwrap();
        run(&world, &[AB, ONE, AB, TWO, AB], &[None]);
        assert_eq!(world.files(), ["a.tcm", "b.tcm"]);
    }

    #[test]
    fn the_dump_of_a_removed_channel_is_moved_away() {
        let world = World::new();
        let only_b = Answer::Channels(&["b"]);
        let script = [AB, ONE, AB, TWO, AB, only_b, TWO, only_b];
        let cycle = run(&world, &script, &[Some(107), Some(72)]);
        assert_eq!(world.files(), ["b.tcm", "b.tcm.backup", "deleted", "deleted/a.tcm"]);
        assert!(!cycle.stats().take_line().as_str().contains("channel/a/"));
    }

    #[test]
    fn a_list_that_failed_removes_nothing() {
        let world = World::new();
        let script = [AB, ONE, AB, TWO, AB, Answer::Away, AB, ONE, AB, TWO, AB];
        run(&world, &script, &[Some(107), None, Some(107)]);
        assert_eq!(world.files(), ["a.tcm", "a.tcm.backup", "b.tcm", "b.tcm.backup"]);
    }

    #[test]
    fn a_channel_that_is_removed_while_it_is_dumped_does_not_come_back() {
        let world = World::new();
        let (list, none) = (Answer::Channels(&["a"]), Answer::Channels(&[]));
        run(&world, &[list, ONE, none], &[Some(0)]);
        assert_eq!(world.files(), ["deleted"], "not even by a dump that was nearly finished");
        let world = World::new();
        run(&world, &[list, ONE, Answer::Away], &[Some(35)]);
        assert_eq!(world.files(), ["a.tcm"], "nobody knows, so it stays");
    }

    #[test]
    fn a_removed_channel_is_moved_away_in_the_end() {
        let world = World::new();
        // A file in the place of the folder `deleted`.
        std::fs::write(world.dir.path().join("deleted"), "x").unwrap();
        let (list, none) = (Answer::Channels(&["a"]), Answer::Channels(&[]));
        world.script(&[list, ONE, list, none, none, none]);
        let (mut cycle, clock) = (world.cycle(), world.clock());
        assert_eq!(cycle.run(&clock), Some(35));
        assert_eq!(cycle.run(&clock), None);
        assert_eq!(world.files(), ["a.tcm", "deleted"]);
        std::fs::remove_file(world.dir.path().join("deleted")).unwrap();
        assert_eq!(cycle.run(&clock), Some(0));
        assert_eq!(world.files(), ["deleted", "deleted/a.tcm"]);
        assert_eq!(cycle.run(&clock), Some(0), "it is told once");
    }

    #[test]
    fn names_that_lead_elsewhere_are_left_out() {
        let world = World::new();
        let list = Answer::Channels(&["../a", "", "b"]);
        run(&world, &[list, ONE, list], &[Some(35)]);
        assert_eq!(world.files(), ["b.tcm"]);
    }

    #[test]
    fn empty_values_are_records_where_they_cannot_be_removed_ones() {
        let mut world = World::new();
        world.by_legacy = false;
        let (list, records) = (Answer::Channels(&["a"]), Answer::Records(&[(1, ""), (2, "x")]));
        run(&world, &[list, records, list], &[Some(32 + 33)]);
        assert_eq!(world.dump("a"), [(1, Vec::new()), (2, b"x".to_vec())]);
    }

    #[test]
    fn empty_values_are_left_out_and_large_ones_are_not() {
        let large: &str = "x".repeat(3_000_000).leak();
        let records = Answer::Records(vec![(1, ""), (2, large), (3, "y")].leak());
        let world = World::new();
        let list = Answer::Channels(&["a"]);
        run(&world, &[list, records, list], &[Some(32 + 3_000_000 + 33)]);
        assert_eq!(world.dump("a"), [(2, large.into()), (3, b"y".to_vec())]);
    }
}
