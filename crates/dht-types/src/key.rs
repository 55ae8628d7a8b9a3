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
    pub const fn to_hex(self) -> HexKey {
        let number = self.0 as u128;
        let halves = (number | number << 32) & lower_bits(32);
        let pairs = (halves | halves << 16) & lower_bits(16);
        let bytes = (pairs | pairs << 8) & lower_bits(8);
        let nibbles = (bytes | bytes << 4) & lower_bits(4);
        // The top bit of those from 10 on, brought down to the lowest one.
        let letters = ((nibbles + each(0x80 - 10)) & each(0x80)) >> 7;
        let digits = nibbles + each(b'0') + letters * (b'a' - b'0' - 10) as u128;
        digits.swap_bytes().to_le_bytes()
    }

    /// Reads the text form: exactly 16 hex digits of either case, no `0x`.
    pub fn from_hex(text: &[u8]) -> Result<Self, KeyError> {
        let digits: &HexKey = text.try_into().map_err(|_| KeyError::Length(text.len()))?;
        let (mut nibbles, mut all) = ([0; Self::HEX_BYTES], 0);
        // Without a way out in between: the compiler makes vectors of it.
        for (nibble, digit) in nibbles.iter_mut().zip(digits) {
            *nibble = hex_value(*digit);
            all |= *nibble;
        }
        if all > 15 {
            let bad = nibbles.iter().position(|nibble| *nibble > 15);
            return Err(KeyError::Digit(bad.unwrap_or_default()));
        }
        let nibbles = u128::from_le_bytes(nibbles).swap_bytes();
        let bytes = (nibbles | nibbles >> 4) & lower_bits(8);
        let pairs = (bytes | bytes >> 8) & lower_bits(16);
        let halves = (pairs | pairs >> 16) & lower_bits(32);
        Ok(Self(((halves | halves >> 32) & 0xffff_ffff_ffff_ffff) as u64))
    }
}

/// The value of a hex digit of either case; 255 for every other byte.
const fn hex_value(digit: u8) -> u8 {
    let (decimal, letter) = (digit.wrapping_sub(b'0'), (digit | 0x20).wrapping_sub(b'a'));
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        255
    }
}

/// Sixteen such bytes.
const fn each(byte: u8) -> u128 {
    u128::from_le_bytes([byte; 16])
}

/// Of each group of twice as many bits the lower half.
const fn lower_bits(bits: u32) -> u128 {
    u128::MAX / ((1 << bits) + 1)
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
        for (byte, at) in (0..=255_u8).flat_map(|byte| (0..16).map(move |at| (byte, at))) {
            let mut text = *b"fedcba9876543210";
            text[at] = byte;
            let number = std::str::from_utf8(&text).ok().filter(|_| byte.is_ascii_hexdigit());
            let key = number.map(|text| Key(u64::from_str_radix(text, 16).expect("hex digits")));
            assert_eq!(Key::from_hex(&text), key.ok_or(KeyError::Digit(at)), "{byte} at {at}");
        }
    }
}
