//! `[LOG]`, `[LOG.Root]`, `[LOG.name]`: which loggers there are and where they write.

use std::path::PathBuf;

use super::{Layout, Level};
use crate::build_info::VERSION_LOGGER;
use crate::ini::Ini;
use crate::section::{ConfigError, Section};

/// Size of the formatting buffer if no section sets one, in bytes.
pub const BUFFER_BYTES_DEFAULT: usize = 2048;
/// Greatest size that a section may set, in bytes.
pub const BUFFER_BYTES_MAX: usize = 16 << 20;
/// Lines of one place in the code within a window, if no section sets a number.
const REPEAT_MAX_DEFAULT: u64 = 1000;
/// Where the version line goes if nothing else is configured.
const VERSION_LOG_FILE: &str = "log/version.log";

/// The least level that a logger lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// This level and graver ones.
    From(Level),
    /// Nothing.
    Off,
}

impl Threshold {
    /// Everything: what a logger lets through that nobody configured.
    pub const ALL: Self = Self::From(Level::Debug);

    /// Words of a config file, lower case. `trace` and `debug` mean the same.
    const NAMES: [(&'static str, Self); 9] = [
        ("trace", Self::ALL),
        ("debug", Self::ALL),
        ("info", Self::From(Level::Info)),
        ("warn", Self::From(Level::Warn)),
        ("error", Self::From(Level::Error)),
        ("fatal", Self::From(Level::Fatal)),
        ("none", Self::Off),
        ("off", Self::Off),
        ("disabled", Self::Off),
    ];

    /// Whether an event of this level passes.
    #[must_use]
    pub fn passes(self, level: Level) -> bool {
        match self {
            Self::From(least) => level >= least,
            Self::Off => false,
        }
    }
}

/// The loggers of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Configured loggers: Root first, then sorted by name.
    pub loggers: Vec<LoggerConfig>,
    /// `[LOG] buffer_size`: a longer message is cut, in bytes. 0 means [`BUFFER_BYTES_DEFAULT`].
    pub buffer_bytes: usize,
    /// `[LOG] repeat_max`: lines that one place in the code writes within
    /// [`REPEAT_WINDOW_S`](super::REPEAT_WINDOW_S) seconds; 0: any number. Not in the original.
    pub repeat_max: u64,
}

/// One logger. Without one for Root nothing is written at all.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggerConfig {
    /// Dotted name; empty for Root.
    pub name: String,
    /// Least level, if this section sets one.
    pub level: Option<Threshold>,
    /// Layout on the console, if it writes there: Warn and above to stderr, the rest to stdout.
    pub console: Option<Layout>,
    /// File and layout, if it writes to one.
    pub file: Option<(PathBuf, Layout)>,
    /// Whether it writes to the system log.
    pub syslog: bool,
    /// Whether level and `collect_stats` hold for its children too.
    pub propagate: bool,
    /// Whether its events also go to its parents' appenders.
    pub additive: bool,
    /// Whether its events count in the `logged_*` figures.
    pub collect_stats: bool,
    /// A longer message is cut, in bytes; 0 takes that of `[LOG]`.
    pub buffer_bytes: usize,
}

impl LoggerConfig {
    /// A logger that passes everything on to its parents.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            level: None,
            console: None,
            file: None,
            syslog: false,
            propagate: false,
            additive: true,
            collect_stats: true,
            buffer_bytes: 0,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { loggers: Vec::new(), buffer_bytes: 0, repeat_max: REPEAT_MAX_DEFAULT }
    }
}

impl LogConfig {
    /// Info and above on the console, nothing in files: for a start without a config file.
    #[must_use]
    pub fn console_only() -> Self {
        let root = LoggerConfig {
            level: Some(Threshold::From(Level::Info)),
            console: Some(Layout::Simple),
            propagate: true,
            ..LoggerConfig::new("")
        };
        Self { loggers: vec![root], ..Self::default() }
    }

    /// Reads `[LOG]`, all `[LOG.x]`, and `[VERSION] default_version_log`.
    pub fn from_ini(
        ini: &Ini,
        loose: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, "LOG");
        let buffer_bytes = buffer_size(&mut section)?;
        let repeat_max = section.or("repeat_max", REPEAT_MAX_DEFAULT)?;
        warnings.extend(section.finish(loose)?);
        let mut loggers = Vec::new();
        for section_name in ini.section_names().filter(|name| name.starts_with("LOG.")) {
            let mut section = Section::new(ini, section_name);
            loggers.push(logger(&mut section, &section_name["LOG.".len()..])?);
            warnings.extend(section.finish(loose)?);
        }
        add_version_log(ini, &mut loggers, warnings)?;
        loggers.sort_by(|a, b| a.name.cmp(&b.name)); // Root has the empty name.
        Ok(Self { loggers, buffer_bytes, repeat_max })
    }
}

/// Reads one `[LOG.name]`.
fn logger(section: &mut Section<'_>, name: &str) -> Result<LoggerConfig, ConfigError> {
    let is_root = name.eq_ignore_ascii_case("root");
    let console: Option<bool> = section.get("console")?;
    let console_layout = layout(section, "console_layout", Layout::Simple)?;
    let file: Option<PathBuf> = section.get("file")?;
    let file_layout = layout(section, "file_layout", Layout::Date)?;
    let syslog: Option<bool> = section.get("syslog")?;
    let has_own = console.is_some() || file.is_some() || syslog.is_some();
    Ok(LoggerConfig {
        name: if is_root { String::new() } else { name.to_owned() },
        level: threshold(section, name)?,
        console: console.unwrap_or(is_root).then_some(console_layout),
        file: file.map(|file| (file, file_layout)),
        syslog: syslog.unwrap_or(false),
        propagate: section.or("propagate", false)?,
        // The key is asked for in any case, so that it counts as known.
        additive: section.or("additive", false)? || !has_own,
        collect_stats: section.or("collect_stats", true)?,
        buffer_bytes: buffer_size(section)?,
    })
}

/// Adds the file that the version line goes to, unless its logger is configured or it is turned
/// off. The line also climbs to Root's appenders of other classes.
fn add_version_log(
    ini: &Ini,
    loggers: &mut Vec<LoggerConfig>,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let mut section = Section::new(ini, "VERSION");
    let wanted = section.or("default_version_log", true)?;
    warnings.extend(section.finish(true)?); // The original does not see other keys.
    if wanted && !loggers.iter().any(|logger| logger.name == VERSION_LOGGER) {
        loggers.push(LoggerConfig {
            level: Some(Threshold::From(Level::Info)),
            file: Some((VERSION_LOG_FILE.into(), Layout::Date)),
            ..LoggerConfig::new(VERSION_LOGGER)
        });
    }
    Ok(())
}

fn buffer_size(section: &mut Section<'_>) -> Result<usize, ConfigError> {
    let size = section.or("buffer_size", 0)?;
    section.at_most("buffer_size", size, BUFFER_BYTES_MAX)
}

fn threshold(section: &mut Section<'_>, logger: &str) -> Result<Option<Threshold>, ConfigError> {
    let Some(word) = section.get::<String>("level")? else { return Ok(None) };
    match look_up(&Threshold::NAMES, &word) {
        Some(level) => Ok(Some(level)),
        None => {
            let problem = format!("Invalid log level '{word}' requested for logger '{logger}'");
            Err(section.error("level", problem, allowed(&Threshold::NAMES)))
        }
    }
}

fn layout(
    section: &mut Section<'_>,
    key: &'static str,
    default: Layout,
) -> Result<Layout, ConfigError> {
    let Some(word) = section.get::<String>(key)? else { return Ok(default) };
    look_up(&Layout::NAMES, &word).ok_or_else(|| {
        section.error(key, format!("Invalid layout requested: '{word}'"), allowed(&Layout::NAMES))
    })
}

/// The meaning of a word, in any case.
fn look_up<T: Copy>(names: &[(&str, T)], word: &str) -> Option<T> {
    let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|&(_, meaning)| meaning)
}

fn allowed<T>(names: &[(&str, T)]) -> String {
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    format!("allowed: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<LogConfig, ConfigError> {
        let ini = Ini::parse(text.as_bytes()).expect("short");
        LogConfig::from_ini(&ini, false, &mut Vec::new())
    }

    /// One logger of a config without the version log.
    fn one(text: &str) -> LoggerConfig {
        let mut config = config(&format!("[VERSION]\ndefault_version_log = no\n{text}")).unwrap();
        assert_eq!(config.loggers.len(), 1, "{text}");
        config.loggers.remove(0)
    }

    #[test]
    fn without_sections_only_the_version_line_is_written() {
        let found = config("").unwrap();
        assert_eq!(found.buffer_bytes, 0);
        let [version] = &found.loggers[..] else { panic!("{found:?}") };
        assert_eq!(version.name, VERSION_LOGGER);
        assert_eq!(version.file, Some(("log/version.log".into(), Layout::Date)));
        assert!(version.additive, "it climbs to Root's other classes");
        let own = format!("[LOG.{VERSION_LOGGER}]\nfile = v.log");
        let found = config(&own).unwrap();
        assert_eq!(found.loggers.len(), 1);
        assert_eq!(found.loggers[0].file, Some(("v.log".into(), Layout::Date)));
        assert!(config("[VERSION]\ndefault_version_log = false").unwrap().loggers.is_empty());
    }

    #[test]
    fn root_has_a_console_unless_told_otherwise() {
        assert_eq!(one("[LOG.Root]").console, Some(Layout::Simple));
        assert_eq!(one("[LOG.rOOT]\nconsole = false").console, None);
        assert_eq!(one("[LOG.Root]").name, "");
        assert_eq!(one("[LOG.a.b]").console, None);
        let date = one("[LOG.a]\nconsole = true\nconsole_layout = Date");
        assert_eq!(date.console, Some(Layout::Date));
    }

    #[test]
    fn a_logger_with_its_own_appender_keeps_events_unless_additive() {
        assert!(one("[LOG.a]\nlevel = info").additive);
        for own in ["console = false", "file = x", "syslog = false"] {
            assert!(!one(&format!("[LOG.a]\n{own}")).additive, "{own}");
            assert!(one(&format!("[LOG.a]\n{own}\nadditive = true")).additive, "{own}");
        }
    }

    #[test]
    fn levels_are_words_in_any_case() {
        let cases = [
            ("trace", Threshold::ALL),
            ("Debug", Threshold::ALL),
            ("INFO", Threshold::From(Level::Info)),
            ("warn", Threshold::From(Level::Warn)),
            ("error", Threshold::From(Level::Error)),
            ("fatal", Threshold::From(Level::Fatal)),
            ("none", Threshold::Off),
            ("off", Threshold::Off),
            ("disabled", Threshold::Off),
        ];
        for (word, expected) in cases {
            assert_eq!(one(&format!("[LOG.a]\nlevel = {word}")).level, Some(expected), "{word}");
        }
        assert_eq!(one("[LOG.a]").level, None);
        let error = config("[LOG.a]\nlevel = verbose").unwrap_err();
        assert_eq!(error.problem, "Invalid log level 'verbose' requested for logger 'a'");
        assert_eq!(error.place, "config line 2");
    }

    #[test]
    fn unknown_keys_and_layouts_are_refused() {
        let error = config("[LOG.Root]\nfile_count = 3").unwrap_err();
        assert_eq!(error.problem, "Invalid configuration key LOG.Root.file_count");
        assert!(config("[LOG]\nlevel = info").is_err());
        let error = config("[LOG.a]\nfile_layout = fancy").unwrap_err();
        assert_eq!(error.problem, "Invalid layout requested: 'fancy'");
        assert!(config("[LOG]\nbuffer_size = 99999999999").is_err());
        let mut warnings = Vec::new();
        let ini = Ini::parse(b"[LOG.Root]\nfile_count = 3").unwrap();
        LogConfig::from_ini(&ini, true, &mut warnings).unwrap();
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn loggers_come_root_first_then_sorted() {
        let found =
            config("[LOG.b]\n[LOG.Root]\n[LOG.a.x]\n[LOG.a]\n[LOG]\nbuffer_size=9").unwrap();
        let names: Vec<&str> = found.loggers.iter().map(|logger| logger.name.as_str()).collect();
        assert_eq!(names, ["", "a", "a.x", "b", VERSION_LOGGER]);
        assert_eq!((found.buffer_bytes, found.repeat_max), (9, 1000));
        assert_eq!(config("[LOG]\nrepeat_max = 0").unwrap().repeat_max, 0);
    }
}
