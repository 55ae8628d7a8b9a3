//! Records as JSON, an object a line: what `dht scan --json`, `dht export` and `tcmcli` write.
//!
//! ```text
//! {"key":"000000000000000a","text":"foo","value":"Zm9v"}
//! ```
//!
//! `value` is base64 (the standard alphabet, padded); `text` is there if it is valid UTF-8.

use std::io::{self, BufRead, Read as _, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dht_types::Key;
use serde_json::{Value, json};

/// Longest line in bytes. A longer one is no record, but a file that has no lines.
const LINE_BYTES_MAX: usize = 1 << 30;

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The line is not JSON; why.
    #[error("not JSON: {0}")]
    NoJson(String),
    /// The key is missing or malformed.
    #[error("\"key\" must be a text of 16 hex digits")]
    Key,
    /// The value is malformed.
    #[error("\"value\" must be a text of base64 with padding")]
    Value,
    /// The text is malformed.
    #[error("\"text\" must be a text")]
    Text,
    /// There is neither value nor text.
    #[error("there is no \"value\"; the line is not of a record, or of one that is gone")]
    NoValue,
    /// Value and text are both there, and differ.
    #[error("\"text\" and \"value\" say different things; take one of them out")]
    Disagreement,
}

/// A record as a JSON object; `None` is a record that is gone.
#[must_use]
pub fn object(key: Key, value: Option<&[u8]>) -> Value {
    let mut record = json!({ "key": key.to_string(), "value": value.map(|v| STANDARD.encode(v)) });
    if let Some(text) = value.and_then(|value| std::str::from_utf8(value).ok()) {
        record["text"] = text.into();
    }
    record
}

/// Writes a record as a line.
pub fn write(out: &mut impl Write, key: Key, value: &[u8]) -> io::Result<()> {
    writeln!(out, "{}", object(key, Some(value)))
}

/// A record. Written by hand, `text` will do without `value`; other fields are ignored. An empty
/// value is one: a dump can hold it.
pub fn parse(line: &[u8]) -> Result<(Key, Vec<u8>), JsonError> {
    let record: Value =
        serde_json::from_slice(line).map_err(|error| JsonError::NoJson(error.to_string()))?;
    let key = record["key"].as_str().and_then(|key| Key::from_hex(key.as_bytes()).ok());
    let key = key.ok_or(JsonError::Key)?;
    let value = match &record["value"] {
        Value::Null => None,
        Value::String(base64) => Some(STANDARD.decode(base64).map_err(|_| JsonError::Value)?),
        _ => return Err(JsonError::Value),
    };
    let text = match &record["text"] {
        Value::Null => None,
        Value::String(text) => Some(text.as_bytes()),
        _ => return Err(JsonError::Text),
    };
    match (value, text) {
        // Somebody changed one by hand and forgot the other; which one is meant?
        (Some(value), Some(text)) if value != text => Err(JsonError::Disagreement),
        (Some(value), _) => Ok((key, value)),
        (None, Some(text)) => Ok((key, text.to_vec())),
        (None, None) => Err(JsonError::NoValue),
    }
}

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// What the system says.
    #[error(transparent)]
    Input(#[from] io::Error),
    /// No line is so long.
    #[error("line {0} is longer than {LINE_BYTES_MAX} bytes")]
    TooLong(u64),
}

/// The lines of an input, without their ends.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// From where the input is now.
    pub const fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0 }
    }

    /// Number of the line that was returned last, from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The next line. The last one need not have an end: the original loses it then.
    // A lending iterator: what it returns borrows from it, which `Iterator` cannot say.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<&[u8]>, LineError> {
        self.line.clear();
        self.number += 1;
        let mut input = self.input.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        let read = input.read_until(b'\n', &mut self.line)?;
        if read > LINE_BYTES_MAX {
            return Err(LineError::TooLong(self.number));
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok((read > 0).then_some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_any_bytes_and_the_last_one_needs_no_end() {
        let mut lines = Lines::new(&b"a\n\n\xff\0\nlast"[..]);
        for expected in [&b"a"[..], b"", b"\xff\0", b"last"] {
            assert_eq!(lines.next().unwrap(), Some(expected));
        }
        assert_eq!(lines.number(), 4);
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn the_lines_are_those_of_dht_scan() {
        let mut out = Vec::new();
        write(&mut out, Key(0xdead), b"a\tb").unwrap();
        write(&mut out, Key(1), b"\xff").unwrap();
        let expected = "{\"key\":\"000000000000dead\",\"text\":\"a\\tb\",\"value\":\"YQli\"}\n\
                        {\"key\":\"0000000000000001\",\"value\":\"/w==\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn lines_that_are_no_record_say_why() {
        let parse = |line: &str| parse(line.as_bytes());
        assert_eq!(parse(r#"{"key":"000000000000000A","text":"ü"}"#), Ok((Key(10), "ü".into())));
        assert_eq!(parse(r#"{"key":"000000000000000a","value":""}"#), Ok((Key(10), vec![])));
        for (line, error) in [
            (r#"{"value":"YQ=="}"#, JsonError::Key),
            (r#"{"key":10,"value":"YQ=="}"#, JsonError::Key),
            (r#"{"key":"a","value":"YQ=="}"#, JsonError::Key),
            (r#"["000000000000000a"]"#, JsonError::Key),
            (r#"{"key":"000000000000000a","value":"YQ"}"#, JsonError::Value),
            (r#"{"key":"000000000000000a","value":7}"#, JsonError::Value),
            (r#"{"key":"000000000000000a","text":7}"#, JsonError::Text),
            (r#"{"key":"000000000000000a","value":null}"#, JsonError::NoValue),
            (r#"{"key":"000000000000000a"}"#, JsonError::NoValue),
            (r#"{"key":"000000000000000a","text":"b","value":"YQ=="}"#, JsonError::Disagreement),
        ] {
            assert_eq!(parse(line), Err(error), "{line}");
        }
        for line in ["", "{", "{} {}"] {
            assert!(matches!(parse(line), Err(JsonError::NoJson(_))), "{line}");
        }
    }
}
