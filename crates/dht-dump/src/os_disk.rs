//! The real file system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::disk::{DirEntry, Disk, DiskFile, FileIdentity, FileKind, OpenFile, SharedFile};

/// How many random names are tried before something else must be wrong.
const NAME_ATTEMPTS_MAX: usize = 100;
/// Random characters in the name of a temporary file, as mkostemps has them.
const RANDOM_CHARACTERS: usize = 6;

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_temporary(
        &self,
        dir: &Path,
        prefix: &str,
        suffix: &str,
        direct: bool,
    ) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
        for _ in 0..NAME_ATTEMPTS_MAX {
            let path = dir.join(format!("{prefix}{}{suffix}", random_characters()?));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => {
                    let is_direct = direct && set_direct(&file, true).is_ok();
                    let direct_was_refused = direct && !is_direct;
                    return Ok((path, Box::new(OsFile { file, is_direct, direct_was_refused })));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name that was tried is taken"))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn SharedFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(OsSharedFile(file)))
    }

    fn truncate(&self, path: &Path, file_bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(file_bytes)?;
        file.sync_all()
    }

    fn open(&self, path: &Path) -> io::Result<OpenFile> {
        // Asked before opening: opening a pipe would wait for somebody to write to it.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000;
        let modified_ns = modified_ns + i128::from(metadata.mtime_nsec());
        let identity = FileIdentity { inode: metadata.ino(), modified_ns };
        Ok(OpenFile { content: Box::new(file), file_bytes: metadata.len(), identity })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            entries.extend(examine(&entry?)?);
        }
        Ok(entries)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// What an entry is; nothing if it vanished since the folder was read.
fn examine(entry: &fs::DirEntry) -> io::Result<Option<DirEntry>> {
    let (kind, file_bytes) = match fs::metadata(entry.path()) {
        Ok(metadata) if metadata.is_file() => (FileKind::File, metadata.len()),
        Ok(metadata) if metadata.is_dir() => (FileKind::Folder, 0),
        Ok(_) => (FileKind::Other, 0),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) if fs::symlink_metadata(entry.path()).is_ok() => (FileKind::Other, 0),
        Err(_) => return Ok(None),
    };
    Ok(Some(DirEntry { name: entry.file_name(), kind, file_bytes }))
}

fn random_characters() -> io::Result<String> {
    const CHARACTERS: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut random = [0_u8; RANDOM_CHARACTERS];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    // Not quite evenly distributed, which does not matter for names.
    Ok(random.iter().map(|byte| char::from(CHARACTERS[usize::from(*byte) % 62])).collect())
}

/// A file that is being written, past the page cache as long as that goes well.
struct OsFile {
    file: File,
    is_direct: bool,
    direct_was_refused: bool,
}

/// What every device can write at a time, in bytes, if it is aligned so in memory.
const DIRECT_BLOCK_BYTES: usize = 4096;

impl DiskFile for OsFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            // Direct I/O takes whole blocks only, and how large they are depends on the device:
            // the tail of a file, or what follows a short write, may not suit it.
            Err(error) if self.is_direct && error.kind() == io::ErrorKind::InvalidInput => {
                set_direct(&self.file, false)?;
                self.is_direct = false;
                self.direct_was_refused |= bytes.len().is_multiple_of(DIRECT_BLOCK_BYTES);
                self.file.write(bytes)
            }
            result => result,
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn bypasses_cache(&self) -> bool {
        self.is_direct
    }

    fn direct_was_refused(&self) -> bool {
        self.direct_was_refused
    }
}

/// See [`SharedFile`].
struct OsSharedFile(File);

impl SharedFile for OsSharedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Switches direct I/O on or off. On an open file rather than when opening it: an `open` that
/// refuses the flag may have made the file nevertheless.
#[cfg(target_os = "linux")]
fn set_direct(file: &File, on: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_file: &File, _on: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
