//! Writes a dump so that it appears under its name as a whole or not at all.
//!
//! ```text
//! create     <channel>.tcm.XXXXXX.dumping       new file, mode 0600
//! record     ... any number      through a buffer of 256 KiB, past the page cache one of 8 MiB
//! complete   end marker, padding, sync the file, compare its length     slow: may take minutes
//!            <channel>.tcm.YYYYYY.dumping       the manifest, synced
//! commit     <channel>.tcm also gets the name <channel>.tcm.backup      short: changes of names
//!            its manifest is renamed to <channel>.tcm.manifest.old
//!            the new file is renamed to <channel>.tcm, the manifest to <channel>.tcm.manifest
//!            sync the folder
//! ```
//!
//! `<channel>.tcm` is a complete dump at every moment, if there was one before. Whatever fails
//! before the rename, the temporary files are removed and nothing has changed. A manifest speaks of
//! one file only (see `manifest`), so the order of the renames, and which of them survives a
//! crash, do not matter. One that cannot be written does not keep the dump from its place, unless
//! it has a position in the log: without it, nobody could tell of which of several channels of one
//! name the dump is.
//!
//! Source: spec `node` 12.2, `file-formats` 2.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use dht_types::{ChannelName, Key};

use crate::{
    blocks::{BlockWriter, write_all},
    disk::{Disk, DiskError, FileIdentity, OpenFile},
    folder::{
        BACKUP_SUFFIX, DUMP_SUFFIX, MANIFEST_SUFFIX, OLD_MANIFEST_SUFFIX, UNFINISHED_SUFFIX,
        with_suffix,
    },
    manifest::{LogPosition, Manifest},
    tcm::{TcmEncoder, TcmTotals},
};

/// How to write a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpOptions {
    /// Bypass the page cache where the file system can do so (`disable_direct_io = false`).
    pub direct: bool,
    /// Keep the dump that is replaced as `<channel>.tcm.backup`.
    pub keep_backup: bool,
}

/// A dump that is being written. If it is dropped, the temporary file is removed and the former
/// dump stays as it is.
pub struct DumpWriter {
    encoder: TcmEncoder<BlockWriter>,
    temporary: TemporaryFile,
    target: PathBuf,
    keep_backup: bool,
    /// What the name of its manifest in the making begins with; none if it gets no manifest.
    manifest_prefix: Option<String>,
    log_position: Option<LogPosition>,
    /// A write failed: the file has a hole, and must never get the name of a dump.
    failed: bool,
}

/// A dump that is whole and synced, but has not its name yet. If it is dropped, it is removed and
/// the former dump stays as it is.
///
/// Whoever removes the channel meanwhile must see to it that this is dropped, or the dump brings
/// the channel back.
pub struct CompletedDump {
    temporary: TemporaryFile,
    target: PathBuf,
    keep_backup: bool,
    totals: TcmTotals,
    manifest: Option<Result<TemporaryFile, DiskError>>,
    direct_was_refused: bool,
    /// The file that becomes the backup has a manifest, which goes with it.
    backup_has_manifest: bool,
    replaced: Option<OpenFile>,
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
    /// Why the dump has no manifest, for the log. It is loaded all the same, but not verified.
    pub manifest_error: Option<DiskError>,
    /// The page cache was to be bypassed, and the file system cannot do that. For the log, once.
    pub direct_was_refused: bool,
    /// The file that lost its last name to the new dump. Its blocks are given back when this is
    /// dropped, which takes the longer the larger it is: not in [`CompletedDump::commit`].
    _replaced: Option<OpenFile>,
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
        let prefix = format!("{name}.");
        let writer = Self::begin(disk, dir, &name, &prefix, options)?;
        Ok(Self { manifest_prefix: Some(prefix), ..writer })
    }

    /// Begins a dump file of any name: `<target>XXXXXX.dumping`. It gets no manifest. For tcmcli.
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
        let keep_backup = options.keep_backup;
        Ok(Self {
            encoder,
            temporary,
            target,
            keep_backup,
            manifest_prefix: None,
            log_position: None,
            failed: false,
        })
    }

    /// Tells where the log is now, before the first record is read: its manifest keeps that.
    pub fn set_log_position(&mut self, position: LogPosition) {
        self.log_position = Some(position);
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
        self.complete()?.commit()
    }

    /// Writes what is left, and returns when all of it survives a crash: as long as the disk takes.
    pub fn complete(self) -> Result<CompletedDump, DiskError> {
        let Self { encoder, temporary, target, keep_backup, manifest_prefix, .. } = self;
        let path = &temporary.path;
        if self.failed {
            let error = io::Error::other("an earlier write to it failed");
            return Err(DiskError::new("complete", path)(error));
        }
        let (out, totals) = encoder.finish().map_err(DiskError::new("write", path))?;
        let (mut file, checksums) = out.into_file().map_err(DiskError::new("write", path))?;
        file.sync().map_err(DiskError::new("sync", path))?;
        let direct_was_refused = file.direct_was_refused();
        drop(file); // Closed before it gets its name, as everybody expects of a dump.
        let identity = temporary.check_length(totals.file_bytes())?;
        let needs_manifest = self.log_position.is_some();
        let manifest = manifest_prefix.map(|prefix| {
            let manifest = Manifest::new(totals, checksums, identity, self.log_position);
            let text = manifest.to_text();
            TemporaryFile::write(&temporary.disk, folder_of(&target), &prefix, text.as_bytes())
        });
        let manifest = match manifest {
            Some(Err(error)) if needs_manifest => return Err(error),
            manifest => manifest,
        };
        let backup = with_suffix(&target, BACKUP_SUFFIX);
        let replaced = temporary.disk.open(if keep_backup { &backup } else { &target }).ok();
        let backup_has_manifest = keep_backup && has_manifest(&*temporary.disk, &target);
        Ok(CompletedDump {
            temporary,
            target,
            keep_backup,
            totals,
            manifest,
            direct_was_refused,
            backup_has_manifest,
            replaced,
        })
    }
}

impl CompletedDump {
    /// Puts the dump in its place: some changes of names and a sync of the folder, whatever the
    /// size of the dump. After an error the former dump is in place, or the new one if only the
    /// last step failed, to sync the folder.
    pub fn commit(self) -> Result<FinishedDump, DiskError> {
        let Self { temporary, target, keep_backup, totals, manifest, replaced, .. } = self;
        let disk = Arc::clone(&temporary.disk);
        let keep = || keep_as_backup(&*disk, &target, self.backup_has_manifest);
        let backup_error = if keep_backup { keep().err() } else { None };
        temporary.rename("rename a finished dump to", &target)?;
        let manifest_error = manifest.and_then(|manifest| {
            let rename = |manifest: TemporaryFile| {
                manifest.rename("rename a manifest to", &with_suffix(&target, MANIFEST_SUFFIX))
            };
            manifest.and_then(rename).err()
        });
        let dir = folder_of(&target);
        disk.sync_dir(dir).map_err(DiskError::new("sync", dir))?;
        Ok(FinishedDump {
            records: totals.records,
            record_bytes: totals.record_bytes,
            file_bytes: totals.file_bytes(),
            backup_error,
            manifest_error,
            direct_was_refused: self.direct_was_refused,
            _replaced: replaced,
        })
    }
}

/// Whether the manifest in the place of that of a dump may belong to it. If that cannot be told, it
/// may: a manifest never does harm, as it speaks of one file only.
fn has_manifest(disk: &dyn Disk, target: &Path) -> bool {
    let Ok(file) = disk.open(target) else { return true };
    match Manifest::read(disk, &with_suffix(target, MANIFEST_SUFFIX)) {
        Ok(manifest) => manifest.is_some_and(|manifest| manifest.belongs_to(&file)),
        Err(_) => true,
    }
}

/// Gives the dump that is about to be replaced the name of the backup as well. It never loses its
/// own name here, so a crash at any moment finds it in its place. Its manifest goes with it; one
/// of a backup that an operator gave the name of the dump is there already.
fn keep_as_backup(disk: &dyn Disk, target: &Path, has_manifest: bool) -> Result<(), DiskError> {
    let backup = with_suffix(target, BACKUP_SUFFIX);
    let result = match disk.link(target, &backup) {
        // A link never replaces, and a rename between two names of one file would do nothing. The
        // older backup goes only here, when there is a dump to take its place.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(&backup).and_then(|()| disk.link(target, &backup))
        }
        result => result,
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.map_err(DiskError::new("keep the former dump as", &backup))?,
    }
    if !has_manifest {
        return Ok(());
    }
    let [manifest, old] = [MANIFEST_SUFFIX, OLD_MANIFEST_SUFFIX].map(|s| with_suffix(target, s));
    match disk.rename(&manifest, &old) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(DiskError::new("keep the former manifest as", &old)),
    }
}

/// A temporary file; it goes with this value unless it got another name, or is to stay.
struct TemporaryFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// It has another name now, or was left behind on purpose.
    stays: bool,
}

impl TemporaryFile {
    /// A new one with this content, synced.
    fn write(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        prefix: &str,
        bytes: &[u8],
    ) -> Result<Self, DiskError> {
        let (path, mut file) = disk
            .create_temporary(dir, prefix, UNFINISHED_SUFFIX, false)
            .map_err(DiskError::new("create a temporary file in", dir))?;
        let temporary = Self { disk: Arc::clone(disk), path, stays: false };
        write_all(&mut *file, bytes).map_err(DiskError::new("write", &temporary.path))?;
        file.sync().map_err(DiskError::new("sync", &temporary.path))?;
        Ok(temporary)
    }

    /// The last look before a good dump is replaced: has the file the length that was written?
    /// Returns which file it is. It is synced and closed, so its time of change is final.
    fn check_length(&self, expected: u64) -> Result<FileIdentity, DiskError> {
        let file = self.disk.open(&self.path).map_err(DiskError::new("open", &self.path))?;
        if file.file_bytes == expected {
            return Ok(file.identity);
        }
        let error = format!("it has {} bytes, but {expected} were written", file.file_bytes);
        Err(DiskError::new("complete", &self.path)(io::Error::other(error)))
    }

    /// Gives it its name.
    fn rename(mut self, action: &'static str, target: &Path) -> Result<(), DiskError> {
        self.disk.rename(&self.path, target).map_err(DiskError::new(action, target))?;
        self.stays = true;
        Ok(())
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
