//! Logs: the backend of the `log` facade, configured as the original is.
//!
//! ```text
//! log::info!(target: "dhtnode.main", ..)      `::` in a target becomes `.`
//!   > router    logger "dhtnode.main": level? then it and its parents "dhtnode", "" (Root):
//!     > appender  console | file | syslog, at most one of each class for an event
//!       > layout    the line's bytes
//! ```
//!
//! A [`Logs`] is a handle; clones share everything. An appender has a mutex of its own, held for
//! one write. Nothing is buffered: a line is in the file when the call returns.
//!
//! Source: spec `node` 8; `file-formats` 7.

mod appender;
mod config;
mod file;
mod layout;
mod level;
mod repeats;
mod router;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use appender::{WriteWithin, write_console_within};
pub use config::{BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MAX, LogConfig, LoggerConfig, Threshold};
pub use file::LogFile;
pub use layout::{Layout, stats_line};
pub use level::{Level, LogCounts};
pub use repeats::WINDOW_S as REPEAT_WINDOW_S;

use router::Router;

/// The logs that [`Logs::install`] made those of the process.
static INSTALLED: OnceLock<Logs> = OnceLock::new();

/// All loggers and appenders of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct Logs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    router: Router,
    /// Every file that a rotation must reopen.
    files: Mutex<Vec<Arc<LogFile>>>,
}

/// A log file that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open log file '{}': {source} (check that its folder can be written)",
    .file.display()
)]
pub struct LogFileError {
    /// The file.
    pub file: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

impl Logs {
    /// Opens all appenders. `app_name` marks the lines in the system log.
    pub fn open(config: &LogConfig, app_name: &str) -> Result<Self, LogFileError> {
        let mut files = Vec::new();
        let router = Router::new(config, app_name, &mut files)?;
        Ok(Self(Arc::new(Shared { router, files: Mutex::new(files) })))
    }

    /// Makes these the logs of the process: what `log::info!` and [`fatal!`](crate::fatal) write
    /// to. False if the process already has some.
    #[must_use]
    pub fn install(&self) -> bool {
        if INSTALLED.set(self.clone()).is_err()
            || ::log::set_boxed_logger(Box::new(self.clone())).is_err()
        {
            return false;
        }
        ::log::set_max_level(self.0.router.facade_filter());
        true
    }

    /// Logs one event, now.
    pub fn event(&self, target: &str, level: Level, message: fmt::Arguments<'_>) {
        self.0.router.event(target, level, message, &jiff::Zoned::now(), None);
    }

    /// Whether anybody would see an event.
    #[must_use]
    pub fn enabled(&self, target: &str, level: Level) -> bool {
        self.0.router.enabled(target, level)
    }

    /// Whether an event would be seen on the console, so that nobody tells the same there again.
    #[must_use]
    pub fn on_console(&self, target: &str, level: Level) -> bool {
        self.0.router.on_console(target, level)
    }

    /// Number of events of each level since the last call; the `logged_*` figures of the stats.
    #[must_use]
    pub fn take_counts(&self) -> LogCounts {
        self.0.router.tell_left_out(&jiff::Zoned::now());
        self.0.router.take_counts()
    }

    /// Opens a file that is not a logger's, such as the stats log, and reopens it with the others.
    pub fn open_file(&self, path: &Path) -> Result<Arc<LogFile>, LogFileError> {
        let file = Arc::new(LogFile::open(path)?);
        self.files().push(Arc::clone(&file));
        Ok(file)
    }

    /// Closes and opens every file again, for log rotation (SIGHUP). A file that cannot be opened
    /// goes on where it was; all such files are reported.
    #[must_use]
    pub fn reopen(&self) -> Vec<LogFileError> {
        self.files().iter().filter_map(|file| file.reopen().err()).collect()
    }

    /// Reopens one file, given by its configured or its absolute path. `None` if there is no such
    /// file.
    #[must_use]
    pub fn reopen_file(&self, path: &Path) -> Option<Result<(), LogFileError>> {
        let mut found = None;
        // Two loggers may write to one file; each has it open.
        for file in self.files().iter().filter(|file| file.is_at(path)) {
            let result = file.reopen();
            found = Some(found.unwrap_or(Ok(())).and(result));
        }
        found
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Vec<Arc<LogFile>>> {
        // The list is whole after each operation on it, also if one panicked.
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ::log::Log for Logs {
    fn enabled(&self, metadata: &::log::Metadata<'_>) -> bool {
        self.enabled(metadata.target(), metadata.level().into())
    }

    fn log(&self, record: &::log::Record<'_>) {
        let (time, level) = (jiff::Zoned::now(), record.level().into());
        let place = record.file_static().zip(record.line());
        self.0.router.event(record.target(), level, *record.args(), &time, place);
    }

    fn flush(&self) {}
}

/// Logs an event of level Fatal, which the facade does not have. Without installed logs it goes to
/// stderr. Use [`fatal!`](crate::fatal).
pub fn fatal(target: &str, message: fmt::Arguments<'_>) {
    match INSTALLED.get() {
        Some(logs) => logs.event(target, Level::Fatal, message),
        None => eprintln!("Fatal [{target}] - {message}"),
    }
}

/// Logs an event of level Fatal: `fatal!(target: "dhtnode.main", "no memory: {error}")`.
#[macro_export]
macro_rules! fatal {
    (target: $target:expr, $($message:tt)+) => {
        $crate::log::fatal($target, ::std::format_args!($($message)+))
    };
}

#[cfg(test)]
mod tests;
