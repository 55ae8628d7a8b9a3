//! A file system in memory that fails on request and forgets at a crash what was not synced.
//!
//! For tests (feature `memory-disk`): those of this crate, and of whoever else writes to a disk.

#![allow(clippy::missing_panics_doc, reason = "a test that holds this lock has panicked")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test ends")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Cursor},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::disk::{DirEntry, Disk, DiskFile, FileIdentity, FileKind, OpenFile, SharedFile};

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// What goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The call with this number, from 0, fails.
    pub failing_call: Option<usize>,
    /// The failing call does its work nevertheless.
    pub fails_after_work: bool,
    /// This call and all later ones fail: the machine is gone.
    pub dead_from_call: Option<usize>,
    /// All files together hold no more.
    pub capacity_bytes: Option<usize>,
    /// A write takes at most this many bytes; every other one is interrupted.
    pub short_write_bytes: Option<usize>,
}

#[derive(Default, Clone)]
struct State {
    folders: BTreeSet<PathBuf>,
    /// Every file ever made, by number.
    files: Vec<FileState>,
    names: Names,
    /// The names that surely survive a crash.
    durable_names: Names,
    /// Changes of names that are not synced, in order.
    pending: Vec<NameChange>,
    faults: Faults,
    calls: usize,
    temporary_names: usize,
}

type Names = BTreeMap<PathBuf, usize>;

/// What a disk writes at a time.
const SECTOR_BYTES: usize = 512;

/// Files are written from their begin to their end, so a length says what is durable.
#[derive(Default, Clone)]
struct FileState {
    bytes: Vec<u8>,
    synced_bytes: usize,
    /// A sync has failed: what is behind this never survives for sure, whatever a later sync says.
    lost_from: Option<usize>,
}

/// A name goes, a name comes, or (a rename) both at once.
#[derive(Clone)]
struct NameChange {
    gone: Option<PathBuf>,
    come: Option<PathBuf>,
    file: usize,
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some(come) = &self.come {
            names.insert(come.clone(), self.file);
        }
    }

    fn touches(&self, dir: &Path) -> bool {
        [&self.gone, &self.come].into_iter().flatten().any(|path| path.parent() == Some(dir))
    }
}

impl MemoryDisk {
    /// A disk with one folder, which is durable.
    pub fn with_folder(dir: &str) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().folders.insert(dir.into());
        disk
    }

    /// From now on these faults; calls are counted from 0 again.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.0.lock().unwrap();
        (state.faults, state.calls) = (faults, 0);
    }

    /// Calls since the faults were set.
    pub fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    /// Puts a file there that is durable.
    pub fn place(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.0.lock().unwrap();
        let file = state.files.len();
        state.files.push(FileState {
            bytes: bytes.to_vec(),
            synced_bytes: bytes.len(),
            lost_from: None,
        });
        state.names.insert(path.to_owned(), file);
        state.durable_names.insert(path.to_owned(), file);
    }

    /// Flips a bit of a file as a failing medium does: nothing else of the file changes.
    pub fn flip_bit(&self, path: &Path, byte: usize, bit: usize) {
        let mut state = self.0.lock().unwrap();
        let file = state.names[path];
        state.files[file].bytes[byte] ^= 1 << bit;
    }

    /// The disk as it may be found after the power failed: of the changes of names that were not
    /// synced some have happened, and of the bytes that were not synced some are there, and some
    /// are zero, from some point on or in some sectors. `random` gives a number below another one.
    #[must_use]
    pub fn after_crash(&self, random: &mut dyn FnMut(u64) -> u64) -> Self {
        let mut state = self.0.lock().unwrap().clone();
        let mut names = std::mem::take(&mut state.durable_names);
        for change in state.pending.drain(..) {
            if random(2) == 0 {
                change.apply(&mut names);
            }
        }
        let mut within = |from: usize, to: usize| {
            from + usize::try_from(random((to - from + 1) as u64)).expect("below a length")
        };
        for file in &mut state.files {
            let synced = file.synced_bytes;
            file.bytes.truncate(within(synced, file.bytes.len()));
            let len = file.bytes.len();
            match within(0, 2) {
                0 => file.bytes[within(synced, len)..].fill(0),
                1 => {
                    for start in (synced..len).step_by(SECTOR_BYTES) {
                        if within(0, 2) == 0 {
                            file.bytes[start..len.min(start + SECTOR_BYTES)].fill(0);
                        }
                    }
                }
                _ => {}
            }
            file.synced_bytes = len;
        }
        state.names = names.clone();
        state.durable_names = names;
        state.faults = Faults::default();
        Self(Arc::new(Mutex::new(state)))
    }

    /// The disk as it is, cut off from this one: what a process finds that is started after
    /// another one was killed.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let mut state = self.0.lock().unwrap().clone();
        state.faults = Faults::default();
        Self(Arc::new(Mutex::new(state)))
    }

    /// One call from outside: counted, and failing if that is its fate.
    fn call<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        let (call, faults) = (state.calls, state.faults);
        state.calls += 1;
        if faults.dead_from_call.is_some_and(|first| call >= first) {
            return Err(io::Error::other("the machine is gone"));
        }
        if faults.failing_call == Some(call) {
            if faults.fails_after_work {
                let _ = work(&mut state);
            }
            return Err(io::Error::other("injected"));
        }
        work(&mut state)
    }
}

impl State {
    fn file(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, gone: Option<&Path>, come: Option<&Path>, file: usize) -> io::Result<()> {
        let dir = come.and_then(Path::parent);
        if dir.is_some_and(|dir| !self.folders.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (gone, come) = (gone.map(Path::to_owned), come.map(Path::to_owned));
        let change = NameChange { gone, come, file };
        change.apply(&mut self.names);
        self.pending.push(change);
        Ok(())
    }

    fn free_bytes(&self) -> usize {
        let files: BTreeSet<usize> = self.names.values().copied().collect();
        let used: usize = files.iter().map(|file| self.files[*file].bytes.len()).sum();
        self.faults.capacity_bytes.map_or(usize::MAX, |capacity| capacity.saturating_sub(used))
    }
}

impl Disk for MemoryDisk {
    fn create_temporary(
        &self,
        dir: &Path,
        prefix: &str,
        suffix: &str,
        direct: bool,
    ) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
        self.call(|state| {
            let path = dir.join(format!("{prefix}{:06}{suffix}", state.temporary_names));
            state.temporary_names += 1;
            let number = state.files.len();
            state.change(None, Some(&path), number)?;
            state.files.push(FileState::default());
            let disk = self.clone();
            // It has no way around a page cache that it has not.
            let file = MemoryFile { disk, number, direct_was_refused: direct };
            Ok((path, Box::new(file) as Box<dyn DiskFile>))
        })
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn SharedFile>> {
        self.call(|state| {
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let number = state.files.len();
            state.change(None, Some(path), number)?;
            state.files.push(FileState::default());
            let (disk, direct_was_refused) = (self.clone(), false);
            let file = MemoryFile { disk, number, direct_was_refused };
            Ok(Arc::new(file) as Arc<dyn SharedFile>)
        })
    }

    fn truncate(&self, path: &Path, file_bytes: u64) -> io::Result<()> {
        self.call(|state| {
            let number = state.file(path)?;
            let file = &mut state.files[number];
            file.bytes.truncate(usize::try_from(file_bytes).expect("it is in memory"));
            file.synced_bytes = file.bytes.len();
            Ok(())
        })
    }

    fn open(&self, path: &Path) -> io::Result<OpenFile> {
        self.call(|state| {
            let number = state.file(path)?;
            let bytes = state.files[number].bytes.clone();
            let file_bytes = bytes.len() as u64;
            // The worst clock: it stands still.
            let identity = FileIdentity { inode: number as u64, modified_ns: 0 };
            Ok(OpenFile { content: Box::new(Cursor::new(bytes)), file_bytes, identity })
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.call(|state| {
            let entry = |path: &Path, kind, bytes: usize| DirEntry {
                name: path.file_name().unwrap().to_owned(),
                kind,
                file_bytes: bytes as u64,
            };
            let folders = state.folders.iter().map(|path| (path, FileKind::Folder, 0));
            let files = state.names.iter();
            let files =
                files.map(|(path, file)| (path, FileKind::File, state.files[*file].bytes.len()));
            let all = folders.chain(files).filter(|(path, ..)| path.parent() == Some(dir));
            Ok(all.map(|(path, kind, bytes)| entry(path, kind, bytes)).collect())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| {
            let file = state.file(from)?;
            if state.names.contains_key(to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.change(None, Some(to), file)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| {
            let file = state.file(from)?;
            // As POSIX has it: two names of one file stay two names.
            if state.file(to).is_ok_and(|other| other == file) {
                return Ok(());
            }
            state.change(Some(from), Some(to), file)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|state| {
            let file = state.file(path)?;
            state.change(Some(path), None, file)
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(|state| {
            state.folders.insert(path.to_owned());
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(|state| {
            let State { pending, durable_names, .. } = state;
            pending.retain(|change| {
                let synced = change.touches(dir);
                if synced {
                    change.apply(durable_names);
                }
                !synced
            });
            Ok(())
        })
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    number: usize,
    direct_was_refused: bool,
}

impl MemoryFile {
    fn write_from(&self, bytes: &[u8], offset: Option<usize>) -> io::Result<usize> {
        self.disk.call(|state| {
            let short = state.faults.short_write_bytes;
            if short.is_some() && state.calls.is_multiple_of(2) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = bytes.len().min(short.unwrap_or(usize::MAX)).min(state.free_bytes());
            if len == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = &mut state.files[self.number];
            let offset = offset.unwrap_or(file.bytes.len());
            file.synced_bytes = file.synced_bytes.min(offset);
            file.bytes.truncate(offset);
            file.bytes.extend_from_slice(&bytes[..len]);
            Ok(len)
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        let result = self.disk.call(|state| {
            let file = &mut state.files[self.number];
            file.synced_bytes = file.bytes.len().min(file.lost_from.unwrap_or(usize::MAX));
            Ok(())
        });
        if result.is_err() {
            // As a system does that takes pages for clean whose writing has failed.
            let file = &mut self.disk.0.lock().unwrap().files[self.number];
            file.lost_from.get_or_insert(file.synced_bytes);
        }
        result
    }
}

impl DiskFile for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_from(bytes, None)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }

    fn direct_was_refused(&self) -> bool {
        self.direct_was_refused
    }
}

impl SharedFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.write_from(bytes, Some(usize::try_from(offset).expect("it is in memory")))
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}
