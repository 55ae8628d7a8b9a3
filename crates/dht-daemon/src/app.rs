//! What an application tells the framework about itself.

/// The description of one program. Usually a `static` of its `main.rs`.
#[derive(Debug, Clone, Copy)]
pub struct App {
    /// Name in the usage line, the version line and the hint after an error: `dhtnode`.
    pub name: &'static str,
    /// First line of `--help`: `dhtnode: DHT server node.`
    pub description: &'static str,
    /// Paragraph between usage and options in `--help`; may be empty.
    pub long_description: &'static str,
    /// Version as `--version` prints it, usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// Whether a start without `--config` is an error.
    pub config_required: bool,
    /// Options beyond the standard ones (spec `node` 2).
    pub options: &'static [OptionSpec],
}

/// One command-line option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Name after `--`.
    pub long: &'static str,
    /// Name after a single `-`, if it has one.
    pub short: Option<char>,
    /// Least number of parameters when the option is given.
    pub params_min: usize,
    /// Greatest number of parameters; 0 makes it a flag.
    pub params_max: usize,
    /// Whether a parameter may follow the short name without a blank: `-cFILE`.
    pub smush: bool,
    /// Whether leaving the option out is an error.
    pub required: bool,
    /// What `--help` says.
    pub help: &'static str,
}

impl OptionSpec {
    /// An option that is there or not: no parameters.
    #[must_use]
    pub const fn flag(long: &'static str, short: Option<char>, help: &'static str) -> Self {
        Self { long, short, params_min: 0, params_max: 0, smush: false, required: false, help }
    }
}
