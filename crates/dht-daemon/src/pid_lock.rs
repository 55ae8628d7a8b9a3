//! The pid file: at most one instance for each `[PidLock] path`.
//!
//! The lock is an fcntl lock over the whole file, which holds `<pid>\n`. A crash leaves the file,
//! but no lock, so that the next start succeeds.
//!
//! Source: spec `node` 5; `file-formats` 9.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

/// How often the file may vanish between opening and locking it. Each time, another instance has
/// just ended; more than one in a row is no coincidence.
const ATTEMPTS_MAX: usize = 10;
/// A pid has at most this many digits.
const PID_BYTES_MAX: u64 = 20;

/// A held lock. Dropping it removes the file and releases the lock.
#[derive(Debug)]
pub struct PidLock {
    path: PathBuf,
    /// Holds the lock while it is open.
    _file: File,
}

/// Why there is no lock. The process ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum PidLockError {
    /// Another process has it.
    #[error(
        "Couldn't lock the pid lock file '{}'. Probably another instance of the application is \
         running.{} Stop it first, or give this one another [PidLock] path.",
        .path.display(), holder_text(.holder)
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// What the file says about who has it; may be empty.
        holder: String,
    },
    /// The file cannot be used.
    #[error("cannot use the pid lock file '{}': {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// ` It is process N.`, or nothing.
fn holder_text(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(" It is process {holder}.") }
}

impl PidLock {
    /// Takes the lock and writes this process's id.
    pub fn acquire(path: &Path) -> Result<Self, PidLockError> {
        let io = |source| PidLockError::Io { path: path.to_owned(), source };
        for _ in 0..ATTEMPTS_MAX {
            let mut file = open(path).map_err(io)?;
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::ACCESS | Errno::AGAIN) => return Err(held(path, file)),
                Err(errno) => return Err(io(errno.into())),
            }
            // The instance that had the lock may have removed the file since we opened it.
            if is_still_at(&file, path) {
                write_pid(&mut file).map_err(io)?;
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
        Err(io(io::Error::other("it is removed again and again by another process")))
    }
}

impl Drop for PidLock {
    fn drop(&mut self) {
        // Removed while it is still locked: nobody can have taken it over. If somebody else has
        // removed it already, that is all right.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// The error, with the pid that the file names.
fn held(path: &Path, file: File) -> PidLockError {
    let mut holder = String::new();
    let read = file.take(PID_BYTES_MAX).read_to_string(&mut holder);
    let holder = holder.trim();
    let is_pid = read.is_ok() && holder.bytes().all(|byte| byte.is_ascii_digit());
    let holder = if is_pid { holder.to_owned() } else { String::new() };
    PidLockError::Held { path: path.to_owned(), holder }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_file_holds_the_pid_and_vanishes_with_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid.lock");
        fs::write(&path, "99999999 left by a crash").unwrap();
        let lock = PidLock::acquire(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(lock);
        assert!(!path.exists());
        drop(PidLock::acquire(&path).unwrap());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = PidLock::acquire(Path::new("/nonexistent/pid.lock")).unwrap_err();
        let expected = "cannot use the pid lock file '/nonexistent/pid.lock': No such file";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    /// What the child process of the next test is to lock.
    const CHILD_PATH: &str = "DHT_PID_LOCK_TEST_PATH";

    /// Does nothing unless the next test starts it: fcntl locks only exclude other processes.
    #[test]
    fn child_holds_the_lock() {
        let Some(path) = std::env::var_os(CHILD_PATH) else { return };
        let _lock = PidLock::acquire(Path::new(&path)).unwrap();
        eprintln!("locked");
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }

    #[test]
    fn a_second_process_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid.lock");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "pid_lock::tests::child_holds_the_lock", "--nocapture"])
            .env(CHILD_PATH, &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 7];
        child.stderr.take().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"locked\n");
        let error = PidLock::acquire(&path).unwrap_err();
        let expected = format!(
            "Couldn't lock the pid lock file '{}'. Probably another instance of the application \
             is running. It is process {}.",
            path.display(),
            child.id()
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert!(!path.exists());
    }
}
