//! The stats log: one line of `name:value` items every interval.
//!
//! ```text
//! 2020-08-14 12:00:30,004 cpu_user:1.20 .. channel/foo/bytes:525440 .. logged_fatal:0
//! ```
//!
//! [`StatsLine`] builds the items, [`StatsSink`] writes the line and sends it to a [`collectd`],
//! [`process`] has the figures of the process. The groups of one application are its own matter.
//!
//! Source: spec `node` 3.3, 8.4; `file-formats` 6.

pub mod collectd;
pub mod process;

use std::fmt::{self, Display, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::collectd::{Collectd, CollectdConfig};
use crate::ini::Ini;
use crate::log::{Level, LogCounts, LogFile, LogFileError, Logs};
use crate::section::{ConfigError, Section};

/// `[STATS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsConfig {
    /// The log's path; none writes no stats.
    pub file_name: Option<PathBuf>,
    /// Seconds between lines, at least 1.
    pub interval_s: u32,
    /// Where the figures are sent to, if anywhere.
    pub collectd: Option<CollectdConfig>,
}

impl StatsConfig {
    /// Reads `[STATS]`; `app_name` is the name of the program.
    pub fn from_ini(
        ini: &Ini,
        app_name: &str,
        loose: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, "STATS");
        let interval_s = section.or("interval", 30_u32)?;
        let interval_s = section.at_least("interval", interval_s, 1)?;
        let config = Self {
            file_name: Some(section.or("file_name", PathBuf::from("log/stats.log"))?),
            interval_s,
            collectd: CollectdConfig::from_section(&mut section, app_name)?,
        };
        warnings.extend(section.finish(loose)?);
        Ok(config)
    }

    /// How long to wait for the first line. Lines come at wall-clock multiples of the interval.
    #[must_use]
    pub fn delay(&self, since_epoch: Duration) -> Duration {
        delay_to_next_tick(since_epoch, self.interval())
    }

    /// How long to wait for the next line, just after one was written. That one may have come a
    /// little early, because the clocks do not run alike: then its multiple is not due again.
    #[must_use]
    pub fn delay_after_line(&self, since_epoch: Duration) -> Duration {
        let half = self.interval() / 2;
        half + delay_to_next_tick(since_epoch + half, self.interval())
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_s.into())
    }
}

/// Time from `since_epoch` to the next multiple of `interval`: never zero, at most `interval`.
#[must_use]
pub fn delay_to_next_tick(since_epoch: Duration, interval: Duration) -> Duration {
    assert!(!interval.is_zero(), "an interval of 0 was refused with the config");
    let past = since_epoch.as_nanos() % interval.as_nanos();
    let past = u64::try_from(past).expect("below the interval, which has at most 2^32 seconds");
    interval - Duration::from_nanos(past)
}

/// A figure in the stats log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// Printed as a signed 64-bit number.
    Integer(i64),
    /// Printed with two decimals; not-a-number as `-nan`.
    Float(f64),
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            // Compat: 0/0 on x86, as C prints it.
            Self::Float(value) if value.is_nan() => f.write_str("-nan"),
            Self::Float(value) => write!(f, "{value:.2}"),
        }
    }
}

impl From<i64> for Figure {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

/// Compat: a number of 2^63 or more prints as a negative one.
impl From<u64> for Figure {
    fn from(value: u64) -> Self {
        Self::Integer(value.cast_signed())
    }
}

impl From<u32> for Figure {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<usize> for Figure {
    fn from(value: usize) -> Self {
        (value as u64).into()
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

/// The items of one line, in the order in which they are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsLine(String);

impl StatsLine {
    /// A line without items.
    #[must_use]
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// Adds `name:figure`.
    pub fn item(&mut self, name: impl Display, figure: impl Into<Figure>) -> &mut Self {
        let blank = if self.0.is_empty() { "" } else { " " };
        write!(self.0, "{blank}{name}:{}", figure.into()).expect("memory takes any text");
        self
    }

    /// Adds `category/instance/name:figure`. The instance is written as it is.
    pub fn nested(
        &mut self,
        category: &str,
        instance: impl Display,
        name: &str,
        figure: impl Into<Figure>,
    ) -> &mut Self {
        self.item(format_args!("{category}/{instance}/{name}"), figure)
    }

    /// Adds the group `cpu_user` to `mem_percentage`.
    pub fn process(&mut self, figures: &process::ProcessFigures) -> &mut Self {
        self.item("cpu_user", figures.cpu_user)
            .item("cpu_system", figures.cpu_system)
            .item("cpu_total", figures.cpu_total)
            .item("vsz", figures.vsz_bytes)
            .item("rss", figures.rss_bytes)
            .item("mem_percentage", figures.mem_percentage)
    }

    /// Adds the group `logged_debug` to `logged_fatal`.
    pub fn log_counts(&mut self, counts: &LogCounts) -> &mut Self {
        for level in Level::ALL {
            let name = level.word().to_ascii_lowercase();
            self.item(format_args!("logged_{name}"), counts.get(level));
        }
        self
    }

    /// The items, separated by single blanks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name and figure of each item.
    pub fn items(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(' ').filter_map(|item| item.rsplit_once(':'))
    }
}

/// The open stats log; reopened with the other logs.
#[derive(Debug, Clone)]
pub struct StatsFile(Arc<LogFile>);

impl StatsFile {
    /// Opens the file, and registers it with `logs` for rotation.
    pub fn open(path: &Path, logs: &Logs) -> Result<Self, LogFileError> {
        logs.open_file(path).map(Self)
    }

    /// Appends a line with the time of now.
    pub fn append(&self, line: &StatsLine) {
        self.0.append(&crate::log::stats_line(&jiff::Zoned::now(), line.as_str()));
    }
}

/// Where lines go: the stats log, a collectd, or both.
#[derive(Debug)]
pub struct StatsSink {
    file: Option<StatsFile>,
    collectd: Option<Collectd>,
}

impl StatsSink {
    /// What the config asks for; none if that is nothing.
    pub fn open(config: &StatsConfig, logs: &Logs) -> Result<Option<Self>, LogFileError> {
        let file = config.file_name.as_deref().map(|path| StatsFile::open(path, logs));
        let file = file.transpose()?;
        let start = |collectd| Collectd::start(collectd, config.interval_s);
        let collectd = config.collectd.clone().map(start).transpose().unwrap_or_else(|error| {
            log::error!("no thread for sending stats to collectd, they are not sent: {error}");
            None
        });
        let is_used = file.is_some() || collectd.is_some();
        Ok(is_used.then_some(Self { file, collectd }))
    }

    /// Writes a line with the time of now. Does not wait for collectd.
    pub fn append(&mut self, line: StatsLine) {
        if let Some(file) = &self.file {
            file.append(&line);
        }
        if let Some(collectd) = &mut self.collectd {
            collectd.send(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<StatsConfig, ConfigError> {
        let ini = Ini::parse(text.as_bytes()).expect("short");
        StatsConfig::from_ini(&ini, "demo", false, &mut Vec::new())
    }

    #[test]
    fn items_have_the_originals_bytes() {
        let mut line = StatsLine::new();
        line.item("cpu_user", 1.2)
            .item("negative", -1_i64)
            .item("huge", u64::MAX)
            .nested("channel", "foo", "bytes", 525_440_u64)
            .item("count", 7_u32)
            .item("size", 8_usize)
            .item("mean", f64::NAN)
            .item("whole", 3.0)
            .item("rounded", 0.125);
        assert_eq!(line.items().nth(3), Some(("channel/foo/bytes", "525440")));
        assert_eq!(
            line.as_str(),
            "cpu_user:1.20 negative:-1 huge:-1 channel/foo/bytes:525440 count:7 size:8 mean:-nan \
             whole:3.00 rounded:0.12"
        );
    }

    #[test]
    fn logged_counts_are_in_the_originals_order() {
        let mut line = StatsLine::new();
        line.log_counts(&LogCounts::default());
        assert_eq!(
            line.as_str(),
            "logged_debug:0 logged_trace:0 logged_verbose:0 logged_info:0 logged_warn:0 \
             logged_error:0 logged_fatal:0"
        );
    }

    #[test]
    fn all_keys_are_accepted_and_have_defaults() {
        let default = config("").unwrap();
        assert_eq!(default.file_name, Some("log/stats.log".into()));
        assert_eq!((default.interval_s, default.collectd), (30, None));
        let all = "[STATS]\nfile_name = s\ninterval = 5\nsocket_path = /run/c\nhostname = h\n\
                   app_name = a\napp_instance = i\ndefault_type = t";
        let all = config(all).unwrap();
        let expected = CollectdConfig { socket: "/run/c".into(), prefix: "h/a-i/t-".to_owned() };
        assert_eq!((all.interval_s, all.collectd), (5, Some(expected)));
        assert!(config("[STATS]\nfile_count = 1").is_err());
        let error = config("[STATS]\ninterval = 0").unwrap_err();
        assert!(error.problem.ends_with("STATS.interval is smaller than allowed minimum of 1"));
    }

    #[test]
    fn ticks_are_at_multiples_of_the_interval() {
        let delay = |now: f64, every: u64| {
            delay_to_next_tick(Duration::from_secs_f64(now), Duration::from_secs(every))
        };
        assert_eq!(delay(59.0, 30), Duration::from_secs(1));
        assert_eq!(delay(60.0, 30), Duration::from_secs(30));
        assert_eq!(delay(60.25, 30), Duration::from_millis(29_750));
        assert_eq!(delay(1_597_406_400.5, 1), Duration::from_millis(500));
        let config = config("").unwrap();
        assert_eq!(config.delay(Duration::from_secs(31)), Duration::from_secs(29));
        for (now_ms, expected_ms) in [(60_000, 30_000), (60_020, 29_980), (59_980, 30_020)] {
            let delay = config.delay_after_line(Duration::from_millis(now_ms));
            assert_eq!(delay, Duration::from_millis(expected_ms), "{now_ms}");
        }
    }

    #[test]
    fn a_line_in_the_file_has_a_time_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(&crate::log::LogConfig::default(), "demo").unwrap();
        let path = folder.path().join("log/stats.log");
        let file = StatsFile::open(&path, &logs).unwrap();
        let mut line = StatsLine::new();
        file.append(line.item("a", 1_u32));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.len(), &text[19..20], &text[23..]), (28, ",", " a:1\n"), "{text}");
        assert!(logs.reopen_file(&path).is_some(), "it is rotated with the logs");
    }
}
