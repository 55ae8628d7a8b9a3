//! A record as people and scripts read it.
//!
//! ```text
//! raw    the value's bytes, and nothing else
//! text   000000000000dead<TAB>the value, escaped
//! hex    000000000000dead<TAB>the value's bytes as hex
//! json   {"key":"000000000000dead","text":"abc","value":"YWJj"}
//! ```
//!
//! JSON has the value as base64 (the standard alphabet, padded), and as `text` too if it is valid
//! UTF-8. A record that is gone has an empty value; in JSON `null`.

use std::io::{self, Write};

use dht_tools::json_lines;
use dht_types::Key;

/// How to write a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The value's bytes.
    Raw,
    /// The key, and the value escaped.
    Text,
    /// The key, and the value as hex.
    Hex,
    /// A JSON object.
    Json,
}

/// Writes a record; one line, but for [`Format::Raw`].
pub(crate) fn write_record(
    out: &mut impl Write,
    format: Format,
    key: Key,
    value: Option<&[u8]>,
) -> io::Result<()> {
    let bytes = value.unwrap_or_default();
    match format {
        Format::Raw => out.write_all(bytes),
        Format::Text => writeln!(out, "{key}\t{}", escape(bytes)),
        Format::Hex => writeln!(out, "{key}\t{}", to_hex(bytes)),
        Format::Json => writeln!(out, "{}", json_lines::object(key, value)),
    }
}

/// Text that shows every byte and cannot confuse a terminal or a tool that reads lines: printable
/// UTF-8 as it is; `\\`, `\t`, `\n`, `\r`; any other byte as `\x1b`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                c if c.is_control() => push_hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str("\\x");
        text.extend(hex_digits(*byte));
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().copied().flat_map(hex_digits).collect()
}

fn hex_digits(byte: u8) -> [char; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|nibble| char::from(DIGITS[usize::from(nibble)]))
}

/// The bytes of a hex text. The error says what is wrong.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, &'static str> {
    if !text.len().is_multiple_of(2) {
        return Err("an odd number of hex digits");
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
    let bytes: Option<_> = text.as_bytes().chunks_exact(2).map(byte).collect();
    bytes.ok_or("only hex digits are allowed")
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;

    fn written(format: Format, value: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        write_record(&mut out, format, Key(0xdead), value).expect("memory takes everything");
        out
    }

    #[test]
    fn a_record_has_the_documented_forms() {
        for (format, line) in [
            (Format::Raw, "a\tb"),
            (Format::Text, "000000000000dead\ta\\tb\n"),
            (Format::Hex, "000000000000dead\t610962\n"),
            (
                Format::Json,
                "{\"key\":\"000000000000dead\",\"text\":\"a\\tb\",\"value\":\"YQli\"}\n",
            ),
        ] {
            assert_eq!(written(format, Some(b"a\tb")), line.as_bytes());
        }
        let binary = b"{\"key\":\"000000000000dead\",\"value\":\"/w==\"}\n";
        assert_eq!(written(Format::Json, Some(b"\xff")), binary);
        let gone = b"{\"key\":\"000000000000dead\",\"value\":null}\n";
        assert_eq!(written(Format::Json, None), gone);
        assert_eq!(written(Format::Text, None), b"000000000000dead\t\n");
    }

    #[test]
    fn escapes_show_every_byte_that_is_not_printable() {
        for (bytes, text) in [
            (&b"plain text"[..], "plain text"),
            ("größe ✓".as_bytes(), "größe ✓"),
            (b"\\ \t \n \r", "\\\\ \\t \\n \\r"),
            (b"\0\x1b[31m\x7f", "\\x00\\x1b[31m\\x7f"),
            (b"a\xff\xfeb\xe2\x82", "a\\xff\\xfeb\\xe2\\x82"),
            ("\u{85}".as_bytes(), "\\xc2\\x85"),
        ] {
            assert_eq!(escape(bytes), text);
        }
    }

    /// What `escape` wrote, read back as the documentation says.
    fn unescape(text: &str) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
        while let [first, tail @ ..] = rest {
            let (byte, tail) = match (first, tail) {
                (b'\\', [b'x', hex @ ..]) => {
                    let hex_text = std::str::from_utf8(&hex[..2]).expect("two digits");
                    (from_hex(hex_text).expect("hex")[0], &hex[2..])
                }
                (b'\\', [b't', tail @ ..]) => (b'\t', tail),
                (b'\\', [b'n', tail @ ..]) => (b'\n', tail),
                (b'\\', [b'r', tail @ ..]) => (b'\r', tail),
                (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
                (byte, tail) => (*byte, tail),
            };
            bytes.push(byte);
            rest = tail;
        }
        bytes
    }

    #[test]
    fn escaped_text_is_one_line_and_reads_back() {
        for_seeds(200, |rng| {
            let mut bytes = rng.bytes(0..50);
            bytes.extend("\\x41\\n é".as_bytes());
            let text = escape(&bytes);
            assert!(!text.contains(char::is_control), "{text:?}");
            assert_eq!(unescape(&text), bytes);
        });
    }

    #[test]
    fn hex_reads_back_and_anything_else_is_refused() {
        assert_eq!(from_hex("00fFa5"), Ok(vec![0, 255, 0xa5]));
        assert_eq!(to_hex(&[0, 255, 0xa5]), "00ffa5");
        assert_eq!(from_hex(""), Ok(Vec::new()));
        assert!(from_hex("0").is_err() && from_hex("0x").is_err() && from_hex("é").is_err());
    }
}
