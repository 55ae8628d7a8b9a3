//! A node as the log sees it: channels of records, some workers, and a disk in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dht_dump::Disk;
use dht_dump::memory_disk::MemoryDisk;
use dht_log::{LogPlace, LogWriter, Part, Survey, replay, survey};
use dht_testkit::Rng;
use dht_types::{ChannelName, Key};

pub(crate) const DIR: &str = "/changes";
pub(crate) const BOOT: u64 = 0xb007;
const NAMES: [&str; 3] = ["a", "b", "c"];
/// The store has so many clocks; see dht-storage's `sequence`.
const SHARDS: usize = 4;

/// The records of all channels.
pub(crate) type Records = BTreeMap<(String, u64), Vec<u8>>;

/// See the module.
pub(crate) struct World {
    pub(crate) disk: MemoryDisk,
    pub(crate) writers: Vec<Writer>,
    shards: [u64; SHARDS],
    /// Name to incarnation.
    channels: BTreeMap<&'static str, u64>,
    incarnations: u64,
    pub(crate) records: Records,
}

/// A worker.
pub(crate) struct Writer {
    pub(crate) log: LogWriter,
    sequence: u64,
    /// Files that were written and not synced.
    pub(crate) dirty: Vec<dht_log::Written>,
    pub(crate) synced: (u64, u64),
}

impl World {
    pub(crate) fn new(workers: u32, segment_bytes: u64) -> Self {
        Self::on(MemoryDisk::with_folder(DIR), workers, segment_bytes, BOOT, &Survey::default())
    }

    /// A node that starts with what the disk holds, and replays it.
    pub(crate) fn on(
        disk: MemoryDisk,
        workers: u32,
        segment_bytes: u64,
        boot: u64,
        found: &Survey,
    ) -> Self {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let place = Arc::new(LogPlace::new(shared, DIR.into(), boot, found.last_number));
        let writer = |worker| Writer {
            log: LogWriter::new(Arc::clone(&place), worker, segment_bytes),
            sequence: 0,
            dirty: Vec::new(),
            synced: (0, 0),
        };
        let alive = |name: &&'static str| {
            let fate = found.channels.get(*name).filter(|fate| !fate.is_removed)?;
            Some((*name, fate.incarnation))
        };
        Self {
            records: recover(&disk, found, 1),
            channels: NAMES.iter().filter_map(alive).collect(),
            disk,
            writers: (0..workers).map(writer).collect(),
            shards: [found.last_sequence; SHARDS],
            incarnations: found.last_incarnation,
        }
    }

    /// Some change by some worker; pending in its log. Returns the worker.
    pub(crate) fn change(&mut self, rng: &mut Rng) -> usize {
        let (name, worker) = (*rng.pick(&NAMES), rng.within(0..self.writers.len()));
        let incarnation = *self.channels.entry(name).or_insert_with(|| {
            self.incarnations += 1;
            self.incarnations
        });
        let key = rng.below(20);
        let shard = &mut self.shards[usize::try_from(key).unwrap() % SHARDS];
        let writer = &mut self.writers[worker];
        let channel_name: ChannelName = name.parse().unwrap();
        let channel = (incarnation, &channel_name);
        let id = (name.to_owned(), key);
        match rng.below(20) {
            0 => {
                self.channels.remove(name);
                self.records.retain(|(channel, _), _| channel != name);
                let last = self.shards.iter().max().unwrap();
                writer.sequence = writer.sequence.max(*last) + 1;
                self.shards = [writer.sequence; SHARDS];
                writer.log.remove_channel(channel, writer.sequence);
            }
            1..=4 => {
                if self.records.remove(&id).is_some() {
                    writer.sequence = writer.sequence.max(*shard) + 1;
                    *shard = writer.sequence;
                    writer.log.remove(channel, writer.sequence, Key(key));
                }
            }
            _ => {
                let value = rng.bytes(0..60);
                writer.sequence = writer.sequence.max(*shard) + 1;
                *shard = writer.sequence;
                writer.log.put(channel, writer.sequence, Key(key), &value);
                self.records.insert(id, value);
            }
        }
        worker
    }

    /// Writes what a worker has pending.
    pub(crate) fn write(&mut self, worker: usize) -> Result<(), dht_dump::DiskError> {
        let writer = &mut self.writers[worker];
        let written = writer.log.write(writer.synced)?;
        writer.dirty.extend(written);
        Ok(())
    }

    pub(crate) fn write_all(&mut self) {
        (0..self.writers.len()).for_each(|worker| self.write(worker).unwrap());
    }

    /// Syncs all that a worker has written.
    pub(crate) fn sync(&mut self, worker: usize) -> std::io::Result<()> {
        let writer = &mut self.writers[worker];
        for written in std::mem::take(&mut writer.dirty) {
            written.file.sync()?;
            if written.is_new {
                self.disk.sync_dir(Path::new(DIR))?;
            }
            writer.synced = (written.segment, written.end);
        }
        Ok(())
    }
}

/// What a node that starts finds.
pub(crate) fn look(disk: &MemoryDisk, boot: u64) -> Survey {
    survey(disk, Path::new(DIR), boot, 0).unwrap()
}

/// The records that the log brings back, by some threads.
pub(crate) fn recover(disk: &MemoryDisk, found: &Survey, parts: u64) -> Records {
    let mut records = Records::new();
    for index in 0..parts {
        let part = Part { index, count: parts };
        replay(disk, found, 0, part, |change| {
            let id = (change.channel.to_string(), change.key.0);
            match change.value {
                Some(value) => drop(records.insert(id, value.to_vec())),
                None => drop(records.remove(&id)),
            }
            Ok::<_, std::convert::Infallible>(())
        })
        .unwrap();
    }
    records
}
