//! The credentials file: which neo clients may connect, and their keys.
//!
//! ```text
//! name:256 hex digits          one client a line; the last line may lack its end
//! ```
//!
//! Any mistake refuses the whole file, so that a reload never leaves half a set in force. A node's
//! file has all its clients, a client's file just itself; who reads the file is somebody else.
//!
//! Source: spec `file-formats` 4, `protocol-neo` 5.1.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::auth::{AuthKey, CLIENT_NAME_BYTES_MAX};

/// Greatest size of a credentials file in bytes.
pub const CREDENTIALS_BYTES_MAX: usize = 10_000_000;
/// Length of a key in bytes.
pub const KEY_BYTES: usize = size_of::<AuthKey>();
/// Length of a key's text in digits.
const KEY_DIGITS: usize = 2 * KEY_BYTES;

/// Clients and their keys. Never prints a key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<String, AuthKey>);

/// Why a credentials file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// It has more than [`CREDENTIALS_BYTES_MAX`] bytes.
    #[error("Key registry file too large: {bytes} bytes")]
    TooLarge {
        /// Its size, or how much of it is known.
        bytes: u64,
    },
    /// A line is wrong.
    #[error("{problem} in registry file {} at line {line}", .file.display())]
    Line {
        /// What is wrong with it.
        problem: LineError,
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// What is wrong with a line of a credentials file. Positions count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Nothing before the `:`.
    #[error("Empty name")]
    EmptyName,
    /// More than [`CLIENT_NAME_BYTES_MAX`] bytes before the `:`.
    #[error("Name too long")]
    NameTooLong,
    /// A character that is not printable ASCII, or a blank.
    #[error("Invalid name letter at position {0}")]
    NameLetter(usize),
    /// Too few or too many digits, or no `:`.
    #[error("Invalid key length {0} (should be {KEY_DIGITS})")]
    KeyLength(usize),
    /// A character that is no hex digit.
    #[error("Invalid key letter at position {0}")]
    KeyLetter(usize),
}

impl Credentials {
    /// Parses the bytes of a file; `file` is its name for messages.
    pub fn parse(bytes: &[u8], file: &Path) -> Result<Self, CredentialsError> {
        if bytes.len() > CREDENTIALS_BYTES_MAX {
            return Err(CredentialsError::TooLarge { bytes: bytes.len() as u64 });
        }
        let mut clients = BTreeMap::new();
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            // Blanks alone are a line without a name, as in the original.
            if matches!(line, b"" | b"\r") {
                continue;
            }
            let (name, key) = parse_line(line).map_err(|problem| CredentialsError::Line {
                problem,
                file: file.to_owned(),
                line: index + 1,
            })?;
            clients.insert(name, key);
        }
        Ok(Self(clients))
    }

    /// The clients' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The key of a client.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&AuthKey> {
        self.0.get(name)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names().map(|name| (name, "[key]"))).finish()
    }
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

/// Reads `name:key`, with white space around either.
fn parse_line(line: &[u8]) -> Result<(String, AuthKey), LineError> {
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, key) = colon.map_or((line, [].as_slice()), |at| (&line[..at], &line[at + 1..]));
    Ok((parse_name(trim(name))?, parse_key(trim(key))?))
}

fn parse_name(name: &[u8]) -> Result<String, LineError> {
    if name.is_empty() {
        return Err(LineError::EmptyName);
    }
    if name.len() > CLIENT_NAME_BYTES_MAX {
        return Err(LineError::NameTooLong);
    }
    match name.iter().position(|byte| !byte.is_ascii_graphic()) {
        Some(at) => Err(LineError::NameLetter(at)),
        None => Ok(name.iter().map(|&byte| char::from(byte)).collect()),
    }
}

fn parse_key(digits: &[u8]) -> Result<AuthKey, LineError> {
    if digits.len() != KEY_DIGITS {
        return Err(LineError::KeyLength(digits.len()));
    }
    let mut key = [0; KEY_BYTES];
    for (at, &digit) in digits.iter().enumerate() {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return Err(LineError::KeyLetter(at)),
        };
        key[at / 2] = key[at / 2] << 4 | nibble;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `KEY` in `text` stands for a good key.
    fn parse(text: &str) -> Result<Credentials, String> {
        let text = text.replace("KEY", &"0aF9".repeat(64));
        let parsed = Credentials::parse(text.as_bytes(), Path::new("etc/credentials"));
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn files_with_and_without_a_last_line_end_are_read() {
        for text in
            ["admin:KEY\nuser:KEY\n", "admin:KEY\nuser:KEY", "\r\n admin : KEY \r\nuser:KEY"]
        {
            let found = parse(text).unwrap();
            assert_eq!(found.names().collect::<Vec<_>>(), ["admin", "user"], "{text:?}");
            let key = found.key("admin").expect("is there");
            assert_eq!((key[0], key[1], key[126], key[127]), (0x0a, 0xf9, 0x0a, 0xf9));
        }
        assert_eq!(parse("").unwrap().names().count(), 0, "nobody may connect");
        assert_eq!(parse("").unwrap().key("admin"), None);
        assert_eq!(parse(&format!("{}:KEY", "n".repeat(100))).unwrap().names().count(), 1);
    }

    #[test]
    fn the_last_of_equal_names_wins() {
        let found = parse(&format!("a:KEY\na:{}", "00".repeat(128))).unwrap();
        assert_eq!(found.key("a"), Some(&[0; KEY_BYTES]));
    }

    #[test]
    fn every_mistake_names_file_and_line() {
        let long = "n".repeat(101);
        let cases = [
            (":KEY".to_owned(), "Empty name"),
            (" \t".to_owned(), "Empty name"),
            (format!("{long}:KEY"), "Name too long"),
            ("a b:KEY".to_owned(), "Invalid name letter at position 1"),
            ("ab\u{e9}:KEY".to_owned(), "Invalid name letter at position 2"),
            ("a:00".to_owned(), "Invalid key length 2 (should be 256)"),
            ("a:KEY0".to_owned(), "Invalid key length 257 (should be 256)"),
            ("a".to_owned(), "Invalid key length 0 (should be 256)"),
            ("# comment".to_owned(), "Invalid name letter at position 1"),
            (format!("a:00g{}", "0".repeat(253)), "Invalid key letter at position 2"),
            (format!("a:b:{}", "0".repeat(254)), "Invalid key letter at position 1"),
        ];
        for (line, problem) in cases {
            let error = parse(&format!("good:KEY\n\n{line}\ngood:KEY")).unwrap_err();
            assert_eq!(error, format!("{problem} in registry file etc/credentials at line 3"));
        }
    }

    #[test]
    fn a_huge_file_is_refused() {
        let bytes = vec![b'\n'; CREDENTIALS_BYTES_MAX + 1];
        let error = Credentials::parse(&bytes, Path::new("x")).unwrap_err();
        assert_eq!(error.to_string(), "Key registry file too large: 10000001 bytes");
    }

    #[test]
    fn keys_are_never_printed() {
        let text = format!("{:?}", parse("admin:KEY").unwrap());
        assert_eq!(text, r#"{"admin": "[key]"}"#);
    }
}
