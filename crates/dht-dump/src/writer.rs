//! Writes a dump so that it appears under its name as a whole or not at all.
//!
//! ```text
//! create   <channel>.tcm.XXXXXX.dumping         new file, mode 0600
//! record   ... any number                       through a buffer of BUFFER_BYTES
//! finish   end marker, padding, sync the file, compare its length
//!          <channel>.tcm also gets the name <channel>.tcm.backup
//!          the new file is renamed to <channel>.tcm
//!          sync the folder
//! ```
//!
//! `<channel>.tcm` is a complete dump at every moment, if there was one before. Whatever fails
//! before the rename, the temporary file is removed and nothing has changed.
//!
//! Source: spec `node` 12.2, `file-formats` 2.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use dht_types::{ChannelName, Key};

use crate::{
    disk::{Disk, DiskError, DiskFile},
    folder::{BACKUP_SUFFIX, DUMP_SUFFIX, UNFINISHED_SUFFIX},
    tcm::{TcmEncoder, TcmTotals},
};

/// Bytes that go to the file at a time.
const BUFFER_BYTES: usize = 1 << 20;
/// Where the buffer begins in memory is a multiple of this: what direct I/O wants of any device.
const BUFFER_ALIGNMENT_BYTES: usize = 4096;

/// How to write a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpOptions {
    /// Bypass the page cache where the file system can do so (`disable_direct_io = false`).
    pub direct: bool,
    /// Keep the dump that is replaced as `<channel>.tcm.backup`.
    pub keep_backup: bool,
}

/// A dump that is being written. If it is dropped before [`DumpWriter::finish`], the temporary
/// file is removed and the former dump stays as it is.
///
/// Whoever removes the channel meanwhile must drop this first, or the dump brings it back.
pub struct DumpWriter {
    encoder: TcmEncoder<BlockWriter>,
    temporary: TemporaryFile,
    target: PathBuf,
    keep_backup: bool,
    /// A write failed: the file has a hole, and must never get the name of a dump.
    failed: bool,
}

/// A dump that is in its place and survives a crash.
#[derive(Debug)]
pub struct FinishedDump {
    /// How many records it has.
    pub records: u64,
    /// Bytes that they take in it, as dhtdump counts them ([`TcmTotals::record_bytes`]).
    pub record_bytes: u64,
    /// Length of the file, with the padding.
    pub file_bytes: u64,
    /// Why the former dump could not be kept as backup, for the log. The new dump is in place all
    /// the same: the newest data matter more. A file system without hard links is one reason.
    pub backup_error: Option<DiskError>,
}

impl DumpWriter {
    /// Begins the dump of a channel: `<dir>/<channel>.tcm.XXXXXX.dumping`.
    pub fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        channel: &ChannelName,
        options: DumpOptions,
    ) -> Result<Self, DiskError> {
        let name = format!("{channel}{DUMP_SUFFIX}");
        Self::begin(disk, dir, &name, &format!("{name}."), options)
    }

    /// Begins a dump file of any name: `<target>XXXXXX.dumping`. For tcmcli.
    pub fn create_file(
        disk: &Arc<dyn Disk>,
        target: &Path,
        options: DumpOptions,
    ) -> Result<Self, DiskError> {
        let name = target.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "no UTF-8 file name");
            DiskError::new("create", target)(error)
        })?;
        Self::begin(disk, folder_of(target), name, name, options)
    }

    fn begin(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        name: &str,
        prefix: &str,
        options: DumpOptions,
    ) -> Result<Self, DiskError> {
        let (path, file) = disk
            .create_temporary(dir, prefix, UNFINISHED_SUFFIX, options.direct)
            .map_err(DiskError::new("create a temporary dump file in", dir))?;
        let temporary = TemporaryFile { disk: Arc::clone(disk), path, stays: false };
        let encoder = TcmEncoder::new(BlockWriter::new(file))
            .map_err(DiskError::new("write", &temporary.path))?;
        let target = dir.join(name);
        Ok(Self { encoder, temporary, target, keep_backup: options.keep_backup, failed: false })
    }

    /// Appends a record. After an error the dump is lost: drop it.
    pub fn record(&mut self, key: Key, value: &[u8]) -> Result<(), DiskError> {
        self.encoder.record(key, value).map_err(|error| {
            self.failed = true;
            DiskError::new("write", &self.temporary.path)(error)
        })
    }

    /// What was appended so far.
    pub const fn totals(&self) -> TcmTotals {
        self.encoder.totals()
    }

    /// Where the temporary file is, for messages.
    pub fn temporary_path(&self) -> &Path {
        &self.temporary.path
    }

    /// Gives the dump up, but leaves the temporary file where it is, for somebody to look at. It
    /// need not hold all that was appended. Returns its path.
    pub fn leave_unfinished(self) -> PathBuf {
        let mut temporary = self.temporary;
        temporary.stays = true;
        temporary.path.clone()
    }

    /// Completes the dump and puts it in its place. After an error the former dump is in place, or
    /// the new one if only the last step failed, to sync the folder.
    pub fn finish(self) -> Result<FinishedDump, DiskError> {
        let Self { encoder, temporary, target, keep_backup, failed } = self;
        let path = &temporary.path;
        if failed {
            let error = io::Error::other("an earlier write to it failed");
            return Err(DiskError::new("complete", path)(error));
        }
        let (out, totals) = encoder.finish().map_err(DiskError::new("write", path))?;
        let mut file = out.into_file().map_err(DiskError::new("write", path))?;
        file.sync().map_err(DiskError::new("sync", path))?;
        drop(file); // Closed before it gets its name, as everybody expects of a dump.
        temporary.check_length(totals.file_bytes())?;
        let backup_error =
            if keep_backup { keep_as_backup(&*temporary.disk, &target).err() } else { None };
        temporary.replace(&target)?;
        Ok(FinishedDump {
            records: totals.records,
            record_bytes: totals.record_bytes,
            file_bytes: totals.file_bytes(),
            backup_error,
        })
    }
}

/// Gives the dump that is about to be replaced the name of the backup as well. It never loses its
/// own name here, so a crash at any moment finds it in its place.
fn keep_as_backup(disk: &dyn Disk, target: &Path) -> Result<(), DiskError> {
    let mut backup = target.as_os_str().to_owned();
    backup.push(BACKUP_SUFFIX);
    let backup = PathBuf::from(backup);
    let result = match disk.link(target, &backup) {
        // A link never replaces, and a rename between two names of one file would do nothing. The
        // older backup goes only here, when there is a dump to take its place.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(&backup).and_then(|()| disk.link(target, &backup))
        }
        result => result,
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(DiskError::new("keep the former dump as", &backup)),
    }
}

/// A temporary file; it goes with this value unless it took the place of the dump, or is to stay.
struct TemporaryFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// It has another name now, or was left behind on purpose.
    stays: bool,
}

impl TemporaryFile {
    /// The last look before a good dump is replaced: has the file the length that was written?
    fn check_length(&self, expected: u64) -> Result<(), DiskError> {
        let file = self.disk.open(&self.path).map_err(DiskError::new("open", &self.path))?;
        if file.file_bytes == expected {
            return Ok(());
        }
        let error = format!("it has {} bytes, but {expected} were written", file.file_bytes);
        Err(DiskError::new("complete", &self.path)(io::Error::other(error)))
    }

    /// Puts the file in the place of `target`, for good.
    fn replace(mut self, target: &Path) -> Result<(), DiskError> {
        let rename = self.disk.rename(&self.path, target);
        rename.map_err(DiskError::new("rename a finished dump to", target))?;
        self.stays = true;
        let dir = folder_of(target);
        self.disk.sync_dir(dir).map_err(DiskError::new("sync", dir))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.stays {
            // Whoever drops a dump has a reason that was reported; what remains is only litter,
            // and the next start warns of it.
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// The folder that a file lies in; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

/// Collects small writes into large ones that suit direct I/O: aligned in memory, and whole
/// buffers except for the last.
struct BlockWriter {
    file: Box<dyn DiskFile>,
    /// Longer than needed, so that an aligned part of it can be used without unsafe code. Must not
    /// be reallocated.
    memory: Box<[u8]>,
    /// Where the aligned part begins.
    aligned: usize,
    /// Bytes in the aligned part that are not written yet.
    filled: usize,
}

impl BlockWriter {
    fn new(file: Box<dyn DiskFile>) -> Self {
        let memory = vec![0; BUFFER_BYTES + BUFFER_ALIGNMENT_BYTES].into_boxed_slice();
        let beyond = memory.as_ptr().addr() % BUFFER_ALIGNMENT_BYTES;
        let aligned = (BUFFER_ALIGNMENT_BYTES - beyond) % BUFFER_ALIGNMENT_BYTES;
        Self { file, memory, aligned, filled: 0 }
    }

    /// Writes what is left and gives the file back.
    fn into_file(mut self) -> io::Result<Box<dyn DiskFile>> {
        self.flush()?;
        Ok(self.file)
    }
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == BUFFER_BYTES {
            self.flush()?;
        }
        let taken = bytes.len().min(BUFFER_BYTES - self.filled);
        let at = self.aligned + self.filled;
        self.memory[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut rest = &self.memory[self.aligned..self.aligned + self.filled];
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.filled = 0;
        Ok(())
    }
}
