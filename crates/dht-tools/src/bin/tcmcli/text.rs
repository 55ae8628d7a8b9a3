//! The original's text form: `key:base64`, a record a line. Source: spec `file-formats` 10.
//!
//! ```text
//! 000000000000000a:Zm9v
//! ```

use std::io::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dht_types::Key;

/// Writes a record.
pub(crate) fn write(out: &mut impl Write, key: Key, value: &[u8]) -> io::Result<()> {
    writeln!(out, "{key}:{}", STANDARD.encode(value))
}

/// A record with key and value.
///
/// Compat: the original's form also knows lines that are a key or a value alone, and takes any
/// other line for a value as it stands. tcmcli refuses all of these, so they need no telling apart.
pub(crate) fn parse(line: &[u8]) -> Option<(Key, Vec<u8>)> {
    let (key, value) = line.split_at_checked(Key::HEX_BYTES)?;
    let key = Key::from_hex(key).ok()?;
    let value = STANDARD.decode(value.strip_prefix(b":")?).ok()?;
    (!value.is_empty()).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_specification() {
        let mut out = Vec::new();
        write(&mut out, Key(10), b"foo").unwrap();
        write(&mut out, Key(0x1234_5678_1234_5678), &[1, 2, 3, 4]).unwrap();
        assert_eq!(out, b"000000000000000a:Zm9v\n1234567812345678:AQIDBA==\n");
    }

    #[test]
    fn only_key_and_value_make_a_record() {
        assert_eq!(parse(b"000000000000000A:Zm9v"), Some((Key(10), b"foo".to_vec())));
        for line in [
            "",
            ":",
            ":Zm9v",
            "000000000000000a",
            "000000000000000a:",
            "00000000000000a:Zm9v",
            "000000000000000a:Zm9",
            "000000000000000a:Zm9v:",
            "000000000000000a:Zm9v\r",
            "000000000000000g:Zm9v",
            "Zm9v",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
