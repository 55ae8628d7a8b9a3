//! The boundary to the file system: what dump files need of it, and what they may rely on.
//!
//! [`crate::OsDisk`] is the real one. The tests have one in memory that fails, writes short, runs
//! full, and forgets at a crash what was not synced.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file system as far as dump files need it.
///
/// Promises of every implementation:
/// - a change of names (create, link, rename, remove) is seen at once by all and is atomic: before
///   or after a crash it has happened as a whole or not at all;
/// - it surely survives a crash once [`Disk::sync_dir`] of the folder has returned; until then it
///   may or may not, each change for itself;
/// - the content of a file survives once [`DiskFile::sync`] has returned.
pub trait Disk: Send + Sync {
    /// Makes and opens a new file, mode 0600, in `dir`. Its name is `prefix`, six random ASCII
    /// letters or digits, `suffix`; never that of an existing file. Returns its path as well.
    ///
    /// `direct` asks to bypass the page cache. Where that cannot be had, the file is an ordinary
    /// one: it is a wish, not a condition.
    fn create_temporary(
        &self,
        dir: &Path,
        prefix: &str,
        suffix: &str,
        direct: bool,
    ) -> io::Result<(PathBuf, Box<dyn DiskFile>)>;

    /// Makes and opens a new file of this name, mode 0600, to be written piece by piece. An
    /// existing one of that name is an error.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SharedFile>>;

    /// Cuts a file to this length, and returns when that survives a crash.
    fn truncate(&self, path: &Path, file_bytes: u64) -> io::Result<()>;

    /// Opens a file for reading. Anything but a regular file is an error.
    fn open(&self, path: &Path) -> io::Result<OpenFile>;

    /// What lies in a folder, in any order. An entry that vanishes meanwhile may be left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Gives a file a second name. `AlreadyExists` if there is a file of that name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name, replacing a file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name of a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder. That it exists already is a success.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns when all changes of names in `dir` survive a crash.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is being written, from its begin to its end.
pub trait DiskFile: Send {
    /// Appends the first bytes of `bytes`; returns how many. 0 only if `bytes` is empty or the
    /// file takes no more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns when all that was written survives a crash. After an error nothing is known about
    /// any of it, and a second call proves nothing.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether writes go past the page cache, so that large ones suit the file.
    fn bypasses_cache(&self) -> bool {
        false
    }

    /// Whether the page cache was to be bypassed, and the file system cannot do that.
    fn direct_was_refused(&self) -> bool {
        false
    }
}

/// A file that one thread writes while another one syncs it.
pub trait SharedFile: Send + Sync {
    /// Writes the first bytes of `bytes` at `offset`, which is at most the file's length; returns
    /// how many. 0 only if `bytes` is empty or the file takes no more.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Returns when all that was written before the call survives a crash. After an error: see
    /// [`DiskFile::sync`].
    fn sync(&self) -> io::Result<()>;
}

/// A file that is open for reading.
pub struct OpenFile {
    /// Its content, from the begin.
    pub content: Box<dyn Read + Send>,
    /// Its length in bytes when it was opened.
    pub file_bytes: u64,
    /// Which file it is.
    pub identity: FileIdentity,
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What tells a file from every other file that has its name at another time. Links and renames
/// do not change it; a change of the content does, and so does a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// The number of the file: no two files of a file system have the same one at a time.
    pub inode: u64,
    /// When the content was changed last: nanoseconds since 1970.
    pub modified_ns: i128,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name in the folder.
    pub name: OsString,
    /// What it is; symbolic links are followed.
    pub kind: FileKind,
    /// Length in bytes; means something for [`FileKind::File`] only.
    pub file_bytes: u64,
}

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A pipe, a device, a symbolic link to nothing.
    Other,
}

/// Something could not be done to a file. The caller logs it; it can do no more about one than
/// about the other.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct DiskError {
    /// What was tried: `rename`, `sync`, ...
    pub action: &'static str,
    /// The file or folder it was tried on.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// For `map_err`: names what was tried on what.
    pub fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}
