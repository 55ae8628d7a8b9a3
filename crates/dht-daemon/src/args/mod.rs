//! The command line, with the rules of the original's parser.
//!
//! ```text
//! --name value   --name=value   -n value   -n=value   -nvalue (if declared)   -abc   --   other
//! ```
//!
//! An option that still has room for parameters takes the words after it; options stack, so that in
//! `-O a --loose-config-parsing b` the word `b` goes to `-O`. Other words are accepted, up to
//! [`POSITIONAL_MAX`], and ignored.
//!
//! A program without a config file is parsed by the functions named `.._tool..`.
//!
//! Below it: nothing. [`parse`] is pure; only [`parse_or_exit`] and [`refuse`] print.
//!
//! Source: spec `node` 2, 3.4.

mod help;
mod parser;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::exit;

pub use help::help;

use crate::App;
use crate::app::OptionSpec;
use crate::build_info;
use crate::ini::{Ini, Override, ReadError};

/// Greatest number of words that belong to no option.
pub const POSITIONAL_MAX: usize = 42;
/// Greatest number of parameters of one `-O`.
pub const OVERRIDES_MAX: usize = 42;
/// Exit code after an error on the command line.
pub const EXIT_ARGUMENTS: i32 = 2;
/// Exit code if the config file cannot be read.
pub const EXIT_CONFIG_UNREADABLE: i32 = 3;

/// The options of every program, in no particular order.
static EVERY_PROGRAM: [OptionSpec; 3] = [
    OptionSpec::flag("help", Some('h'), "display this help message and exit"),
    OptionSpec::flag("version", None, "display version information and exit"),
    OptionSpec::flag("build-info", None, "display detailed build information and exit"),
];

/// The options of every program that has a config file.
static EVERY_DAEMON: [OptionSpec; 3] = [
    OptionSpec {
        long: "config",
        short: Some('c'),
        params_min: 1,
        params_max: 1,
        smush: true,
        required: false, // `App::config_required` decides.
        help: "use the given configuration file",
    },
    OptionSpec::flag(
        "loose-config-parsing",
        None,
        "unknown keys in the configuration file are a warning, not an error",
    ),
    OptionSpec {
        long: "override-config",
        short: Some('O'),
        params_min: 1,
        params_max: OVERRIDES_MAX,
        smush: true,
        required: false,
        help: "set a configuration value, given as \"Section.key = value\"; an empty value \
               removes the key",
    },
];

/// Whether a program has a config file, and the options that come with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Daemon,
    Tool,
}

impl Kind {
    /// The options that a program of this kind has besides its own.
    fn options(self) -> impl Iterator<Item = &'static OptionSpec> {
        let of_daemons: &[OptionSpec] = match self {
            Self::Daemon => &EVERY_DAEMON,
            Self::Tool => &[],
        };
        EVERY_PROGRAM.iter().chain(of_daemons)
    }
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `--help`; works even if required options are missing.
    Help,
    /// `--version`.
    Version,
    /// `--build-info`.
    BuildInfo,
    /// Start the daemon.
    Run(Options),
}

/// The options of a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--loose-config-parsing`.
    pub loose: bool,
    /// `--override-config`, in order.
    pub overrides: Vec<Override>,
    /// The application's own options that were given, by long name, with their parameters.
    extra: Vec<(&'static str, Vec<String>)>,
}

impl Options {
    /// Whether one of the application's own options was given.
    #[must_use]
    pub fn is_set(&self, long: &str) -> bool {
        self.extra.iter().any(|(name, _)| *name == long)
    }

    /// Parameters of one of the application's own options; empty if it was not given.
    #[must_use]
    pub fn values(&self, long: &str) -> &[String] {
        let found = self.extra.iter().find(|(name, _)| *name == long);
        found.map_or(&[], |(_, values)| values)
    }

    /// Reads the config file, if one was given, and applies the overrides to it.
    pub fn read_config(&self) -> Result<Option<Ini>, ReadError> {
        let Some(path) = &self.config else { return Ok(None) };
        let mut ini = Ini::read(path)?;
        for change in &self.overrides {
            ini.apply(change);
        }
        Ok(Some(ini))
    }
}

/// Why a command line was refused: one line for each problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct ArgsError {
    /// The problems, in the order of the options' declaration, unknown ones last.
    pub problems: Vec<String>,
}

/// Parses the words after the program's name.
pub fn parse(app: &App, argv: &[String]) -> Result<Command, ArgsError> {
    parse_kind(Kind::Daemon, app, argv)
}

/// As [`parse`], for a program without a config file: it has `--help`, `--version`, `--build-info`
/// and its own options.
pub fn parse_tool(app: &App, argv: &[String]) -> Result<Command, ArgsError> {
    parse_kind(Kind::Tool, app, argv)
}

fn parse_kind(kind: Kind, app: &App, argv: &[String]) -> Result<Command, ArgsError> {
    let mut given = parser::Given::collect(kind, app, argv);
    for (name, command) in
        [("help", Command::Help), ("version", Command::Version), ("build-info", Command::BuildInfo)]
    {
        if given.is_set(name) {
            return Ok(command);
        }
    }
    let mut problems = given.problems();
    let overrides = match parse_overrides(given.values("override-config")) {
        Ok(overrides) => overrides,
        Err(text) => {
            problems.push(text);
            Vec::new()
        }
    };
    if !problems.is_empty() {
        return Err(ArgsError { problems });
    }
    Ok(Command::Run(Options {
        config: given.values("config").first().map(PathBuf::from),
        loose: given.is_set("loose-config-parsing"),
        overrides,
        extra: given.take_extra(app),
    }))
}

/// Parses all `-O` texts; the errors of all of them come as one line.
fn parse_overrides(texts: &[String]) -> Result<Vec<Override>, String> {
    let (mut overrides, mut errors) = (Vec::new(), Vec::new());
    for text in texts {
        match Override::parse(text) {
            Ok(change) => overrides.push(change),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if errors.is_empty() { Ok(overrides) } else { Err(errors.join(", ")) }
}

/// Parses the command line of this process. Answers `--help`, `--version` and `--build-info` on
/// stdout and errors on stderr, and leaves the process in these cases.
#[must_use]
pub fn parse_or_exit(app: &App) -> Options {
    parse_kind_or_exit(Kind::Daemon, app)
}

/// As [`parse_or_exit`], for a program without a config file.
#[must_use]
pub fn parse_tool_or_exit(app: &App) -> Options {
    parse_kind_or_exit(Kind::Tool, app)
}

/// Leaves the process as [`parse_or_exit`] does after an error: for what only the program itself
/// can find wrong with its command line.
pub fn refuse(app: &App, error: &ArgsError) -> ! {
    let report = error_report(app, error, std::io::stderr().is_terminal());
    // A closed stderr is no reason to crash; the exit code still tells.
    let _ = std::io::stderr().write_all(report.as_bytes());
    exit(EXIT_ARGUMENTS);
}

fn parse_kind_or_exit(kind: Kind, app: &App) -> Options {
    let text = match parse_os(kind, app, std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => return options,
        Ok(Command::Help) => help::text(kind, app),
        Ok(Command::Version) => build_info::version_text(app) + "\n",
        Ok(Command::BuildInfo) => build_info::lines(app),
        Err(error) => refuse(app, &error),
    };
    let _ = std::io::stdout().write_all(text.as_bytes()); // `| head` may have closed it.
    exit(0);
}

/// As [`parse_kind`], for words as the system gives them.
fn parse_os(
    kind: Kind,
    app: &App,
    argv: impl Iterator<Item = OsString>,
) -> Result<Command, ArgsError> {
    let words: Result<Vec<String>, OsString> = argv.map(OsString::into_string).collect();
    match words {
        Ok(words) => parse_kind(kind, app, &words),
        Err(word) => {
            let problem = format!("argument {word:?} is not UTF-8 text");
            Err(ArgsError { problems: vec![problem] })
        }
    }
}

/// What stderr gets: the problems, red on a terminal, and where help is.
fn error_report(app: &App, error: &ArgsError, terminal: bool) -> String {
    let (red, plain) = if terminal { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    let mut report = String::new();
    for problem in &error.problems {
        report += &format!("{red}{problem}{plain}\n");
    }
    report + &format!("\nType {} -h for help\n", app.name)
}

#[cfg(test)]
pub(crate) mod tests;
