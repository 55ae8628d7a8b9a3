//! One record in memory.
//!
//! ```text
//! | low bits of the place: u32 LE | value length: varint, 1 to 5 bytes | value ... |
//! ```
//!
//! Shard and tag, the rest of the key, are known to whoever found the record. The varint is LEB128:
//! seven bits per byte, the lowest first, the top bit set on all but the last.
#![expect(clippy::cast_possible_truncation, reason = "lengths are at most VALUE_BYTES_MAX")]

/// Longest value: what the original's engine accepts too. Source: spec `node` 11.1.
pub const VALUE_BYTES_MAX: usize = (1 << 31) - 1;

/// Bytes of the low part.
const LOW_BYTES: usize = 4;

/// Bytes of a record with a value of this length.
pub(crate) const fn record_bytes(value_bytes: usize) -> usize {
    LOW_BYTES + length_bytes(value_bytes) + value_bytes
}

const fn length_bytes(value_bytes: usize) -> usize {
    match value_bytes {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

/// Writes a record to the start of `slot`, which must be long enough.
pub(crate) fn write(slot: &mut [u8], low: u32, value: &[u8]) {
    slot[..LOW_BYTES].copy_from_slice(&low.to_le_bytes());
    let (mut at, mut rest) = (LOW_BYTES, value.len());
    while rest >= 0x80 {
        slot[at] = rest as u8 | 0x80;
        (at, rest) = (at + 1, rest >> 7);
    }
    slot[at] = rest as u8;
    slot[at + 1..][..value.len()].copy_from_slice(value);
}

/// The low part of the record at the start of `slot`.
#[inline]
pub(crate) fn low(slot: &[u8]) -> u32 {
    let low = slot.first_chunk().expect("a slot holds at least a record's header");
    u32::from_le_bytes(*low)
}

/// The value of the record at the start of `slot`.
#[inline]
pub(crate) fn value(slot: &[u8]) -> &[u8] {
    let first = usize::from(slot[LOW_BYTES]);
    if first < 0x80 { &slot[LOW_BYTES + 1..][..first] } else { long_value(slot) }
}

/// [`value`], where the length takes more than a byte.
fn long_value(slot: &[u8]) -> &[u8] {
    let (mut at, mut len, mut shift) = (LOW_BYTES, 0, 0);
    loop {
        let byte = slot[at];
        len |= usize::from(byte & 0x7f) << shift;
        (at, shift) = (at + 1, shift + 7);
        if byte < 0x80 {
            return &slot[at..][..len];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_at_every_length_of_its_length() {
        for len in [0, 1, 127, 128, 16_383, 16_384, (1 << 21) - 1, 1 << 21] {
            let value_in = vec![7; len];
            let mut slot = vec![0xff; record_bytes(len) + 3];
            write(&mut slot, 0xdead_beef, &value_in);
            assert_eq!((low(&slot), value(&slot)), (0xdead_beef, value_in.as_slice()));
            assert_eq!(slot[record_bytes(len)..], [0xff; 3], "nothing behind it is touched");
        }
        assert_eq!(record_bytes(VALUE_BYTES_MAX), VALUE_BYTES_MAX + 9);
    }
}
