//! A record's key: a 64-bit number that the application chose, and its text form.

use std::fmt;

/// The key of a record. Nobody in the system hashes anything: the number is the application's.
///
/// Source: spec `protocol-legacy` 5.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

/// A key as the legacy protocol and the dump files write it: 16 lower-case hex digits.
pub type HexKey = [u8; Key::HEX_BYTES];

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text has another length than 16.
    #[error("a key has 16 hex digits, not {0} characters")]
    Length(usize),
    /// A character is no hex digit; its offset.
    #[error("a key has hex digits only; the character at offset {0} is none")]
    Digit(usize),
}

impl Key {
    /// Length of the text form.
    pub const HEX_BYTES: usize = 16;

    /// The place of this key in the hash space: all 64 bits in reverse order, so that consecutive
    /// keys spread over all nodes. Source: spec `protocol-legacy` 5.2.
    #[must_use]
    pub const fn position(self) -> u64 {
        self.0.reverse_bits()
    }

    /// The text form, lower case, most significant digit first.
    #[must_use]
    pub fn to_hex(self) -> HexKey {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; Self::HEX_BYTES];
        for (digit, byte) in hex.chunks_exact_mut(2).zip(byte_values(self.0)) {
            digit[0] = DIGITS[usize::from(byte >> 4)];
            digit[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }

    /// Reads the text form: exactly 16 hex digits of either case, no `0x`.
    pub fn from_hex(text: &[u8]) -> Result<Self, KeyError> {
        let digits: &HexKey = text.try_into().map_err(|_| KeyError::Length(text.len()))?;
        let mut value = 0;
        for (at, &digit) in digits.iter().enumerate() {
            let nibble = HEX_VALUES[usize::from(digit)];
            if nibble > 15 {
                return Err(KeyError::Digit(at));
            }
            value = value << 4 | u64::from(nibble);
        }
        Ok(Self(value))
    }
}

/// The value of each hex digit; 255 for every other byte.
const HEX_VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut nibble = 0;
    while nibble < 16 {
        values[b"0123456789abcdef"[nibble as usize] as usize] = nibble;
        values[b"0123456789ABCDEF"[nibble as usize] as usize] = nibble;
        nibble += 1;
    }
    values
};

/// The eight bytes of a number, most significant first: the order in which people write digits.
fn byte_values(value: u64) -> impl Iterator<Item = u8> {
    value.to_le_bytes().into_iter().rev()
}

impl From<u64> for Key {
    fn from(key: u64) -> Self {
        Self(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:#018x})", self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_specification() {
        for (key, position) in [
            (0, 0),
            (1, 0x8000_0000_0000_0000),
            (2, 0x4000_0000_0000_0000),
            (0xdead, 0xb57b_0000_0000_0000),
            (0x1234_5678_1234_5678, 0x1e6a_2c48_1e6a_2c48),
            (0x8000_0000_0000_0000, 1),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(Key(key).position(), position, "{key:x}");
        }
    }

    #[test]
    fn hex_reads_back_in_either_case() {
        for key in [0, 1, 0xdead, 0x0123_4567_89ab_cdef, u64::MAX].map(Key) {
            assert_eq!(key.to_hex(), key.to_string().as_bytes());
            assert_eq!(Key::from_hex(&key.to_hex()), Ok(key));
            assert_eq!(Key::from_hex(&key.to_hex().to_ascii_uppercase()), Ok(key));
        }
    }

    #[test]
    fn anything_but_sixteen_digits_is_refused() {
        assert_eq!(Key::from_hex(b""), Err(KeyError::Length(0)));
        assert_eq!(Key::from_hex(b"00000000000000000"), Err(KeyError::Length(17)));
        assert_eq!(Key::from_hex(b"0x00000000000001"), Err(KeyError::Digit(1)));
        for byte in 0..=255_u8 {
            let mut text = *b"0000000000000000";
            text[15] = byte;
            assert_eq!(Key::from_hex(&text).is_ok(), byte.is_ascii_hexdigit(), "{byte}");
        }
    }
}
