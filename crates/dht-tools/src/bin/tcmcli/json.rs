//! The JSON form: an object a line, as `dht scan --json` prints it.
//!
//! ```text
//! {"key":"000000000000000a","text":"foo","value":"Zm9v"}
//! ```
//!
//! `value` is base64 (the standard alphabet, padded); `text` is there if it is valid UTF-8.

use std::io::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dht_types::Key;
use serde_json::{Value, json};

use crate::form::FormError;

/// Writes a record.
pub(crate) fn write(out: &mut impl Write, key: Key, value: &[u8]) -> io::Result<()> {
    let mut record = json!({ "key": key.to_string(), "value": STANDARD.encode(value) });
    if let Ok(text) = std::str::from_utf8(value) {
        record["text"] = text.into();
    }
    writeln!(out, "{record}")
}

/// A record. Written by hand, `text` will do without `value`; other fields are ignored. An empty
/// value is one: a dump can hold it.
pub(crate) fn parse(line: &[u8]) -> Result<(Key, Vec<u8>), FormError> {
    let record: Value =
        serde_json::from_slice(line).map_err(|error| FormError::NoJson(error.to_string()))?;
    let key = record["key"].as_str().and_then(|key| Key::from_hex(key.as_bytes()).ok());
    let key = key.ok_or(FormError::JsonKey)?;
    let value = match &record["value"] {
        Value::Null => None,
        Value::String(base64) => Some(STANDARD.decode(base64).map_err(|_| FormError::JsonValue)?),
        _ => return Err(FormError::JsonValue),
    };
    let text = match &record["text"] {
        Value::Null => None,
        Value::String(text) => Some(text.as_bytes()),
        _ => return Err(FormError::JsonText),
    };
    match (value, text) {
        // Somebody changed one by hand and forgot the other; which one is meant?
        (Some(value), Some(text)) if value != text => Err(FormError::Disagreement),
        (Some(value), _) => Ok((key, value)),
        (None, Some(text)) => Ok((key, text.to_vec())),
        (None, None) => Err(FormError::NoValue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (r#"{"value":"YQ=="}"#, FormError::JsonKey),
            (r#"{"key":10,"value":"YQ=="}"#, FormError::JsonKey),
            (r#"{"key":"a","value":"YQ=="}"#, FormError::JsonKey),
            (r#"["000000000000000a"]"#, FormError::JsonKey),
            (r#"{"key":"000000000000000a","value":"YQ"}"#, FormError::JsonValue),
            (r#"{"key":"000000000000000a","value":7}"#, FormError::JsonValue),
            (r#"{"key":"000000000000000a","text":7}"#, FormError::JsonText),
            (r#"{"key":"000000000000000a","value":null}"#, FormError::NoValue),
            (r#"{"key":"000000000000000a"}"#, FormError::NoValue),
            (r#"{"key":"000000000000000a","text":"b","value":"YQ=="}"#, FormError::Disagreement),
        ] {
            assert_eq!(parse(line), Err(error), "{line}");
        }
        for line in ["", "{", "{} {}"] {
            assert!(matches!(parse(line), Err(FormError::NoJson(_))), "{line}");
        }
    }
}
