//! The data folder: what lies in it, and the moves of whole files in it.
//!
//! ```text
//! <channel>.tcm                    a complete dump
//! <channel>.tcm.XXXXXX.dumping     being written, or left over from a crash; never loaded
//! <channel>.tcm.backup             the dump before the last
//! <channel>.tcm.damaged-N          set aside by `quarantine`; never loaded, never overwritten
//! <channel>.tcm.manifest           what was known of the dump when it was made; see `manifest`
//! <channel>.tcm.manifest.old       that of the backup
//! <channel>.tcm.manifest-N         that of the dump that was set aside as `.damaged-N`
//! changes/                         the log of changes; see dht-log
//! deleted/<channel>.tcm[...]       last dumps of removed channels, with backup and manifests
//! ```
//!
//! Source: spec `node` 8.2, 12.3, 12.4; `file-formats` 2.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use dht_types::{ChannelName, ChannelNameError};

use crate::{
    disk::{DirEntry, Disk, DiskError, FileKind, OpenFile},
    tcm::{TcmError, TcmReader},
};

/// What the name of a dump has behind that of its channel.
pub const DUMP_SUFFIX: &str = ".tcm";
/// What the name of a former dump has behind that of the dump.
pub const BACKUP_SUFFIX: &str = ".backup";
/// The end of the name of a file that is being written.
pub const UNFINISHED_SUFFIX: &str = ".dumping";
/// The folder in the data folder that the dumps of removed channels go to.
pub const DELETED_FOLDER: &str = "deleted";
/// The folder in the data folder that the log of changes is in; see dht-log.
pub const CHANGES_FOLDER: &str = "changes";
/// What the name of a manifest has behind that of the dump.
pub const MANIFEST_SUFFIX: &str = ".manifest";
/// What the name of a backup's manifest has behind that of the dump. Short, as a channel's name
/// leaves 19 bytes.
pub(crate) const OLD_MANIFEST_SUFFIX: &str = ".manifest.old";
/// What the name of a damaged dump has behind that of the dump, before a number.
const DAMAGED_SUFFIX: &str = ".damaged-";
/// What the name of its manifest has there.
const MANIFEST_ASIDE_SUFFIX: &str = ".manifest-";

/// `<dir>/<channel>.tcm`
#[must_use]
pub fn dump_path(dir: &Path, channel: &ChannelName) -> PathBuf {
    dir.join(format!("{channel}{DUMP_SUFFIX}"))
}

/// `<dir>/<channel>.tcm.backup`
#[must_use]
pub fn backup_path(dir: &Path, channel: &ChannelName) -> PathBuf {
    dir.join(format!("{channel}{DUMP_SUFFIX}{BACKUP_SUFFIX}"))
}

/// `<dir>/<channel>.tcm.manifest`
#[must_use]
pub fn manifest_path(dir: &Path, channel: &ChannelName) -> PathBuf {
    with_suffix(&dump_path(dir, channel), MANIFEST_SUFFIX)
}

/// `<dir>/<channel>.tcm.manifest.old`
fn old_manifest_path(dir: &Path, channel: &ChannelName) -> PathBuf {
    with_suffix(&dump_path(dir, channel), OLD_MANIFEST_SUFFIX)
}

/// A path whose last name has more behind it.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// An entry of the data folder that is worth a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name in the folder.
    pub name: OsString,
    /// Its length in bytes; 0 if it is no regular file.
    pub file_bytes: u64,
    /// What it is to a node that starts.
    pub kind: FoundKind,
}

/// What an entry of the data folder is to a node that starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// The dump of a channel: to be loaded.
    Dump(ChannelName),
    /// A dump whose name is that of no channel, so no client could ever ask for it: to be warned
    /// of. (The original loads it.)
    InvalidName(ChannelNameError),
    /// A dump that was not finished: to be warned of; there may be older data only.
    Unfinished,
    /// The former dump of a channel.
    Backup(ChannelName),
    /// Has not the suffix of a dump: to be warned of.
    NoSuffix,
    /// A file without content, whatever its name: to be warned of.
    Empty,
    /// Another folder than `deleted`: to be warned of.
    Subdirectory,
}

/// What lies in the data folder, by name. Left out: the folder `deleted`, and manifests.
pub fn scan_dir(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, DiskError> {
    let entries = disk.list(dir).map_err(DiskError::new("read the folder", dir))?;
    let mut found: Vec<Found> = entries
        .into_iter()
        .filter_map(|entry| {
            let kind = classify(&entry)?;
            Some(Found { name: entry.name, file_bytes: entry.file_bytes, kind })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn classify(entry: &DirEntry) -> Option<FoundKind> {
    let name = entry.name.as_encoded_bytes();
    match entry.kind {
        FileKind::Folder if entry.name == DELETED_FOLDER || entry.name == CHANGES_FOLDER => {
            return None;
        }
        FileKind::Folder => return Some(FoundKind::Subdirectory),
        FileKind::File if entry.file_bytes == 0 => return Some(FoundKind::Empty),
        // A dump behind a dangling link is not "no dump": opening it fails and says so.
        FileKind::File | FileKind::Other => {}
    }
    if name.ends_with(UNFINISHED_SUFFIX.as_bytes()) {
        return Some(FoundKind::Unfinished);
    }
    if let Some(channel) = name.strip_suffix(DUMP_SUFFIX.as_bytes()) {
        return Some(match ChannelName::new(channel) {
            Ok(channel) => FoundKind::Dump(channel),
            Err(error) => FoundKind::InvalidName(error),
        });
    }
    let channel_before = |suffix: &str| {
        let dump = name.strip_suffix(suffix.as_bytes())?;
        ChannelName::new(dump.strip_suffix(DUMP_SUFFIX.as_bytes())?).ok()
    };
    let is_manifest = [MANIFEST_SUFFIX, OLD_MANIFEST_SUFFIX]
        .into_iter()
        .any(|suffix| channel_before(suffix).is_some());
    if is_manifest || is_manifest_aside(name) {
        return None;
    }
    Some(channel_before(BACKUP_SUFFIX).map_or(FoundKind::NoSuffix, FoundKind::Backup))
}

/// `<anything>.tcm.manifest-N`
fn is_manifest_aside(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let dump = name[..name.len() - digits].strip_suffix(MANIFEST_ASIDE_SUFFIX.as_bytes());
    digits > 0 && dump.is_some_and(|dump| dump.ends_with(DUMP_SUFFIX.as_bytes()))
}

/// Opens a dump for reading, without a look at its manifest. [`crate::DumpReader`] has that.
pub fn open_dump(
    disk: &dyn Disk,
    path: &Path,
) -> Result<TcmReader<Box<dyn io::Read + Send>>, TcmError> {
    let file = disk.open(path).map_err(|source| TcmError::Io { offset: 0, source })?;
    let OpenFile { content, file_bytes, .. } = file;
    TcmReader::new(content, file_bytes)
}

/// Moves the dump of a removed channel, its backup and their manifests to `deleted`, over those of
/// an earlier channel of that name. Makes the folder. On success the channel cannot come back at
/// the next start, not even after a crash. That there is no dump is a success.
///
/// The backup goes first, and durably: a backup without a dump looks as if the dump was lost.
///
/// A [`CompletedDump`](crate::CompletedDump) of the channel must not be committed meanwhile or
/// afterwards.
pub fn move_to_deleted(
    disk: &dyn Disk,
    dir: &Path,
    channel: &ChannelName,
) -> Result<(), DiskError> {
    let deleted = dir.join(DELETED_FOLDER);
    disk.create_dir(&deleted).map_err(DiskError::new("create", &deleted))?;
    for path_in in [old_manifest_path, backup_path] {
        rename_to_deleted(disk, &path_in(dir, channel), &path_in(&deleted, channel))?;
    }
    sync_move(disk, dir, &deleted)?;
    for path_in in [dump_path, manifest_path] {
        rename_to_deleted(disk, &path_in(dir, channel), &path_in(&deleted, channel))?;
    }
    sync_move(disk, dir, &deleted)
}

/// That the file is not there is a success.
fn rename_to_deleted(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
    match disk.rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(DiskError::new("move to the folder of deleted channels", from)),
    }
}

/// The new names first: a crash between the two must not lose both.
fn sync_move(disk: &dyn Disk, dir: &Path, deleted: &Path) -> Result<(), DiskError> {
    disk.sync_dir(deleted).map_err(DiskError::new("sync", deleted))?;
    disk.sync_dir(dir).map_err(DiskError::new("sync", dir))
}

/// Sets a damaged dump aside, as `<name>.damaged-N` with a number that is not taken, and its
/// manifest as `<name>.manifest-N`: it is never loaded and never overwritten. For a node that was
/// told to start in spite of the damage. Returns the new path. Only the owner of the folder may
/// call it, as it looks before it renames.
pub fn quarantine(disk: &dyn Disk, dir: &Path, name: &OsStr) -> Result<PathBuf, DiskError> {
    let entries = disk.list(dir).map_err(DiskError::new("read the folder", dir))?;
    let path = dir.join(name);
    let aside = (1_u64..)
        .map(|number| (number, with_suffix(&path, &format!("{DAMAGED_SUFFIX}{number}"))))
        .find(|(_, aside)| entries.iter().all(|entry| Some(&*entry.name) != aside.file_name()));
    let (number, aside) = aside.expect("a folder has fewer entries than there are numbers");
    disk.rename(&path, &aside).map_err(DiskError::new("set aside", &path))?;

    let manifest = with_suffix(&path, MANIFEST_SUFFIX);
    let manifest_aside = with_suffix(&path, &format!("{MANIFEST_ASIDE_SUFFIX}{number}"));
    match disk.rename(&manifest, &manifest_aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result.map_err(DiskError::new("set aside", &manifest))?,
    }
    disk.sync_dir(dir).map_err(DiskError::new("sync", dir))?;
    Ok(aside)
}
