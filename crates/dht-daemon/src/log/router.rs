//! Which appenders an event reaches.
//!
//! Loggers form a tree by the dots of their names. A logger's level is that of its own section,
//! else that of the nearest parent that propagates one, else everything passes. An event that
//! passes its own logger's level climbs to the parents without being asked for a level again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Zoned;

use super::appender::{Appender, Class, Event, Syslog};
use super::config::{BUFFER_BYTES_DEFAULT, LogConfig, LoggerConfig, Threshold};
use super::level::{Counters, Level, LogCounts};
use super::repeats::{Place, Repeats};
use super::{LogFile, LogFileError};

/// Libraries whose traces are about themselves. Unless configured, only their warnings are logged.
const QUIET_LOGGERS: [&str; 1] = ["mio"];

/// All loggers that a config names.
#[derive(Debug)]
pub(super) struct Router {
    loggers: HashMap<String, Logger>,
    buffer_bytes: usize,
    counters: Counters,
    repeats: Repeats,
}

/// One logger: its config, and its appenders while they are open.
#[derive(Debug)]
struct Logger {
    config: LoggerConfig,
    appenders: Vec<Appender>,
}

/// What holds for an event's logger, from its own section and from what its parents propagate.
struct Settings {
    threshold: Threshold,
    collect_stats: bool,
    buffer_bytes: usize,
}

impl Router {
    /// Opens every appender; files are also added to `files`.
    pub(super) fn new(
        config: &LogConfig,
        app_name: &str,
        files: &mut Vec<Arc<LogFile>>,
    ) -> Result<Self, LogFileError> {
        let mut loggers = HashMap::new();
        for quiet in QUIET_LOGGERS {
            let threshold = Some(Threshold::From(Level::Warn));
            let config =
                LoggerConfig { level: threshold, propagate: true, ..LoggerConfig::new(quiet) };
            loggers.insert(quiet.to_owned(), Logger { config, appenders: Vec::new() });
        }
        for config in &config.loggers {
            let appenders = open_appenders(config, app_name, files)?;
            loggers.insert(config.name.clone(), Logger { config: config.clone(), appenders });
        }
        let buffer_bytes =
            if config.buffer_bytes == 0 { BUFFER_BYTES_DEFAULT } else { config.buffer_bytes };
        let repeats = Repeats::new(config.repeat_max);
        Ok(Self { loggers, buffer_bytes, counters: Counters::default(), repeats })
    }

    /// Whether an event passes its logger and some appender would take it.
    pub(super) fn enabled(&self, target: &str, level: Level) -> bool {
        self.settings(&logger_name(target)).threshold.passes(level)
    }

    /// Whether an event would be seen on the console.
    pub(super) fn on_console(&self, target: &str, level: Level) -> bool {
        let name = logger_name(target);
        self.settings(&name).threshold.passes(level)
            && self.climb(&name).iter().any(|appender| appender.class() == Class::Console)
    }

    /// Logs an event that happens at `time`. Without a `place` it may come any number of times.
    pub(super) fn event(
        &self,
        target: &str,
        level: Level,
        message: fmt::Arguments<'_>,
        time: &Zoned,
        place: Option<Place>,
    ) {
        self.tell_left_out(time);
        let name = logger_name(target);
        let settings = self.settings(&name);
        if !settings.threshold.passes(level) {
            return;
        }
        if settings.collect_stats {
            self.counters.add(level);
        }
        let message = cut(message, settings.buffer_bytes);
        let admits = |place| self.repeats.admits(place, &name, level, &message);
        if !place.is_none_or(admits) {
            return;
        }
        self.append(Event { time, level, logger: &name, message: &message });
    }

    /// Tells what was left out in a window that is over.
    pub(super) fn tell_left_out(&self, time: &Zoned) {
        for left_out in self.repeats.take_due(time.timestamp().as_second()) {
            let (logger, level) = (&left_out.logger, left_out.level);
            self.append(Event { time, level, logger, message: &left_out.text() });
        }
    }

    pub(super) fn take_counts(&self) -> LogCounts {
        self.counters.take()
    }

    /// The least filter that loses nothing: it lets the facade skip events that nobody wants.
    pub(super) fn facade_filter(&self) -> ::log::LevelFilter {
        let root_hides_all_below = |level: Level| {
            let root = self.loggers.get("").map(|root| &root.config);
            let hidden = root.is_some_and(|root| {
                root.propagate && root.level.is_some_and(|threshold| !threshold.passes(level))
            });
            let mut levels = self.loggers.values().filter_map(|logger| logger.config.level);
            hidden && !levels.any(|threshold| threshold.passes(level))
        };
        if root_hides_all_below(Level::Trace) {
            ::log::LevelFilter::Info
        } else {
            ::log::LevelFilter::Trace
        }
    }

    /// Gives an event to the appenders of its logger and its parents, one of each class.
    fn append(&self, event: Event<'_>) {
        let mut visited = Vec::new();
        for appender in self.climb(event.logger) {
            if !visited.contains(&appender.class()) {
                visited.push(appender.class());
                appender.append(event);
            }
        }
    }

    /// The appenders of a logger and of its parents, up to the first that is not additive.
    fn climb(&self, name: &str) -> Vec<&Appender> {
        let mut reached = Vec::new();
        for logger in ancestors(name).filter_map(|name| self.loggers.get(name)) {
            reached.extend(&logger.appenders);
            if !logger.config.additive {
                break;
            }
        }
        reached
    }

    fn settings(&self, name: &str) -> Settings {
        let mut threshold = None;
        let mut collect_stats = None;
        let mut buffer_bytes = self.buffer_bytes;
        for ancestor in ancestors(name) {
            let Some(Logger { config, .. }) = self.loggers.get(ancestor) else { continue };
            let is_own = ancestor.len() == name.len();
            if is_own || config.propagate {
                threshold = threshold.or(config.level);
                collect_stats = collect_stats.or(Some(config.collect_stats));
            }
            if is_own && config.buffer_bytes != 0 {
                buffer_bytes = config.buffer_bytes;
            }
        }
        Settings {
            threshold: threshold.unwrap_or(Threshold::ALL),
            collect_stats: collect_stats.unwrap_or(true),
            buffer_bytes,
        }
    }
}

fn open_appenders(
    config: &LoggerConfig,
    app_name: &str,
    files: &mut Vec<Arc<LogFile>>,
) -> Result<Vec<Appender>, LogFileError> {
    let mut appenders = Vec::new();
    if let Some(layout) = config.console {
        appenders.push(Appender::Console(layout));
    }
    if let Some((path, layout)) = &config.file {
        let file = Arc::new(LogFile::open(path)?);
        files.push(Arc::clone(&file));
        appenders.push(Appender::File(file, *layout));
    }
    if config.syslog {
        appenders.push(Appender::Syslog(Syslog::new(app_name)));
    }
    Ok(appenders)
}

/// The dotted name of a target: `dht_node::worker` is the logger `dht_node.worker`.
fn logger_name(target: &str) -> Cow<'_, str> {
    if target.contains("::") { target.replace("::", ".").into() } else { target.into() }
}

/// `a.b.c`, `a.b`, `a`, and the empty name of Root.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| {
        if name.is_empty() {
            return None;
        }
        Some(name.rfind('.').map_or("", |dot| &name[..dot]))
    })
}

/// Formats a message; one longer than the buffer is cut between characters.
fn cut(message: fmt::Arguments<'_>, bytes_max: usize) -> String {
    let mut text = message.to_string();
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
