//! The file system, until the process is told to stop.
//!
//! A signal ends the process at once, in the middle of a dump. What must not remain is the
//! temporary file: so its name is remembered here, and [`StoppableDisk::stop`] removes it. From
//! then on no operation that changes a name returns: no new file appears behind the stop's back,
//! and the dump thread, which would take a failure for one of the disk, says nothing any more.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dht_dump::{DirEntry, Disk, DiskFile, OpenFile, SharedFile};

/// See the module.
pub(crate) struct StoppableDisk<D> {
    disk: D,
    names: Mutex<Names>,
}

/// Held for each change of a name, so that a stop comes before or after it.
#[derive(Default)]
struct Names {
    stopped: bool,
    /// Temporary files that exist: one for each dump that is being written.
    temporary: Vec<PathBuf>,
}

impl<D: Disk> StoppableDisk<D> {
    pub(crate) fn new(disk: D) -> Self {
        Self { disk, names: Mutex::default() }
    }

    /// Removes all temporary files. The process must end soon: whoever uses the disk waits for
    /// ever.
    pub(crate) fn stop(&self) {
        let mut names = self.lock();
        names.stopped = true;
        for path in names.temporary.drain(..) {
            if let Err(error) = self.disk.remove(&path) {
                log::warn!("cannot remove the partial dump file '{}': {error}", path.display());
            }
        }
    }

    /// The names, to change one. Never returns after a stop.
    fn names(&self) -> MutexGuard<'_, Names> {
        let names = self.lock();
        if names.stopped {
            drop(names);
            loop {
                std::thread::park();
            }
        }
        names
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        // The list is whole after each operation on it, also if one panicked.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Disk> Disk for StoppableDisk<D> {
    fn create_temporary(
        &self,
        dir: &Path,
        prefix: &str,
        suffix: &str,
        direct: bool,
    ) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
        let mut names = self.names();
        let (path, file) = self.disk.create_temporary(dir, prefix, suffix, direct)?;
        names.temporary.push(path.clone());
        Ok((path, file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn SharedFile>> {
        self.disk.create(path)
    }

    fn truncate(&self, path: &Path, file_bytes: u64) -> io::Result<()> {
        self.disk.truncate(path, file_bytes)
    }

    fn open(&self, path: &Path) -> io::Result<OpenFile> {
        self.disk.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _names = self.names();
        self.disk.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names();
        self.disk.rename(from, to)?;
        names.temporary.retain(|path| path != from);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names();
        self.disk.remove(path)?;
        names.temporary.retain(|temporary| temporary != path);
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let _names = self.names();
        self.disk.create_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {

    use dht_dump::{DumpOptions, DumpWriter, OsDisk};
    use dht_types::Key;

    use super::*;

    fn names_in(dir: &Path) -> Vec<String> {
        let entries = OsDisk.list(dir).unwrap();
        let names = entries.into_iter().map(|entry| entry.name.into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_stop_removes_the_dump_in_progress_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let stoppable = Arc::new(StoppableDisk::new(OsDisk));
        let disk: Arc<dyn Disk> = stoppable.clone();
        let begin = |name: &str| {
            let options = DumpOptions { direct: false, keep_backup: true };
            DumpWriter::create(&disk, dir.path(), &name.parse().unwrap(), options).unwrap()
        };
        begin("finished").finish().unwrap();
        drop(begin("dropped"));
        let mut writer = begin("halfway");
        writer.record(Key(1), b"value").unwrap();
        assert_eq!(names_in(dir.path()).len(), 3);
        stoppable.stop();
        assert_eq!(names_in(dir.path()), ["finished.tcm", "finished.tcm.manifest"]);
        // What follows would never return.
        drop(writer.leave_unfinished());
    }
}
