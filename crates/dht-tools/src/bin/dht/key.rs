//! Keys as people write them.

use dht_types::Key;

/// What `--help` says about keys.
pub(crate) const KEY_HELP: &str = "Key of the record: hex as 0xdead or as exactly 16 digits \
(000000000000dead), decimal otherwise. 16 digits are always hex, even if they look decimal";

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyTextError {
    /// `0x` is not followed by 1 to 16 hex digits.
    #[error("0x must be followed by 1 to 16 hex digits")]
    Hex,
    /// Hex digits without `0x`, but not 16 of them.
    #[error("looks like hex; write it with 0x in front, or with all 16 digits")]
    BareHex,
    /// More than 64 bits.
    #[error("a key has 64 bits: at most 18446744073709551615")]
    TooLarge,
    /// Anything else.
    #[error("a key is a decimal number, 0x and hex digits, or exactly 16 hex digits")]
    NoNumber,
}

/// Reads a key: see [`KEY_HELP`].
pub(crate) fn parse_key(text: &str) -> Result<Key, KeyTextError> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let padded = format!("{digits:0>16}");
        let key = Key::from_hex(padded.as_bytes()).map_err(|_| KeyTextError::Hex)?;
        return if digits.is_empty() { Err(KeyTextError::Hex) } else { Ok(key) };
    }
    if let Ok(key) = Key::from_hex(text.as_bytes()) {
        return Ok(key);
    }
    let all = |allowed: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(allowed);
    if all(u8::is_ascii_digit) {
        return text.parse().map(Key).map_err(|_| KeyTextError::TooLarge);
    }
    Err(if all(u8::is_ascii_hexdigit) { KeyTextError::BareHex } else { KeyTextError::NoNumber })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_decimal_and_sixteen_digits_are_told_apart() {
        for (text, key) in [
            ("0", 0),
            ("57005", 0xdead),
            ("0xdead", 0xdead),
            ("0XDEAD", 0xdead),
            ("000000000000dead", 0xdead),
            ("0x0", 0),
            ("0xffffffffffffffff", u64::MAX),
            ("18446744073709551615", u64::MAX),
            ("1234567812345678", 0x1234_5678_1234_5678),
            ("00000000000000001", 1),
        ] {
            assert_eq!(parse_key(text), Ok(Key(key)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        use KeyTextError::{BareHex, Hex, NoNumber, TooLarge};
        for (text, error) in [
            ("", NoNumber),
            ("-1", NoNumber),
            ("+1", NoNumber),
            (" 1", NoNumber),
            ("1_000", NoNumber),
            ("ключ", NoNumber),
            ("deadbeef", BareHex),
            ("0x", Hex),
            ("0xg", Hex),
            ("0x00000000000000000", Hex),
            ("18446744073709551616", TooLarge),
        ] {
            assert_eq!(parse_key(text), Err(error), "{text}");
        }
    }
}
