//! Levels of events, and how many of each there were.

use std::sync::atomic::{AtomicU64, Ordering};

/// How grave an event is; least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Level {
    /// Details for a developer.
    Debug,
    /// Steps of the work.
    Trace,
    /// Between Trace and Info. Compat: nothing logs it, but its counter is in the stats.
    Verbose,
    /// What an operator wants to know.
    Info,
    /// Something is odd, and was dealt with.
    Warn,
    /// Something failed.
    Error,
    /// The process cannot go on.
    Fatal,
}

impl Level {
    /// Every level, in the order of the `logged_*` figures.
    pub const ALL: [Self; 7] =
        [Self::Debug, Self::Trace, Self::Verbose, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    /// The word in a log line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debug => "Debug",
            Self::Trace => "Trace",
            Self::Verbose => "Verbose",
            Self::Info => "Info",
            Self::Warn => "Warn",
            Self::Error => "Error",
            Self::Fatal => "Fatal",
        }
    }
}

impl From<::log::Level> for Level {
    fn from(level: ::log::Level) -> Self {
        match level {
            ::log::Level::Error => Self::Error,
            ::log::Level::Warn => Self::Warn,
            ::log::Level::Info => Self::Info,
            ::log::Level::Debug => Self::Debug,
            ::log::Level::Trace => Self::Trace,
        }
    }
}

/// How many events of each level were logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts([u64; Level::ALL.len()]);

impl LogCounts {
    /// The number for one level.
    #[must_use]
    pub const fn get(&self, level: Level) -> u64 {
        self.0[level as usize]
    }
}

/// The counters behind [`LogCounts`].
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; Level::ALL.len()]);

impl Counters {
    pub(super) fn add(&self, level: Level) {
        // A figure for people: nothing is ordered by it.
        self.0[level as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Reads all and sets them to zero.
    pub(super) fn take(&self) -> LogCounts {
        LogCounts(std::array::from_fn(|at| self.0[at].swap(0, Ordering::Relaxed)))
    }
}
