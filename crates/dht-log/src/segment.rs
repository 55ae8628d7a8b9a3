//! Segments as files: their names and their folder.

use std::path::{Path, PathBuf};

use dht_dump::{CHANGES_FOLDER, Disk, DiskError, FileKind};

const SUFFIX: &str = ".log";

/// `<data_dir>/changes`
#[must_use]
pub fn changes_dir(data_dir: &Path) -> PathBuf {
    data_dir.join(CHANGES_FOLDER)
}

/// A segment that gets no more entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its file.
    pub path: PathBuf,
    /// Its number: no other segment of the folder has it.
    pub number: u64,
    /// Whose it is.
    pub worker: u32,
    /// The greatest number of a change in it.
    pub last_sequence: u64,
    /// Its length.
    pub file_bytes: u64,
}

/// A file of the folder by whose name it is a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) worker: u32,
}

/// The path of a segment.
pub(crate) fn segment_path(dir: &Path, number: u64, worker: u32) -> PathBuf {
    dir.join(format!("{number:016x}-{worker}{SUFFIX}"))
}

/// All segments of a folder, by number. A folder that is not there has none.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentFile>, DiskError> {
    let entries = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(DiskError::new("read the folder", dir))?,
    };
    let mut segments: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind == FileKind::File)
        .filter_map(|entry| {
            let (number, worker) = parse_name(entry.name.to_str()?)?;
            Some(SegmentFile { path: dir.join(&entry.name), number, worker })
        })
        .collect();
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

fn parse_name(name: &str) -> Option<(u64, u32)> {
    let (number, worker) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    Some((u64::from_str_radix(number, 16).ok()?, worker.parse().ok()?))
}

/// Removes a segment that is not needed any more. That it is gone need not survive a crash: what it
/// held is below the checkpoint's floor.
pub fn remove_segment(disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
    match disk.remove(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(DiskError::new("remove", path)),
    }
}
