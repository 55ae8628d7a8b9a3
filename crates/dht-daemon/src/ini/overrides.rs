//! `-O Section.key = value`: a value from the command line.
//!
//! Source: spec `node` 3.4.

/// One change to a config, from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The section; may hold dots, as `LOG.Root` does.
    pub section: String,
    /// The key; never holds a dot.
    pub key: String,
    /// The value; empty removes the key, so that its default applies.
    pub value: String,
}

/// A text that is no override. Messages repeat it, since several are reported in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// Nothing but blanks.
    #[error("empty option for config option override (use Section.key=value)")]
    Empty,
    /// No `=`.
    #[error("no value separator ('=') found in config option override: {0}")]
    NoValue(String),
    /// No `.` before the first `=`.
    #[error("no section separator ('.') found before the '=' in config option override: {0}")]
    NoSection(String),
    /// Nothing before the last `.`.
    #[error("empty section in config option override: {0}")]
    EmptySection(String),
    /// Nothing between the last `.` and the `=`.
    #[error("empty key in config option override: {0}")]
    EmptyKey(String),
}

impl Override {
    /// Splits at the first `=`, and what is left of it at its last `.`; trims the three parts.
    pub fn parse(text: &str) -> Result<Self, OverrideError> {
        if text.trim().is_empty() {
            return Err(OverrideError::Empty);
        }
        let shown = || text.trim().to_owned();
        let (name, value) = text.split_once('=').ok_or_else(|| OverrideError::NoValue(shown()))?;
        let (section, key) =
            name.rsplit_once('.').ok_or_else(|| OverrideError::NoSection(shown()))?;
        let [section, key, value] = [section, key, value].map(|part| part.trim().to_owned());
        if section.is_empty() {
            return Err(OverrideError::EmptySection(shown()));
        }
        if key.is_empty() {
            return Err(OverrideError::EmptyKey(shown()));
        }
        Ok(Self { section, key, value })
    }
}
