//! How a record looks as a line.

use std::io::{self, Write};

use dht_tools::json_lines::{self, JsonError};
use dht_types::Key;

use crate::text;

/// A record as a line: which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The original's: `000000000000000a:Zm9v`.
    Text,
    /// As `dht scan --json` prints it.
    Json,
}

/// Why a line is no record that a dump can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    /// The text form has one problem only, in the original's words.
    #[error("Unexpected record format. Only key:value records are supported currently.")]
    Text,
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl Form {
    /// Writes a record, with the line end.
    pub(crate) fn write(self, out: &mut impl Write, key: Key, value: &[u8]) -> io::Result<()> {
        match self {
            Self::Text => text::write(out, key, value),
            Self::Json => json_lines::write(out, key, value),
        }
    }

    /// Reads a record from a line without its end.
    pub(crate) fn parse(self, line: &[u8]) -> Result<(Key, Vec<u8>), FormError> {
        match self {
            Self::Text => text::parse(line).ok_or(FormError::Text),
            Self::Json => Ok(json_lines::parse(line)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;

    #[test]
    fn every_record_reads_back() {
        for_seeds(100, |rng| {
            let (key, value) = (Key(rng.below(u64::MAX)), rng.bytes(1..200));
            for form in [Form::Text, Form::Json] {
                let mut line = Vec::new();
                form.write(&mut line, key, &value).expect("memory takes everything");
                assert_eq!(line.pop(), Some(b'\n'));
                assert!(!line.contains(&b'\n'));
                assert_eq!(form.parse(&line), Ok((key, value.clone())));
            }
        });
    }
}
