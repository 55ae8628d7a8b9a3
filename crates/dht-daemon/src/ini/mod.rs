//! The INI dialect of the config files, to the letter.
//!
//! ```text
//! # comment   ; comment   // comment        whole lines only: `a = b # c` has the value `b # c`
//! [Section] whatever
//! key = value with = in it
//! list = first line
//!        second line                        a line without `=` continues the value after a '\n'
//! empty =                                   counts as not present
//! ```
//!
//! Lines are trimmed. The last of several equal keys wins; a section may appear several times.
//! What stands before the first section, or under an empty name, is dropped.
//!
//! Above it: [`crate::section`] gives values their types. Invariant: parsing cannot fail except on
//! size, and its time grows with the input's length only.
//!
//! Source: spec `node` 3.1, 3.4.

mod overrides;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use overrides::{Override, OverrideError};

/// Greatest size of a config file in bytes. Real ones have a few KiB.
pub const INI_BYTES_MAX: usize = 16 << 20;

/// A parsed config file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ini {
    /// Where it came from, for messages; none for bytes in memory.
    file: Option<PathBuf>,
    sections: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// One value and where it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value: trimmed, lines of a multi-line value joined by `\n`, never empty.
    pub value: Vec<u8>,
    /// Where it was set.
    pub origin: Origin,
}

/// Where a value was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the file, at this line (from 1).
    Line(usize),
    /// On the command line, by `-O`.
    Override,
}

/// Bytes that are no config file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IniError {
    /// More than [`INI_BYTES_MAX`].
    #[error("the file has more than {INI_BYTES_MAX} bytes; that is no config file")]
    TooLarge,
}

/// A config file that cannot be had. The process ends with exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("Error reading config file '{}': {problem}", .file.display())]
pub struct ReadError {
    /// The file.
    pub file: PathBuf,
    /// What went wrong.
    pub problem: ReadProblem,
}

/// What went wrong with a config file.
#[derive(Debug, thiserror::Error)]
pub enum ReadProblem {
    /// The system did not give it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no config file.
    #[error("{0}")]
    Ini(#[from] IniError),
}

impl Ini {
    /// Parses the bytes of a config file.
    pub fn parse(bytes: &[u8]) -> Result<Self, IniError> {
        if bytes.len() > INI_BYTES_MAX {
            return Err(IniError::TooLarge);
        }
        let mut parser = Parser::default();
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            parser.line(trim(line), index + 1);
        }
        Ok(parser.finish())
    }

    /// Reads and parses a file.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let parse = || -> Result<Self, ReadProblem> {
            let mut bytes = Vec::new();
            // One byte more than allowed, so that a longer file is noticed and never loaded whole.
            File::open(path)?.take(INI_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
            Ok(Self { file: Some(path.to_owned()), ..Self::parse(&bytes)? })
        };
        parse().map_err(|problem| ReadError { file: path.to_owned(), problem })
    }

    /// Sets or removes a value, as `-O` does.
    pub fn apply(&mut self, change: &Override) {
        let section = self.sections.entry(change.section.clone()).or_default();
        if change.value.is_empty() {
            section.remove(&change.key);
        } else {
            let value = change.value.clone().into_bytes();
            section.insert(change.key.clone(), Entry { value, origin: Origin::Override });
        }
    }

    /// The value of a key, if it is present and not empty.
    #[must_use]
    pub fn get(&self, section: &str, key: &str) -> Option<&Entry> {
        self.sections.get(section)?.get(key)
    }

    /// Names of all sections, sorted. A section whose keys are all empty is still listed.
    pub fn section_names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// Keys and values of a section, sorted by key; nothing if there is no such section.
    pub fn entries(&self, section: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let entries = self.sections.get(section).into_iter().flatten();
        entries.map(|(key, entry)| (key.as_str(), entry))
    }

    /// The file it was read from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Where a value was set, for messages: `etc/config.ini:12`, or the option of the command line.
    #[must_use]
    pub fn place(&self, origin: Origin) -> String {
        match (origin, &self.file) {
            (Origin::Override, _) => "--override-config".to_owned(),
            (Origin::Line(line), Some(file)) => format!("{}:{line}", file.display()),
            (Origin::Line(line), None) => format!("config line {line}"),
        }
    }
}

/// What the lines so far mean. Section and key at hand are kept out of the maps, so that no line
/// costs more than its own length and a look-up.
#[derive(Default)]
struct Parser {
    ini: Ini,
    /// The section at hand; empty before the first one.
    section: String,
    /// Its keys.
    entries: BTreeMap<String, Entry>,
    /// The key that a line without `=` continues.
    key: Option<(String, Entry)>,
}

impl Parser {
    /// Takes one trimmed line; `number` counts from 1.
    fn line(&mut self, line: &[u8], number: usize) {
        let is_comment = [b"#".as_slice(), b";", b"//"].iter().any(|mark| line.starts_with(mark));
        if line.is_empty() || is_comment {
            return;
        }
        if let Some(rest) = line.strip_prefix(b"[") {
            let name = rest.split(|&byte| byte == b']').next().unwrap_or_default();
            self.close_section();
            self.section = text(trim(name));
            self.entries = self.ini.sections.remove(&self.section).unwrap_or_default();
        } else if let Some(at) = line.iter().position(|&byte| byte == b'=') {
            self.close_key();
            let value = trim(&line[at + 1..]).to_vec();
            let entry = Entry { value, origin: Origin::Line(number) };
            self.key = Some((text(trim(&line[..at])), entry));
        } else if let Some((_, entry)) = &mut self.key {
            if !entry.value.is_empty() {
                entry.value.push(b'\n');
            }
            entry.value.extend_from_slice(line);
        }
    }

    /// Stores the key at hand. One that stayed empty counts as not present, also if it had a value
    /// before; one without a name is dropped.
    fn close_key(&mut self) {
        let Some((key, entry)) = self.key.take() else { return };
        if entry.value.is_empty() {
            self.entries.remove(&key);
        } else if !key.is_empty() {
            self.entries.insert(key, entry);
        }
    }

    /// Stores the section at hand; one without a name is dropped.
    fn close_section(&mut self) {
        self.close_key();
        let (name, entries) =
            (std::mem::take(&mut self.section), std::mem::take(&mut self.entries));
        if !name.is_empty() {
            self.ini.sections.insert(name, entries);
        }
    }

    fn finish(mut self) -> Ini {
        self.close_section();
        self.ini
    }
}

/// Names are compared with names of ours, which are ASCII; a wrong byte makes a name unknown.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Without the white space of C's `isspace` at both ends.
fn trim(mut bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    while let [first, rest @ ..] = bytes
        && is_space(first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(last)
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests;
