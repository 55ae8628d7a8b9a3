//! What several of the tests need.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use dht_dump::{
    Beside, Disk, DiskError, DumpOptions, DumpReader, DumpWriter, Entry, FinishedDump, OsDisk,
    TcmError,
};
use dht_types::{ChannelName, Key};

use dht_dump::memory_disk::MemoryDisk;

/// The content of a channel, in file order.
pub(crate) type Records = Vec<(u64, Vec<u8>)>;

/// The data folder of the disk in memory.
pub(crate) const DATA: &str = "/data";

pub(crate) const WITH_BACKUP: DumpOptions = DumpOptions { direct: false, keep_backup: true };

pub(crate) fn channel(name: &str) -> ChannelName {
    name.parse().unwrap()
}

pub(crate) fn tcm(dir: &Path) -> PathBuf {
    dir.join("ch.tcm")
}

pub(crate) fn backup(dir: &Path) -> PathBuf {
    dir.join("ch.tcm.backup")
}

/// Runs a test on each kind of disk, in a folder of its own.
pub(crate) fn on_every_disk(test: impl Fn(Arc<dyn Disk>, &Path)) {
    test(Arc::new(MemoryDisk::with_folder(DATA)), Path::new(DATA));
    let dir = tempfile::tempdir().unwrap();
    test(Arc::new(OsDisk), dir.path());
}

/// Dumps `records` as the channel `ch`.
pub(crate) fn dump(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    records: &Records,
    options: DumpOptions,
) -> Result<FinishedDump, DiskError> {
    let mut writer = DumpWriter::create(disk, dir, &channel("ch"), options)?;
    for (key, value) in records {
        writer.record(Key(*key), value)?;
    }
    writer.finish()
}

pub(crate) fn manifest(dir: &Path) -> PathBuf {
    dir.join("ch.tcm.manifest")
}

/// Loads a dump and verifies it by its manifest, if it has one; a record with a bad key fails the
/// test.
pub(crate) fn load(disk: &dyn Disk, path: &Path) -> Result<Records, TcmError> {
    let mut reader = DumpReader::open(disk, path)?;
    let mut records = Vec::new();
    while let Some(entry) = reader.next()? {
        match entry {
            Entry::Record { key, value } => records.push((key.0, value.to_vec())),
            bad => panic!("{bad:?}"),
        }
    }
    reader.verify()?;
    Ok(records)
}

/// Whether a dump has a manifest that speaks of it.
pub(crate) fn has_manifest(disk: &dyn Disk, path: &Path) -> bool {
    matches!(DumpReader::open(disk, path).unwrap().beside(), Beside::Manifest(_))
}

/// Names in a folder, sorted.
pub(crate) fn names(disk: &dyn Disk, dir: &Path) -> Vec<String> {
    let entries = disk.list(dir).unwrap().into_iter();
    let mut names: Vec<String> = entries.map(|e| e.name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A few records that differ from generation to generation and take several blocks.
pub(crate) fn generation(number: u64) -> Records {
    (0..20).map(|key| (key, format!("{number}/{key} ").repeat(10).into_bytes())).collect()
}
