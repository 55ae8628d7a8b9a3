//! One section of a config file as typed values.
//!
//! A [`Section`] remembers which keys it was asked for; [`Section::finish`] refuses the others, so
//! a misspelt key is found. An application maps a section to a struct by asking for each field:
//!
//! ```
//! # use dht_daemon::{ConfigError, Ini, Section};
//! struct Dump { period_s: u32 }
//! fn dump(ini: &Ini, loose: bool, warnings: &mut Vec<String>) -> Result<Dump, ConfigError> {
//!     let mut section = Section::new(ini, "Dump");
//!     let dump = Dump { period_s: section.or("period_s", 14_400)? };
//!     warnings.extend(section.finish(loose)?);
//!     Ok(dump)
//! }
//! ```
//!
//! Messages hold the original's text, with the place before it and what is allowed behind it.
//!
//! Source: spec `node` 3.2.

mod value;

use std::fmt;

pub use value::{ConfigValue, ValueError};

use crate::ini::{Entry, Ini};

/// Why a config was refused. The process ends with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}{}", hint_suffix(.hint))]
pub struct ConfigError {
    /// File and line, or what else set the value.
    pub place: String,
    /// What is wrong, in the original's words.
    pub problem: String,
    /// What was found and what is allowed; may be empty.
    pub hint: String,
}

/// Part of a message: what would break the line or the terminal is escaped.
fn printable(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    });
    escaped.collect()
}

/// ` (hint)`, or nothing.
fn hint_suffix(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(" ({hint})") }
}

/// The values of one section, while a struct is filled from them.
#[derive(Debug)]
pub struct Section<'a> {
    ini: &'a Ini,
    name: &'a str,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// A section of `ini`; it need not exist, then it is empty.
    #[must_use]
    pub const fn new(ini: &'a Ini, name: &'a str) -> Self {
        Self { ini, name, asked: Vec::new() }
    }

    /// The value of a key, if it is present.
    pub fn get<T: ConfigValue>(&mut self, key: &'static str) -> Result<Option<T>, ConfigError> {
        let Some(entry) = self.entry(key) else { return Ok(None) };
        T::from_config(&entry.value).map(Some).map_err(|error| self.value_error(key, entry, error))
    }

    /// The value of a key, or a default.
    pub fn or<T: ConfigValue>(&mut self, key: &'static str, default: T) -> Result<T, ConfigError> {
        Ok(self.get(key)?.unwrap_or(default))
    }

    /// The value of a key that must be present.
    pub fn required<T: ConfigValue>(&mut self, key: &'static str) -> Result<T, ConfigError> {
        self.get(key)?.ok_or_else(|| ConfigError {
            place: self.place(None),
            problem: format!("Mandatory variable {}.{key} not set.", self.name),
            hint: format!("add `{key} = ...` below [{}]", self.name),
        })
    }

    /// Refuses a value below `min`; meant to wrap a value that was just read from `key`.
    pub fn at_least<T: PartialOrd + Copy + fmt::Display>(
        &self,
        key: &'static str,
        value: T,
        min: T,
    ) -> Result<T, ConfigError> {
        if value >= min {
            return Ok(value);
        }
        let problem = format!("is smaller than allowed minimum of {min}");
        Err(self.limit_error(key, &problem, &value))
    }

    /// Refuses a value above `max`; meant to wrap a value that was just read from `key`.
    pub fn at_most<T: PartialOrd + Copy + fmt::Display>(
        &self,
        key: &'static str,
        value: T,
        max: T,
    ) -> Result<T, ConfigError> {
        if value <= max {
            return Ok(value);
        }
        let problem = format!("is bigger than allowed maximum of {max}");
        Err(self.limit_error(key, &problem, &value))
    }

    /// The value of a key as one of a few words, each with its meaning.
    pub fn one_of<T: Clone>(
        &mut self,
        key: &'static str,
        allowed: &[(&str, T)],
        default: T,
    ) -> Result<T, ConfigError> {
        let Some(word) = self.get::<String>(key)? else { return Ok(default) };
        if let Some((_, meaning)) = allowed.iter().find(|(name, _)| *name == word) {
            return Ok(meaning.clone());
        }
        let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
        let problem = format!(
            "Value '{word}' of configuration key {}.{key} is not within the set of allowed values \
             ({})",
            self.name,
            names.join(", ")
        );
        Err(self.error(key, problem, ""))
    }

    /// An error about the value of a key, with its place. It is one line, whatever the value is.
    pub fn error(&self, key: &str, problem: impl AsRef<str>, hint: impl AsRef<str>) -> ConfigError {
        let place = self.place(self.ini.get(self.name, key));
        let [problem, hint] = [problem.as_ref(), hint.as_ref()].map(printable);
        ConfigError { place, problem, hint }
    }

    /// Ends the reading: a key that nobody asked for is an error, or, if `loose`, a warning to be
    /// shown on stderr.
    pub fn finish(self, loose: bool) -> Result<Vec<String>, ConfigError> {
        let mut warnings = Vec::new();
        for (key, entry) in self.ini.entries(self.name) {
            if self.asked.contains(&key) {
                continue;
            }
            let error = ConfigError {
                place: self.place(Some(entry)),
                problem: format!("Invalid configuration key {}.{key}", self.name),
                hint: self.unknown_key_hint(),
            };
            if !loose {
                return Err(error);
            }
            warnings.push(format!("Warning: {}: {}", error.place, error.problem));
        }
        Ok(warnings)
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.asked.push(key);
        self.ini.get(self.name, key)
    }

    fn place(&self, entry: Option<&Entry>) -> String {
        match (entry, self.ini.file()) {
            (Some(entry), _) => self.ini.place(entry.origin),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => "config".to_owned(),
        }
    }

    fn limit_error(&self, key: &str, problem: &str, value: &dyn fmt::Display) -> ConfigError {
        let problem = format!("Configuration key {}.{key} {problem}", self.name);
        self.error(key, problem, format!("found {value}"))
    }

    fn unknown_key_hint(&self) -> String {
        let mut known = self.asked.clone();
        known.sort_unstable();
        known.dedup();
        format!(
            "known keys of [{}]: {}; --loose-config-parsing accepts others",
            self.name,
            known.join(", ")
        )
    }

    fn value_error(&self, key: &str, entry: &Entry, error: ValueError) -> ConfigError {
        let section = self.name;
        let found = String::from_utf8_lossy(&entry.value);
        let (problem, hint) = match error {
            ValueError::Type { name, allowed } => (
                format!(
                    "Critical Error: Configuration key '{section}:{key}' appears not to be of \
                     type '{name}'"
                ),
                format!("found '{found}', allowed: {allowed}"),
            ),
            // Compat: the original tells the value, not the key.
            ValueError::Bounds { name, allowed } => (
                format!("Value of {found} is out of {name} bounds"),
                format!("{section}.{key}, allowed: {allowed}"),
            ),
        };
        self.error(key, problem, hint)
    }
}

#[cfg(test)]
mod tests;
