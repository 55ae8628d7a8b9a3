//! A file that lines are appended to, and that can be reopened after a rotation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LogFileError;

/// An open log file. Every line is one write in append mode, so several writers never mix lines.
#[derive(Debug)]
pub struct LogFile {
    /// As configured.
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Whether the last write failed and was reported; the next failures stay quiet.
    failed: bool,
}

impl LogFile {
    /// Opens a file for appending; creates it, and its folder, if need be.
    pub fn open(path: &Path) -> Result<Self, LogFileError> {
        let file = open(path)?;
        Ok(Self { path: path.to_owned(), open: Mutex::new(Open { file, failed: false }) })
    }

    /// Appends one line, which brings its line end. A failure is told on stderr once: there is no
    /// log to tell it to.
    pub fn append(&self, line: &[u8]) {
        let mut open = self.lock();
        match open.file.write_all(line) {
            Ok(()) => open.failed = false,
            Err(_) if open.failed => {}
            Err(error) => {
                open.failed = true;
                let path = self.path.display();
                let _ = writeln!(io::stderr(), "cannot write to log file '{path}': {error}");
            }
        }
    }

    /// Opens the file of that name anew; on an error lines go on to the old one.
    pub fn reopen(&self) -> Result<(), LogFileError> {
        let file = open(&self.path)?;
        *self.lock() = Open { file, failed: false };
        Ok(())
    }

    /// Whether `path` is its path, as configured or absolute.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        self.path == path || std::path::absolute(&self.path).is_ok_and(|own| own == path)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A panic between two lines leaves nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens for appending; creates the folder too, which the original does not.
fn open(path: &Path) -> Result<File, LogFileError> {
    let open = || {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        OpenOptions::new().append(true).create(true).open(path)
    };
    open().map_err(|source| LogFileError { file: path.to_owned(), source })
}
